//! What other threads wake a worker with, whichever driver it waits in.

use std::sync::Arc;

use super::doorbell::Doorbell;

/// Wakes a worker that waits for datagrams.
#[derive(Clone)]
pub struct Waker {
    doorbell: Arc<Doorbell>,
    /// Ends a wait in the kernel, or the next one.
    rouse: Arc<dyn Fn() + Send + Sync>,
}

impl Waker {
    /// Of a driver whose wait in the kernel `rouse` ends.
    pub(super) fn new(rouse: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            doorbell: Arc::default(),
            rouse: Arc::new(rouse),
        }
    }

    /// Ends the driver's wait, or the next one. Costs a system call only when the driver waits.
    pub fn wake(&self) {
        if self.doorbell.ring() {
            (self.rouse)();
        }
    }

    /// The driver's side of it.
    pub(super) fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }
}
