//! Limits of handshakes. Only a few handshakes with unvalidated addresses are held; beyond them a client must validate its
//! address by a Retry (RFC 9000 §8.1.2). When there are too many with validated addresses, the oldest incomplete ones are
//! evicted. A flood therefore excludes no client.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::clients::slots::{Slot, SlotLimits, Slots};
use crate::metrics::connections::{HandshakeOutcome, Handshakes};
use crate::mutex::lock;
use crate::source::Source;
use crate::throttle::{Bucket, Rate, Throttle};

/// Concurrent handshakes with one source whose address is not validated; further ones get a Retry.
pub const MAX_UNVALIDATED_PER_SOURCE: usize = 8;
/// Concurrent handshakes with unvalidated addresses.
pub const MAX_UNVALIDATED: usize = 64;
/// Rate of handshakes with unvalidated addresses. A handshake that is aborted at once releases its slot but has cost time.
const UNVALIDATED_RATE: Rate = Rate {
    burst: 128.0,
    per_second: 128.0,
};
/// Maximum number of remembered sources of relays and nodes, and how long each is trusted after its last link.
const MAX_TRUSTED: usize = 4096;
const TRUSTED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The limits. Clones share state.
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

/// The decision on a new handshake.
pub enum Admission {
    /// The handshake may go on.
    Admit(Handshake),
    /// The client must validate its address first, by a Retry.
    Retry,
    /// The source exceeds its rate.
    Refuse,
}

/// A handshake in progress. Dropping it releases its slot.
pub enum Handshake {
    /// The address may be forged.
    Unvalidated(UnvalidatedSlot),
    /// The client has proved that it receives at its address.
    Validated(Slot),
}

/// A slot for a handshake with an unvalidated address.
pub struct UnvalidatedSlot {
    limits: HandshakeLimits,
    source: Source,
}

impl HandshakeLimits {
    /// `burst` handshakes may be in progress from one validated source, and half as many may begin per second after that. All
    /// validated sources together have twice as many in progress, and relays and nodes as many again.
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

    /// Decides on a new handshake. `is_validated`: the client has returned a token for its address.
    pub fn admit(&self, source: Source, is_validated: bool, now: Instant) -> Admission {
        let admit = match is_validated {
            true => self.admit_validated(source, now),
            false => self.admit_unvalidated(source, now),
        };
        self.0.handshakes.count(match &admit {
            Admission::Admit(_) => HandshakeOutcome::Admitted,
            Admission::Retry => HandshakeOutcome::Retried,
            Admission::Refuse => HandshakeOutcome::Refused,
        });
        admit
    }

    /// Trusts a source from which a relay or a node has linked: its handshakes are not limited by rate and have slots of their
    /// own, so that other clients at the same address cannot keep the relay from linking again.
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
    /// Resolves when a newer handshake takes the slot.
    pub async fn evicted(&self) {
        match self {
            // Later clients get a Retry instead.
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
        // Validated addresses are still admitted, of that source and of others.
        assert!(admitted(limits.admit(v4(2, 1), true, now)).is_some());
        assert!(admitted(limits.admit(v4(3, 1), true, now)).is_some());
        drop(held);
        assert!(admitted(limits.admit(v4(2, 1), false, now)).is_some());
        assert_eq!(
            limits.0.handshakes.of(HandshakeOutcome::Retried),
            12 + 198 - 56
        );
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
        // Handshakes with a forged source do not count against its validated ones.
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
