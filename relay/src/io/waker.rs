//! Wakes a worker's thread from another thread, whichever driver it waits in.

use std::sync::Arc;

use super::wake_flag::WakeFlag;

/// Wakes a worker that waits for datagrams.
#[derive(Clone)]
pub struct Waker {
    wake_flag: Arc<WakeFlag>,
    /// Ends a wait in the kernel, or the next one.
    end_wait: Arc<dyn Fn() + Send + Sync>,
}

impl Waker {
    /// The waker of a driver. `end_wait` ends the driver's wait in the kernel, or its next one.
    pub(super) fn new(end_wait: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            wake_flag: Arc::default(),
            end_wait: Arc::new(end_wait),
        }
    }

    /// Ends the driver's wait, or the next one. Costs a system call only when the driver waits.
    pub fn wake(&self) {
        if self.wake_flag.notify() {
            (self.end_wait)();
        }
    }

    pub(super) fn wake_flag(&self) -> &WakeFlag {
        &self.wake_flag
    }
}
