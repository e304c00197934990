//! Who waits is woken, who works is not: a flag between one worker and all who put something down for it.

use super::sync::{AtomicU8, Ordering};

/// The worker looks at what was put down before it waits again.
const AWAKE: u8 = 0;
/// The worker waits in the kernel.
const WAITING: u8 = 1;
/// Something was put down since the worker looked.
const NOTIFIED: u8 = 2;

/// One worker's.
///
/// Others put something down and [`notify`](Self::notify). The worker calls [`acknowledge`](Self::acknowledge), then looks at everything
/// that was put down, and waits only if [`begin_wait`](Self::begin_wait) says that nobody has rung since.
pub(super) struct WakeFlag(AtomicU8);

impl Default for WakeFlag {
    fn default() -> Self {
        Self(AtomicU8::new(AWAKE))
    }
}

impl WakeFlag {
    /// Tells that something was put down. True when the worker waits and has to be woken.
    pub(super) fn notify(&self) -> bool {
        self.0.swap(NOTIFIED, Ordering::AcqRel) == WAITING
    }

    /// Takes note of all rings so far: what was put down before them is seen by whoever looks after this.
    pub(super) fn acknowledge(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }

    /// True when nobody has rung since [`acknowledge`](Self::acknowledge): the worker may wait, and the next ring says to wake it.
    pub(super) fn begin_wait(&self) -> bool {
        self.0
            .compare_exchange(AWAKE, WAITING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
