//! A bundle that is being sent to the receivers of one worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::bundle::Bundle;
use crate::core::room::Snapshot;

/// A bundle that is being sent to the receivers of one worker.
pub(in crate::core) struct Fanout {
    bundle: Arc<Bundle>,
    snapshot: Arc<Snapshot>,
    /// Index of the worker's share in the snapshot.
    share: usize,
    /// Receivers before this index are served.
    cursor: usize,
    since: Instant,
}

impl Fanout {
    /// To one of the snapshot's shares. `since` is when the bundle's first frame was received.
    pub(super) fn new(
        bundle: &Arc<Bundle>,
        snapshot: &Arc<Snapshot>,
        share: usize,
        since: Instant,
    ) -> Self {
        Self {
            bundle: Arc::clone(bundle),
            snapshot: Arc::clone(snapshot),
            share,
            cursor: 0,
            since,
        }
    }

    pub(super) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    pub(super) fn into_bundle(self) -> Arc<Bundle> {
        self.bundle
    }

    /// The slots of all receivers, served or not.
    pub(super) fn receivers(&self) -> &[u32] {
        let share = self.snapshot.shares().get(self.share);
        share.map_or(&[], |share| &share.receivers)
    }

    /// Receivers that are not served yet: index and slot.
    pub(super) fn unserved(&self) -> impl Iterator<Item = (usize, u32)> {
        let unserved = self.receivers().get(self.cursor..).unwrap_or_default();
        (self.cursor..).zip(unserved.iter().copied())
    }

    /// Sets the count of receivers that are served.
    pub(super) fn set_served(&mut self, served: usize) {
        self.cursor = served;
    }

    pub(super) fn is_done(&self) -> bool {
        self.cursor == self.receivers().len()
    }

    /// Frames that its receivers have not been sent yet.
    pub(super) fn unsent(&self) -> u64 {
        let unserved = self.receivers().len().saturating_sub(self.cursor);
        (unserved * self.bundle.len()) as u64
    }

    /// Time since the bundle's first frame was received.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// True if the bundle holds a receive buffer.
    pub(super) fn holds_packet(&self) -> bool {
        self.bundle.holds_packet()
    }
}
