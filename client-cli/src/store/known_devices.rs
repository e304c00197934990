//! The devices of others that were seen, a file for each server.

use std::path::PathBuf;

use confab_e2ee::mls::Credential;
use confab_e2ee::mls::identity::ServerId;
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{LOCK_TIMEOUT, Lock, Store, StoreError};
use crate::identity::Pins;

const LOCK: &str = "known_devices.lock";

/// The pins of a server, and the right to change them.
pub struct LockedPins<'a> {
    /// What was stored when the lock was taken.
    pub pins: Pins,
    store: &'a Store,
    server: ServerId,
    _lock: Lock,
}

impl Store {
    /// Reads the pins of a server without the lock: good enough to look, not to change.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, or is damaged. A damaged line cannot be skipped: a new device would be quiet.
    pub async fn pins(&self, server: ServerId) -> Result<Pins, StoreError> {
        let text = self.read(&file(server)).await?.unwrap_or_default();
        Pins::parse(&text).map_err(|error| StoreError::DamagedPins {
            path: self.known_devices_path(server),
            line: error.line,
        })
    }

    /// Locks, then reads.
    pub async fn lock_pins(&self, server: ServerId) -> Result<LockedPins<'_>, StoreError> {
        let lock = self.lock(LOCK, LOCK_TIMEOUT).await?;
        Ok(LockedPins {
            pins: self.pins(server).await?,
            store: self,
            server,
            _lock: lock,
        })
    }

    /// Stores what a call has seen, beside what other processes have stored meanwhile. Gives all of it, for
    /// [`Watch::refresh`](crate::identity::Watch::refresh).
    pub async fn pin(
        &self,
        server: ServerId,
        seen: &[Credential],
        now_ms: u64,
    ) -> Result<Pins, StoreError> {
        let mut locked = self.lock_pins(server).await?;
        for credential in seen {
            locked.pins.observe(credential, now_ms);
        }
        locked.save().await
    }

    /// Where the pins of a server are kept.
    pub fn known_devices_path(&self, server: ServerId) -> PathBuf {
        self.path(&file(server))
    }
}

impl LockedPins<'_> {
    /// Stores them, and gives the lock back.
    pub async fn save(self) -> Result<Pins, StoreError> {
        let text = Zeroizing::new(self.pins.to_text());
        self.store.write(&file(self.server), text).await?;
        Ok(self.pins)
    }
}

fn file(server: ServerId) -> String {
    format!("known_devices.{}", HEXLOWER.encode(&server.0))
}

#[cfg(test)]
mod tests {
    use super::super::testing::store;
    use super::*;
    use crate::identity::Sighting;
    use crate::identity::testing::{Person, SERVER};

    #[tokio::test]
    async fn a_device_is_known_after_it_was_stored_and_at_this_server_only() {
        let (store, _home) = store().await;
        let ben = Person::new(1, "ben").credential();
        let stored = store.pin(SERVER, std::slice::from_ref(&ben), 5).await;
        assert_eq!(store.pins(SERVER).await.unwrap(), stored.unwrap());
        let mut pins = store.pins(SERVER).await.unwrap();
        assert_eq!(pins.observe(&ben, 6), Sighting::Known);
        let elsewhere = store.pins(ServerId([8; 16])).await.unwrap();
        assert_eq!(elsewhere, Pins::default());
    }

    #[tokio::test]
    async fn two_processes_at_once_lose_nothing_of_each_other() {
        let (store, home) = store().await;
        let mut tasks = Vec::new();
        for account in 0..8 {
            // A store of its own, as another process has.
            let other = Store::open(Some(home.path().join("c"))).await.unwrap();
            let credential = Person::new(account, &format!("user{account}")).credential();
            tasks.push(tokio::spawn(async move {
                other.pin(SERVER, &[credential], 1).await.unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(store.pins(SERVER).await.unwrap().accounts().len(), 8);
    }

    #[tokio::test]
    async fn of_two_first_devices_at_once_one_is_pinned_and_the_other_is_loud() {
        let (store, _home) = store().await;
        let people = [(); 2].map(|()| Person::new(1, "ben").credential());
        for credential in &people {
            let seen = std::slice::from_ref(credential);
            store.pin(SERVER, seen, 1).await.unwrap();
        }
        let mut pins = store.pins(SERVER).await.unwrap();
        assert_eq!(pins.observe(&people[0], 2), Sighting::Known);
        let loud = Sighting::NewDevice { pinned: 1 };
        assert_eq!(pins.observe(&people[1], 2), loud);
    }

    #[tokio::test]
    async fn a_damaged_file_is_an_error_and_stays_as_it_is() {
        let (store, _home) = store().await;
        let (name, damaged) = (file(SERVER), "account 00 ben\n");
        let text = Zeroizing::new(damaged.to_owned());
        store.write(&name, text).await.unwrap();
        let ben = Person::new(1, "ben").credential();
        let error = store.pin(SERVER, &[ben], 5).await.unwrap_err();
        assert!(matches!(error, StoreError::DamagedPins { line: 1, .. }));
        let message = error.to_string();
        assert!(message.contains("known_devices."), "{message}");
        assert!(!message.contains("  "), "{message}");
        let left = store.read(&name).await.unwrap();
        assert_eq!(left.as_deref(), Some(damaged));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_file_is_readable_by_its_user_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let (store, _home) = store().await;
        store.pin(SERVER, &[], 5).await.unwrap();
        let path = store.known_devices_path(SERVER);
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
