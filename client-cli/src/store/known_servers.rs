//! Servers seen before, and how each was trusted.
//!
//! A text file, one server a line: `host:port sha256:HEX` where the cluster's authority is pinned, or
//! `host:port public sha256:HEX` where a public authority vouches for the host; the fingerprint is the cluster's authority
//! then too, for the server's other nodes.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{LOCK_TIMEOUT, Store, StoreError};
use crate::net::Remembered;

const FILE: &str = "known_servers";
const LOCK: &str = "known_servers.lock";

/// The marker between a server and its fingerprint, for servers under a public authority.
const PUBLIC: &str = "public";

impl Store {
    /// Where it is kept.
    pub fn known_servers_path(&self) -> PathBuf {
        self.path(FILE)
    }

    /// How `server` (`host:port`) was trusted, if it was seen before.
    pub async fn known_server(&self, server: &str) -> Result<Option<Remembered>, StoreError> {
        let text = self.read(FILE).await?.unwrap_or_default();
        let Some(how) = text.lines().find_map(|line| how_of(line, server)) else {
            return Ok(None);
        };
        parse(how).map(Some).ok_or_else(|| StoreError::BadEntry {
            path: self.path(FILE),
            server: server.to_owned(),
        })
    }

    /// Remembers how `server` was trusted when it was seen for the first time. What another process remembered meanwhile
    /// stays, and is what comes back.
    pub async fn remember_server(
        &self,
        server: &str,
        how: Remembered,
    ) -> Result<Remembered, StoreError> {
        let _lock = self.lock(LOCK, LOCK_TIMEOUT).await?;
        match self.known_server(server).await? {
            Some(known) => Ok(known),
            None => {
                self.write_entry(server, how).await?;
                Ok(how)
            }
        }
    }

    /// Remembers that `server` is trusted in this way from now on, whatever was known before.
    pub async fn replace_server(&self, server: &str, how: Remembered) -> Result<(), StoreError> {
        let _lock = self.lock(LOCK, LOCK_TIMEOUT).await?;
        self.write_entry(server, how).await
    }

    async fn write_entry(&self, server: &str, how: Remembered) -> Result<(), StoreError> {
        let mut text = String::new();
        for line in self.read(FILE).await?.unwrap_or_default().lines() {
            if how_of(line, server).is_none() {
                text.push_str(line);
                text.push('\n');
            }
        }
        let how = match how {
            Remembered::Public { authority } => format!("{PUBLIC} {authority}"),
            Remembered::Pinned(pin) => pin.to_string(),
        };
        text.push_str(&format!("{server} {how}\n"));
        self.write(FILE, Zeroizing::new(text)).await
    }
}

/// The entry of `server` in a line; `None` when the line is about another one.
fn how_of<'a>(line: &'a str, server: &str) -> Option<&'a str> {
    let how = line.strip_prefix(server)?;
    let is_whole = how.is_empty() || how.starts_with(char::is_whitespace);
    is_whole.then(|| how.trim())
}

fn parse(how: &str) -> Option<Remembered> {
    match how.split_once(' ') {
        Some((PUBLIC, authority)) => Some(Remembered::Public {
            authority: authority.trim().parse().ok()?,
        }),
        Some(_) => None,
        None => how.parse().ok().map(Remembered::Pinned),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::store;
    use super::*;
    use crate::net::Fingerprint;

    #[tokio::test]
    async fn the_first_remembered_trust_stays_until_it_is_replaced() {
        let (store, _home) = store().await;
        let pinned = |name: &str| Remembered::Pinned(Fingerprint::of(name.as_bytes()));
        let public = Remembered::Public {
            authority: Fingerprint::of(b"cluster"),
        };
        assert_eq!(store.known_server("a:1").await.unwrap(), None);
        let kept = store.remember_server("a:1", pinned("one")).await.unwrap();
        assert_eq!(kept, pinned("one"));
        let kept = store.remember_server("a:1", pinned("two")).await.unwrap();
        assert_eq!(kept, pinned("one"));
        store.remember_server("b:1", public).await.unwrap();
        assert_eq!(
            store.known_server("a:1").await.unwrap(),
            Some(pinned("one"))
        );
        assert_eq!(store.known_server("b:1").await.unwrap(), Some(public));
        store.replace_server("a:1", public).await.unwrap();
        store.replace_server("b:1", pinned("two")).await.unwrap();
        assert_eq!(store.known_server("a:1").await.unwrap(), Some(public));
        assert_eq!(
            store.known_server("b:1").await.unwrap(),
            Some(pinned("two"))
        );
        assert_eq!(store.read(FILE).await.unwrap().unwrap().lines().count(), 2);
    }

    #[tokio::test]
    async fn a_damaged_entry_is_not_taken_for_none_and_can_be_replaced() {
        let (store, _home) = store().await;
        let pin = Remembered::Pinned(Fingerprint::of(b"x"));
        for damaged in [
            " sha256:xyz",
            " public",
            " public sha256:",
            " private sha256:00",
            " ",
            "",
        ] {
            let text = Zeroizing::new(format!("a:1{damaged}\nb:1 x\n"));
            store.write(FILE, text).await.unwrap();
            assert!(store.known_server("a:1").await.is_err(), "{damaged:?}");
            assert!(store.remember_server("a:1", pin).await.is_err());
            store.replace_server("a:1", pin).await.unwrap();
            assert_eq!(store.known_server("a:1").await.unwrap(), Some(pin));
            assert!(
                store.known_server("b:1").await.is_err(),
                "the other line stays"
            );
        }
    }
}
