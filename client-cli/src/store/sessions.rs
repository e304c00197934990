//! Sessions: one for each server, and which server was last logged in to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{LOCK_TIMEOUT, Lock, Store, StoreError};

const FILE: &str = "sessions.json";
const LOCK: &str = "sessions.lock";

/// A signed-in account at one server.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredSession {
    /// Who.
    pub username: String,
    /// The token, opaque; hexadecimal in the file.
    #[serde(with = "hexadecimal")]
    pub token: Zeroizing<Vec<u8>>,
    /// The session's end in milliseconds since 1970, by the server's clock.
    pub expires_ms: u64,
    /// Exchange the token after this.
    pub refresh_after_ms: u64,
    /// Other nodes of the server, `host:port` each, for when that one is gone.
    pub nodes: Vec<String>,
}

/// All that is in the file.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// The server last logged in to, `host:port`.
    pub last_server: Option<String>,
    by_server: BTreeMap<String, StoredSession>,
}

/// The sessions, and the right to change them.
pub struct LockedSessions<'a> {
    store: &'a Store,
    sessions: Sessions,
    _lock: Lock,
}

impl Store {
    /// Reads the sessions without taking the lock: good enough to look, not to change.
    pub async fn sessions(&self) -> Result<Sessions, StoreError> {
        let Some(text) = self.read(FILE).await? else {
            return Ok(Sessions::default());
        };
        serde_json::from_str(&text).map_err(|error| StoreError::Damaged {
            path: self.path(FILE),
            // Only where: the rest of serde's message would show what stands there.
            reason: format!("line {}, column {}", error.line(), error.column()),
        })
    }

    /// Locks, then reads. A token may only be exchanged while this is held: a second process that used the same token
    /// would revoke the session.
    pub async fn lock_sessions(&self) -> Result<LockedSessions<'_>, StoreError> {
        self.lock_sessions_within(LOCK_TIMEOUT).await
    }

    /// The same, with another time limit for the lock.
    pub async fn lock_sessions_within(
        &self,
        patience: Duration,
    ) -> Result<LockedSessions<'_>, StoreError> {
        let lock = self.lock(LOCK, patience).await?;
        Ok(LockedSessions {
            store: self,
            sessions: self.sessions().await?,
            _lock: lock,
        })
    }
}

impl Sessions {
    /// The session at `server`.
    pub fn get(&self, server: &str) -> Option<&StoredSession> {
        self.by_server.get(server)
    }
}

impl LockedSessions<'_> {
    /// The session at `server`.
    pub fn get(&self, server: &str) -> Option<&StoredSession> {
        self.sessions.get(server)
    }

    /// Keeps a session and makes its server the default.
    pub async fn put(&mut self, server: &str, session: StoredSession) -> Result<(), StoreError> {
        self.sessions.by_server.insert(server.to_owned(), session);
        self.sessions.last_server = Some(server.to_owned());
        self.save().await
    }

    /// Keeps which other nodes the server has.
    pub async fn remember_nodes(
        &mut self,
        server: &str,
        nodes: Vec<String>,
    ) -> Result<(), StoreError> {
        match self.sessions.by_server.get_mut(server) {
            Some(session) => {
                session.nodes = nodes;
                self.save().await
            }
            None => Ok(()),
        }
    }

    /// Forgets the session at `server`.
    pub async fn remove(&mut self, server: &str) -> Result<(), StoreError> {
        match self.sessions.by_server.remove(server) {
            Some(_) => self.save().await,
            None => Ok(()),
        }
    }

    async fn save(&self) -> Result<(), StoreError> {
        let text = serde_json::to_string_pretty(&self.sessions)
            .expect("strings and numbers are always JSON");
        self.store.write(FILE, Zeroizing::new(text)).await
    }
}

mod hexadecimal {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        bytes: &Zeroizing<Vec<u8>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Zeroizing::new(HEXLOWER.encode(bytes)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Zeroizing<Vec<u8>>, D::Error> {
        let text = Zeroizing::new(String::deserialize(from)?);
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(D::Error::custom)?;
        Ok(Zeroizing::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(token: &[u8]) -> StoredSession {
        StoredSession {
            username: "ann".into(),
            token: Zeroizing::new(token.to_vec()),
            expires_ms: 2,
            refresh_after_ms: 1,
            nodes: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_session_is_found_again_and_its_server_is_the_default() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(Some(home.path().join("c"))).await.unwrap();
        store
            .lock_sessions()
            .await
            .unwrap()
            .put("a:1", session(&[1, 255]))
            .await
            .unwrap();
        let sessions = store.sessions().await.unwrap();
        assert_eq!(*sessions.get("a:1").unwrap().token, [1, 255]);
        assert_eq!(sessions.last_server.as_deref(), Some("a:1"));
        let mut locked = store.lock_sessions().await.unwrap();
        locked.remove("a:1").await.unwrap();
        assert!(store.sessions().await.unwrap().get("a:1").is_none());
    }

    #[tokio::test]
    async fn two_writers_lose_nothing_of_each_other() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(Some(home.path().join("c"))).await.unwrap();
        let tasks: Vec<_> = (0..8u8)
            .map(|number| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut sessions = store.lock_sessions().await.unwrap();
                    tokio::task::yield_now().await;
                    sessions
                        .put(&format!("server:{number}"), session(&[number]))
                        .await
                        .unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let sessions = store.sessions().await.unwrap();
        assert!((0..8).all(|number| sessions.get(&format!("server:{number}")).is_some()));
    }

    #[tokio::test]
    async fn a_damaged_file_is_named_and_its_content_is_not_shown() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(Some(home.path().join("c"))).await.unwrap();
        let damaged = "{\"last_server\": \"deadbeef\", \"by_server\": 3}";
        let written = store.write(FILE, Zeroizing::new(damaged.to_owned()));
        written.await.unwrap();
        let message = store.sessions().await.err().unwrap().to_string();
        assert!(
            message.contains(FILE) && !message.contains("deadbeef"),
            "{message}"
        );
    }
}
