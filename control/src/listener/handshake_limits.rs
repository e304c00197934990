//! Who may shake hands. Nothing is held for an address that is not proved but a few handshakes, and nobody is locked out by others:
//! where too many come that are not proved, they are asked to prove it (RFC 9000 §8.1.2); where too many proved ones come,
//! the oldest that have not finished give way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clients::slots::{Slot, SlotLimits, Slots};
use crate::metrics::connections::{Handshake as Verdict, Handshakes};
use crate::source::Source;
use crate::throttle::{Bucket, Rate, Throttle};

/// Handshakes under way with one source whose address is not proved; one more has to prove it first.
pub const MAX_UNVALIDATED_PER_SOURCE: usize = 8;
/// Handshakes under way with addresses that are not proved.
pub const MAX_UNVALIDATED: usize = 64;
/// Handshakes that are begun with addresses that are not proved. One that is broken off at once holds no place, but took its time.
const UNVALIDATED_RATE: Rate = Rate {
    burst: 128.0,
    per_second: 128.0,
};
/// Sources from which relays or nodes have linked that are remembered, and for how long after the last time.
const MAX_TRUSTED: usize = 4096;
const TRUSTED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The limits. Clones share it.
#[derive(Clone)]
pub struct HandshakeLimits(Arc<Shared>);

struct Shared {
    unvalidated: Mutex<Unvalidated>,
    validated: Slots,
    rate: Throttle,
    links: Slots,
    trusted: Mutex<BTreeMap<Source, Instant>>,
    handshakes: Handshakes,
}

struct Unvalidated {
    rate: Bucket,
    all: usize,
    by_source: HashMap<Source, usize>,
}

/// What is to be done with somebody who begins a handshake.
pub enum Admission {
    /// It may go on.
    Admit(Handshake),
    /// The address has to be proved first.
    Retry,
    /// Its source begins too many.
    Refuse,
}

/// A handshake under way; its place is given back when dropped.
pub enum Handshake {
    /// With an address that may be forged.
    Unvalidated(UnvalidatedSlot),
    /// With an address at which somebody is.
    Validated(Slot),
}

/// A place for a handshake with an address that may be forged.
pub struct UnvalidatedSlot {
    limits: HandshakeLimits,
    source: Source,
}

impl HandshakeLimits {
    /// Lets a source that has proved its address begin and have under way so many handshakes at once, and begin half as many a
    /// second from then on. All such sources together have twice as many under way, and those of relays and nodes as many beside.
    pub fn new(burst: u32, handshakes: Handshakes, now: Instant) -> Self {
        let validated = SlotLimits {
            per_source: burst as usize,
            total: (burst as usize).saturating_mul(2),
        };
        let burst = f64::from(burst);
        let unvalidated = Unvalidated {
            rate: Bucket::new(UNVALIDATED_RATE, now),
            all: 0,
            by_source: HashMap::new(),
        };
        Self(Arc::new(Shared {
            unvalidated: Mutex::new(unvalidated),
            validated: Slots::new(validated),
            rate: Throttle::new(Rate {
                burst,
                per_second: burst / 2.0,
            }),
            links: Slots::new(validated),
            trusted: Mutex::default(),
            handshakes,
        }))
    }

    /// Somebody wants to shake hands; whether it `is_validated` that somebody is at the address.
    pub fn admit(&self, source: Source, is_validated: bool, now: Instant) -> Admission {
        let admit = match is_validated {
            true => self.admit_validated(source, now),
            false => self.admit_unvalidated(source, now),
        };
        self.0.handshakes.count(match &admit {
            Admission::Admit(_) => Verdict::Admitted,
            Admission::Retry => Verdict::Retried,
            Admission::Refuse => Verdict::Refused,
        });
        admit
    }

    /// A relay or a node has shown its certificate there. From then on no stranger at the same address keeps it from linking again:
    /// what that source begins is not throttled, and has places of its own.
    pub fn trust(&self, source: Source, now: Instant) {
        let mut trusted = lock(&self.0.trusted);
        if trusted.len() >= MAX_TRUSTED && !trusted.contains_key(&source) {
            let oldest = trusted.iter().min_by_key(|(_, since)| **since);
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                trusted.remove(&oldest);
            }
        }
        trusted.insert(source, now);
    }

    fn admit_unvalidated(&self, source: Source, now: Instant) -> Admission {
        let mut unvalidated = lock(&self.0.unvalidated);
        let of_source = unvalidated
            .by_source
            .get(&source)
            .copied()
            .unwrap_or_default();
        if unvalidated.all >= MAX_UNVALIDATED
            || of_source >= MAX_UNVALIDATED_PER_SOURCE
            || unvalidated.rate.take(now).is_err()
        {
            return Admission::Retry;
        }
        unvalidated.all += 1;
        unvalidated.by_source.insert(source, of_source + 1);
        Admission::Admit(Handshake::Unvalidated(UnvalidatedSlot {
            limits: self.clone(),
            source,
        }))
    }

    fn admit_validated(&self, source: Source, now: Instant) -> Admission {
        let slots = if self.is_trusted(source, now) {
            &self.0.links
        } else if self.0.rate.take_for_source(source, now).is_ok() {
            &self.0.validated
        } else {
            return Admission::Refuse;
        };
        let slot = slots.admit(source);
        slot.map_or(Admission::Refuse, |slot| {
            Admission::Admit(Handshake::Validated(slot))
        })
    }

    fn is_trusted(&self, source: Source, now: Instant) -> bool {
        let trusted = lock(&self.0.trusted);
        let since = trusted.get(&source);
        since.is_some_and(|since| now.saturating_duration_since(*since) < TRUSTED_FOR)
    }
}

impl Handshake {
    /// Resolves when the handshake has to give way to a newer one.
    pub async fn evicted(&self) {
        match self {
            // Whoever comes later is asked to prove the address instead.
            Self::Unvalidated(_) => std::future::pending().await,
            Self::Validated(slot) => slot.evicted().await,
        }
    }
}

impl Drop for UnvalidatedSlot {
    fn drop(&mut self) {
        let mut unvalidated = lock(&self.limits.0.unvalidated);
        unvalidated.all -= 1;
        let of_source = unvalidated.by_source.get(&self.source);
        let left = of_source.map_or(0, |count| count - 1);
        if left == 0 {
            unvalidated.by_source.remove(&self.source);
        } else {
            unvalidated.by_source.insert(self.source, left);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn v4(third: u8, last: u8) -> Source {
        Source::from(IpAddr::from([192, 0, third, last]))
    }

    fn limits(now: Instant) -> HandshakeLimits {
        HandshakeLimits::new(512, Handshakes::default(), now)
    }

    fn admitted(admit: Admission) -> Option<Handshake> {
        match admit {
            Admission::Admit(handshake) => Some(handshake),
            Admission::Retry | Admission::Refuse => None,
        }
    }

    #[test]
    fn the_9th_unvalidated_handshake_of_a_source_and_the_65th_of_all_get_a_retry() {
        let now = Instant::now();
        let limits = limits(now);
        let mut held = Vec::new();
        for at in 0..20 {
            match limits.admit(v4(2, 1), false, now) {
                Admission::Admit(handshake) if at < 8 => held.push(handshake),
                Admission::Retry if at >= 8 => {}
                _ => panic!("the handshake {at}"),
            }
        }
        for last in 2..200 {
            let admit = limits.admit(v4(2, last), false, now);
            assert!(!matches!(admit, Admission::Refuse));
            held.extend(admitted(admit));
        }
        assert_eq!(held.len(), MAX_UNVALIDATED);
        // Those who have proved it go on: of that source, and of others.
        assert!(admitted(limits.admit(v4(2, 1), true, now)).is_some());
        assert!(admitted(limits.admit(v4(3, 1), true, now)).is_some());
        drop(held);
        assert!(admitted(limits.admit(v4(2, 1), false, now)).is_some());
        assert_eq!(limits.0.handshakes.of(Verdict::Retried), 12 + 198 - 56);
    }

    #[test]
    fn aborted_handshakes_count_towards_the_rate() {
        let now = Instant::now();
        let limits = limits(now);
        let admitted = (0..10_000).filter(|at| {
            let source = v4((at % 200) as u8, 1);
            admitted(limits.admit(source, false, now)).is_some()
        });
        assert_eq!(admitted.count(), 128);
        // What a forged source has begun does not count against it.
        assert!(matches!(
            limits.admit(v4(0, 1), true, now),
            Admission::Admit(Handshake::Validated(_))
        ));
    }

    #[test]
    fn a_source_over_its_rate_is_refused_unless_it_is_trusted() {
        let now = Instant::now();
        let limits = limits(now);
        let passed = |source| {
            let attempts =
                (0..2000).filter(|_| admitted(limits.admit(source, true, now)).is_some());
            attempts.count()
        };
        assert_eq!(passed(v4(2, 1)), 512);
        assert_eq!(passed(v4(2, 2)), 512);
        limits.trust(v4(2, 1), now);
        assert_eq!(passed(v4(2, 1)), 2000);
        assert_eq!(passed(v4(2, 2)), 0);
        let later = now + TRUSTED_FOR;
        let attempts =
            (0..2000).filter(|_| admitted(limits.admit(v4(2, 1), true, later)).is_some());
        assert_eq!(attempts.count(), 512);
    }

    #[test]
    fn the_number_of_trusted_sources_is_bounded() {
        let now = Instant::now();
        let limits = limits(now);
        for at in 0..2 * MAX_TRUSTED as u32 {
            let source = Source::from(IpAddr::from(at.to_be_bytes()));
            limits.trust(source, now + Duration::from_millis(at.into()));
        }
        assert_eq!(lock(&limits.0.trusted).len(), MAX_TRUSTED);
        let newest = Source::from(IpAddr::from((2 * MAX_TRUSTED as u32 - 1).to_be_bytes()));
        assert!(limits.is_trusted(newest, now));
    }
}
