//! Time limits of a link.

use std::time::Duration;

/// An attempt that takes longer has failed.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A link on which nothing arrives for this time is lost.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_millis(2500);
/// Interval of QUIC keep-alives.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// A control node that reads nothing for this time loses the link, even if its connection is alive.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
