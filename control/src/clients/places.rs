//! Places for those of whom little is known: so many for a source, so many in all. Nobody is turned away who comes later:
//! the newest takes the place of the oldest, so that a flood shortens the time that each has and locks nobody out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::source::{Network, Source};

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub struct PlaceLimits {
    /// For one source; a network of several has as many times that as [`Source::networks`] says.
    pub per_source: usize,
    pub total: usize,
}

/// The places. Clones share them.
#[derive(Clone)]
pub struct Places(Arc<Shared>);

struct Shared {
    limits: PlaceLimits,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    next: u64,
    /// Those who have a place, by when they came.
    occupants: BTreeMap<u64, Occupant>,
    networks: HashMap<Network, NetworkPlaces>,
    /// Those who had to give their place up and have not gone yet.
    leaving: usize,
}

struct Occupant {
    source: Source,
    crowded_out: Arc<Notify>,
}

#[derive(Default)]
struct NetworkPlaces {
    occupants: BTreeSet<u64>,
    leaving: usize,
}

/// A place; given back when dropped.
pub struct Place {
    places: Places,
    number: u64,
    source: Source,
    crowded_out: Arc<Notify>,
}

impl Places {
    /// Nobody yet.
    pub fn new(limits: PlaceLimits) -> Self {
        let known = Mutex::default();
        Self(Arc::new(Shared { limits, known }))
    }

    /// A place for somebody from `source`. Where there are as many as there may be, the oldest is told to go. `None` while as many
    /// have been told so and have not gone.
    pub fn admit(&self, source: Source) -> Option<Place> {
        let limits = self.0.limits;
        let limit = |times: u32| limits.per_source.saturating_mul(times as usize);
        let mut known = self.lock();
        let is_stuck = |(network, times)| {
            let of_network = known.networks.get(&network);
            of_network.is_some_and(|of_network| of_network.leaving >= limit(times))
        };
        if known.leaving >= limits.total || source.networks().any(is_stuck) {
            return None;
        }
        for (network, times) in source.networks() {
            let of_network = known.networks.get(&network);
            let full = of_network.filter(|of| of.occupants.len() >= limit(times));
            if let Some(oldest) = full.and_then(|of| of.occupants.first().copied()) {
                known.crowd_out(oldest);
            }
        }
        if known.occupants.len() >= limits.total
            && let Some(oldest) = known.occupants.keys().next().copied()
        {
            known.crowd_out(oldest);
        }
        Some(self.enter(&mut known, source))
    }

    /// How many have a place.
    pub fn count(&self) -> usize {
        self.lock().occupants.len()
    }

    fn enter(&self, known: &mut Known, source: Source) -> Place {
        let (number, crowded_out) = (known.next, Arc::<Notify>::default());
        known.next += 1;
        for (network, _) in source.networks() {
            let of_network = known.networks.entry(network).or_default();
            of_network.occupants.insert(number);
        }
        let occupants = Occupant {
            source,
            crowded_out: crowded_out.clone(),
        };
        known.occupants.insert(number, occupants);
        Place {
            places: self.clone(),
            number,
            source,
            crowded_out,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Resolves when the place is needed for somebody who came later.
    pub async fn crowded_out(&self) {
        self.crowded_out.notified().await;
    }
}

impl Known {
    /// Tells the one of this number to go.
    fn crowd_out(&mut self, number: u64) {
        let Some(Occupant {
            source,
            crowded_out,
        }) = self.occupants.remove(&number)
        else {
            return;
        };
        for (network, _) in source.networks() {
            let of_network = self.networks.entry(network).or_default();
            of_network.occupants.remove(&number);
            of_network.leaving += 1;
        }
        self.leaving += 1;
        crowded_out.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.places.lock();
        let was_staying = known.occupants.remove(&self.number).is_some();
        if !was_staying {
            known.leaving -= 1;
        }
        for (network, _) in self.source.networks() {
            let Some(of_network) = known.networks.get_mut(&network) else {
                continue;
            };
            match was_staying {
                true => drop(of_network.occupants.remove(&self.number)),
                false => of_network.leaving -= 1,
            }
            if of_network.occupants.is_empty() && of_network.leaving == 0 {
                known.networks.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn places(per_source: usize, total: usize) -> Places {
        Places::new(PlaceLimits { per_source, total })
    }

    fn v4(last: u8) -> Source {
        Source::from(IpAddr::from([192, 0, 2, last]))
    }

    /// Source of a /64 in a /56 in a /48.
    fn v6(site: u16, subnet: u16) -> Source {
        Source::from(IpAddr::from([0x2001, 0xdb8, site, subnet, 0, 0, 0, 1]))
    }

    async fn is_crowded_out(place: &Place) -> bool {
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, place.crowded_out());
        waiting.await.is_ok()
    }

    #[tokio::test]
    async fn the_oldest_of_a_source_gives_way_and_others_do_not() {
        let places = places(2, 100);
        let other = places.admit(v4(2)).unwrap();
        let first = places.admit(v4(1)).unwrap();
        let second = places.admit(v4(1)).unwrap();
        let third = places.admit(v4(1)).unwrap();
        assert!(is_crowded_out(&first).await);
        for stays in [&other, &second, &third] {
            assert!(!is_crowded_out(stays).await);
        }
        assert_eq!(places.count(), 3);
        drop((other, first, second, third));
        assert_eq!(places.count(), 0);
        assert!(places.lock().networks.is_empty());
    }

    #[tokio::test]
    async fn the_oldest_of_all_gives_way_when_all_places_are_taken() {
        let places = places(2, 3);
        let taken: Vec<_> = (1..=4)
            .map(|last| places.admit(v4(last)).unwrap())
            .collect();
        assert!(is_crowded_out(&taken[0]).await);
        assert!(!is_crowded_out(&taken[1]).await);
        assert_eq!(places.count(), 3);
    }

    #[test]
    fn a_network_has_twice_and_eight_times_what_a_source_has() {
        let places = places(4, 1000);
        let held: Vec<_> = (0..100).filter_map(|at| places.admit(v6(1, at))).collect();
        // A hundred /64s of one /56.
        assert_eq!(places.count(), 8);
        drop(held);
        let held: Vec<_> = (0..100)
            .filter_map(|at| places.admit(v6(1, at * 0x100)))
            .collect();
        // A hundred /56s of one /48.
        assert_eq!(places.count(), 32);
        drop(held);
        let held: Vec<_> = (0..100).filter_map(|at| places.admit(v6(at, 0))).collect();
        assert_eq!((places.count(), held.len()), (100, 100));
    }

    #[test]
    fn those_who_do_not_go_are_bounded_too() {
        let places = places(3, 100);
        // None of them goes.
        let held: Vec<_> = (0..20).filter_map(|_| places.admit(v4(1))).collect();
        assert_eq!((held.len(), places.count()), (6, 3));
        assert!(places.admit(v4(2)).is_some());
        drop(held);
        assert!(places.admit(v4(1)).is_some());
        assert_eq!(places.lock().leaving, 0);
    }

    proptest! {
        #[test]
        fn limits_hold_whoever_comes_and_goes(
            steps in prop::collection::vec((0u8..6, 0u16..4, any::<prop::sample::Index>()), 1..200)
        ) {
            let places = places(3, 7);
            let mut held = Vec::new();
            for (kind, at, which) in steps {
                let place = match kind {
                    0 | 1 => places.admit(v4(at as u8)),
                    2 | 3 => places.admit(v6(at & 1, at)),
                    _ if held.is_empty() => None,
                    _ => {
                        held.swap_remove(which.index(held.len()));
                        None
                    }
                };
                held.extend(place);
                let known = places.lock();
                prop_assert!(known.occupants.len() <= 7 && known.leaving <= 7);
                prop_assert_eq!(known.occupants.len() + known.leaving, held.len());
                for (network, of) in &known.networks {
                    let times = match network {
                        Network::V6(_, 7) => 2,
                        Network::V6(_, 6) => 8,
                        _ => 1,
                    };
                    // Those of others may have had to leave for the sake of all.
                    prop_assert!(of.occupants.len() <= 3 * times && of.leaving <= 7);
                }
            }
            drop(held);
            let known = places.lock();
            prop_assert!(known.networks.is_empty() && known.leaving == 0);
        }
    }
}
