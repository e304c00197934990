//! The devices that are known at one server.

use std::collections::{BTreeMap, BTreeSet};

use confab_e2ee::mls::Credential;
use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, Username};

/// What is known of a device. A later one is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It was seen, and nobody has accepted it: it is reported in each call.
    Pending,
    /// Pinned: at first sight, because a pinned device vouched for it, or because the person accepted it.
    Accepted,
    /// Pinned, and the person has compared its code.
    Verified,
}

/// A device of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// When it was seen first, in milliseconds since 1970 by this machine's clock.
    pub first_seen_ms: u64,
    /// What is known of it.
    pub standing: Standing,
}

/// An account with at least one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub(super) name: Username,
    pub(super) claimed: Option<Username>,
    pub(super) devices: BTreeMap<DevicePublicKey, Device>,
}

/// How a credential compares with what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// A pinned device under its account's name.
    Known,
    /// The first device of an account of which nothing is pinned. It is pinned.
    First,
    /// A new device for which a pinned device of the account vouches. It is pinned.
    Endorsed {
        /// The pinned device.
        by: DevicePublicKey,
    },
    /// A new device for which no pinned device vouches. Loud.
    NewDevice {
        /// How many devices of the account are pinned.
        pinned: usize,
    },
    /// Another account is known by this name. Loud.
    NameOfAnother {
        /// The account that is known by it.
        before: AccountId,
    },
    /// The account is known by another name, and no account by this one. Loud.
    Renamed {
        /// The name by which it is known.
        before: Username,
    },
}

impl Sighting {
    /// True for what a person has to look at. It is not pinned, and comes again in each call until it is accepted.
    pub fn is_loud(&self) -> bool {
        match self {
            Self::Known | Self::First | Self::Endorsed { .. } => false,
            Self::NewDevice { .. } | Self::NameOfAnother { .. } | Self::Renamed { .. } => true,
        }
    }
}

/// The devices that are known at one server, bounded: see [`MAX_DEVICES`](Self::MAX_DEVICES) and the constants beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    accounts: BTreeMap<AccountId, Account>,
    /// The accounts of each name.
    names: BTreeMap<Username, BTreeSet<AccountId>>,
    /// How many devices are pinned.
    pinned: usize,
    /// How many devices are pending.
    pending: usize,
}

impl Account {
    /// The name by which it is known.
    pub fn name(&self) -> &Username {
        &self.name
    }

    /// Another name that it has shown since, not accepted.
    pub fn claimed(&self) -> Option<&Username> {
        self.claimed.as_ref()
    }

    /// Its devices, by their keys.
    pub fn devices(&self) -> &BTreeMap<DevicePublicKey, Device> {
        &self.devices
    }

    fn is_pinned(&self, device: &DevicePublicKey) -> bool {
        let known = self.devices.get(device);
        known.is_some_and(|known| known.standing > Standing::Pending)
    }

    fn pinned(&self) -> usize {
        let standings = self.devices.values().map(|device| device.standing);
        standings.filter(|it| *it > Standing::Pending).count()
    }
}

impl Pins {
    /// The accounts that are known.
    pub fn accounts(&self) -> &BTreeMap<AccountId, Account> {
        &self.accounts
    }

    /// Compares a credential with what is known, and remembers it: pinned if that is quiet, else pending.
    ///
    /// The credential's signatures have been verified, and it is of the server whose pins these are.
    pub fn observe(&mut self, credential: &Credential, now_ms: u64) -> Sighting {
        let sighting = self.compare(credential);
        let (account, device) = (credential.account, credential.device);
        match sighting {
            Sighting::Known => return sighting,
            Sighting::First | Sighting::Endorsed { .. } => {
                self.set_name(account, &credential.username);
                self.set(account, device, Standing::Accepted, now_ms);
            }
            Sighting::NewDevice { .. }
            | Sighting::NameOfAnother { .. }
            | Sighting::Renamed { .. } => {
                match self.accounts.get_mut(&account) {
                    Some(known) if known.pinned() > 0 => {
                        let is_other = known.name != credential.username;
                        known.claimed = is_other.then(|| credential.username.clone());
                    }
                    _ => self.set_name(account, &credential.username),
                }
                self.set(account, device, Standing::Pending, now_ms);
            }
        }
        self.keep_within_bounds(account);
        sighting
    }

    /// True if the device is pinned for the account, and the account is known by this name: for `--strict-trust`.
    pub fn is_trusted(&self, credential: &Credential) -> bool {
        self.compare(credential) == Sighting::Known
    }

    /// Pins one's own device as verified, so that another device of one's own account is as loud as anybody's.
    pub fn keep_own(
        &mut self,
        account: AccountId,
        name: &Username,
        device: DevicePublicKey,
        now_ms: u64,
    ) {
        self.set_name(account, name);
        self.set(account, device, Standing::Verified, now_ms);
        self.keep_within_bounds(account);
    }

    fn compare(&self, credential: &Credential) -> Sighting {
        let name = &credential.username;
        let account = self.accounts.get(&credential.account);
        let account = account.filter(|account| account.pinned() > 0);
        if account.is_none_or(|account| account.name != *name)
            && let Some(before) = self.holder(name, credential.account)
        {
            return Sighting::NameOfAnother { before };
        }
        let Some(account) = account else {
            return Sighting::First;
        };
        if account.name != *name {
            let before = account.name.clone();
            return Sighting::Renamed { before };
        }
        if account.is_pinned(&credential.device) {
            return Sighting::Known;
        }
        match credential.endorsers().find(|by| account.is_pinned(by)) {
            Some(by) => Sighting::Endorsed { by },
            None => Sighting::NewDevice {
                pinned: account.pinned(),
            },
        }
    }

    /// An account other than `except` that is known by this name, with a pinned device.
    fn holder(&self, name: &Username, except: AccountId) -> Option<AccountId> {
        let mut holders = self.names.get(name)?.iter();
        let is_holder = |id: &&AccountId| **id != except && self.accounts[*id].pinned() > 0;
        holders.find(is_holder).copied()
    }

    /// Gives an account its name, and takes it up if it is not known. A device has to follow.
    pub(super) fn set_name(&mut self, account: AccountId, name: &Username) {
        let known = self.accounts.entry(account).or_insert_with(|| Account {
            name: name.clone(),
            claimed: None,
            devices: BTreeMap::new(),
        });
        known.claimed = None;
        let before = std::mem::replace(&mut known.name, name.clone());
        if before != *name {
            self.unname(account, &before);
        }
        self.names.entry(name.clone()).or_default().insert(account);
    }

    /// Notes that a known account shows another name.
    pub(super) fn set_claimed(&mut self, account: AccountId, claimed: Option<Username>) {
        if let Some(known) = self.accounts.get_mut(&account) {
            known.claimed = claimed;
        }
    }

    /// Gives a device of a known account at least this standing.
    pub(super) fn set(
        &mut self,
        account: AccountId,
        device: DevicePublicKey,
        standing: Standing,
        now_ms: u64,
    ) {
        let Some(known) = self.accounts.get_mut(&account) else {
            return;
        };
        let before = known.devices.get(&device).copied();
        let after = Device {
            first_seen_ms: before.map_or(now_ms, |before| before.first_seen_ms),
            standing: before.map_or(standing, |before| before.standing.max(standing)),
        };
        known.devices.insert(device, after);
        if let Some(before) = before {
            *self.count(before.standing) -= 1;
        }
        *self.count(after.standing) += 1;
    }

    /// Forgets a device, and with the last one its account.
    pub(super) fn remove(&mut self, account: AccountId, device: &DevicePublicKey) {
        let Some(known) = self.accounts.get_mut(&account) else {
            return;
        };
        let removed = known.devices.remove(device);
        if known.devices.is_empty() {
            let name = known.name.clone();
            self.accounts.remove(&account);
            self.unname(account, &name);
        }
        if let Some(removed) = removed {
            *self.count(removed.standing) -= 1;
        }
    }

    fn unname(&mut self, account: AccountId, name: &Username) {
        if let Some(accounts) = self.names.get_mut(name) {
            accounts.remove(&account);
            if accounts.is_empty() {
                self.names.remove(name);
            }
        }
    }

    pub(super) fn count(&mut self, standing: Standing) -> &mut usize {
        match standing {
            Standing::Pending => &mut self.pending,
            Standing::Accepted | Standing::Verified => &mut self.pinned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Person, endorsed};
    use super::*;

    #[test]
    fn the_first_device_of_an_account_is_pinned_and_known_from_then_on() {
        let mut pins = Pins::default();
        let ben = Person::new(1, "ben").credential();
        assert!(!pins.is_trusted(&ben));
        assert_eq!(pins.observe(&ben, 5), Sighting::First);
        assert!(pins.is_trusted(&ben));
        assert_eq!(pins.observe(&ben, 6), Sighting::Known);
        let device = pins.accounts()[&ben.account].devices()[&ben.device];
        assert_eq!(
            (device.first_seen_ms, device.standing),
            (5, Standing::Accepted)
        );
    }

    #[test]
    fn a_device_that_a_pinned_one_endorses_is_pinned() {
        let mut pins = Pins::default();
        let (old, new) = (Person::new(1, "ben"), Person::new(1, "ben"));
        pins.observe(&old.credential(), 1);
        let credential = endorsed(&new, &[&old]);
        let by = old.device.public();
        assert_eq!(pins.observe(&credential, 2), Sighting::Endorsed { by });
        assert_eq!(pins.observe(&new.credential(), 3), Sighting::Known);
    }

    #[test]
    fn a_new_device_is_loud_again_and_again_and_not_trusted() {
        let mut pins = Pins::default();
        pins.observe(&Person::new(1, "ben").credential(), 1);
        let new = Person::new(1, "ben");
        for now in 2..5 {
            let sighting = pins.observe(&new.credential(), now);
            assert_eq!(sighting, Sighting::NewDevice { pinned: 1 });
            assert!(sighting.is_loud() && !pins.is_trusted(&new.credential()));
        }
        let device = pins.accounts()[&new.account].devices()[&new.device.public()];
        assert_eq!(
            (device.first_seen_ms, device.standing),
            (2, Standing::Pending)
        );
    }

    #[test]
    fn a_pending_device_vouches_for_nobody() {
        let mut pins = Pins::default();
        pins.observe(&Person::new(1, "ben").credential(), 1);
        let (thief, other) = (Person::new(1, "ben"), Person::new(1, "ben"));
        pins.observe(&thief.credential(), 2);
        let sighting = pins.observe(&endorsed(&other, &[&thief]), 3);
        assert_eq!(sighting, Sighting::NewDevice { pinned: 1 });
    }

    #[test]
    fn a_pending_device_is_pinned_when_a_pinned_one_endorses_it_later() {
        let mut pins = Pins::default();
        let (old, new) = (Person::new(1, "ben"), Person::new(1, "ben"));
        pins.observe(&old.credential(), 1);
        assert!(pins.observe(&new.credential(), 2).is_loud());
        assert!(!pins.observe(&endorsed(&new, &[&old]), 3).is_loud());
        assert!(pins.is_trusted(&new.credential()));
    }

    #[test]
    fn the_name_of_another_account_is_loud_and_takes_nothing_from_it() {
        let mut pins = Pins::default();
        let (ben, thief) = (Person::new(1, "ben"), Person::new(2, "ben"));
        pins.observe(&ben.credential(), 1);
        for now in 2..4 {
            let sighting = pins.observe(&thief.credential(), now);
            assert_eq!(
                sighting,
                Sighting::NameOfAnother {
                    before: ben.account
                }
            );
            assert!(!pins.is_trusted(&thief.credential()));
        }
        assert_eq!(pins.observe(&ben.credential(), 4), Sighting::Known);
    }

    #[test]
    fn a_pinned_account_under_another_name_is_loud_and_not_trusted() {
        let mut pins = Pins::default();
        let (ben, mut eve) = (Person::new(1, "ben"), Person::new(2, "eve"));
        pins.observe(&ben.credential(), 1);
        pins.observe(&eve.credential(), 1);
        eve.name = "ben".parse().unwrap();
        let before = ben.account;
        let sighting = pins.observe(&eve.credential(), 2);
        assert_eq!(sighting, Sighting::NameOfAnother { before });
        assert!(!pins.is_trusted(&eve.credential()));
        eve.name = "bob".parse().unwrap();
        let before = "eve".parse().unwrap();
        let sighting = pins.observe(&eve.credential(), 3);
        assert_eq!(sighting, Sighting::Renamed { before });
        assert!(sighting.is_loud() && !pins.is_trusted(&eve.credential()));
        eve.name = "eve".parse().unwrap();
        assert_eq!(pins.observe(&eve.credential(), 4), Sighting::Known);
    }

    #[test]
    fn another_device_of_ones_own_account_is_loud() {
        let mut pins = Pins::default();
        let (here, there) = (Person::new(1, "ann"), Person::new(1, "ann"));
        pins.keep_own(here.account, &here.name, here.device.public(), 1);
        assert_eq!(pins.observe(&here.credential(), 1), Sighting::Known);
        let sighting = pins.observe(&there.credential(), 2);
        assert_eq!(sighting, Sighting::NewDevice { pinned: 1 });
    }
}
