//! How many devices are kept. A server, or a room, can show as many as it likes.
//!
//! Pinned and pending devices are counted apart: else a server could show a person many new devices until the pinned one is
//! forgotten, and the next one would be quiet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::AccountId;

use super::pins::{Pins, Standing};

/// Share of the pinned devices of a server that goes at once, so that a full file is not sorted for each newcomer.
const FORGOTTEN_SHARE: usize = 16;

impl Pins {
    /// Most pinned devices at one server: more than a full room has. Beyond it the oldest that are not verified are forgotten.
    pub const MAX_DEVICES: usize = 16_384;
    /// Most pinned devices of one account.
    pub const MAX_DEVICES_OF_ACCOUNT: usize = 16;
    /// Most pending devices at one server; the oldest go.
    pub const MAX_PENDING: usize = 256;
    /// Most pending devices of one account.
    pub const MAX_PENDING_OF_ACCOUNT: usize = 8;

    /// Forgets devices that are too many, after those of `account` have changed.
    pub(super) fn keep_within_bounds(&mut self, account: AccountId) {
        while let Some(device) = self.too_many_of(account) {
            self.remove(account, &device);
        }
        self.keep_server_within_bounds();
    }

    /// The same for all accounts.
    pub(super) fn keep_all_within_bounds(&mut self) {
        let accounts: Vec<_> = self.accounts().keys().copied().collect();
        for account in accounts {
            self.keep_within_bounds(account);
        }
    }

    fn keep_server_within_bounds(&mut self) {
        if *self.count(Standing::Pending) > Self::MAX_PENDING {
            let surplus = *self.count(Standing::Pending) - Self::MAX_PENDING;
            self.forget_oldest(surplus, |standing| standing == Standing::Pending);
        }
        if *self.count(Standing::Accepted) > Self::MAX_DEVICES {
            let kept = Self::MAX_DEVICES - Self::MAX_DEVICES / FORGOTTEN_SHARE;
            let surplus = *self.count(Standing::Accepted) - kept;
            self.forget_oldest(surplus, |standing| standing > Standing::Pending);
        }
    }

    /// The device of an account to be forgotten first, if it has too many.
    fn too_many_of(&self, account: AccountId) -> Option<DevicePublicKey> {
        let devices = self.accounts().get(&account)?.devices();
        let of_kind = |is_pending: bool| {
            let is_such = move |standing| (standing == Standing::Pending) == is_pending;
            devices.iter().filter(move |(_, it)| is_such(it.standing))
        };
        let is_pending = if of_kind(true).count() > Self::MAX_PENDING_OF_ACCOUNT {
            true
        } else if of_kind(false).count() > Self::MAX_DEVICES_OF_ACCOUNT {
            false
        } else {
            return None;
        };
        let oldest = of_kind(is_pending).min_by_key(|(_, it)| (it.standing, it.first_seen_ms));
        oldest.map(|(key, _)| *key)
    }

    /// Forgets so many devices of the standings that are meant: the oldest, and verified ones last.
    fn forget_oldest(&mut self, surplus: usize, is_meant: impl Fn(Standing) -> bool) {
        let devices = self.accounts().iter().flat_map(|(id, account)| {
            let of_account = account.devices().iter();
            of_account.map(|(key, it)| (it.standing, it.first_seen_ms, *id, *key))
        });
        let mut by_age: BinaryHeap<_> = devices
            .filter(|(standing, ..)| is_meant(*standing))
            .map(Reverse)
            .collect();
        for _ in 0..surplus {
            let Some(Reverse((_, _, account, device))) = by_age.pop() else {
                return;
            };
            self.remove(account, &device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sighting;
    use super::super::testing::{Person, cheap};
    use super::*;

    fn pinned(pins: &Pins) -> usize {
        let accounts = pins.accounts().values();
        accounts.map(|account| account.devices().len()).sum()
    }

    #[test]
    fn new_devices_without_end_do_not_displace_the_pinned_one() {
        let mut pins = Pins::default();
        let ben = Person::new(1, "ben");
        pins.observe(&ben.credential(), 1);
        let mut last = None;
        for now in 2..40 {
            let new = Person::new(1, "ben").credential();
            assert_eq!(pins.observe(&new, now), Sighting::NewDevice { pinned: 1 });
            last = Some(new);
        }
        assert_eq!(pins.observe(&ben.credential(), 50), Sighting::Known);
        let devices = pins.accounts()[&ben.account].devices();
        assert_eq!(devices.len(), 1 + Pins::MAX_PENDING_OF_ACCOUNT);
        assert!(devices.contains_key(&last.unwrap().device));
    }

    #[test]
    fn an_account_has_so_many_pinned_devices_and_verified_ones_stay() {
        let mut pins = Pins::default();
        let verified = cheap(1, 0);
        pins.set_name(verified.0, &"ben".parse().unwrap());
        pins.set(verified.0, verified.1, Standing::Verified, 0);
        for number in 1..40 {
            let (account, device) = cheap(1, number);
            pins.set(account, device, Standing::Accepted, number.into());
            pins.keep_within_bounds(account);
        }
        let devices = pins.accounts()[&verified.0].devices();
        assert_eq!(devices.len(), Pins::MAX_DEVICES_OF_ACCOUNT);
        assert!(devices.contains_key(&verified.1) && devices.contains_key(&cheap(1, 39).1));
        assert!(!devices.contains_key(&cheap(1, 1).1));
    }

    #[test]
    fn a_server_has_so_many_pinned_devices_and_the_oldest_unverified_go_first() {
        let mut pins = Pins::default();
        for number in 0..=Pins::MAX_DEVICES as u32 {
            let (account, device) = cheap(number, 0);
            let name = format!("user{number}").parse().unwrap();
            let standing = match number {
                0 => Standing::Verified,
                _ => Standing::Accepted,
            };
            pins.set_name(account, &name);
            pins.set(account, device, standing, number.into());
            pins.keep_within_bounds(account);
        }
        let left = Pins::MAX_DEVICES - Pins::MAX_DEVICES / FORGOTTEN_SHARE;
        assert_eq!(pinned(&pins), left);
        let is_known = |number| pins.accounts().contains_key(&cheap(number, 0).0);
        assert!(is_known(0) && !is_known(1) && is_known(Pins::MAX_DEVICES as u32));
    }

    #[test]
    fn a_server_has_so_many_pending_devices() {
        let mut pins = Pins::default();
        pins.observe(&Person::new(0, "ben").credential(), 0);
        for number in 1..=Pins::MAX_PENDING as u32 + 5 {
            let (account, device) = cheap(number, 0);
            pins.set_name(account, &"ben".parse().unwrap());
            pins.set(account, device, Standing::Pending, number.into());
            pins.keep_within_bounds(account);
        }
        assert_eq!(pinned(&pins), 1 + Pins::MAX_PENDING);
        assert!(!pins.accounts().contains_key(&cheap(5, 0).0));
        assert!(pins.accounts().contains_key(&cheap(6, 0).0));
    }
}
