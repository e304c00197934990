//! One group while it lives: rounds of commits, acknowledgements, Welcomes.

mod joining;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use confab_protocol::control::JoinId;

use super::activation::Activation;
use super::blame::{Blame, Verdict};
use super::history::History;
use super::output::Output;
use super::pace::Pace;
use super::participants::{Participant, Place};
use super::room::Room;
use super::round::{Added, Round, RoundStep};
use super::tree::{CheckedCommit, CommitError, Tree};
use super::welcomes::Welcomes;
use crate::mls::group_name::GroupName;
use crate::mls::messages::ToMember;
use crate::mls::suite::Suite;

/// A group and its commits.
pub(super) struct LiveGroup {
    name: GroupName,
    suite: Suite,
    tree: Tree,
    round: Option<Round>,
    pace: Pace,
    /// Leaves whose owners have gone.
    leaving: BTreeSet<u32>,
    welcomes: Welcomes,
    activation: Activation,
    history: History,
    blame: Blame,
    /// Commits so far: when a participant made its last path.
    commits: u64,
    last_committer: Option<JoinId>,
    /// A round was given up after members had made commits: they seal no text until there is another.
    is_commit_due: bool,
}

/// What a group needs now.
pub(super) enum Step {
    /// Nothing until then.
    Wait(Option<Instant>),
    /// Nobody can commit any more.
    Stuck,
}

impl LiveGroup {
    /// A group in epoch 0, with `creator` at leaf 0.
    pub(super) fn new(
        now: Instant,
        (name, suite): (GroupName, Suite),
        tree: Tree,
        creator: JoinId,
        room: Room<'_>,
    ) -> Self {
        let mut activation = Activation::default();
        activation.begin(now, 0, false);
        if let Some(participant) = room.participants.get_mut(&creator) {
            participant.place = Place::Leaf(0);
            participant.acknowledge(0);
        }
        let leaves = vec![(creator, 0)];
        room.outputs.push_back(Output::OpenGate {
            generation: name.generation,
            epoch: 0,
            leaves,
        });
        Self {
            name,
            suite,
            tree,
            round: None,
            pace: Pace::new(now),
            leaving: BTreeSet::new(),
            welcomes: Welcomes::default(),
            activation,
            history: History::default(),
            blame: Blame::default(),
            commits: 0,
            last_committer: None,
            is_commit_due: false,
        }
    }

    pub(super) fn name(&self) -> GroupName {
        self.name
    }

    /// The owner of a leaf has gone.
    pub(super) fn remove_leaf(&mut self, leaf: u32) {
        self.leaving.insert(leaf);
    }

    /// Does what can be done now.
    pub(super) fn advance(&mut self, now: Instant, room: &mut Room<'_>) -> Step {
        self.activate(now, room);
        let mut deadline = None;
        if self.round.is_none() && self.has_changes(now, room) {
            let removes = self.is_commit_due || !self.leaving.is_empty();
            let next_commit_at = self.pace.next_commit_at(removes);
            if next_commit_at > now {
                deadline = Some(next_commit_at);
            } else {
                self.begin_round(now, room);
            }
        }
        self.leave_out(now, room);
        if self.round.is_some() {
            match self.ask(now, room) {
                Some(at) => deadline = Some(at),
                None => {
                    self.note_silence(room);
                    return Step::Stuck;
                }
            }
        }
        let is_waiting = self.awaits_members(now, room);
        let waiting = room
            .participants
            .values()
            .filter_map(Participant::deadline)
            .filter(|at| *at > now);
        Step::Wait(
            [deadline, self.activation.deadline(is_waiting)]
                .into_iter()
                .flatten()
                .chain(waiting)
                .min(),
        )
    }

    /// A commit has come.
    pub(super) fn committed(
        &mut self,
        now: Instant,
        from: JoinId,
        epoch: u64,
        (commit, welcome): (&[u8], &[u8]),
        room: &mut Room<'_>,
    ) {
        let is_current = epoch == self.tree.epoch();
        let Some(leaf) = room.participants.get(&from).and_then(Participant::leaf) else {
            return;
        };
        let Some(mut round) = self
            .round
            .take_if(|round| is_current && round.is_asked(from))
        else {
            return;
        };
        match self.tree.check(
            room.provider,
            leaf,
            &round.proposals,
            &round.references(),
            (commit, welcome),
        ) {
            Ok(checked) => self.accept(now, from, round, (commit, checked), room),
            Err(error) => {
                room.refuse(from, &error);
                if let Some(committer) = room.participants.get_mut(&from) {
                    committer.is_barred = true;
                }
                round.decline(from);
                self.round = Some(round);
            }
        }
    }

    /// A member says that it cannot commit.
    pub(super) fn cannot_commit(
        &mut self,
        from: JoinId,
        epoch: u64,
        refused: &[u32],
        room: &mut Room<'_>,
    ) {
        let is_current = epoch == self.tree.epoch();
        let account = room.participants.get(&from).map(|one| one.account);
        let Some((round, account)) = self
            .round
            .as_mut()
            .filter(|round| is_current && round.is_asked(from))
            .zip(account)
        else {
            return;
        };
        round.refuse(account, refused);
        round.decline(from);
    }

    /// Several accounts cannot encrypt to some Adds, and nobody who was asked could: the others go on without these.
    fn leave_out(&mut self, now: Instant, room: &mut Room<'_>) {
        let refused = self.round.as_ref().filter(|round| round.is_refused(now));
        let unusable = refused.map(|round| round.unusable(room.accounts()));
        let Some(unusable) = unusable.filter(|unusable| !unusable.is_empty()) else {
            return;
        };
        let Some(round) = self.round.take() else {
            return;
        };
        let is_unusable = |one: &&Added| unusable.contains(&one.join);
        for added in round.added.iter().filter(is_unusable) {
            if let Some(participant) = room.participants.get_mut(&added.join) {
                participant.use_up(self.suite, &added.reference);
                // Another key package may do.
                room.send(added.join, ToMember::Rejoin { group: self.name });
            }
        }
        self.tree.withdraw(room.provider, &round.proposals);
        self.leaving.extend(round.removed);
        self.is_commit_due = true;
    }

    /// A member has reached an epoch.
    pub(super) fn merged(&mut self, from: JoinId, epoch: u64, room: &mut Room<'_>) {
        let is_known = epoch <= self.tree.epoch();
        if let Some(participant) = room
            .participants
            .get_mut(&from)
            .filter(|one| is_known && one.leaf().is_some())
        {
            participant.acknowledge(epoch);
            if self.activation.last() < Some(epoch) {
                participant.tardy = 0;
            }
        }
    }

    /// A member has written a text: all others get it, in order with the commits.
    pub(super) fn pass_text(
        &mut self,
        from: JoinId,
        epoch: u64,
        message: &[u8],
        room: &mut Room<'_>,
    ) {
        let is_member = room
            .participants
            .get(&from)
            .is_some_and(|one| matches!(one.place, Place::Leaf(_)));
        if !is_member {
            return;
        }
        if epoch != self.tree.epoch() {
            room.send(from, ToMember::TextStale);
            return;
        }
        // What is no text of this epoch is not passed on; its sender may go on with the next one.
        room.send(from, ToMember::TextAccepted);
        if !self.tree.is_text(message) {
            room.refuse(from, &CommitError::Malformed);
            return;
        }
        let mut others = self.present(room.live_leaves());
        others.retain(|join| *join != from);
        self.pass_on(&others, &ToMember::Text(message.into()), room);
    }

    /// A member could not get to an epoch.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        from: JoinId,
        epoch: u64,
        room: &mut Room<'_>,
    ) -> Verdict {
        let accounts = room.accounts();
        let Some(participant) = room.participants.get_mut(&from) else {
            return Verdict::default();
        };
        let Place::Leaf(leaf) = participant.place else {
            return Verdict::default();
        };
        if participant.acknowledged >= Some(epoch) || epoch > self.tree.epoch() {
            return Verdict::default();
        }
        let account = participant.account;
        participant.place = Place::Broken(leaf);
        if let Some(committer) = self.blame.committer(epoch) {
            participant.fail(now, committer);
        }
        room.send(from, ToMember::Rejoin { group: self.name });
        self.blame.failed(epoch, account, accounts)
    }

    fn has_changes(&self, now: Instant, room: &Room<'_>) -> bool {
        let is_new = |one: &Participant| one.to_add(now, self.suite).is_some();
        self.is_commit_due || !self.leaving.is_empty() || room.participants.values().any(is_new)
    }

    /// Proposes what has changed: who has gone, and who has come as far as the budgets allow.
    fn begin_round(&mut self, now: Instant, room: &mut Room<'_>) {
        let leaving = std::mem::take(&mut self.leaving);
        let joining = match self.pace.next_commit_at(false) <= now {
            true => room.joining(now, self.suite),
            false => Vec::new(),
        };
        let round = Round::propose(self.suite, &mut self.tree, leaving, joining, room);
        if std::mem::take(&mut self.is_commit_due) || !round.proposals.is_empty() {
            self.round = Some(round);
        }
    }

    /// Asks members to commit, as the round needs it. Gives when to ask again; `None` if nobody can commit.
    fn ask(&mut self, now: Instant, room: &mut Room<'_>) -> Option<Instant> {
        let round = self.round.as_mut()?;
        let strikes = |join| self.blame.strikes(join);
        let candidates = room.candidates(
            self.tree.epoch(),
            &round.removed,
            self.last_committer,
            strikes,
        );
        let proposals = round.messages();
        loop {
            match round.step(now, &candidates) {
                RoundStep::Ask(committers) => {
                    for committer in committers {
                        let wanted = ToMember::CommitWanted {
                            group: self.name,
                            epoch: self.tree.epoch(),
                            proposals: proposals.clone(),
                        };
                        room.send(committer, wanted);
                    }
                }
                RoundStep::Wait(deadline) => return Some(deadline),
                RoundStep::GiveUp => return None,
            }
        }
    }

    fn accept(
        &mut self,
        now: Instant,
        from: JoinId,
        round: Round,
        (commit, mut checked): (&[u8], CheckedCommit),
        room: &mut Room<'_>,
    ) {
        let epoch = self.tree.epoch();
        let members = self.present(room.live_leaves_without(&round.removed));
        let welcomes = std::mem::take(&mut checked.welcomes);
        if let Err(error) = self.tree.merge(room.provider, checked) {
            room.refuse(from, &error);
            return;
        }
        self.commits += 1;
        if let Some(committer) = room.participants.get_mut(&from) {
            committer.silences = 0;
        }
        self.last_committer = Some(from);
        self.blame.committed(epoch + 1, from);
        let is_cut = !round.removed.is_empty();
        self.activation.begin(now, epoch + 1, is_cut);
        // Who was asked and did not answer has had its turn, too.
        for asked in round.asked() {
            if let Some(committer) = room.participants.get_mut(asked) {
                committer.last_path = self.commits;
                // It said that it could not add whom another one has added.
                committer.is_barred |= round.has_refused(committer.account);
            }
        }
        let accepted = round.accepted(self.name, epoch, commit);
        self.history.push(Arc::clone(&accepted));
        self.pass_on(&members, &ToMember::Commit(Arc::clone(&accepted)), room);
        // The leaves are free, and may be somebody else's next.
        self.leaving.retain(|leaf| !round.removed.contains(leaf));
        room.remove_leaves(&round.removed);
        let joiners = self.place_added(&round, &welcomes, room);
        self.pace
            .committed(now, accepted.size(), members.len(), joiners);
    }

    /// Sends what all get in one order; joiners get it after their Welcomes.
    fn pass_on(&mut self, members: &[JoinId], message: &ToMember, room: &mut Room<'_>) {
        self.welcomes.miss(message);
        for member in members {
            room.send(*member, message.clone());
        }
    }

    /// These without those who wait for a Welcome.
    fn present(&self, mut joins: Vec<JoinId>) -> Vec<JoinId> {
        let waiting = self.welcomes.joins();
        joins.retain(|join| !waiting.contains(join));
        joins
    }

    /// A new group is for those who were in the one before: until they are in, all go on there.
    fn awaits_members(&self, now: Instant, room: &Room<'_>) -> bool {
        self.tree.epoch() == 0 && room.has_returning(now, self.suite)
    }

    /// Nobody has committed: those who were asked are asked to create the next group last.
    fn note_silence(&mut self, room: &mut Room<'_>) {
        for asked in self.round.iter().flat_map(Round::asked) {
            if let Some(silent) = room.participants.get_mut(asked) {
                silent.silences += 1;
            }
        }
    }

    /// Activates epochs that all have reached, or whose time is over, and retires those before them.
    fn activate(&mut self, now: Instant, room: &mut Room<'_>) {
        let is_waiting = self.awaits_members(now, room);
        let due = match is_waiting {
            true => None,
            false => self.activation.take(now, |epoch| room.has_reached(epoch)),
        };
        if let Some(epoch) = due {
            room.note_tardy(epoch);
            self.activation.set_absent(now, room.absent(epoch));
            for join in room.live_leaves() {
                room.send(join, self.activate_message(epoch));
            }
        }
        let absent = match self.activation.last() {
            Some(last) if self.activation.has_stragglers() => room.absent(last),
            _ => Vec::new(),
        };
        if let Some(epoch) = self.activation.take_retired(now, &absent) {
            room.outputs.push_back(Output::Retired {
                generation: self.name.generation,
                epoch,
            });
        }
    }

    fn activate_message(&self, epoch: u64) -> ToMember {
        ToMember::Activate {
            group: self.name,
            epoch,
            absent: self.activation.absent(),
        }
    }
}
