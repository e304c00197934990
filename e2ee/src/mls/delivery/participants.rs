//! The participants of a room, as the delivery service has them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use confab_protocol::control::{AccountId, JoinId, Username};
use openmls::prelude::KeyPackage;

use crate::mls::identity::Credential;
use crate::mls::suite::Suite;

/// Committers under which a participant may fail before it is made to wait.
const FAILURES_BEFORE_WAIT: usize = 3;
/// Wait of a participant that fails whoever commits; it doubles each time, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(64);

/// A key package that has not been used.
pub(super) struct Spare {
    pub(super) key_package: KeyPackage,
    /// What a Welcome names it by.
    pub(super) reference: Vec<u8>,
}

/// Where a participant is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Not in the group.
    Outside,
    /// A leaf of the group.
    Leaf(u32),
    /// A leaf of the group whose owner cannot go on with it: it is removed, and added again.
    Broken(u32),
}

/// One participant.
pub(super) struct Participant {
    pub(super) account: AccountId,
    username: Username,
    /// Its link to control stands.
    pub(super) is_live: bool,
    /// Round trip to it.
    pub(super) round_trip: Duration,
    pub(super) place: Place,
    /// It was in a group of this room, this one or another: others hear it.
    pub(super) was_member: bool,
    /// The newest epoch that it has acknowledged, in the current group.
    pub(super) acknowledged: Option<u64>,
    /// When it made a path of its own; grows with each commit. Zero: never.
    pub(super) last_path: u64,
    /// Groups that it was asked to create and did not, and rounds in which nobody committed although it was asked, since it last
    /// committed.
    pub(super) silences: u32,
    /// Epochs in a row that were activated without its acknowledgement.
    pub(super) tardy: u32,
    /// When it was last sent what it said that it missed.
    pub(super) caught_up_at: Option<Instant>,
    /// It may not commit any more.
    pub(super) is_barred: bool,
    spares: BTreeMap<Suite, Spare>,
    /// Committers whose commit or Welcome it could not process, since it last could.
    failed_under: BTreeSet<JoinId>,
    wait: Duration,
    wait_until: Option<Instant>,
}

impl Participant {
    pub(super) fn new(account: AccountId, username: Username) -> Self {
        Self {
            account,
            username,
            is_live: true,
            was_member: false,
            round_trip: Duration::ZERO,
            place: Place::Outside,
            acknowledged: None,
            last_path: 0,
            silences: 0,
            tardy: 0,
            caught_up_at: None,
            is_barred: false,
            spares: BTreeMap::new(),
            failed_under: BTreeSet::new(),
            wait: FIRST_WAIT,
            wait_until: None,
        }
    }

    /// A participant of a node that owned the room before: it is here, and its link is to come.
    pub(super) fn adopted(account: AccountId, username: Username) -> Self {
        Self {
            is_live: false,
            was_member: true,
            ..Self::new(account, username)
        }
    }

    /// True if the credential shows this participant's account, under its name.
    pub(super) fn owns(&self, credential: &Credential) -> bool {
        credential.account == self.account && credential.username == self.username
    }

    pub(super) fn leaf(&self) -> Option<u32> {
        match self.place {
            Place::Outside => None,
            Place::Leaf(leaf) | Place::Broken(leaf) => Some(leaf),
        }
    }

    /// Takes the key package of a suite; one that was there is forgotten.
    pub(super) fn give(&mut self, suite: Suite, spare: Spare) {
        self.spares.insert(suite, spare);
    }

    /// Its key package is used, or cannot be. One that it has given since then stays.
    pub(super) fn use_up(&mut self, suite: Suite, reference: &[u8]) {
        let is_it = |spare: &Spare| spare.reference == reference;
        if self.spares.get(&suite).is_some_and(is_it) {
            self.spares.remove(&suite);
        }
    }

    /// Its key package, if it is to be added now.
    pub(super) fn to_add(&self, now: Instant, suite: Suite) -> Option<&Spare> {
        let waits = self.wait_until.is_some_and(|until| until > now);
        self.spares
            .get(&suite)
            .filter(|_| self.is_out() && !waits && self.is_live)
    }

    /// True if it has been given a key package that can be added.
    pub(super) fn has_spare(&self, suite: Suite) -> bool {
        self.spares.contains_key(&suite)
    }

    /// It has reached an epoch.
    pub(super) fn acknowledge(&mut self, epoch: u64) {
        self.was_member = true;
        self.acknowledged = self.acknowledged.max(Some(epoch));
        self.failed_under.clear();
        self.wait = FIRST_WAIT;
    }

    /// It could not process what `committer` made.
    pub(super) fn fail(&mut self, now: Instant, committer: JoinId) {
        self.failed_under.insert(committer);
        if self.failed_under.len() >= FAILURES_BEFORE_WAIT {
            self.wait_until = Some(now + self.wait);
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
        }
    }

    /// When it may be added again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.wait_until.filter(|_| self.is_out())
    }

    /// True if it is to be added, once it may be and can be.
    fn is_out(&self) -> bool {
        matches!(self.place, Place::Outside | Place::Broken(_))
    }

    /// The group is another one.
    pub(super) fn reset(&mut self) {
        self.place = Place::Outside;
        self.acknowledged = None;
        self.last_path = 0;
    }
}
