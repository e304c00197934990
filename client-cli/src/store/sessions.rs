//! Sessions: one for each server, and which server was last logged in to. Beside them the device cookies, which outlive a session.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::cookies::DeviceCookies;
use super::{LOCK_TIMEOUT, Lock, Store, StoreError, hexadecimal};

const FILE: &str = "sessions.json";
const LOCK: &str = "sessions.lock";

/// A signed-in account at one server.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredSession {
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

/// The content of the file.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// The server last logged in to, `host:port`.
    pub last_server: Option<String>,
    by_server: BTreeMap<String, StoredSession>,
    cookies: BTreeMap<String, DeviceCookies>,
}

/// The session and cookie of a login, to be stored.
#[derive(Clone)]
pub struct NewSession {
    pub session: StoredSession,
    pub email: String,
    /// The device cookie; empty: none.
    pub cookie: Zeroizing<Vec<u8>>,
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

    /// The device cookie of the account at `server` with this name or address, as typed.
    pub fn cookie(&self, server: &str, name: &str) -> Option<&[u8]> {
        self.cookies.get(server)?.find(name)
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

    /// Stores the session and cookie of a login, and makes its server the default.
    pub async fn begin(&mut self, server: &str, new: NewSession) -> Result<(), StoreError> {
        if !new.cookie.is_empty() {
            let cookies = self.sessions.cookies.entry(server.to_owned()).or_default();
            cookies.keep(&new.session.username, &new.email, new.cookie);
        }
        self.put(server, new.session).await
    }

    /// Stores the other nodes of the server.
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

    /// Forgets the session at `server`. The device stays known there.
    pub async fn remove(&mut self, server: &str) -> Result<(), StoreError> {
        match self.sessions.by_server.remove(server) {
            Some(_) => self.save().await,
            None => Ok(()),
        }
    }

    /// Forgets the session at `server`, whose account is deleted, and that account's device cookie.
    pub async fn remove_account(&mut self, server: &str) -> Result<(), StoreError> {
        if let Some(session) = self.sessions.by_server.get(server)
            && let Some(cookies) = self.sessions.cookies.get_mut(server)
        {
            cookies.forget(&session.username);
        }
        self.remove(server).await
    }

    async fn save(&self) -> Result<(), StoreError> {
        let text = serde_json::to_string_pretty(&self.sessions)
            .expect("strings and numbers are always JSON");
        self.store.write(FILE, Zeroizing::new(text)).await
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
    async fn a_device_stays_known_after_a_logout_and_not_after_the_account_is_deleted() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(Some(home.path().join("c"))).await.unwrap();
        let new = |cookie: &[u8]| NewSession {
            session: session(&[1]),
            email: "ann@example.org".into(),
            cookie: Zeroizing::new(cookie.to_vec()),
        };
        let mut locked = store.lock_sessions().await.unwrap();
        locked.begin("a:1", new(&[7])).await.unwrap();
        // The server says nothing of a cookie that the device has already.
        locked.begin("a:1", new(&[])).await.unwrap();
        locked.remove("a:1").await.unwrap();
        let sessions = store.sessions().await.unwrap();
        assert_eq!(sessions.cookie("a:1", "Ann@example.org"), Some(&[7][..]));
        assert_eq!(sessions.cookie("b:1", "ann"), None);
        locked.begin("a:1", new(&[8])).await.unwrap();
        locked.remove_account("a:1").await.unwrap();
        assert_eq!(store.sessions().await.unwrap().cookie("a:1", "ann"), None);
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
