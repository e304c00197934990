//! The settings of a worker.

use std::time::Duration;

use super::limits::RateLimits;

/// The settings of a worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// The worker byte of its sessions' connection ids.
    pub index: u8,
    /// Receive buffers, at most.
    pub buffers: usize,
    /// Buffers that are free when a round receives; the oldest bundles are dropped for them.
    pub batch: usize,
    /// Speakers of a room that are forwarded at once, at most.
    pub speakers: usize,
    /// Limits of a session.
    pub limits: RateLimits,
    /// A session ends when its path has answered no challenge for this time.
    pub idle_timeout: Duration,
}
