//! Which leaves the key ids of a session's frames may have, and in which epochs.
//!
//! Control grants leaves and retires epochs; workers check the key id of each frame. A check costs a few nanoseconds: the
//! worker keeps a copy of the session's leaves and sees by one atomic load whether it is still the newest; the epochs of the
//! room's group are two atomic numbers, on a cache line that all speakers of the room read. So a command is in force with the
//! next datagram that a worker examines, and no command has to reach a worker for it.

mod epochs;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, Cache};
use confab_protocol::cluster::{GrantedLeaf, LEAF_BEFORE_FOR, Leaves};
use confab_protocol::control::GenerationLeaf;
use confab_protocol::media::KeyId;

use super::counters::DropCause;
use epochs::{Epochs, Standing};

/// Generations whose epochs a room remembers although no session has a leaf in them.
const IDLE_GENERATIONS: usize = 4;

/// The leaves of a room's sessions, and the epochs of its group.
pub(super) struct RoomLeaves<S> {
    /// The newest generation and epoch that have retired.
    retired: Option<(u64, u64)>,
    /// In order, without space for more: most rooms have one.
    generations: Vec<(u64, Arc<Epochs>)>,
    /// The session that has each leaf: the leaves that the sessions hold, and no others.
    holders: BTreeMap<GenerationLeaf, Arc<S>>,
}

/// A session, as far as it has leaves.
pub(super) trait Holder {
    fn leaves(&self) -> &SessionLeaves;
}

/// The leaves of a session. Commands write them, by the room's [`RoomLeaves`].
#[derive(Default)]
pub(super) struct SessionLeaves(ArcSwap<Held>);

/// A worker's view of a session's leaves.
pub(super) struct LeafCheck<S: Holder>(Cache<LeavesOf<S>, Arc<Held>>);

/// Leads from a session to its leaves, for the [`Cache`].
struct LeavesOf<S>(Arc<S>);

/// The leaves of a session at one time. Every session has one of these: it is small.
#[derive(Clone, Default)]
struct Held {
    leaf: Option<HeldLeaf>,
    /// Beside it, for a short time after the group began anew.
    other: Option<Box<HeldLeaf>>,
    /// The newest generation in which the session has got a leaf.
    generation: u64,
    /// Leaves of generations before it count until then.
    before_until: Option<Instant>,
}

#[derive(Clone)]
struct HeldLeaf {
    granted: GrantedLeaf,
    /// Of its generation, in its room.
    epochs: Arc<Epochs>,
}

impl<S> Default for RoomLeaves<S> {
    fn default() -> Self {
        Self {
            retired: None,
            generations: Vec::new(),
            holders: BTreeMap::new(),
        }
    }
}

impl<S: Holder> RoomLeaves<S> {
    /// Grants a leaf. Another session that has it loses it: of two sessions with one leaf, the one whose participant is not
    /// in the group any more could speak as the other, with keys that a third member gives it. So it does even when `to`,
    /// the session of the sender that has the leaf now, is `None`. The later first epoch decides, not the order of commands:
    /// a session that moves here may bring a leaf that is another's by now.
    pub(super) fn grant(&mut self, now: Instant, to: Option<&Arc<S>>, granted: GrantedLeaf) {
        let epochs = self.epochs_of(granted.leaf.generation);
        epochs.reach(granted.first_epoch);
        let holder = self.holders.get(&granted.leaf);
        if let Some(holder) = holder
            && !to.is_some_and(|to| Arc::ptr_eq(to, holder))
        {
            let leaves = holder.leaves();
            if leaves.first_epoch(granted.leaf) > Some(granted.first_epoch) {
                return;
            }
            leaves.lose(granted.leaf);
            self.holders.remove(&granted.leaf);
        }
        if let Some(to) = to {
            self.release(to);
            let after = to.leaves().0.load().grant(now, granted, &epochs);
            for held in after.leaves() {
                self.holders.insert(held.granted.leaf, Arc::clone(to));
            }
            to.leaves().0.store(Arc::new(after));
        }
        self.forget_idle_generations();
    }

    /// Retires this epoch and all before it: those of its generation, and earlier generations.
    pub(super) fn retire(&mut self, generation: u64, epoch: u64) {
        if self.retired >= Some((generation, epoch)) {
            return;
        }
        self.retired = Some((generation, epoch));
        for (of, epochs) in &self.generations {
            self.apply_retired(*of, epochs);
        }
    }

    /// The session has left the room: its leaves have no holder any more.
    pub(super) fn release(&mut self, session: &S) {
        for held in session.leaves().0.load().leaves() {
            self.holders.remove(&held.granted.leaf);
        }
    }

    fn epochs_of(&mut self, generation: u64) -> Arc<Epochs> {
        let place = self
            .generations
            .binary_search_by_key(&generation, |(of, _)| *of);
        let place = match place {
            Ok(known) => return Arc::clone(&self.generations[known].1),
            Err(place) => place,
        };
        let epochs = Arc::new(Epochs::new());
        self.apply_retired(generation, &epochs);
        self.generations.reserve_exact(1);
        self.generations
            .insert(place, (generation, Arc::clone(&epochs)));
        epochs
    }

    fn apply_retired(&self, generation: u64, epochs: &Epochs) {
        match self.retired {
            Some((retired, _)) if generation < retired => epochs.retire_all(),
            Some((retired, epoch)) if generation == retired => epochs.retire(epoch),
            _ => {}
        }
    }

    /// Bounds what a room remembers: the oldest generations in which no session has a leaf go.
    fn forget_idle_generations(&mut self) {
        let mut excess = self.generations.len().saturating_sub(IDLE_GENERATIONS);
        self.generations.retain(|(_, epochs)| {
            let goes = excess > 0 && Arc::strong_count(epochs) == 1;
            excess -= usize::from(goes);
            !goes
        });
    }
}

impl SessionLeaves {
    /// The leaves that count at `now`.
    pub(super) fn get(&self, now: Instant) -> Leaves {
        self.0.load().in_force(now)
    }

    /// From which epoch on the session has this leaf.
    fn first_epoch(&self, leaf: GenerationLeaf) -> Option<u64> {
        let held = self.0.load();
        let of_leaf = held.leaves().find(|held| held.granted.leaf == leaf);
        of_leaf.map(|held| held.granted.first_epoch)
    }

    fn lose(&self, leaf: GenerationLeaf) {
        let held = Held::clone(&self.0.load());
        let kept = held.leaves().filter(|held| held.granted.leaf != leaf);
        let kept: Vec<_> = kept.cloned().collect();
        self.0.store(Arc::new(held.with(kept)));
    }
}

impl<S: Holder> Deref for LeavesOf<S> {
    type Target = ArcSwap<Held>;

    fn deref(&self) -> &ArcSwap<Held> {
        &self.0.leaves().0
    }
}

impl<S: Holder> LeafCheck<S> {
    pub(super) fn new(session: Arc<S>) -> Self {
        Self(Cache::new(LeavesOf(session)))
    }

    /// Checks the key id of a frame that is examined at `now`.
    pub(super) fn check(&mut self, now: Instant, key_id: KeyId) -> Result<(), DropCause> {
        self.0.load().check(now, key_id)
    }
}

impl Held {
    /// The newer one first.
    fn leaves(&self) -> impl Iterator<Item = &HeldLeaf> {
        self.leaf.iter().chain(self.other.as_deref())
    }

    /// The same with these leaves: no more than [`MAX_LEAVES`](confab_protocol::cluster::MAX_LEAVES), the newer one first.
    fn with(&self, leaves: impl IntoIterator<Item = HeldLeaf>) -> Self {
        let mut leaves = leaves.into_iter();
        Self {
            leaf: leaves.next(),
            other: leaves.next().map(Box::new),
            ..*self
        }
    }

    fn check(&self, now: Instant, key_id: KeyId) -> Result<(), DropCause> {
        let mut cause = DropCause::WrongLeaf;
        for held in self.leaves() {
            let GenerationLeaf { generation, leaf } = held.granted.leaf;
            let is_of_key_id = leaf == key_id.leaf
                && generation & KeyId::GENERATION_MASK == u64::from(key_id.generation);
            if !is_of_key_id || !self.counts(now, generation) {
                continue;
            }
            match held.epochs.standing(key_id.epoch, held.granted.first_epoch) {
                Standing::Valid => return Ok(()),
                Standing::Retired => cause = DropCause::RetiredEpoch,
                Standing::TooEarly => {}
            }
        }
        Err(cause)
    }

    /// True if a leaf of this generation counts at `now`.
    fn counts(&self, now: Instant, generation: u64) -> bool {
        generation == self.generation || self.before_until.is_some_and(|until| now < until)
    }

    fn in_force(&self, now: Instant) -> Leaves {
        let mut leaves = Leaves::NONE;
        for HeldLeaf { granted, .. } in self.leaves() {
            if self.counts(now, granted.leaf.generation) {
                leaves.grant(*granted);
            }
        }
        leaves
    }

    /// The leaves after one more is granted, of a generation that has these epochs.
    fn grant(&self, now: Instant, granted: GrantedLeaf, epochs: &Arc<Epochs>) -> Self {
        let mut leaves = self.in_force(now);
        leaves.grant(granted);
        let (mut generation, mut before_until) = (self.generation, self.before_until);
        if granted.leaf.generation > generation {
            generation = granted.leaf.generation;
            before_until = Some(now + LEAF_BEFORE_FOR);
        }
        let after = Self {
            leaf: None,
            other: None,
            generation,
            before_until,
        };
        // A leaf of an earlier generation may come when it does not count any more.
        let kept = leaves
            .iter()
            .filter(|one| after.counts(now, one.leaf.generation));
        let held = kept.map(|granted| {
            let known = self.leaves().find(|held| held.granted == granted);
            HeldLeaf {
                granted,
                epochs: Arc::clone(known.map_or(epochs, |held| &held.epochs)),
            }
        });
        after.with(held)
    }
}

#[cfg(test)]
mod tests;
