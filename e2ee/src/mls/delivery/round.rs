//! Who is asked to commit, and until when.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::control::{AccountId, JoinId};
use openmls::prelude::KeyPackage;

use super::room::Room;
use super::tree::{Proposal, Tree};
use crate::mls::group_name::GroupName;
use crate::mls::messages::AcceptedCommit;
use crate::mls::suite::Suite;

/// Shortest time that a committer has.
pub const COMMIT_DEADLINE: Duration = Duration::from_millis(300);

/// A committer has at most this long, however far away it says that it is.
pub const LONGEST_COMMIT_DEADLINE: Duration = Duration::from_secs(2);

/// A committer has this many round trips, if they take longer.
const ROUND_TRIPS: u32 = 3;

/// Members that are asked at once when the first one did not answer in time.
const RACERS: usize = 3;

/// An Add that fewer accounts than this cannot commit is not left out. Control has tried its keys before: one alone may lie.
const REFUSALS: usize = 2;

/// Without anybody who can commit for this long, a new group begins.
pub const NO_COMMITTER_FOR: Duration = Duration::from_secs(1);

/// The round trips that an answer may take.
pub(super) const fn round_trips(round_trip: Duration) -> Duration {
    round_trip.saturating_mul(ROUND_TRIPS)
}

/// A participant that is to be added, with its key package.
pub(super) struct Joining {
    pub(super) join: JoinId,
    pub(super) key_package: KeyPackage,
    /// What a Welcome names the key package by.
    pub(super) reference: Vec<u8>,
    /// The leaf that it has and cannot go on with.
    pub(super) broken_leaf: Option<u32>,
}

/// Who is added in a round, by the key package that is used.
pub(super) struct Added {
    pub(super) join: JoinId,
    pub(super) reference: Vec<u8>,
    pub(super) signature_key: Vec<u8>,
}

/// One commit: its proposals, and who was asked for it.
pub(super) struct Round {
    pub(super) proposals: Vec<Proposal>,
    pub(super) added: Vec<Added>,
    /// Leaves that are removed.
    pub(super) removed: BTreeSet<u32>,
    asked: Vec<JoinId>,
    /// Asked, and not able to.
    declined: BTreeSet<JoinId>,
    /// Accounts that cannot commit an Add, by its place in the list of proposals.
    refusals: BTreeMap<u32, BTreeSet<AccountId>>,
    deadline: Option<Instant>,
    stuck_since: Option<Instant>,
}

/// What a round needs now.
pub(super) enum RoundStep {
    /// These are to be asked.
    Ask(Vec<JoinId>),
    /// Wait until then.
    Wait(Instant),
    /// Nobody can commit.
    GiveUp,
}

impl Round {
    fn new(proposals: Vec<Proposal>, added: Vec<Added>, removed: BTreeSet<u32>) -> Self {
        Self {
            proposals,
            added,
            removed,
            asked: Vec::new(),
            declined: BTreeSet::new(),
            refusals: BTreeMap::new(),
            deadline: None,
            stuck_since: None,
        }
    }

    /// Proposes to remove these leaves and those that joining participants cannot go on with, and to add these participants.
    pub(super) fn propose(
        suite: Suite,
        tree: &mut Tree,
        mut removed: BTreeSet<u32>,
        joining: Vec<Joining>,
        room: &mut Room<'_>,
    ) -> Self {
        removed.extend(joining.iter().filter_map(|one| one.broken_leaf));
        let mut proposals = Vec::new();
        for leaf in &removed {
            proposals.extend(tree.propose_remove(room.provider, room.key, *leaf));
        }
        let mut added = Vec::new();
        let mut keys = match joining.is_empty() {
            true => HashSet::new(),
            false => tree.keys(&removed),
        };
        for one in joining {
            let (join, key_package, reference) = (one.join, one.key_package, one.reference);
            let signature_key = key_package.leaf_node().signature_key().as_slice().to_vec();
            match tree.propose_add(room.provider, room.key, key_package, &mut keys) {
                Ok(proposal) => {
                    proposals.push(proposal);
                    added.push(Added {
                        join,
                        reference,
                        signature_key,
                    });
                }
                Err(error) => {
                    room.refuse(join, &error);
                    if let Some(participant) = room.participants.get_mut(&join) {
                        participant.use_up(suite, &reference);
                    }
                }
            }
        }
        Self::new(proposals, added, removed)
    }

    /// The proposals, as members get them.
    pub(super) fn messages(&self) -> Vec<Arc<[u8]>> {
        let bytes = |one: &Proposal| Arc::clone(&one.bytes);
        self.proposals.iter().map(bytes).collect()
    }

    /// The round's commit, as members get it.
    pub(super) fn accepted(
        &self,
        group: GroupName,
        epoch: u64,
        commit: &[u8],
    ) -> Arc<AcceptedCommit> {
        Arc::new(AcceptedCommit {
            group,
            epoch,
            proposals: self.messages(),
            commit: commit.into(),
        })
    }

    /// True if `join` was asked, and has not declined.
    pub(super) fn is_asked(&self, join: JoinId) -> bool {
        self.asked.contains(&join) && !self.declined.contains(&join)
    }

    /// Those who were asked.
    pub(super) fn asked(&self) -> &[JoinId] {
        &self.asked
    }

    /// `join` may have lost what it was asked for: it may be asked again.
    pub(super) fn forget(&mut self, join: JoinId) {
        self.asked.retain(|one| *one != join);
    }

    /// `join` cannot commit, or what it sent was refused.
    pub(super) fn decline(&mut self, join: JoinId) {
        self.declined.insert(join);
        if self.asked.iter().all(|one| self.declined.contains(one)) {
            self.deadline = None;
        }
    }

    /// References of the key packages that are added, in order.
    pub(super) fn references(&self) -> Vec<Vec<u8>> {
        self.added.iter().map(|one| one.reference.clone()).collect()
    }

    /// A member of `account` cannot commit these proposals.
    pub(super) fn refuse(&mut self, account: AccountId, places: &[u32]) {
        // Adds stand at the end of the list of proposals.
        let first_add = self.proposals.len() - self.added.len();
        for place in places {
            let added = (*place as usize).checked_sub(first_add);
            if added.is_some_and(|added| added < self.added.len()) {
                self.refusals.entry(*place).or_default().insert(account);
            }
        }
    }

    /// True if a member of `account` has refused an Add.
    pub(super) fn has_refused(&self, account: AccountId) -> bool {
        self.refusals.values().any(|of| of.contains(&account))
    }

    /// True if Adds were refused, and nobody who was asked has committed them in time: those that refuse fastest may lie.
    pub(super) fn is_refused(&self, now: Instant) -> bool {
        let is_open = self.deadline.is_some_and(|deadline| deadline > now);
        !is_open && !self.refusals.is_empty()
    }

    /// Participants whose Adds half of so many accounts cannot commit, [`REFUSALS`] at least.
    pub(super) fn unusable(&self, accounts: usize) -> Vec<JoinId> {
        let first_add = self.proposals.len() - self.added.len();
        let enough = REFUSALS.max(accounts.div_ceil(2));
        let is_unusable = |(_, by): &(&u32, &BTreeSet<AccountId>)| by.len() >= enough;
        let unusable = self.refusals.iter().filter(is_unusable);
        let join = |(place, _): (&u32, _)| self.added.get(*place as usize - first_add);
        unusable.filter_map(join).map(|added| added.join).collect()
    }

    /// What to do now. `candidates` are those that can commit, the first choice first, with their round trips.
    pub(super) fn step(&mut self, now: Instant, candidates: &[(JoinId, Duration)]) -> RoundStep {
        if let Some(deadline) = self.deadline.filter(|deadline| *deadline > now) {
            return RoundStep::Wait(deadline);
        }
        let is_new = |(join, _): &&(JoinId, Duration)| !self.asked.contains(join);
        let count = if self.asked.is_empty() { 1 } else { RACERS };
        let next: Vec<_> = candidates
            .iter()
            .filter(is_new)
            .take(count)
            .copied()
            .collect();
        if next.is_empty() {
            return self.wait_for_committers(now);
        }
        self.stuck_since = None;
        let longest = next
            .iter()
            .map(|(_, round_trip)| *round_trip)
            .max()
            .unwrap_or_default();
        let patience = round_trips(longest);
        self.deadline = Some(now + patience.clamp(COMMIT_DEADLINE, LONGEST_COMMIT_DEADLINE));
        let next: Vec<_> = next.into_iter().map(|(join, _)| join).collect();
        self.asked.extend(&next);
        RoundStep::Ask(next)
    }

    /// All who can commit were asked: those that did not decline may still answer.
    fn wait_for_committers(&mut self, now: Instant) -> RoundStep {
        let since = *self.stuck_since.get_or_insert(now);
        let until = since + NO_COMMITTER_FOR;
        if until > now {
            return RoundStep::Wait(until);
        }
        RoundStep::GiveUp
    }
}
