//! The keys of this device: one for each account at each server, and one for all that come as guests to a server. Whoever has one can pass for this device.
//!
//! A text file, one key a line: the server's id (32 hexadecimal digits), the account's (32), its name, and the seed of the
//! Ed25519 key (64), then up to four endorsements of the device by others of the account (192 each).

use confab_e2ee::mls::identity::{DeviceKey, Endorsement, MAX_ENDORSEMENTS, ServerId};
use confab_e2ee::mls::signing::SEED_LEN;
use confab_protocol::control::{AccountId, Username};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{LOCK_TIMEOUT, Store, StoreError};

/// The account of the key for guests: no account has this id.
const GUESTS: AccountId = AccountId::new([0; 16]);
/// Its name: the form of the file wants one.
const GUESTS_NAME: &str = "guest~aaaa";

const FILE: &str = "device_keys";
const LOCK: &str = "device_keys.lock";

/// Bytes of a line without the name and endorsements: two ids of 32 digits, a seed, and what is between them.
const LINE: usize = 32 + 32 + 2 * SEED_LEN + 4;

/// The key of this device for an account.
#[derive(Debug)]
pub struct AccountKey {
    /// The account.
    pub account: AccountId,
    /// Its name, when the key was used last.
    pub name: Username,
    /// The key.
    pub key: DeviceKey,
    /// Other devices of the account that vouch for this one.
    pub endorsements: Vec<Endorsement>,
}

struct Entry {
    server: ServerId,
    account: AccountId,
    name: Username,
    seed: Zeroizing<[u8; SEED_LEN]>,
    endorsements: Vec<Endorsement>,
}

impl From<&Entry> for AccountKey {
    fn from(entry: &Entry) -> Self {
        Self {
            account: entry.account,
            name: entry.name.clone(),
            key: DeviceKey::from_seed(&entry.seed),
            endorsements: entry.endorsements.clone(),
        }
    }
}

impl Store {
    /// This device's key for an account. It is made, and stored, if there is none.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, or is damaged. A new key in place of a damaged one would look like a stolen account to
    /// others.
    pub async fn device_key(
        &self,
        server: ServerId,
        account: AccountId,
        name: &Username,
    ) -> Result<AccountKey, StoreError> {
        let is_it = |entry: &Entry| entry.server == server && entry.account == account;
        let entries = self.device_keys().await?;
        if let Some(known) = entries.iter().find(|entry| is_it(entry))
            && known.name == *name
        {
            return Ok(known.into());
        }
        let _lock = self.lock(LOCK, LOCK_TIMEOUT).await?;
        // Another process may have made it meanwhile.
        let mut entries = self.device_keys().await?;
        let key = match entries.iter_mut().find(|entry| is_it(entry)) {
            Some(known) => {
                known.name = name.clone();
                AccountKey::from(&*known)
            }
            None => {
                let mut seed = Zeroizing::new([0; SEED_LEN]);
                crate::random::fill(seed.as_mut());
                let entry = Entry {
                    server,
                    account,
                    name: name.clone(),
                    seed,
                    endorsements: Vec::new(),
                };
                let key = AccountKey::from(&entry);
                entries.push(entry);
                key
            }
        };
        self.write(FILE, to_text(&entries)).await?;
        Ok(key)
    }

    /// This device's key for guests of a server, whatever their names. It is made, and stored, if there is none.
    ///
    /// # Errors
    ///
    /// As for [`device_key`](Self::device_key).
    pub async fn guest_key(&self, server: ServerId) -> Result<DeviceKey, StoreError> {
        let name = GUESTS_NAME.parse().expect("it has the form of a name");
        Ok(self.device_key(server, GUESTS, &name).await?.key)
    }

    /// This device's key for the account of this name, if there is one.
    pub async fn find_device_key(
        &self,
        server: ServerId,
        name: &Username,
    ) -> Result<Option<AccountKey>, StoreError> {
        let entries = self.device_keys().await?.into_iter();
        // The one that was made last, if the name was given to another account.
        let found = entries
            .rev()
            .find(|entry| entry.server == server && entry.name == *name);
        Ok(found.as_ref().map(AccountKey::from))
    }

    /// Keeps an endorsement of this device for an account, in place of an earlier one by the same device, or of the oldest if
    /// there are [`MAX_ENDORSEMENTS`]. False if this device has no key for the account.
    pub async fn add_endorsement(
        &self,
        server: ServerId,
        account: AccountId,
        endorsement: Endorsement,
    ) -> Result<bool, StoreError> {
        let _lock = self.lock(LOCK, LOCK_TIMEOUT).await?;
        let mut entries = self.device_keys().await?;
        let is_it = |entry: &&mut Entry| entry.server == server && entry.account == account;
        let Some(entry) = entries.iter_mut().find(is_it) else {
            return Ok(false);
        };
        entry.endorsements.retain(|one| one.by != endorsement.by);
        if entry.endorsements.len() == MAX_ENDORSEMENTS {
            entry.endorsements.remove(0);
        }
        entry.endorsements.push(endorsement);
        self.write(FILE, to_text(&entries)).await?;
        Ok(true)
    }

    async fn device_keys(&self) -> Result<Vec<Entry>, StoreError> {
        let text = Zeroizing::new(self.read(FILE).await?.unwrap_or_default());
        let mut entries: Vec<Entry> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let same = |entry: &Entry, other: &Entry| {
                entry.server == other.server && entry.account == other.account
            };
            let entry = parse(line).filter(|new| !entries.iter().any(|one| same(one, new)));
            entries.push(entry.ok_or_else(|| StoreError::DamagedKeys {
                path: self.path(FILE),
                line: index + 1,
            })?);
        }
        Ok(entries)
    }
}

fn to_text(entries: &[Entry]) -> Zeroizing<String> {
    // With room for all of it: a string that grows would leave seeds behind.
    let length = entries.iter().map(|one| {
        let endorsements = one.endorsements.len() * (1 + 2 * Endorsement::LEN);
        LINE + one.name.as_str().len() + endorsements
    });
    let mut text = Zeroizing::new(String::with_capacity(length.sum()));
    for entry in entries {
        HEXLOWER.encode_append(&entry.server.0, &mut text);
        text.push(' ');
        HEXLOWER.encode_append(entry.account.as_bytes(), &mut text);
        text.push(' ');
        text.push_str(entry.name.as_str());
        text.push(' ');
        HEXLOWER.encode_append(&entry.seed[..], &mut text);
        for endorsement in &entry.endorsements {
            text.push(' ');
            HEXLOWER.encode_append(&endorsement.to_bytes(), &mut text);
        }
        text.push('\n');
    }
    text
}

fn parse(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let mut next = || words.next();
    let (server, account, name, seed) = (next()?, next()?, next()?, next()?);
    let endorsements: Option<Vec<_>> = words
        .map(|word| bytes(word).map(|bytes| Endorsement::from_bytes(&bytes)))
        .collect();
    Some(Entry {
        server: ServerId(*bytes(server)?),
        account: AccountId::new(*bytes(account)?),
        name: name.parse().ok()?,
        seed: bytes(seed)?,
        endorsements: endorsements.filter(|all| all.len() <= MAX_ENDORSEMENTS)?,
    })
}

fn bytes<const N: usize>(digits: &str) -> Option<Zeroizing<[u8; N]>> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = Zeroizing::new([0; N]);
    let decoded = HEXLOWER.decode_mut(digits.as_bytes(), bytes.as_mut());
    decoded.is_ok().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::testing::store;
    use super::*;
    use proptest::prelude::*;

    const SERVER: ServerId = ServerId([1; 16]);

    fn ann() -> Username {
        "ann".parse().unwrap()
    }

    async fn key(store: &Store, server: ServerId, account: u8) -> [u8; 32] {
        let account = AccountId::new([account; 16]);
        let own = store.device_key(server, account, &ann()).await.unwrap();
        own.key.public().0
    }

    #[tokio::test]
    async fn a_device_has_one_key_for_each_account_and_server() {
        let (store, _home) = store().await;
        let first = key(&store, SERVER, 1).await;
        assert_ne!(key(&store, SERVER, 2).await, first);
        assert_ne!(key(&store, ServerId([2; 16]), 1).await, first);
        assert_eq!(key(&store, SERVER, 1).await, first);
    }

    #[tokio::test]
    async fn a_key_is_found_by_the_name_that_its_account_has_now() {
        let (store, _home) = store().await;
        let public = key(&store, SERVER, 1).await;
        let account = AccountId::new([1; 16]);
        let anna = "anna".parse().unwrap();
        store.device_key(SERVER, account, &anna).await.unwrap();
        let found = store.find_device_key(SERVER, &anna).await.unwrap().unwrap();
        assert_eq!((found.account, found.key.public().0), (account, public));
        let by_old = store.find_device_key(SERVER, &ann()).await.unwrap();
        assert!(by_old.is_none());
    }

    #[tokio::test]
    async fn the_last_four_endorsements_of_a_device_are_kept() {
        let (store, _home) = store().await;
        let account = AccountId::new([1; 16]);
        let own = store.device_key(SERVER, account, &ann()).await.unwrap();
        let device = own.key.public();
        let older: Vec<_> = (0..6).map(|_| DeviceKey::generate()).collect();
        let endorse = |by: &DeviceKey| Endorsement::sign(by, SERVER, account, device);
        for by in older.iter().chain(&older[5..]) {
            let added = store.add_endorsement(SERVER, account, endorse(by)).await;
            assert!(added.unwrap());
        }
        key(&store, SERVER, 2).await;
        let own = store.device_key(SERVER, account, &ann()).await.unwrap();
        let expected: Vec<_> = older[2..].iter().map(endorse).collect();
        assert_eq!(own.endorsements, expected);
        assert!(own.endorsements[0].is_valid(SERVER, account, device));
        let other = AccountId::new([9; 16]);
        let added = store.add_endorsement(SERVER, other, expected[0]).await;
        assert!(!added.unwrap(), "there is no key of that account");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn keys_are_readable_by_their_user_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let (store, _home) = store().await;
        key(&store, SERVER, 1).await;
        let mode = std::fs::metadata(store.path(FILE)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_damaged_file_is_never_replaced_and_its_content_is_not_shown() {
        let (store, _home) = store().await;
        key(&store, SERVER, 1).await;
        let whole = store.read(FILE).await.unwrap().unwrap();
        let damaged = [
            whole[..whole.len() - 3].to_owned(),
            whole.replacen(' ', "", 1),
            whole.replace('\n', " x\n"),
            format!("{whole}{whole}"),
            format!("{whole}\n"),
        ];
        for text in damaged {
            let text = Zeroizing::new(text);
            store.write(FILE, text.clone()).await.unwrap();
            let account = AccountId::new([2; 16]);
            let error = store.device_key(SERVER, account, &ann()).await.unwrap_err();
            assert!(
                matches!(error, StoreError::DamagedKeys { .. }),
                "{error:?} of {text:?}"
            );
            let message = error.to_string();
            let seed = whole.split(' ').next_back().unwrap().trim();
            assert!(message.contains(FILE) && !message.contains(&seed[..8]));
            assert!(!message.contains("  "), "{message}");
            assert_eq!(store.read(FILE).await.unwrap().unwrap(), *text);
        }
    }

    #[tokio::test]
    async fn two_processes_at_once_get_the_same_key_and_lose_none() {
        let (store, home) = store().await;
        let mut tasks = Vec::new();
        for account in [1, 1, 2, 3, 3, 4, 1, 2] {
            // A store of its own, as another process has.
            let other = Store::open(Some(home.path().join("c"))).await.unwrap();
            tasks.push(tokio::spawn(async move {
                (account, key(&other, SERVER, account).await)
            }));
        }
        for task in tasks {
            let (account, public) = task.await.unwrap();
            assert_eq!(key(&store, SERVER, account).await, public);
        }
        assert_eq!(store.read(FILE).await.unwrap().unwrap().lines().count(), 4);
    }

    proptest! {
        #[test]
        fn any_line_is_read_as_it_was_written_or_refused(line in "([0-9a-f]{32} ){2}[a-z]{3,32} [0-9a-f]{64}( [0-9a-f]{192}){0,5}|\\PC{0,160}") {
            if let Some(entry) = parse(&line) {
                let text = to_text(&[entry]);
                prop_assert_eq!(text.trim_end().to_owned(), line.to_ascii_lowercase());
            }
        }
    }
}
