//! What a person decides about the devices of a name.

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, Username};

use super::pins::{Account, Device, Pins, Standing};

/// Most names that are proposed for one that is not known.
const MAX_PROPOSED: usize = 5;

/// Most letters in which a proposed name differs.
const MAX_DISTANCE: usize = 2;

/// A device that a person is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its account.
    pub account: AccountId,
    /// Its key.
    pub key: DevicePublicKey,
    /// Since when and how it is known.
    pub device: Device,
}

impl Pins {
    /// All devices of the accounts that are known by this name or have shown it since.
    pub fn devices_of<'a>(&'a self, name: &'a Username) -> impl Iterator<Item = Known> + 'a {
        self.accounts_of(name).flat_map(|(account, it)| {
            let devices = it.devices().iter();
            devices.map(move |(key, device)| Known {
                account,
                key: *key,
                device: *device,
            })
        })
    }

    /// The devices of a name about which the person has not decided yet: they are pending, or their account is known by another
    /// name.
    pub fn undecided(&self, name: &Username) -> Vec<Known> {
        let is_undecided = |known: &Known| {
            let account = &self.accounts()[&known.account];
            known.device.standing == Standing::Pending || account.claimed() == Some(name)
        };
        self.devices_of(name).filter(is_undecided).collect()
    }

    /// Accepts all of these devices, and the name for their accounts. Gives those about which nothing was decided before.
    pub fn accept(&mut self, name: &Username) -> Vec<Known> {
        let undecided = self.undecided(name);
        for known in &undecided {
            self.decide(name, known, Standing::Accepted);
        }
        undecided
    }

    /// Marks a device as verified: the person has compared its code. That accepts it, and the name for its account.
    pub fn verify(&mut self, name: &Username, known: &Known) {
        self.decide(name, known, Standing::Verified);
    }

    /// Forgets the accounts that are known by this name, and what others have shown under it. Gives the devices
    /// that are forgotten.
    pub fn forget(&mut self, name: &Username) -> Vec<Known> {
        let devices: Vec<_> = self.devices_of(name).collect();
        let mut forgotten = Vec::new();
        for known in devices {
            let is_claimed = self.accounts()[&known.account].name() != name;
            if is_claimed && known.device.standing > Standing::Pending {
                // It is known by another name, which is not meant.
                self.set_claimed(known.account, None);
                continue;
            }
            self.remove(known.account, &known.key);
            forgotten.push(known);
        }
        forgotten
    }

    /// Known names that may be meant by `typed`, nearest first.
    pub fn similar_names(&self, typed: &str) -> Vec<&Username> {
        let known = self.accounts().values();
        let names = known.flat_map(|account| [Some(account.name()), account.claimed()]);
        let mut near: Vec<_> = names
            .flatten()
            .filter_map(|name| {
                let distance = match name.as_str().starts_with(typed) {
                    true => 0,
                    false => distance(name.as_str(), typed),
                };
                (distance <= MAX_DISTANCE).then_some((distance, name))
            })
            .collect();
        near.sort();
        near.dedup();
        near.truncate(MAX_PROPOSED);
        near.into_iter().map(|(_, name)| name).collect()
    }

    fn accounts_of<'a>(
        &'a self,
        name: &'a Username,
    ) -> impl Iterator<Item = (AccountId, &'a Account)> {
        let is_meant = move |account: &Account| {
            account.name() == name || account.claimed().is_some_and(|claimed| claimed == name)
        };
        let accounts = self.accounts().iter();
        accounts
            .filter(move |(_, account)| is_meant(account))
            .map(|(id, account)| (*id, account))
    }

    fn decide(&mut self, name: &Username, known: &Known, standing: Standing) {
        let account = self.accounts().get(&known.account);
        if account.and_then(Account::claimed) == Some(name) {
            self.set_name(known.account, name);
        }
        self.set(
            known.account,
            known.key,
            standing,
            known.device.first_seen_ms,
        );
        self.keep_within_bounds(known.account);
    }
}

/// Letters to insert, remove or replace to make one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, known) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *known);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::super::Sighting;
    use super::super::testing::Person;
    use super::*;

    fn name(text: &str) -> Username {
        text.parse().unwrap()
    }

    #[test]
    fn an_accepted_device_is_known_and_the_others_stay() {
        let mut pins = Pins::default();
        let people = [(); 3].map(|()| Person::new(1, "ben"));
        for person in &people {
            pins.observe(&person.credential(), 1);
        }
        let accepted = pins.accept(&name("ben"));
        let keys: Vec<_> = accepted.iter().map(|known| known.key).collect();
        assert_eq!(keys.len(), 2);
        assert!(!keys.contains(&people[0].device.public()));
        for person in &people {
            assert_eq!(pins.observe(&person.credential(), 2), Sighting::Known);
        }
        assert!(pins.accept(&name("ben")).is_empty());
    }

    #[test]
    fn both_accounts_of_a_name_are_known_after_it_was_accepted() {
        let mut pins = Pins::default();
        let (one, other) = (Person::new(1, "ben"), Person::new(2, "ben"));
        pins.observe(&one.credential(), 1);
        pins.observe(&other.credential(), 1);
        assert_eq!(pins.accept(&name("ben")).len(), 1);
        assert!(pins.is_trusted(&one.credential()) && pins.is_trusted(&other.credential()));
        let third = Person::new(3, "ben").credential();
        assert!(pins.observe(&third, 2).is_loud());
    }

    #[test]
    fn a_name_that_an_account_has_shown_since_is_accepted_for_it() {
        let mut pins = Pins::default();
        let mut eve = Person::new(2, "eve");
        pins.observe(&eve.credential(), 1);
        eve.name = name("bob");
        pins.observe(&eve.credential(), 2);
        assert!(pins.accept(&name("eve")).is_empty(), "bob was not accepted");
        assert_eq!(pins.accept(&name("bob")).len(), 1);
        assert!(pins.is_trusted(&eve.credential()));
        assert_eq!(pins.devices_of(&name("eve")).count(), 0);
    }

    #[test]
    fn a_verified_device_is_trusted() {
        let mut pins = Pins::default();
        pins.observe(&Person::new(1, "ben").credential(), 1);
        let new = Person::new(1, "ben");
        pins.observe(&new.credential(), 2);
        let ben = name("ben");
        let known = pins.undecided(&ben)[0];
        pins.verify(&ben, &known);
        assert!(pins.is_trusted(&new.credential()));
        let verified = pins.devices_of(&ben);
        let keys: Vec<_> = verified
            .filter(|known| known.device.standing == Standing::Verified)
            .map(|known| known.key)
            .collect();
        assert_eq!(keys, [new.device.public()]);
    }

    #[test]
    fn a_forgotten_name_is_seen_for_the_first_time_again() {
        let mut pins = Pins::default();
        let (ben, thief) = (Person::new(1, "ben"), Person::new(2, "ben"));
        pins.observe(&ben.credential(), 1);
        pins.observe(&thief.credential(), 1);
        assert_eq!(pins.forget(&name("ben")).len(), 2);
        assert_eq!(pins, Pins::default());
        assert_eq!(pins.observe(&thief.credential(), 2), Sighting::First);
    }

    #[test]
    fn forgetting_a_name_leaves_an_account_that_is_known_by_another() {
        let mut pins = Pins::default();
        let mut eve = Person::new(2, "eve");
        pins.observe(&eve.credential(), 1);
        let before = pins.clone();
        eve.name = name("ben");
        pins.observe(&eve.credential(), 2);
        assert_eq!(pins.forget(&name("ben")), []);
        assert_eq!(pins, before);
    }

    #[test]
    fn names_that_may_be_meant_are_proposed() {
        let mut pins = Pins::default();
        for (number, name) in ["ben", "benjamin", "anna", "bem"].iter().enumerate() {
            pins.observe(&Person::new(number as u32, name).credential(), 1);
        }
        let proposed = |typed| {
            let names = pins.similar_names(typed).into_iter();
            names.map(Username::as_str).collect::<Vec<_>>()
        };
        assert_eq!(proposed("ben"), ["ben", "benjamin", "bem"]);
        assert_eq!(proposed("hanna"), ["anna"]);
        assert_eq!(proposed("somebody"), [""; 0]);
        let cases = [("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)];
        for (one, other, expected) in cases {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }
}
