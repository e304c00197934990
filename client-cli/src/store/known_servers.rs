//! Servers seen before: the certificate authority that each showed at first sight.
//!
//! A text file, one server a line: `host:port sha256:HEX`. A line may be deleted by hand to trust the server anew.

use std::path::PathBuf;

use super::{Store, StoreError};
use crate::net::Fingerprint;

const FILE: &str = "known_servers";
const LOCK: &str = "known_servers.lock";

impl Store {
    /// Where the pins are kept.
    pub fn known_servers_path(&self) -> PathBuf {
        self.path(FILE)
    }

    /// The pin of `server` (`host:port`), if it was seen before.
    pub fn pin(&self, server: &str) -> Result<Option<Fingerprint>, StoreError> {
        let text = self.read(FILE)?.unwrap_or_default();
        let Some(pin) = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(name, _)| *name == server)
        else {
            return Ok(None);
        };
        match pin.1.trim().parse() {
            Ok(pin) => Ok(Some(pin)),
            Err(error) => Err(StoreError::Damaged {
                path: self.path(FILE),
                reason: error.to_string(),
            }),
        }
    }

    /// Remembers the pin of `server`. One that another process kept meanwhile stays.
    pub async fn remember_pin(&self, server: &str, pin: Fingerprint) -> Result<(), StoreError> {
        let _lock = self.lock(LOCK).await?;
        if self.pin(server)?.is_some() {
            return Ok(());
        }
        let mut text = self.read(FILE)?.unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{server} {pin}\n"));
        self.write(FILE, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_pin_of_a_server_stays() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(Some(home.path().join("c"))).unwrap();
        let (one, two) = (Fingerprint::of(b"one"), Fingerprint::of(b"two"));
        assert_eq!(store.pin("a:1").unwrap(), None);
        store.remember_pin("a:1", one).await.unwrap();
        store.remember_pin("a:1", two).await.unwrap();
        store.remember_pin("b:1", two).await.unwrap();
        assert_eq!(store.pin("a:1").unwrap(), Some(one));
        assert_eq!(store.pin("b:1").unwrap(), Some(two));
    }

    #[test]
    fn a_damaged_pin_is_not_taken_for_none() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(Some(home.path().join("c"))).unwrap();
        store.write(FILE, "a:1 sha256:xyz\n").unwrap();
        assert!(store.pin("a:1").is_err());
    }
}
