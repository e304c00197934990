//! The epochs of one generation of a room's group, as far as the relay knows them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A value of [`Epochs::first`] for a generation all of whose epochs have retired.
const NONE_LEFT: u64 = u64::MAX;

/// The epochs of a generation in a room. Commands raise them, never lower them; workers read them for each frame, and take
/// no lock for it.
pub(super) struct Epochs {
    /// The newest epoch of which the relay knows; there may be newer ones.
    newest: AtomicU64,
    /// The first epoch that has not retired, or [`NONE_LEFT`].
    first: AtomicU64,
}

/// How an epoch stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// It counts.
    Valid,
    /// It has retired.
    Retired,
    /// It is before the first one in which the leaf is granted, or before epoch 0.
    TooEarly,
}

impl Epochs {
    /// Of a generation of which the relay knows nothing: epoch 0 and those after it.
    pub(super) fn new() -> Self {
        Self {
            newest: AtomicU64::new(0),
            first: AtomicU64::new(0),
        }
    }

    /// The group has reached this epoch.
    pub(super) fn reach(&self, epoch: u64) {
        self.newest.fetch_max(epoch, Ordering::Release);
    }

    /// This epoch and those before it have retired.
    pub(super) fn retire(&self, epoch: u64) {
        let next = epoch.saturating_add(1);
        self.first.fetch_max(next, Ordering::Release);
        // Second: who reads bits by the newer epoch knows which ones have retired.
        self.reach(next);
    }

    /// The whole generation has retired.
    pub(super) fn retire_all(&self) {
        self.first.store(NONE_LEFT, Ordering::Release);
    }

    /// How the epoch stands of which a key id holds these bits, under a leaf that is granted from `first_granted` on.
    pub(super) fn standing(&self, bits: u8, first_granted: u64) -> Standing {
        let newest = self.newest.load(Ordering::Acquire);
        let first = self.first.load(Ordering::Acquire);
        if first == NONE_LEFT {
            return Standing::Retired;
        }
        match nearest(newest, bits) {
            Some(epoch) if epoch < first_granted => Standing::TooEarly,
            Some(epoch) if epoch < first => Standing::Retired,
            Some(_) => Standing::Valid,
            None => Standing::TooEarly,
        }
    }
}

/// The epoch that ends in these 8 bits and is nearest to `newest`: of two that are equally near, the older one. `None` if it
/// would be below 0 or above 2^64 − 1.
fn nearest(newest: u64, bits: u8) -> Option<u64> {
    let distance = bits.wrapping_sub(newest as u8).cast_signed();
    newest.checked_add_signed(distance.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All epochs that end in `bits` and are at most 128 away, the nearest first, the older first among equals.
    fn reference(newest: u64, bits: u8) -> Option<u64> {
        let newest = i128::from(newest);
        let near =
            (newest - 128..=newest + 128).filter(|epoch| epoch.rem_euclid(256) == i128::from(bits));
        let nearest = near.min_by_key(|epoch| ((epoch - newest).abs(), *epoch))?;
        u64::try_from(nearest).ok()
    }

    /// Epochs near the ends, near a multiple of 256, and anywhere.
    fn epoch() -> impl Strategy<Value = u64> {
        prop_oneof![
            0u64..600,
            (1u64 << 32) - 300..(1 << 32) + 300,
            u64::MAX - 300..=u64::MAX,
            any::<u64>(),
        ]
    }

    proptest! {
        #[test]
        fn eight_bits_are_read_as_the_nearest_epoch(newest in epoch(), bits: u8) {
            prop_assert_eq!(nearest(newest, bits), reference(newest, bits));
        }

        #[test]
        fn an_epoch_stands_as_it_does_in_full_if_it_is_within_half_the_circle(
            newest in epoch(), retired in prop::option::of(epoch()), granted in epoch(), ahead in -128i64..128
        ) {
            let epochs = Epochs::new();
            epochs.reach(newest);
            let mut known = newest;
            if let Some(retired) = retired {
                epochs.retire(retired);
                known = newest.max(retired.saturating_add(1));
            }
            let Some(epoch) = known.checked_add_signed(ahead) else { return Ok(()) };
            let standing = epochs.standing(epoch as u8, granted);
            let expected = match retired {
                Some(retired) if retired >= u64::MAX - 1 => Standing::Retired,
                _ if epoch < granted => Standing::TooEarly,
                Some(retired) if epoch <= retired => Standing::Retired,
                _ => Standing::Valid,
            };
            prop_assert_eq!(standing, expected);
        }

        /// The order of the commands does not matter, and none takes another one back.
        #[test]
        fn what_has_retired_stays_retired(retired in prop::collection::vec(epoch(), 1..10), bits: u8) {
            let (forward, backward) = (Epochs::new(), Epochs::new());
            retired.iter().for_each(|epoch| forward.retire(*epoch));
            retired.iter().rev().for_each(|epoch| backward.retire(*epoch));
            prop_assert_eq!(forward.standing(bits, 0), backward.standing(bits, 0));
            let highest = retired.iter().max().copied().unwrap_or(0);
            prop_assert_eq!(forward.standing(highest as u8, 0), Standing::Retired);
        }
    }
}
