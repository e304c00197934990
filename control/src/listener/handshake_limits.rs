//! Who may shake hands. Nothing is held for an address that is not proved but a few handshakes, and nobody is locked out by others:
//! where too many come that are not proved, they are asked to prove it (RFC 9000 §8.1.2); where too many proved ones come,
//! the oldest that have not finished give way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clients::places::{Place, PlaceLimits, Places};
use crate::metrics::door::{Handshake as Verdict, Handshakes};
use crate::source::Source;
use crate::throttle::{Bucket, Rate, Throttle};

/// Handshakes under way with one source whose address is not proved; one more has to prove it first.
pub const UNPROVED_OF_SOURCE: usize = 8;
/// Handshakes under way with addresses that are not proved.
pub const UNPROVED: usize = 64;
/// Handshakes that are begun with addresses that are not proved. One that is broken off at once holds no place, but took its time.
const UNPROVED_RATE: Rate = Rate {
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
    unproved: Mutex<Unproved>,
    proved: Places,
    rate: Throttle,
    links: Places,
    trusted: Mutex<BTreeMap<Source, Instant>>,
    handshakes: Handshakes,
}

struct Unproved {
    rate: Bucket,
    all: usize,
    by_source: HashMap<Source, usize>,
}

/// What is to be done with somebody who begins a handshake.
pub enum Admission {
    /// It may go on.
    Admit(Handshake),
    /// The address has to be proved first.
    Prove,
    /// Its source begins too many.
    Refuse,
}

/// A handshake under way; its place is given back when dropped.
pub enum Handshake {
    /// With an address that may be forged.
    Unproved(UnprovedPlace),
    /// With an address at which somebody is.
    Proved(Place),
}

/// A place for a handshake with an address that may be forged.
pub struct UnprovedPlace {
    limits: HandshakeLimits,
    source: Source,
}

impl HandshakeLimits {
    /// Lets a source that has proved its address begin and have under way so many handshakes at once, and begin half as many a
    /// second from then on. All such sources together have twice as many under way, and those of relays and nodes as many beside.
    pub fn new(burst: u32, handshakes: Handshakes, now: Instant) -> Self {
        let proved = PlaceLimits {
            per_source: burst as usize,
            total: (burst as usize).saturating_mul(2),
        };
        let burst = f64::from(burst);
        let unproved = Unproved {
            rate: Bucket::new(UNPROVED_RATE, now),
            all: 0,
            by_source: HashMap::new(),
        };
        Self(Arc::new(Shared {
            unproved: Mutex::new(unproved),
            proved: Places::new(proved),
            rate: Throttle::new(Rate {
                burst,
                per_second: burst / 2.0,
            }),
            links: Places::new(proved),
            trusted: Mutex::default(),
            handshakes,
        }))
    }

    /// Somebody wants to shake hands; whether it `is_proved` that somebody is at the address.
    pub fn admit(&self, source: Source, is_proved: bool, now: Instant) -> Admission {
        let admit = match is_proved {
            true => self.admit_proved(source, now),
            false => self.admit_unproved(source, now),
        };
        self.0.handshakes.count(match &admit {
            Admission::Admit(_) => Verdict::Admitted,
            Admission::Prove => Verdict::Retried,
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

    fn admit_unproved(&self, source: Source, now: Instant) -> Admission {
        let mut unproved = lock(&self.0.unproved);
        let of_source = unproved.by_source.get(&source).copied().unwrap_or_default();
        if unproved.all >= UNPROVED
            || of_source >= UNPROVED_OF_SOURCE
            || unproved.rate.take(now).is_err()
        {
            return Admission::Prove;
        }
        unproved.all += 1;
        unproved.by_source.insert(source, of_source + 1);
        Admission::Admit(Handshake::Unproved(UnprovedPlace {
            limits: self.clone(),
            source,
        }))
    }

    fn admit_proved(&self, source: Source, now: Instant) -> Admission {
        let places = if self.is_trusted(source, now) {
            &self.0.links
        } else if self.0.rate.take_of(source, now).is_ok() {
            &self.0.proved
        } else {
            return Admission::Refuse;
        };
        let place = places.admit(source);
        place.map_or(Admission::Refuse, |place| {
            Admission::Admit(Handshake::Proved(place))
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
    pub async fn crowded_out(&self) {
        match self {
            // Whoever comes later is asked to prove the address instead.
            Self::Unproved(_) => std::future::pending().await,
            Self::Proved(place) => place.crowded_out().await,
        }
    }
}

impl Drop for UnprovedPlace {
    fn drop(&mut self) {
        let mut unproved = lock(&self.limits.0.unproved);
        unproved.all -= 1;
        let of_source = unproved.by_source.get(&self.source);
        let left = of_source.map_or(0, |count| count - 1);
        if left == 0 {
            unproved.by_source.remove(&self.source);
        } else {
            unproved.by_source.insert(self.source, left);
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
            Admission::Prove | Admission::Refuse => None,
        }
    }

    #[test]
    fn the_9th_of_a_source_and_the_65th_of_all_prove_their_address_and_are_not_turned_away() {
        let now = Instant::now();
        let limits = limits(now);
        let mut held = Vec::new();
        for at in 0..20 {
            match limits.admit(v4(2, 1), false, now) {
                Admission::Admit(handshake) if at < 8 => held.push(handshake),
                Admission::Prove if at >= 8 => {}
                _ => panic!("the handshake {at}"),
            }
        }
        for last in 2..200 {
            let admit = limits.admit(v4(2, last), false, now);
            assert!(!matches!(admit, Admission::Refuse));
            held.extend(admitted(admit));
        }
        assert_eq!(held.len(), UNPROVED);
        // Those who have proved it go on: of that source, and of others.
        assert!(admitted(limits.admit(v4(2, 1), true, now)).is_some());
        assert!(admitted(limits.admit(v4(3, 1), true, now)).is_some());
        drop(held);
        assert!(admitted(limits.admit(v4(2, 1), false, now)).is_some());
        assert_eq!(limits.0.handshakes.of(Verdict::Retried), 12 + 198 - 56);
    }

    #[test]
    fn handshakes_that_are_broken_off_at_once_are_retried_soon() {
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
            Admission::Admit(Handshake::Proved(_))
        ));
    }

    #[test]
    fn a_source_that_begins_too_many_is_refused_and_a_relay_there_is_not() {
        let now = Instant::now();
        let limits = limits(now);
        let passed = |source| {
            let knocks = (0..2000).filter(|_| admitted(limits.admit(source, true, now)).is_some());
            knocks.count()
        };
        assert_eq!(passed(v4(2, 1)), 512);
        assert_eq!(passed(v4(2, 2)), 512);
        limits.trust(v4(2, 1), now);
        assert_eq!(passed(v4(2, 1)), 2000);
        assert_eq!(passed(v4(2, 2)), 0);
        let later = now + TRUSTED_FOR;
        let knocks = (0..2000).filter(|_| admitted(limits.admit(v4(2, 1), true, later)).is_some());
        assert_eq!(knocks.count(), 512);
    }

    #[test]
    fn sources_that_are_trusted_are_bounded() {
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
