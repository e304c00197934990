//! A room's bundle while it takes frames.

use std::sync::Arc;
use std::time::Instant;

use crate::core::bundle::{Bundle, Piece};
use crate::core::packet::Packet;
use crate::core::room::Snapshot;
use crate::core::session::SessionSlot;

/// A room's bundle while it takes frames.
pub(super) struct OpenBundle {
    pub(super) bundle: Arc<Bundle>,
    pub(super) receivers: Arc<Snapshot>,
    /// When its first frame was received.
    pub(super) since: Instant,
}

impl OpenBundle {
    /// Adds to the bundle at `worker`. Gives back buffers that are not needed any more, or the piece if it does not fit.
    pub(super) fn add(
        &mut self,
        worker: u8,
        piece: Piece,
        session: SessionSlot,
    ) -> Result<[Option<Box<Packet>>; 2], Piece> {
        // A bundle that another worker sends takes nothing more.
        let Some(bundle) = Arc::get_mut(&mut self.bundle) else {
            return Err(piece);
        };
        bundle.add(piece, session, |packet| {
            packet.owner == worker && self.receivers.is_only_at(worker)
        })
    }
}
