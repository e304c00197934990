//! Slots for connections that are not authenticated: a limited number per source and in total. When all are taken, a new
//! connection evicts the oldest, so that a flood shortens the time of each connection and excludes none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::mutex::lock;
use crate::source::{Network, Source};

/// Limits of slots.
#[derive(Clone, Copy, Debug)]
pub struct SlotLimits {
    /// Per source; the networks around it have the multiple that [`Source::networks`] gives.
    pub per_source: usize,
    pub total: usize,
}

/// The slots. Clones share state.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    limits: SlotLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Holders of slots, by order of arrival.
    occupants: BTreeMap<u64, Occupant>,
    networks: HashMap<Network, NetworkSlots>,
    /// Number of evicted holders that have not released their slot.
    leaving: usize,
}

struct Occupant {
    source: Source,
    evicted: Arc<Notify>,
}

#[derive(Default)]
struct NetworkSlots {
    occupants: BTreeSet<u64>,
    leaving: usize,
}

/// A slot. Dropping it releases it.
pub struct Slot {
    slots: Slots,
    number: u64,
    source: Source,
    evicted: Arc<Notify>,
}

impl Slots {
    pub fn new(limits: SlotLimits) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Shared { limits, state }))
    }

    /// Takes a slot for `source` and evicts the oldest holder if all are taken. `None` while as many evicted holders as slots
    /// have not left.
    pub fn admit(&self, source: Source) -> Option<Slot> {
        let limits = self.0.limits;
        let limit = |times: u32| limits.per_source.saturating_mul(times as usize);
        let mut state = self.lock();
        let is_stuck = |(network, times)| {
            let of_network = state.networks.get(&network);
            of_network.is_some_and(|of_network| of_network.leaving >= limit(times))
        };
        if state.leaving >= limits.total || source.networks().any(is_stuck) {
            return None;
        }
        for (network, times) in source.networks() {
            let of_network = state.networks.get(&network);
            let full = of_network.filter(|of| of.occupants.len() >= limit(times));
            if let Some(oldest) = full.and_then(|of| of.occupants.first().copied()) {
                state.evict(oldest);
            }
        }
        if state.occupants.len() >= limits.total
            && let Some(oldest) = state.occupants.keys().next().copied()
        {
            state.evict(oldest);
        }
        Some(self.enter(&mut state, source))
    }

    /// Number of holders.
    pub fn count(&self) -> usize {
        self.lock().occupants.len()
    }

    fn enter(&self, state: &mut State, source: Source) -> Slot {
        let (number, evicted) = (state.next, Arc::<Notify>::default());
        state.next += 1;
        for (network, _) in source.networks() {
            let of_network = state.networks.entry(network).or_default();
            of_network.occupants.insert(number);
        }
        let occupant = Occupant {
            source,
            evicted: evicted.clone(),
        };
        state.occupants.insert(number, occupant);
        Slot {
            slots: self.clone(),
            number,
            source,
            evicted,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

impl Slot {
    /// Resolves when a newer connection takes the slot.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl State {
    /// Notifies the holder of this number.
    fn evict(&mut self, number: u64) {
        let Some(Occupant { source, evicted }) = self.occupants.remove(&number) else {
            return;
        };
        for (network, _) in source.networks() {
            let of_network = self.networks.entry(network).or_default();
            of_network.occupants.remove(&number);
            of_network.leaving += 1;
        }
        self.leaving += 1;
        evicted.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        let was_staying = state.occupants.remove(&self.number).is_some();
        if !was_staying {
            state.leaving -= 1;
        }
        for (network, _) in self.source.networks() {
            let Some(of_network) = state.networks.get_mut(&network) else {
                continue;
            };
            match was_staying {
                true => drop(of_network.occupants.remove(&self.number)),
                false => of_network.leaving -= 1,
            }
            if of_network.occupants.is_empty() && of_network.leaving == 0 {
                state.networks.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn slots(per_source: usize, total: usize) -> Slots {
        Slots::new(SlotLimits { per_source, total })
    }

    fn v4(last: u8) -> Source {
        Source::from(IpAddr::from([192, 0, 2, last]))
    }

    /// The source of a /64 within a /56 within a /48.
    fn v6(site: u16, subnet: u16) -> Source {
        Source::from(IpAddr::from([0x2001, 0xdb8, site, subnet, 0, 0, 0, 1]))
    }

    async fn is_evicted(slot: &Slot) -> bool {
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, slot.evicted());
        waiting.await.is_ok()
    }

    #[tokio::test]
    async fn the_oldest_slot_of_a_source_is_evicted_and_others_are_not() {
        let slots = slots(2, 100);
        let other = slots.admit(v4(2)).unwrap();
        let first = slots.admit(v4(1)).unwrap();
        let second = slots.admit(v4(1)).unwrap();
        let third = slots.admit(v4(1)).unwrap();
        assert!(is_evicted(&first).await);
        for stays in [&other, &second, &third] {
            assert!(!is_evicted(stays).await);
        }
        assert_eq!(slots.count(), 3);
        drop((other, first, second, third));
        assert_eq!(slots.count(), 0);
        assert!(slots.lock().networks.is_empty());
    }

    #[tokio::test]
    async fn the_oldest_of_all_slots_is_evicted_when_all_are_taken() {
        let slots = slots(2, 3);
        let taken: Vec<_> = (1..=4).map(|last| slots.admit(v4(last)).unwrap()).collect();
        assert!(is_evicted(&taken[0]).await);
        assert!(!is_evicted(&taken[1]).await);
        assert_eq!(slots.count(), 3);
    }

    #[test]
    fn a_56_has_twice_and_a_48_eight_times_the_slots_of_a_source() {
        let slots = slots(4, 1000);
        let held: Vec<_> = (0..100).filter_map(|at| slots.admit(v6(1, at))).collect();
        // A hundred /64s within one /56.
        assert_eq!(slots.count(), 8);
        drop(held);
        let held: Vec<_> = (0..100)
            .filter_map(|at| slots.admit(v6(1, at * 0x100)))
            .collect();
        // A hundred /56s within one /48.
        assert_eq!(slots.count(), 32);
        drop(held);
        let held: Vec<_> = (0..100).filter_map(|at| slots.admit(v6(at, 0))).collect();
        assert_eq!((slots.count(), held.len()), (100, 100));
    }

    #[test]
    fn evicted_slots_that_are_not_released_are_bounded() {
        let slots = slots(3, 100);
        // None of the evicted is released.
        let held: Vec<_> = (0..20).filter_map(|_| slots.admit(v4(1))).collect();
        assert_eq!((held.len(), slots.count()), (6, 3));
        assert!(slots.admit(v4(2)).is_some());
        drop(held);
        assert!(slots.admit(v4(1)).is_some());
        assert_eq!(slots.lock().leaving, 0);
    }

    proptest! {
        #[test]
        fn limits_hold_for_any_order_of_arrivals_and_departures(
            steps in prop::collection::vec((0u8..6, 0u16..4, any::<prop::sample::Index>()), 1..200)
        ) {
            let slots = slots(3, 7);
            let mut held = Vec::new();
            for (kind, at, which) in steps {
                let slot = match kind {
                    0 | 1 => slots.admit(v4(at as u8)),
                    2 | 3 => slots.admit(v6(at & 1, at)),
                    _ if held.is_empty() => None,
                    _ => {
                        held.swap_remove(which.index(held.len()));
                        None
                    }
                };
                held.extend(slot);
                let state = slots.lock();
                prop_assert!(state.occupants.len() <= 7 && state.leaving <= 7);
                prop_assert_eq!(state.occupants.len() + state.leaving, held.len());
                for (network, of) in &state.networks {
                    let times = match network {
                        Network::V6(_, 7) => 2,
                        Network::V6(_, 6) => 8,
                        _ => 1,
                    };
                    // The overall limit may have evicted slots of other sources.
                    prop_assert!(of.occupants.len() <= 3 * times && of.leaving <= 7);
                }
            }
            drop(held);
            let state = slots.lock();
            prop_assert!(state.networks.is_empty() && state.leaving == 0);
        }
    }
}
