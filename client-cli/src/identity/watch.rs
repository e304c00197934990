//! The members of one call, compared with the devices that are known.

use std::collections::{BTreeMap, BTreeSet};

use confab_e2ee::mls::Credential;
use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, Username};

use super::pins::{Pins, Sighting};

/// Most devices of which it is remembered in a call that they were reported. Beyond it they are reported again.
const MAX_REPORTED: usize = 65_536;

/// One's own device, which needs no look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnDevice {
    /// One's own account.
    pub account: AccountId,
    /// Its name.
    pub name: Username,
    /// This device's public key.
    pub key: DevicePublicKey,
}

/// A member of the group about whom there is something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its leaf.
    pub leaf: u32,
    /// Its account.
    pub account: AccountId,
    /// The name that it shows.
    pub name: Username,
    /// Its device.
    pub device: DevicePublicKey,
    /// How that compares with what is known; never [`Sighting::Known`].
    pub sighting: Sighting,
}

impl Seen {
    /// False if `--strict-trust` sends nothing while this member is there.
    pub fn is_trusted(&self) -> bool {
        !self.sighting.is_loud()
    }
}

/// Looks at the leaves of the group whenever they change.
#[derive(Debug)]
pub struct Watch {
    pins: Pins,
    own: OwnDevice,
    leaves: BTreeMap<u32, Credential>,
    /// The leaves that are not trusted.
    untrusted: BTreeSet<u32>,
    /// What was reported in this call, and whether it was loud.
    reported: BTreeMap<(AccountId, DevicePublicKey, Username), bool>,
    unsaved: Vec<Credential>,
}

impl Watch {
    /// A call of `own`, with the devices that are known at its server.
    pub fn new(pins: Pins, own: OwnDevice, now_ms: u64) -> Self {
        let mut watch = Self {
            pins,
            own,
            leaves: BTreeMap::new(),
            untrusted: BTreeSet::new(),
            reported: BTreeMap::new(),
            unsaved: Vec::new(),
        };
        watch.keep_own(now_ms);
        watch
    }

    /// Looks at all leaves of the group; their credentials have been verified. Gives what is new about them: each device once a
    /// call, and again only if it was quiet and is loud now.
    pub fn look<'a>(
        &mut self,
        leaves: impl IntoIterator<Item = (u32, &'a Credential)>,
        now_ms: u64,
    ) -> Vec<Seen> {
        let mut before = std::mem::take(&mut self.leaves);
        let mut changed = Vec::new();
        for (leaf, credential) in leaves {
            let same = before.remove(&leaf).filter(|known| known == credential);
            if same.is_none() {
                changed.push(leaf);
            }
            let kept = same.unwrap_or_else(|| credential.clone());
            self.leaves.insert(leaf, kept);
        }
        self.untrusted.retain(|leaf| self.leaves.contains_key(leaf));
        self.sight(&changed, now_ms)
    }

    /// Takes pins over that were stored meanwhile, by this process or another one, and looks again: a person may have accepted a
    /// device during the call.
    pub fn refresh(&mut self, pins: Pins, now_ms: u64) -> Vec<Seen> {
        self.pins = pins;
        self.keep_own(now_ms);
        let all: Vec<_> = self.leaves.keys().copied().collect();
        self.sight(&all, now_ms)
    }

    /// True if every member is on a pinned device under the name by which it is known.
    pub fn is_all_trusted(&self) -> bool {
        self.untrusted.is_empty()
    }

    /// The names of members that are not trusted, in the order of their leaves.
    pub fn untrusted(&self) -> impl Iterator<Item = &Username> {
        self.untrusted
            .iter()
            .map(|leaf| &self.leaves[leaf].username)
    }

    /// What has changed what is known since the last call of this: to be stored with
    /// [`Store::pin`](crate::store::Store::pin).
    pub fn take_unsaved(&mut self) -> Vec<Credential> {
        std::mem::take(&mut self.unsaved)
    }

    fn keep_own(&mut self, now_ms: u64) {
        let own = &self.own;
        self.pins.keep_own(own.account, &own.name, own.key, now_ms);
    }

    fn sight(&mut self, leaves: &[u32], now_ms: u64) -> Vec<Seen> {
        let mut all = Vec::new();
        for leaf in leaves {
            let credential = &self.leaves[leaf];
            let sighting = self.pins.observe(credential, now_ms);
            match sighting.is_loud() {
                true => self.untrusted.insert(*leaf),
                false => self.untrusted.remove(leaf),
            };
            if sighting == Sighting::Known {
                continue;
            }
            let who = (
                credential.account,
                credential.device,
                credential.username.clone(),
            );
            let is_loud = sighting.is_loud();
            let before = self.reported.get(&who).copied();
            if before.is_some_and(|was_loud| was_loud || !is_loud) {
                continue;
            }
            if self.reported.len() >= MAX_REPORTED {
                self.reported.clear();
            }
            self.reported.insert(who, is_loud);
            self.unsaved.push(credential.clone());
            all.push(Seen {
                leaf: *leaf,
                account: credential.account,
                name: credential.username.clone(),
                device: credential.device,
                sighting,
            });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Person;
    use super::*;

    struct Call {
        watch: Watch,
        own: Credential,
    }

    impl Call {
        fn new(pins: Pins) -> Self {
            let ann = Person::new(0, "ann");
            let own = OwnDevice {
                account: ann.account,
                name: ann.name.clone(),
                key: ann.device.public(),
            };
            Self {
                watch: Watch::new(pins, own, 1),
                own: ann.credential(),
            }
        }

        fn look(&mut self, others: &[Credential]) -> Vec<Sighting> {
            let leaves = std::iter::once(&self.own).chain(others);
            let seen = self.watch.look((0..).zip(leaves), 2);
            sightings(seen)
        }
    }

    fn sightings(seen: Vec<Seen>) -> Vec<Sighting> {
        seen.into_iter().map(|seen| seen.sighting).collect()
    }

    #[test]
    fn ones_own_leaf_is_not_reported() {
        let mut call = Call::new(Pins::default());
        assert_eq!(call.look(&[]), []);
        assert!(call.watch.is_all_trusted() && call.watch.take_unsaved().is_empty());
    }

    #[test]
    fn each_device_is_reported_once_a_call_also_after_it_joined_anew() {
        let mut call = Call::new(Pins::default());
        let ben = Person::new(1, "ben");
        assert_eq!(call.look(&[ben.credential()]), [Sighting::First]);
        let (one, other) = (Person::new(1, "ben"), ben.credential());
        let loud = [Sighting::NewDevice { pinned: 1 }];
        assert_eq!(call.look(&[other.clone(), one.credential()]), loud);
        assert_eq!(call.look(&[one.credential(), other]), []);
        assert!(!call.watch.is_all_trusted());
        assert_eq!(call.look(&[]), []);
        assert_eq!(call.look(&[one.credential()]), []);
    }

    #[test]
    fn a_call_is_trusted_again_when_the_new_device_has_left() {
        let mut call = Call::new(Pins::default());
        let ben = Person::new(1, "ben").credential();
        let new = Person::new(1, "ben").credential();
        call.look(&[ben.clone(), new]);
        let names: Vec<_> = call.watch.untrusted().map(Username::as_str).collect();
        assert_eq!(names, ["ben"]);
        call.look(std::slice::from_ref(&ben));
        assert!(call.watch.is_all_trusted());
        assert_eq!(call.watch.untrusted().count(), 0);
    }

    #[test]
    fn a_call_is_trusted_again_when_the_person_has_accepted_the_device() {
        let mut call = Call::new(Pins::default());
        let ben = Person::new(1, "ben");
        let new = Person::new(1, "ben");
        call.look(&[ben.credential(), new.credential()]);
        let mut stored = Pins::default();
        for credential in call.watch.take_unsaved() {
            stored.observe(&credential, 3);
        }
        assert_eq!(call.watch.refresh(stored.clone(), 4), []);
        assert!(!call.watch.is_all_trusted());
        stored.accept(&ben.name);
        assert_eq!(call.watch.refresh(stored, 5), []);
        assert!(call.watch.is_all_trusted() && call.watch.take_unsaved().is_empty());
    }

    #[test]
    fn what_was_quiet_is_loud_when_another_call_has_pinned_another_device_first() {
        let mut call = Call::new(Pins::default());
        let here = Person::new(1, "ben").credential();
        assert_eq!(call.look(std::slice::from_ref(&here)), [Sighting::First]);
        let mut stored = Pins::default();
        stored.observe(&Person::new(1, "ben").credential(), 1);
        let seen = sightings(call.watch.refresh(stored, 3));
        assert_eq!(seen, [Sighting::NewDevice { pinned: 1 }]);
        assert!(!call.watch.is_all_trusted());
    }

    #[test]
    fn a_loud_device_is_reported_again_in_the_next_call() {
        let (ben, new) = (Person::new(1, "ben"), Person::new(1, "ben"));
        let mut pins = Pins::default();
        pins.observe(&ben.credential(), 1);
        for _ in 0..2 {
            let mut call = Call::new(pins.clone());
            let seen = call.look(&[ben.credential(), new.credential()]);
            assert_eq!(seen, [Sighting::NewDevice { pinned: 1 }]);
            for credential in call.watch.take_unsaved() {
                pins.observe(&credential, 2);
            }
        }
    }
}
