//! The participants that control has announced, beside the leaves that the group has.
//!
//! Control may not add a leaf unseen: a leaf that nobody announced stops this member from sending, and is named.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use confab_protocol::control::{AccountId, GenerationLeaf, JoinId};

use crate::mls::group_name::GroupName;
use crate::mls::identity::Credential;

/// A leaf may be without an announcement for this long: commits and announcements come by different ways.
pub const UNANNOUNCED_FOR: Duration = Duration::from_secs(3);

/// Of the time that passes, this part is taken off the time of leaves that went unannounced: an ear that is here for more than a fourth
/// of the time is named.
const FORGIVEN: u32 = 4;

/// A leaf is named when it has been here for this long at least: what is announced a moment later is no ear.
const NAMED_AFTER: Duration = Duration::from_millis(500);

/// Who has just come or gone may have a leaf for this long without that being held against control: it takes a commit, and
/// announcements come by another way. Else participants who come and go could keep others from sending.
const EXCUSED_FOR: Duration = Duration::from_millis(400);
/// Who has left is one who has just gone for this long.
const GONE_FOR: Duration = Duration::from_secs(10);
/// Accounts that have just gone and are remembered.
const MAX_GONE: usize = 4096;

/// A participant, as control announced it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announced {
    /// Its account.
    pub account: AccountId,
    /// Its leaf; `None` while it is still being added.
    pub leaf: Option<GenerationLeaf>,
}

/// Announcements, and whether there are leaves without one.
#[derive(Debug, Default)]
pub struct Roster {
    announced: BTreeMap<JoinId, Announced>,
    /// The participants that have leaves.
    by_leaf: BTreeMap<GenerationLeaf, JoinId>,
    /// Leaves that participants had before theirs, in another generation: they are heard under them for a while.
    before: BTreeMap<JoinId, GenerationLeaf>,
    unannounced: BTreeMap<u32, Unannounced>,
    /// Accounts whose participants have just gone, and when they are forgotten.
    gone: BTreeMap<AccountId, Instant>,
    /// The epoch of the last comparison: in another one all leaves are compared, else those whose announcements have changed.
    compared: Option<(GroupName, u64)>,
    changed: Vec<u32>,
    /// For how long leaves were in the group that went without ever being announced, less a part of the time since: control may
    /// change the leaf, the device and the account of an ear as often as it likes.
    held: Duration,
    as_of: Option<Instant>,
    /// Sending has stopped for a leaf that is here now.
    is_violated: bool,
}

/// A leaf that has no announcement, or had none a moment ago.
#[derive(Debug)]
struct Unannounced {
    credential: Credential,
    /// When it was first without an announcement; time with one is not counted.
    since: Instant,
    /// It has an announcement again since then: it is remembered for as long as it would have taken to name it, so that an
    /// announcement now and then does not hide it.
    announced_at: Option<Instant>,
    is_named: bool,
    /// Its account has just come or gone.
    is_excused: bool,
}

impl Roster {
    /// Control has announced a participant, or where its leaf is.
    pub(crate) fn announce(&mut self, join: JoinId, announced: Announced) {
        let known = self.announced.insert(join, announced);
        let left = known
            .and_then(|one| one.leaf)
            .filter(|leaf| announced.leaf != Some(*leaf));
        if let Some(left) = left {
            // Without a leaf it is connecting, after its server was lost: it is heard under its leaf before for a while.
            let is_next = announced
                .leaf
                .is_none_or(|leaf| leaf.generation > left.generation);
            let goes = match is_next {
                true => self.before.insert(join, left),
                false => Some(left),
            };
            if let Some(goes) = goes {
                self.release(goes, join);
            }
            self.changed.push(left.leaf);
        }
        if let Some(leaf) = announced.leaf {
            self.by_leaf.insert(leaf, join);
            self.changed.push(leaf.leaf);
        }
        let before = self.before.get(&join);
        self.changed.extend(before.map(|before| before.leaf));
    }

    /// Control has announced that a participant is gone.
    pub(crate) fn depart(&mut self, now: Instant, join: JoinId) {
        let known = self.announced.remove(&join);
        self.gone.retain(|_, until| *until > now);
        if let Some(known) = known.filter(|_| self.gone.len() < MAX_GONE) {
            self.gone.insert(known.account, now + GONE_FOR);
        }
        let leaf = known.and_then(|one| one.leaf);
        for leaf in leaf.into_iter().chain(self.before.remove(&join)) {
            self.release(leaf, join);
        }
    }

    fn release(&mut self, leaf: GenerationLeaf, join: JoinId) {
        self.changed.push(leaf.leaf);
        if self.by_leaf.get(&leaf) == Some(&join) {
            self.by_leaf.remove(&leaf);
        }
    }

    /// How many participants are announced.
    pub fn len(&self) -> usize {
        self.announced.len()
    }

    /// True if no participant is announced.
    pub fn is_empty(&self) -> bool {
        self.announced.is_empty()
    }

    /// True if somebody else than the owner of `leaf` is announced.
    pub(crate) fn has_others(&self, leaf: GenerationLeaf) -> bool {
        self.announced.values().any(|one| one.leaf != Some(leaf))
    }

    /// The participant at a leaf.
    pub fn participant(&self, generation: u64, leaf: u32) -> Option<JoinId> {
        self.by_leaf
            .get(&GenerationLeaf { generation, leaf })
            .copied()
    }

    /// Compares with the leaves of the group in this epoch. Gives leaves that have been without an announcement for too long, each once.
    pub(crate) fn compare(
        &mut self,
        now: Instant,
        at: Option<(GroupName, u64)>,
        own_leaf: u32,
        leaves: &BTreeMap<u32, Credential>,
    ) -> Vec<(u32, Credential)> {
        let generation = at.map_or(0, |(group, _)| group.generation);
        let announced = |leaf: u32, credential: &Credential| {
            let join = self.by_leaf.get(&GenerationLeaf { generation, leaf });
            let account = join
                .and_then(|join| self.announced.get(join))
                .map(|one| one.account);
            leaf == own_leaf || account == Some(credential.account)
        };
        let is_same = |leaf: &u32, known: &Unannounced| leaves.get(leaf) == Some(&known.credential);
        let gone = self
            .unannounced
            .iter()
            .filter(|(leaf, known)| !is_same(leaf, known));
        if let Some(longest) = gone.map(|(_, known)| known.held(now)).max() {
            self.held = (self.held + longest).min(2 * UNANNOUNCED_FOR);
        }
        self.unannounced.retain(|leaf, known| {
            is_same(leaf, known) && known.remains(now, announced(*leaf, &known.credential))
        });
        let is_excused = |account: AccountId| {
            let is_coming = |one: &Announced| one.account == account && one.leaf.is_none();
            let gone = self.gone.get(&account);
            gone.is_some_and(|until| *until > now) || self.announced.values().any(is_coming)
        };
        let note = |(leaf, credential): (&u32, &Credential)| {
            if !announced(*leaf, credential) {
                let new = || Unannounced {
                    credential: credential.clone(),
                    since: now,
                    announced_at: None,
                    is_named: false,
                    is_excused: is_excused(credential.account),
                };
                self.unannounced.entry(*leaf).or_insert_with(new);
            }
        };
        let changed = std::mem::take(&mut self.changed);
        match self.compared == at {
            true => changed
                .iter()
                .filter_map(|leaf| leaves.get_key_value(leaf))
                .for_each(note),
            false => leaves.iter().for_each(note),
        }
        self.compared = at;
        if let Some(passed) = self.as_of.map(|at| now.saturating_duration_since(at)) {
            self.held = self.held.saturating_sub(passed / FORGIVEN);
        }
        self.as_of = Some(now);
        let held = self.held;
        let mut due = Vec::new();
        self.is_violated = false;
        for (leaf, one) in &mut self.unannounced {
            if one.announced_at.is_some() {
                continue;
            }
            let age = one.age(now);
            let is_due = held + one.held(now) >= UNANNOUNCED_FOR || age >= UNANNOUNCED_FOR;
            self.is_violated |= is_due;
            if is_due && age >= NAMED_AFTER && !one.is_named {
                one.is_named = true;
                due.push((*leaf, one.credential.clone()));
            }
        }
        due
    }

    /// True while a leaf has been without an announcement for too long: nothing may be sent.
    pub fn is_violated(&self) -> bool {
        self.is_violated
    }

    /// When a leaf will have been without an announcement for too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let held = self.held;
        let due = |one: &Unannounced| {
            let left = UNANNOUNCED_FOR.saturating_sub(held) + one.excused();
            one.since + left.clamp(NAMED_AFTER, UNANNOUNCED_FOR)
        };
        let is_waiting = |one: &&Unannounced| !one.is_named && one.announced_at.is_none();
        let waiting = self.unannounced.values().filter(is_waiting);
        waiting.map(due).min()
    }
}

impl Unannounced {
    /// For how long it has been without an announcement.
    fn age(&self, now: Instant) -> Duration {
        let until = self.announced_at.unwrap_or(now);
        until.saturating_duration_since(self.since)
    }

    /// How much of that is held against control.
    fn held(&self, now: Instant) -> Duration {
        self.age(now).saturating_sub(self.excused())
    }

    fn excused(&self) -> Duration {
        match self.is_excused {
            true => EXCUSED_FOR,
            false => Duration::ZERO,
        }
    }

    /// Notes whether it has an announcement now; false once it had one for long enough.
    fn remains(&mut self, now: Instant, is_announced: bool) -> bool {
        let announced_at = self.announced_at.unwrap_or(now);
        let announced_for = now.saturating_duration_since(announced_at);
        self.announced_at = is_announced.then_some(announced_at);
        if announced_for >= UNANNOUNCED_FOR {
            return false;
        }
        if !is_announced {
            self.since += announced_for;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use confab_protocol::control::ConferenceId;
    use proptest::prelude::*;

    use super::*;
    use crate::mls::identity::{DeviceKey, ServerId, Subject};
    use crate::mls::signing::SigningKey;
    use crate::mls::suite::Suite;

    const OWN_LEAF: u32 = 0;
    const CONFERENCE: ConferenceId = ConferenceId::new([1; 16]);

    /// What happens to the roster of a room with four accounts.
    #[derive(Clone, Debug)]
    enum Step {
        Announce(u8, u8, Option<(u64, u32)>),
        Depart(u8),
        /// The next epoch, with the accounts of its leaves.
        Epoch(u64, Vec<u8>),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let leaf = prop::option::of((0..2u64, 0..4u32));
        prop_oneof![
            3 => (0..5u8, 0..4u8, leaf).prop_map(|(join, of, leaf)| Step::Announce(join, of, leaf)),
            1 => (0..5u8).prop_map(Step::Depart),
            1 => (0..2u64, prop::collection::vec(0..4u8, 0..4)).prop_map(|(g, of)| Step::Epoch(g, of)),
            2 => (0..2000u64).prop_map(Step::Wait),
        ]
    }

    fn credential(account: AccountId) -> Credential {
        let subject = Subject {
            server: ServerId([1; 16]),
            account,
            username: "anna".parse().unwrap(),
            conference: CONFERENCE,
        };
        let (device, leaf) = (
            DeviceKey::from_seed(&[1; 32]),
            SigningKey::from_seed(&[2; 32]),
        );
        Credential::sign(&device, &subject, Suite::PostQuantum, leaf.public(), &[])
    }

    proptest! {
        #[test]
        fn comparing_what_has_changed_finds_what_comparing_all_does(steps in prop::collection::vec(step(), 1..60)) {
            let account = |n: u8| AccountId::new([n; 16]);
            let credentials: Vec<_> = (0..4).map(|n| credential(account(n))).collect();
            let mut now = Instant::now();
            let (mut lazy, mut full) = (Roster::default(), Roster::default());
            let (mut at, mut leaves) = (None, BTreeMap::new());
            for (epoch, step) in steps.into_iter().enumerate() {
                for roster in [&mut lazy, &mut full] {
                    match &step {
                        Step::Announce(join, of, leaf) => {
                            let leaf = leaf.map(|(generation, leaf)| GenerationLeaf { generation, leaf });
                            let account = account(*of);
                            roster.announce(JoinId::new([*join; 16]), Announced { account, leaf });
                        }
                        Step::Depart(join) => roster.depart(now, JoinId::new([*join; 16])),
                        Step::Epoch(..) | Step::Wait(_) => {}
                    }
                }
                match step {
                    Step::Epoch(generation, accounts) => {
                        at = Some((GroupName { conference: CONFERENCE, era: 1, generation }, epoch as u64));
                        let accounts = accounts.iter().map(|of| credentials[usize::from(*of)].clone());
                        leaves = (0..).zip(accounts).collect();
                    }
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                    Step::Announce(..) | Step::Depart(_) => {}
                }
                full.compared = None;
                let found = lazy.compare(now, at, OWN_LEAF, &leaves);
                prop_assert_eq!(found, full.compare(now, at, OWN_LEAF, &leaves));
                prop_assert_eq!(lazy.is_violated(), full.is_violated());
                prop_assert_eq!(lazy.deadline(), full.deadline());
            }
        }
    }
}
