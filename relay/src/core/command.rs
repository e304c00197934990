//! The registry's commands to a worker, and the sessions that the worker ends by itself.

use std::sync::Arc;

use confab_protocol::cluster::MediaEndReason;
use confab_protocol::media::ConnectionId;
use confab_protocol::media::downlink::ByeReason;

use super::room::Room;
use super::session::SessionInfo;

/// A command of the registry to a worker.
pub enum WorkerCommand {
    /// The worker becomes the room's home.
    Host(Arc<Room>),
    /// The room has closed: the worker is its home no longer.
    Unhost(Arc<Room>),
    /// Opens a session.
    Open(Arc<SessionInfo>),
    /// Closes a session, with a bye to the client.
    Close(ConnectionId, ByeReason),
}

/// A session that ended at the worker.
pub struct Ended {
    /// The session.
    pub info: Arc<SessionInfo>,
    /// Why it ended.
    pub reason: MediaEndReason,
}
