//! A flag between a worker and the threads that queue work for it: a worker that waits is woken, one that works is not.

use super::sync::{AtomicU8, Ordering};

/// The worker checks its queues before it waits again.
const AWAKE: u8 = 0;
/// The worker waits in the kernel.
const WAITING: u8 = 1;
/// Work was queued since the worker checked.
const NOTIFIED: u8 = 2;

/// The flag of one worker.
///
/// Other threads queue work and call [`notify`](Self::notify). The worker calls [`acknowledge`](Self::acknowledge), then
/// checks all its queues, and waits only if [`begin_wait`](Self::begin_wait) returns true.
pub(super) struct WakeFlag(AtomicU8);

impl Default for WakeFlag {
    fn default() -> Self {
        Self(AtomicU8::new(AWAKE))
    }
}

impl WakeFlag {
    /// Says that work was queued. True if the worker waits and has to be woken.
    pub(super) fn notify(&self) -> bool {
        self.0.swap(NOTIFIED, Ordering::AcqRel) == WAITING
    }

    /// Takes note of all notifications so far. Work that was queued before them is visible to the worker after this.
    pub(super) fn acknowledge(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }

    /// True if there was no notification since [`acknowledge`](Self::acknowledge): the worker may wait, and the next
    /// notification wakes it.
    pub(super) fn begin_wait(&self) -> bool {
        self.0
            .compare_exchange(AWAKE, WAITING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
