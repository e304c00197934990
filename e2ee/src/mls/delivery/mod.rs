//! The delivery service: orders the commits of a room's group, and proposes who comes and goes.
//!
//! It sees the group's public side alone and never has a key. It proposes Adds and Removes, asks a member to commit them,
//! checks the commit by the same rules as each member, and passes it on. A commit that members cannot process, though its
//! public side is right, shows in their answers: then its committer, or they, are replaced.
//!
//! No I/O: what happened and the time go in, messages to members and orders to the relay come out.

mod activation;
mod blame;
mod group;
mod history;
mod node_keys;
mod output;
mod pace;
mod participants;
mod room;
mod round;
mod takeover;
mod tree;
mod welcomes;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use confab_protocol::control::{AccountId, ConferenceId, GenerationLeaf, JoinId, Username};
use openmls_traits::OpenMlsProvider;

pub use activation::{ACTIVATE_AFTER, ACTIVATE_FIRST_AFTER};
pub use output::{NewGroupCause, Output};
pub use pace::BATCH_INTERVAL;
pub use round::{COMMIT_DEADLINE, LONGEST_COMMIT_DEADLINE, NO_COMMITTER_FOR};
pub use takeover::{LEAVE_WAIT, NEWCOMER_WAIT, RETURN_WAIT};
pub use tree::{CommitError, MAX_MESSAGE};

use crate::mls::group_name::GroupName;
use crate::mls::identity::ServerId;
use crate::mls::member::MAX_POST_QUANTUM;
use crate::mls::messages::{FromMember, ToMember};
use crate::mls::profile::{self, LeafError, LeafOwner};
use crate::mls::provider::Provider;
use crate::mls::signing::SigningKey;
use crate::mls::suite::Suite;
use blame::Verdict;
use group::LiveGroup;
use participants::{Participant, Spare};
use room::Room;
use takeover::Returns;
use tree::Tree;

/// A creator has this long to create the group, or three round trips, if they take longer.
pub const CREATE_DEADLINE: Duration = Duration::from_secs(1);

/// A creator has at most this long, however far away it says that it is.
pub const LONGEST_CREATE_DEADLINE: Duration = Duration::from_secs(5);

/// New groups are at least this far apart.
pub const GENERATION_INTERVAL: Duration = Duration::from_secs(1);

/// Whose room it is.
pub struct DeliveryConfig {
    /// The server.
    pub server: ServerId,
    /// The conference.
    pub conference: ConferenceId,
    /// The era of the room's owner.
    pub era: u64,
    /// The cluster's key for proposals.
    pub key: SigningKey,
    /// Generation of the first group: above every one that members may know.
    pub first_generation: u64,
    /// Cipher suite of the groups. [`Suite::PostQuantum`] gives way to [`Suite::Classical`] where there are more than
    /// [`MAX_POST_QUANTUM`] participants.
    pub suite: Suite,
}

/// The delivery service of one room.
pub struct Delivery {
    config: DeliveryConfig,
    provider: Provider,
    participants: BTreeMap<JoinId, Participant>,
    phase: Phase,
    next_generation: u64,
    last_group_at: Option<Instant>,
    /// Who is back in a room that was taken over.
    returns: Returns,
    /// Once classical, a gathering stays so.
    suite: Suite,
    outputs: VecDeque<Output>,
}

enum Phase {
    /// There is no group, and the next one has this cause.
    Without(NewGroupCause),
    Creating {
        name: GroupName,
        creator: JoinId,
        deadline: Instant,
    },
    Running(Box<LiveGroup>),
}

impl Delivery {
    /// A room without participants.
    pub fn new(config: DeliveryConfig) -> Self {
        Self {
            next_generation: config.first_generation,
            suite: config.suite,
            config,
            provider: Provider::new(),
            participants: BTreeMap::new(),
            phase: Phase::Without(NewGroupCause::Opened),
            last_group_at: None,
            returns: Returns::default(),
            outputs: VecDeque::new(),
        }
    }

    /// A participant has come. Its key packages follow as [`FromMember::KeyPackage`].
    pub fn join(&mut self, now: Instant, join: JoinId, account: AccountId, username: Username) {
        let participant = Participant::new(account, username);
        if let Some(before) = self.participants.insert(join, participant) {
            self.release_leaf(&before);
        }
        self.advance(now);
    }

    /// A participant has left, was kicked, or lost its media session.
    pub fn leave(&mut self, now: Instant, join: JoinId) {
        let Some(participant) = self.participants.remove(&join) else {
            return;
        };
        self.release_leaf(&participant);
        if participant.was_member && self.last_group_at.is_none() {
            // It has keys of the group in which the others still are.
            self.returns.left(now);
        }
        self.advance(now);
    }

    /// The leaf of a participant that is here no more is to be removed.
    fn release_leaf(&mut self, participant: &Participant) {
        if let (Phase::Running(group), Some(leaf)) = (&mut self.phase, participant.leaf()) {
            group.remove_leaf(leaf);
        }
    }

    /// A participant's link to control was lost: it stays a leaf, and is not asked to commit.
    pub fn disconnect(&mut self, now: Instant, join: JoinId) {
        if let Some(participant) = self.participants.get_mut(&join) {
            participant.is_live = false;
        }
        self.advance(now);
    }

    /// A participant's link to control stands again, and it says in which epoch of which group it is.
    pub fn resume(&mut self, now: Instant, join: JoinId, state: Option<(GroupName, u64)>) {
        self.follow_generation(state);
        let is_first_group_due = self.last_group_at.is_none();
        if let Some(participant) = self.participants.get_mut(&join) {
            participant.is_live = true;
            // It came shortly before the other owner went: nobody hears it yet.
            participant.was_member &= state.is_some() || !is_first_group_due;
        }
        if let (Phase::Running(group), mut room) = self.parts() {
            group.bring_up_to_date(join, state, &mut room);
        }
        self.advance(now);
    }

    /// The round trip to a participant was measured.
    pub fn set_round_trip(&mut self, join: JoinId, round_trip: Duration) {
        if let Some(participant) = self.participants.get_mut(&join) {
            participant.round_trip = round_trip;
        }
    }

    /// All relays that may have the room know the leaves of [`Output::OpenGate`].
    pub fn gate_opened(&mut self, now: Instant, generation: u64, epoch: u64) {
        if let (Phase::Running(group), mut room) = self.parts()
            && group.name().generation == generation
        {
            group.send_welcomes(now, epoch, &mut room);
        }
        self.advance(now);
    }

    /// Takes a message of a participant.
    pub fn handle(&mut self, now: Instant, from: JoinId, message: FromMember) {
        if !self.participants.contains_key(&from) {
            return;
        }
        match message {
            FromMember::KeyPackage { suite, key_package } => {
                self.take_key_package(from, suite, &key_package)
            }
            FromMember::Created {
                group,
                group_info,
                tree,
            } => self.created(now, from, group, (&group_info, &tree)),
            FromMember::Committed {
                group,
                epoch,
                commit,
                welcome,
            } => self.in_group(group, |live, room| {
                live.committed(now, from, epoch, (&commit, &welcome), room);
            }),
            FromMember::CannotCommit {
                group,
                epoch,
                refused,
            } => self.in_group(group, |live, room| {
                live.cannot_commit(from, epoch, &refused, room);
            }),
            FromMember::Merged { group, epoch } => self.in_group(group, |live, room| {
                live.merged(from, epoch, room);
            }),
            FromMember::Behind { group, epoch } => self.in_group(group, |live, room| {
                live.catch_up(now, from, epoch, room);
            }),
            FromMember::Text {
                group,
                epoch,
                message,
            } => self.in_group(group, |live, room| {
                live.pass_text(from, epoch, &message, room);
            }),
            FromMember::Failed { group, epoch } => self.failed(now, from, group, epoch),
        }
        self.advance(now);
    }

    /// Does what is due at `now`, and says when to be called again.
    pub fn update(&mut self, now: Instant) -> Option<Instant> {
        self.advance(now)
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The leaf of each participant that has one.
    pub fn leaves(&self) -> Vec<(JoinId, GenerationLeaf)> {
        let Phase::Running(group) = &self.phase else {
            return Vec::new();
        };
        let generation = group.name().generation;
        let leaf = |(join, one): (&JoinId, &Participant)| {
            let leaf = one.leaf()?;
            Some((*join, GenerationLeaf { generation, leaf }))
        };
        self.participants.iter().filter_map(leaf).collect()
    }

    fn take_key_package(&mut self, from: JoinId, suite: Suite, bytes: &[u8]) {
        let owner = self.leaf_owner();
        let Some(participant) = self.participants.get_mut(&from) else {
            return;
        };
        match read_spare(&self.provider, bytes, suite, owner, participant) {
            Ok(spare) => participant.give(suite, spare),
            Err(error) => self
                .outputs
                .push_back(Output::Refused(from, error.to_string())),
        }
    }

    fn created(
        &mut self,
        now: Instant,
        from: JoinId,
        name: GroupName,
        (info, tree): (&[u8], &[u8]),
    ) {
        let expected = match &self.phase {
            Phase::Creating { name, creator, .. } => (*name, *creator),
            _ => return,
        };
        if expected != (name, from) {
            return;
        }
        let owner = self.leaf_owner();
        let creator = self.participants.get(&from);
        let opened = Tree::open(
            &self.provider,
            &self.config.key,
            (name, self.suite),
            (info, tree),
        )
        .map_err(|error| error.to_string())
        .and_then(|tree| {
            let leaves = tree.leaves();
            let only = leaves
                .first()
                .filter(|(leaf, _)| leaves.len() == 1 && *leaf == 0);
            let leaf = only.and_then(|(leaf, _)| tree.leaf(*leaf));
            let leaf = leaf.ok_or_else(|| CommitError::OtherGroup.to_string())?;
            let credential =
                profile::check_leaf(leaf, self.suite, owner).map_err(|error| error.to_string())?;
            let is_owner = creator.is_some_and(|one| one.owns(&credential)) && tree.epoch() == 0;
            is_owner
                .then_some(tree)
                .ok_or_else(|| CommitError::OtherGroup.to_string())
        });
        match opened {
            Ok(tree) => {
                let kind = (name, self.suite);
                let (_, room) = self.parts();
                let group = LiveGroup::new(now, kind, tree, from, room);
                self.phase = Phase::Running(Box::new(group));
            }
            Err(error) => {
                self.outputs.push_back(Output::Refused(from, error));
                self.bar(from);
                self.phase = Phase::Without(NewGroupCause::BadCreator);
            }
        }
    }

    fn failed(&mut self, now: Instant, from: JoinId, name: GroupName, epoch: u64) {
        let mut verdict = Verdict::default();
        self.in_group(name, |live, room| {
            verdict = live.failed(now, from, epoch, room)
        });
        if let Some(barred) = verdict.barred {
            self.bar(barred);
        }
        if verdict.is_group_lost {
            self.phase = Phase::Without(NewGroupCause::BadCommit);
        }
    }

    fn bar(&mut self, join: JoinId) {
        if let Some(participant) = self.participants.get_mut(&join) {
            participant.is_barred = true;
        }
    }

    fn in_group(&mut self, name: GroupName, f: impl FnOnce(&mut LiveGroup, &mut Room<'_>)) {
        if let (Phase::Running(group), mut room) = self.parts()
            && group.name() == name
        {
            f(group, &mut room);
        }
    }

    fn parts(&mut self) -> (&mut Phase, Room<'_>) {
        let room = Room {
            key: &self.config.key,
            provider: &self.provider,
            participants: &mut self.participants,
            outputs: &mut self.outputs,
        };
        (&mut self.phase, room)
    }

    /// Does what can be done now.
    fn advance(&mut self, now: Instant) -> Option<Instant> {
        if self.participants.is_empty() {
            self.phase = Phase::Without(NewGroupCause::Opened);
            return None;
        }
        if self.suite == Suite::PostQuantum && self.participants.len() > MAX_POST_QUANTUM {
            self.suite = Suite::Classical;
            self.phase = Phase::Without(NewGroupCause::TooLarge);
        }
        if let Phase::Creating {
            creator, deadline, ..
        } = &self.phase
        {
            let is_here = self
                .participants
                .get(creator)
                .is_some_and(|one| one.is_live);
            if is_here && *deadline > now {
                return Some(*deadline);
            }
            let creator = *creator;
            // It may come back: it is the last choice, and not barred for good.
            if let Some(slow) = self.participants.get_mut(&creator) {
                slow.silences += 1;
            }
            self.phase = Phase::Without(NewGroupCause::BadCreator);
        }
        if let (Phase::Running(group), mut room) = self.parts() {
            match group.advance(now, &mut room) {
                group::Step::Wait(deadline) => return deadline,
                group::Step::Stuck => self.phase = Phase::Without(NewGroupCause::NoCommitter),
            }
        }
        self.begin_group(now)
    }

    fn begin_group(&mut self, now: Instant) -> Option<Instant> {
        let Phase::Without(cause) = self.phase else {
            return None;
        };
        let earliest = self
            .last_group_at
            .map(|at| at + GENERATION_INTERVAL)
            .filter(|at| *at > now);
        if earliest.is_some() {
            return earliest;
        }
        if let Some(until) = self.awaits_return(now) {
            return Some(until);
        }
        let suite = self.suite;
        let can_create = |one: &Participant| one.is_live && one.has_spare(suite);
        let ready = self.participants.iter().filter(|(_, one)| can_create(one));
        // Those that did not answer come last, after those that are barred.
        let (creator, participant) =
            ready.min_by_key(|(join, one)| (one.silences, one.is_barred, one.last_path, **join))?;
        let (creator, round_trip) = (*creator, participant.round_trip);
        if participant.is_barred {
            // Nobody else is left: liars may have barred everybody.
            for participant in self.participants.values_mut() {
                participant.is_barred = false;
            }
        }
        // Nothing of the group before is needed any more: it may have ended with proposals.
        self.provider.storage().wipe();
        let name = self.name_of(self.next_generation);
        self.next_generation += 1;
        self.last_group_at = Some(now);
        for participant in self.participants.values_mut() {
            participant.reset();
        }
        self.outputs.push_back(Output::NewGroup {
            group: name,
            suite,
            cause,
        });
        self.outputs.push_back(Output::Send(
            creator,
            ToMember::CreateGroup { group: name, suite },
        ));
        let patience = round::round_trips(round_trip);
        let deadline = now + patience.clamp(CREATE_DEADLINE, LONGEST_CREATE_DEADLINE);
        self.phase = Phase::Creating {
            name,
            creator,
            deadline,
        };
        Some(deadline)
    }

    /// The generation of the next group.
    pub fn next_generation(&self) -> u64 {
        self.next_generation
    }

    fn leaf_owner(&self) -> LeafOwner {
        LeafOwner {
            server: self.config.server,
            conference: self.config.conference,
        }
    }

    fn name_of(&self, generation: u64) -> GroupName {
        GroupName {
            conference: self.config.conference,
            era: self.config.era,
            generation,
        }
    }
}

fn read_spare(
    provider: &Provider,
    bytes: &[u8],
    suite: Suite,
    owner: LeafOwner,
    participant: &Participant,
) -> Result<Spare, LeafError> {
    let (key_package, credential) = profile::read_key_package(provider, bytes, suite, owner)?;
    if !participant.owns(&credential) {
        return Err(LeafError::OtherAccount);
    }
    let reference = profile::reference(provider, &key_package)?;
    Ok(Spare {
        key_package,
        reference,
    })
}
