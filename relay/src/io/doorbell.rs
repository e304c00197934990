//! Who waits is woken, who works is not: a flag between one worker and all who put something down for it.

use super::sync::{AtomicU8, Ordering};

/// The worker looks at what was put down before it waits again.
const AWAKE: u8 = 0;
/// The worker waits in the kernel.
const ASLEEP: u8 = 1;
/// Something was put down since the worker looked.
const RUNG: u8 = 2;

/// One worker's.
///
/// Others put something down and [`ring`](Self::ring). The worker calls [`hear`](Self::hear), then looks at everything
/// that was put down, and waits only if [`lie_down`](Self::lie_down) says that nobody has rung since.
pub(super) struct Doorbell(AtomicU8);

impl Default for Doorbell {
    fn default() -> Self {
        Self(AtomicU8::new(AWAKE))
    }
}

impl Doorbell {
    /// Tells that something was put down. True when the worker waits and has to be woken.
    pub(super) fn ring(&self) -> bool {
        self.0.swap(RUNG, Ordering::AcqRel) == ASLEEP
    }

    /// Takes note of all rings so far: what was put down before them is seen by whoever looks after this.
    pub(super) fn hear(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }

    /// True when nobody has rung since [`hear`](Self::hear): the worker may wait, and the next ring says to wake it.
    pub(super) fn lie_down(&self) -> bool {
        self.0
            .compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
