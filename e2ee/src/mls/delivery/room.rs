//! What a group works with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use confab_protocol::control::JoinId;

use super::output::Output;
use super::participants::{Participant, Place};
use super::round::Joining;
use crate::mls::messages::ToMember;
use crate::mls::provider::Provider;
use crate::mls::signing::SigningKey;
use crate::mls::suite::Suite;

/// A member that has acknowledged none of this many epochs in a row in time is not waited for.
const TARDY: u32 = 3;

/// The room around a group: its participants, and what is to be done.
pub(super) struct Room<'a> {
    pub(super) key: &'a SigningKey,
    pub(super) provider: &'a Provider,
    pub(super) participants: &'a mut BTreeMap<JoinId, Participant>,
    pub(super) outputs: &'a mut VecDeque<Output>,
}

impl Room<'_> {
    /// Sends a message to a participant.
    pub(super) fn send(&mut self, to: JoinId, message: ToMember) {
        self.outputs.push_back(Output::Send(to, message));
    }

    /// What a participant sent was refused.
    pub(super) fn refuse(&mut self, from: JoinId, cause: &impl std::fmt::Display) {
        self.outputs
            .push_back(Output::Refused(from, cause.to_string()));
    }

    /// Participants that have a leaf and whose link stands.
    pub(super) fn live_leaves(&self) -> Vec<JoinId> {
        self.live_leaves_without(&BTreeSet::new())
    }

    /// The same without the owners of these leaves.
    pub(super) fn live_leaves_without(&self, removed: &BTreeSet<u32>) -> Vec<JoinId> {
        let stays = |one: &Participant| one.leaf().is_some_and(|leaf| !removed.contains(&leaf));
        let live = self
            .participants
            .iter()
            .filter(|(_, one)| one.is_live && stays(one));
        live.map(|(join, _)| *join).collect()
    }

    /// Participants that can be added to a group of this suite now.
    pub(super) fn joining(&self, now: Instant, suite: Suite) -> Vec<Joining> {
        let joining = self.participants.iter().filter_map(|(join, one)| {
            let spare = one.to_add(now, suite)?;
            Some(Joining {
                join: *join,
                key_package: spare.key_package.clone(),
                reference: spare.reference.clone(),
                broken_leaf: one.leaf(),
            })
        });
        joining.collect()
    }

    /// True if all live members are in `epoch` or a later one. Those who are still on their way into the group are waited for
    /// only if they were in one before: otherwise nobody has heard them yet. Those who are always late are not waited for.
    pub(super) fn has_reached(&self, epoch: u64) -> bool {
        let mut live = self
            .participants
            .values()
            .filter(|one| one.is_live && one.leaf().is_some());
        live.all(|one| one.tardy >= TARDY || has_reached(one, epoch))
    }

    /// An epoch is activated: those who have not acknowledged it are late.
    pub(super) fn note_tardy(&mut self, epoch: u64) {
        let live = self
            .participants
            .values_mut()
            .filter(|one| one.is_live && one.leaf().is_some());
        for late in live.filter(|one| !has_reached(one, epoch)) {
            late.tardy = late.tardy.saturating_add(1);
        }
    }

    /// True if participants that were in a group before this one can be added now.
    pub(super) fn has_returning(&self, now: Instant, suite: Suite) -> bool {
        let mut all = self.participants.values();
        all.any(|one| one.was_member && one.to_add(now, suite).is_some())
    }

    /// Leaves whose owners have acknowledged an earlier epoch than this one, and which one.
    pub(super) fn absent(&self, epoch: u64) -> Vec<(u32, u64)> {
        let absent = |one: &Participant| {
            let at = one.acknowledged.filter(|at| *at < epoch)?;
            Some((one.leaf()?, at))
        };
        self.participants.values().filter_map(absent).collect()
    }

    /// Number of accounts that have a leaf.
    pub(super) fn accounts(&self) -> usize {
        let with_leaf = self
            .participants
            .values()
            .filter(|one| one.leaf().is_some());
        with_leaf
            .map(|one| one.account)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Members that can commit in `epoch`, with their round trips: those under whose commits nobody has failed, and without a path of
    /// their own for the longest time, first, so that the tree fills; the last committer at the end. Not those whose leaves are to
    /// be removed.
    pub(super) fn candidates(
        &self,
        epoch: u64,
        removed: &BTreeSet<u32>,
        last_committer: Option<JoinId>,
        strikes: impl Fn(JoinId) -> usize,
    ) -> Vec<(JoinId, Duration)> {
        let can_commit = |(_, one): &(&JoinId, &Participant)| {
            let stays = matches!(one.place, Place::Leaf(leaf) if !removed.contains(&leaf));
            stays && one.is_live && !one.is_barred && one.acknowledged == Some(epoch)
        };
        let mut candidates: Vec<_> = self.participants.iter().filter(can_commit).collect();
        candidates.sort_by_key(|(join, one)| {
            let is_last = Some(**join) == last_committer;
            (is_last, strikes(**join), one.last_path, **join)
        });
        candidates
            .into_iter()
            .map(|(join, one)| (*join, one.round_trip))
            .collect()
    }

    /// These leaves are removed from the group.
    pub(super) fn remove_leaves(&mut self, removed: &BTreeSet<u32>) {
        let is_removed =
            |one: &&mut Participant| one.leaf().is_some_and(|leaf| removed.contains(&leaf));
        for participant in self.participants.values_mut().filter(is_removed) {
            participant.place = Place::Outside;
            participant.acknowledged = None;
        }
    }
}

fn has_reached(one: &Participant, epoch: u64) -> bool {
    match one.acknowledged {
        Some(at) => at >= epoch,
        None => !one.was_member,
    }
}
