//! A participant's side of MLS: its groups, one after the other, and the epochs whose frames it seals and opens.
//!
//! No I/O: messages of the delivery service and the time go in, messages to it and events come out.

mod config;
mod epochs;
mod event;
mod frame_keys;
mod group;
mod hold;
mod renewal;
mod reserve;
mod roster;
mod texts;
mod unopened;
#[cfg(test)]
mod vectors;
mod watching;
mod writing;

use std::collections::VecDeque;
use std::time::Instant;

use confab_protocol::control::ConferenceId;
use openmls_traits::OpenMlsProvider;

pub use config::MemberConfig;
pub use epochs::{
    ABSENT_FOR, Epochs, MAX_AHEAD, MAX_EPOCHS, RETIRE_AFTER, SEAL_AFTER_MERGE,
    SEAL_AFTER_NEW_GROUP, SEAL_AFTER_WELCOME,
};
pub use event::MemberEvent;
pub use group::GroupError;
pub use roster::{Announced, Roster, UNANNOUNCED_FOR};
pub use texts::{MAX_TEXT, MAX_WAITING, TextError};
pub use unopened::{BEHIND_AGAIN_AFTER, FORK_FRAMES, FORK_WITHIN, UNREACHABLE_AFTER};

use crate::mls::group_name::GroupName;
use crate::mls::identity::{Credential, SafetyCode};
use crate::mls::messages::{AcceptedCommit, FromMember, ToMember};
use crate::mls::profile::LeafError;
use crate::mls::provider::Provider;
use crate::mls::signing::SigningKey;
use crate::mls::suite::Suite;
use epochs::NewEpoch;
use group::{Group, GroupKind};
use hold::Hold;
use renewal::{Offer, Renewal};
use reserve::Reserve;
use texts::Texts;
use unopened::Unopened;

/// Above this many participants a group may use [`Suite::Classical`].
pub const MAX_POST_QUANTUM: usize = 256;

/// A participant's MLS state.
pub struct Member {
    config: MemberConfig,
    provider: Provider,
    reserve: Reserve,
    renewal: Renewal,
    group: Option<Group>,
    /// The last group: one that is not of a later generation is refused, unless it is the same.
    last: Option<GroupName>,
    /// One's own commit that has not been accepted or refused.
    own_commit: Option<Vec<u8>>,
    epochs: Epochs,
    roster: Roster,
    texts: Texts,
    unopened: Unopened,
    hold: Hold,
    messages: VecDeque<FromMember>,
    events: VecDeque<MemberEvent>,
}

impl Member {
    /// A member that has no group yet. Its first messages are a key package for each suite.
    pub fn new(config: MemberConfig) -> Self {
        let mut member = Self {
            config,
            provider: Provider::new(),
            reserve: Reserve::default(),
            renewal: Renewal::default(),
            group: None,
            last: None,
            own_commit: None,
            epochs: Epochs::default(),
            roster: Roster::default(),
            texts: Texts::default(),
            unopened: Unopened::default(),
            hold: Hold::default(),
            messages: VecDeque::new(),
            events: VecDeque::new(),
        };
        for suite in Suite::ALL {
            member.refill(suite);
        }
        member
    }

    /// Takes a message of the delivery service.
    pub fn handle(&mut self, now: Instant, message: ToMember) {
        match message {
            ToMember::CreateGroup { group, suite } => self.create(now, group, suite),
            ToMember::CommitWanted {
                group,
                epoch,
                proposals,
            } => self.commit(group, epoch, &proposals),
            ToMember::Commit(commit) => self.merge(now, &commit),
            ToMember::Welcome {
                group,
                epoch,
                welcome,
                tree,
            } => self.join(now, group, epoch, &welcome, &tree),
            ToMember::Activate {
                group,
                epoch,
                absent,
            } => {
                if group.conference == self.conference() {
                    self.epochs.activate(now, group.generation, epoch, &absent);
                }
            }
            ToMember::Text(message) => self.open_text(&message),
            ToMember::TextAccepted => self.texts.accept(),
            ToMember::TextStale => self.texts.repeat(),
            ToMember::TextRefused(why) => {
                self.texts.accept();
                self.events.push_back(MemberEvent::TextRefused(why));
            }
            ToMember::Rejoin { group } => match self.group {
                Some(_) => self.forget(group, false),
                None => self.renewal.is_wanted = true,
            },
        }
        self.compare_roster(now);
        self.send_texts();
    }

    /// The link to control was lost, and stands again: what the delivery service may not have got is sent once more.
    pub fn resume(&mut self) {
        self.messages.clear();
        self.texts.repeat();
        for (suite, key_package) in self.reserve.iter() {
            let key_package = key_package.to_vec();
            self.messages
                .push_back(FromMember::KeyPackage { suite, key_package });
        }
    }

    /// Does what is due at `now`, and says when to be called again.
    pub fn update(&mut self, now: Instant) -> Option<Instant> {
        if self.roster.deadline().is_some_and(|at| at <= now) {
            self.compare_roster(now);
            self.send_texts();
        }
        match self.renewal.step(now, self.group.is_some()) {
            Some(Offer::First) => {
                self.renew();
                self.events.push_back(MemberEvent::Waiting);
            }
            Some(Offer::Another) => self.renew(),
            None => {}
        }
        let epochs = self.epochs.update(now);
        let deadlines = [epochs, self.roster.deadline(), self.renewal.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// The next message for the delivery service.
    pub fn poll_message(&mut self) -> Option<FromMember> {
        self.messages.pop_front()
    }

    /// The next event for the participant.
    pub fn poll_event(&mut self) -> Option<MemberEvent> {
        self.events.pop_front()
    }

    /// The group that this member is in.
    pub fn group(&self) -> Option<GroupName> {
        self.group.as_ref().map(Group::name)
    }

    /// Its epoch.
    pub fn epoch(&self) -> Option<u64> {
        self.group.as_ref().map(Group::epoch)
    }

    /// The leaves of the group: who hears what this member says. Empty without a group.
    pub fn leaves(&self) -> impl Iterator<Item = (u32, &Credential)> {
        let leaves = self.group.iter().flat_map(|group| group.leaves());
        leaves.map(|(leaf, credential)| (*leaf, credential))
    }

    /// The participants that control has announced.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The room's code: the same for all members, if and only if they are in the same group and epoch.
    pub fn code(&self) -> Option<SafetyCode> {
        self.group.as_ref().map(Group::code)
    }

    /// Secrets that are in memory, other than the group's own: it stays small however long a call is.
    pub fn secrets(&self) -> usize {
        self.provider.storage().secrets()
    }

    fn conference(&self) -> ConferenceId {
        self.config.subject.conference
    }

    fn create(&mut self, now: Instant, name: GroupName, suite: Suite) {
        let Some(kind) = self.accept(name, suite) else {
            return self.messages.push_back(FromMember::Failed {
                group: name,
                epoch: 0,
            });
        };
        let leaf_key = SigningKey::generate();
        let credential = self.credential(suite, &leaf_key);
        let created = Group::create(&self.provider, kind, leaf_key, &credential)
            .and_then(|group| Ok((group.export(&self.provider)?, group)));
        match created {
            Ok(((group_info, tree), group)) => {
                self.messages.push_back(FromMember::Created {
                    group: name,
                    group_info,
                    tree,
                });
                self.enter(now, group);
            }
            Err(error) => self.fail(name, 0, &error),
        }
    }

    fn join(&mut self, now: Instant, name: GroupName, epoch: u64, welcome: &[u8], tree: &[u8]) {
        let Some(taken) = self.reserve.take(welcome) else {
            return self.fail(name, epoch, &GroupError::Malformed);
        };
        self.refill(taken.suite);
        let joined = self
            .accept(name, taken.suite)
            .map(|kind| Group::join(&self.provider, kind, taken.leaf_key, welcome, tree));
        reserve::forget(&self.provider, &taken.reference);
        let Some(joined) = joined else {
            return self
                .messages
                .push_back(FromMember::Failed { group: name, epoch });
        };
        match joined {
            Ok(group) if group.epoch() == epoch => self.enter(now, group),
            Ok(group) => {
                group.delete(&self.provider);
                self.fail(name, epoch, &GroupError::OtherGroup);
            }
            Err(error) => self.fail(name, epoch, &error),
        }
    }

    fn commit(&mut self, name: GroupName, epoch: u64, proposals: &[std::sync::Arc<[u8]>]) {
        let Some(group) = self
            .group
            .as_mut()
            .filter(|group| group.name() == name && group.epoch() == epoch)
        else {
            return;
        };
        match group.commit(&self.provider, proposals) {
            Ok(own) => {
                self.own_commit = Some(own.commit.clone());
                self.messages.push_back(FromMember::Committed {
                    group: name,
                    epoch,
                    commit: own.commit,
                    welcome: own.welcome,
                });
            }
            Err(error) => {
                // MLS seals no texts while there are proposals.
                let _ = group.forget_pending(&self.provider);
                self.own_commit = None;
                let refused = match &error {
                    GroupError::Leaf {
                        leaf,
                        cause: LeafError::UnusableKey | LeafError::Credential(_),
                    } => vec![*leaf],
                    _ => Vec::new(),
                };
                self.refuse(error.to_string());
                self.messages.push_back(FromMember::CannotCommit {
                    group: name,
                    epoch,
                    refused,
                });
            }
        }
    }

    fn merge(&mut self, now: Instant, accepted: &AcceptedCommit) {
        let Some(group) = self
            .group
            .as_mut()
            .filter(|group| group.name() == accepted.group)
        else {
            return;
        };
        if group.epoch() > accepted.epoch {
            return;
        }
        let own = self.own_commit.take();
        let merged = if group.epoch() < accepted.epoch {
            Err(GroupError::Malformed)
        } else if own.as_deref() == Some(&accepted.commit[..]) {
            group.merge_own(&self.provider)
        } else {
            group.merge(&self.provider, &accepted.proposals, &accepted.commit)
        };
        match merged {
            Ok(()) if group.is_left() => {
                self.events.push_back(MemberEvent::Removed);
                self.forget(accepted.group, true);
            }
            Ok(()) => self.begin_epoch(now, false),
            Err(error) => self.fail(accepted.group, accepted.epoch.saturating_add(1), &error),
        }
    }

    /// Goes on in `group`, and leaves the one before it.
    fn enter(&mut self, now: Instant, group: Group) {
        let (name, suite) = (group.name(), group.suite());
        if self.last.replace(name) != Some(name) {
            self.events.push_back(MemberEvent::Suite(suite));
        }
        self.own_commit = None;
        // What is under way to the group before has no answer any more.
        self.texts.repeat();
        if let Some(before) = self.group.replace(group) {
            before.delete(&self.provider);
        }
        self.begin_epoch(now, true);
    }

    fn begin_epoch(&mut self, now: Instant, is_first: bool) {
        let Some(group) = &self.group else { return };
        let name = group.name();
        self.unopened = Unopened::default();
        if self.config.is_strict {
            self.hold.leaves_are(group.leaves());
        }
        self.epochs.begin(
            now,
            NewEpoch {
                generation: name.generation,
                epoch: group.epoch(),
                own_leaf: group.own_leaf(),
                base_key: group.base_key(&self.provider),
                leaves: group.leaves(),
                is_first,
            },
        );
        self.messages.push_back(FromMember::Merged {
            group: name,
            epoch: group.epoch(),
        });
        self.events.push_back(MemberEvent::Changed);
    }

    /// Leaves a group. Who is let in again goes on with the keys that it has until then.
    fn forget(&mut self, name: GroupName, is_removed: bool) {
        if let Some(group) = self.group.take_if(|group| group.name() == name) {
            group.delete(&self.provider);
            self.own_commit = None;
            self.texts.repeat();
            // Without a group nobody looks who hears.
            if is_removed || !self.may_speak() {
                self.epochs.clear();
            }
            self.events.push_back(MemberEvent::Changed);
        }
    }

    /// The kind of a group that control names; `None`, with an event, if this member does not enter it.
    fn accept(&mut self, name: GroupName, suite: Suite) -> Option<GroupKind> {
        let is_classical_allowed =
            self.config.allows_classical || self.roster.len() > MAX_POST_QUANTUM;
        let refusal = if name.conference != self.conference() {
            "control named the group of another conference"
        } else if self
            .last
            .is_some_and(|last| name != last && name.generation <= last.generation)
        {
            "control named a group that is not of a later generation"
        } else if self.group() == Some(name) {
            "control named the group that this member is in already"
        } else if suite == Suite::Classical && !is_classical_allowed {
            self.events.push_back(MemberEvent::Downgrade);
            "control offers keys that are not post-quantum in a room that is small enough for them"
        } else {
            return Some(GroupKind {
                name,
                suite,
                server: self.config.subject.server,
                delivery_key: self.config.delivery_key,
            });
        };
        self.refuse(refusal.to_owned());
        None
    }

    /// What control sent was refused.
    fn refuse(&mut self, why: String) {
        self.events.push_back(MemberEvent::Refused(why));
    }

    fn fail(&mut self, group: GroupName, epoch: u64, error: &GroupError) {
        self.refuse(error.to_string());
        self.messages.push_back(FromMember::Failed { group, epoch });
    }

    /// Offers other key packages than those that nobody has used. A Welcome for these may be under way: they stay until there are
    /// newer ones.
    fn renew(&mut self) {
        for suite in self.reserve.suites() {
            if let Some(old) = self.reserve.take_oldest(suite) {
                reserve::forget(&self.provider, &old);
            }
            self.refill(suite);
        }
    }

    /// Makes a key package in place of one that was used.
    fn refill(&mut self, suite: Suite) {
        let leaf_key = SigningKey::generate();
        let credential = self.credential(suite, &leaf_key);
        let key_package = self
            .reserve
            .add(&self.provider, suite, leaf_key, &credential);
        self.messages
            .push_back(FromMember::KeyPackage { suite, key_package });
    }

    fn credential(&self, suite: Suite, leaf_key: &SigningKey) -> Credential {
        let config = &self.config;
        Credential::sign(
            &config.device,
            &config.subject,
            suite,
            leaf_key.public(),
            &config.endorsements,
        )
    }
}
