//! A connection that speaks for an account.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use confab_protocol::control::{ErrorCode, TOKEN_LEN, Username};
use confab_protocol::wire::{self, request};
use zeroize::Zeroizing;

use super::fixed_token::FixedToken;
use super::node_list::parse_nodes;
use super::trust::{PinSource, Remembered, Trust, TrustError};
use super::{ApiError, ConnectError, Link, Nodes, Server};
use crate::stderr::print_on_stderr;
use crate::store::sessions::{LockedSessions, NewSession, StoredSession};
use crate::store::{LOCK_TIMEOUT, Store, StoreError};

/// Time limit for a node that another one redirected to. It may have died a moment ago.
const FOLLOW_TIMEOUT: Duration = Duration::from_millis(1500);

/// Time limit for the lock when the session in memory can be used instead.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Margin before the due time of a token, for differences between clocks.
const DUE_MARGIN: Duration = Duration::from_secs(60);

/// Why a connection is not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Never logged in here.
    #[error("not logged in at {0}: log in with `confab --server {0} login NAME`")]
    NotLoggedIn(String),
    /// The session is over.
    #[error("the session at {0} is over: log in again with `confab --server {0} login NAME`")]
    SessionOver(String),
    /// The token of a bot or a guest is not good.
    #[error(
        "{0} does not take the token of this bot or guest any more: a guest comes again, and for a bot `confab-control users new-token NAME` makes another CONFAB_TOKEN"
    )]
    TokenOver(String),
    /// Any other error of the server.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl SignInError {
    /// The failed request's error; `None` where no request was sent.
    pub(super) fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Connect(ConnectError::Api(error)) | Self::Api(error) => Some(error),
            Self::Connect(_)
            | Self::Store(_)
            | Self::NotLoggedIn(_)
            | Self::SessionOver(_)
            | Self::TokenOver(_) => None,
        }
    }
}

/// An account's way to its server: nodes, trust and stored session.
#[derive(Debug, Clone)]
pub struct Access {
    pub server: Server,
    /// Sessions, and how servers were trusted.
    pub store: Store,
    /// The server's nodes.
    nodes: Nodes,
    /// How the server proves its identity.
    trust: Trust,
    /// Entries that this process has stored already; a later connection does not store them again.
    remembered: Option<Remembered>,
    /// The session in memory.
    cache: Arc<Mutex<Option<CachedSession>>>,
    /// The token of a bot or a guest, in place of a session.
    fixed: Option<FixedToken>,
}

/// The session after signing in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    pub username: String,
    /// Exchange the token after this, in milliseconds since 1970 by the server's clock.
    pub refresh_after_ms: u64,
    /// False when an exchanged token could not be stored. The next sign-in stores it; do it soon.
    pub is_kept: bool,
}

/// The session in memory. It is used while the config directory cannot be used.
#[derive(Clone)]
struct CachedSession {
    session: StoredSession,
    /// The token that the config directory still holds, when this session could not be stored. `None`: it is stored.
    unsaved_after: Option<Zeroizing<Vec<u8>>>,
}

impl CachedSession {
    /// True while no other process can have exchanged the token, because it is not due. The server treats an outdated token as
    /// stolen and ends the session.
    fn is_safe(&self, now_ms: u64) -> bool {
        let margin = DUE_MARGIN.as_millis() as u64;
        self.session.refresh_after_ms.saturating_sub(margin) > now_ms
    }
}

impl std::fmt::Debug for CachedSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CachedSession")
    }
}

impl Access {
    /// An access to the server by whichever nodes were remembered with its session.
    pub async fn new(server: Server, trust: Trust, store: Store) -> Result<Self, SignInError> {
        let sessions = store.sessions().await?;
        let session = sessions.get(&server.to_string());
        let remembered = session.map_or(&[][..], |session| &session.nodes);
        Ok(Self {
            nodes: Nodes::new(server.clone(), parse_nodes(remembered)),
            server,
            store,
            trust,
            remembered: None,
            cache: Arc::default(),
            fixed: None,
        })
    }

    /// The same access for a bot or a guest: its token speaks for it, and no session is read or stored.
    pub fn by_token(self, token: FixedToken) -> Self {
        let fixed = Some(token);
        Self { fixed, ..self }
    }

    /// How the server proves its identity.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// From now on the server has to prove its identity in this way.
    pub fn trust_by(&mut self, trust: Trust) {
        self.trust = trust;
    }

    /// Tells that a node was lost: it is tried when no other answers.
    pub fn lost(&mut self, node: &Server) {
        self.nodes.lost(node);
    }

    /// Connects, and remembers how the server was trusted.
    pub async fn open(&mut self) -> Result<Link, SignInError> {
        let link = self.nodes.open(&self.trust).await?;
        self.nodes.reached(&link.node);
        self.nodes.learn(link.nodes.clone());
        self.remember(&link).await?;
        Ok(link)
    }

    /// Connects and signs in.
    pub async fn open_signed_in(&mut self) -> Result<(Link, SignedIn), SignInError> {
        let name = self.server.to_string();
        // That nobody is logged in is known before the network is asked.
        if self.fixed.is_none() && self.store.sessions().await?.get(&name).is_none() {
            return Err(SignInError::NotLoggedIn(name));
        }
        let link = self.open().await?;
        let signed_in = self.sign_in(&link, link.server_time_ms).await?;
        Ok((link, signed_in))
    }

    /// Connects to one of these nodes, to which another has sent the account, and signs in.
    pub async fn follow(&mut self, nodes: Vec<Server>) -> Result<(Link, SignedIn), SignInError> {
        let connecting = self.nodes.open_any(&nodes, &self.trust);
        let link = tokio::time::timeout(FOLLOW_TIMEOUT, connecting)
            .await
            .map_err(|_| SignInError::Api(ApiError::Elsewhere(nodes.clone())))??;
        let signed_in = self.sign_in(&link, link.server_time_ms).await?;
        self.nodes.reached(&link.node);
        self.nodes.learn(nodes);
        self.nodes.prefer(&link.node);
        Ok((link, signed_in))
    }

    /// Signs `link` in with the stored session, and exchanges its token when that is due. While the config directory cannot be
    /// used, signs in with the session in memory, provided that its token is not due.
    pub async fn sign_in(&self, link: &Link, now_ms: u64) -> Result<SignedIn, SignInError> {
        if let Some(token) = &self.fixed {
            return self.sign_in_by_token(link, token).await;
        }
        let name = self.server.to_string();
        let without_store = self.cached().filter(|cached| cached.is_safe(now_ms));
        let patience = match without_store {
            Some(_) => LOCK_PATIENCE,
            None => LOCK_TIMEOUT,
        };
        // Held over the exchange: two processes that used one token at once would lose the session.
        let locked = self.store.lock_sessions_within(patience).await;
        let mut sessions = match (locked, without_store) {
            (Ok(sessions), _) => sessions,
            (Err(_), Some(cached)) => return self.sign_in_without_store(link, cached).await,
            (Err(error), None) => return Err(error.into()),
        };
        let stored = sessions
            .get(&name)
            .cloned()
            .ok_or_else(|| SignInError::NotLoggedIn(name.clone()))?;
        let (stored, mut is_kept) = self.save_cached(&name, stored, &mut sessions).await;
        let due = now_ms >= stored.refresh_after_ms;
        let answer = if due {
            let token = stored.token.to_vec().into();
            link.granted(request::Kind::Refresh(wire::Refresh { token }))
                .await
                .map(Answer::Granted)
        } else {
            link.authenticate(&stored.token)
                .await
                .map(Answer::Authenticated)
        };
        match answer {
            Ok(Answer::Granted(granted)) => {
                let session = self.parse_session(granted)?;
                let (username, refresh_after_ms) =
                    (session.username.clone(), session.refresh_after_ms);
                // Memory first: the token is exchanged even if the new one cannot be stored.
                self.cache_session(session.clone(), Some(stored.token));
                is_kept = self.save(&name, session, &mut sessions).await;
                Ok(SignedIn {
                    username,
                    refresh_after_ms,
                    is_kept,
                })
            }
            Ok(Answer::Authenticated(session)) => {
                let nodes = self.known_nodes();
                if is_kept {
                    self.cache_session(stored.clone(), None);
                    if nodes != stored.nodes {
                        self.remember_nodes(&name, nodes, &mut sessions).await;
                    }
                }
                Ok(SignedIn {
                    username: stored.username,
                    refresh_after_ms: session.refresh_after_ms,
                    is_kept,
                })
            }
            Err(error) if error.code() == Some(ErrorCode::SessionEnded) => {
                sessions.remove(&name).await?;
                Err(SignInError::SessionOver(name))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn sign_in_by_token(
        &self,
        link: &Link,
        token: &FixedToken,
    ) -> Result<SignedIn, SignInError> {
        let session = match link.authenticate(token.as_bytes()).await {
            Err(error) if error.code() == Some(ErrorCode::SessionEnded) => {
                return Err(SignInError::TokenOver(self.server.to_string()));
            }
            session => session?,
        };
        let account = session.account.unwrap_or_default();
        let username: Username = account
            .username
            .parse()
            .map_err(|_| ApiError::Malformed("a session whose account has no name"))?;
        Ok(SignedIn {
            username: username.into(),
            refresh_after_ms: session.refresh_after_ms,
            is_kept: true,
        })
    }

    /// Signs in with the session in memory.
    async fn sign_in_without_store(
        &self,
        link: &Link,
        cached: CachedSession,
    ) -> Result<SignedIn, SignInError> {
        let session = link.authenticate(&cached.session.token).await?;
        Ok(SignedIn {
            username: cached.session.username,
            refresh_after_ms: session.refresh_after_ms,
            is_kept: false,
        })
    }

    /// The session to use, and whether it is stored: the one in the config directory, or its successor in memory, which is
    /// stored now.
    async fn save_cached(
        &self,
        name: &str,
        stored: StoredSession,
        sessions: &mut LockedSessions<'_>,
    ) -> (StoredSession, bool) {
        match self.cached() {
            Some(cached) if cached.unsaved_after.as_ref() == Some(&stored.token) => {
                let is_kept = self.save(name, cached.session.clone(), sessions).await;
                (cached.session, is_kept)
            }
            _ => (stored, true),
        }
    }

    /// Stores an exchanged session. False, and a message, if that fails.
    async fn save(
        &self,
        name: &str,
        session: StoredSession,
        sessions: &mut LockedSessions<'_>,
    ) -> bool {
        if let Err(error) = sessions.put(name, session.clone()).await {
            print_on_stderr(&format!(
                "confab: warning: the session cannot be stored: {error}"
            ));
            return false;
        }
        self.cache_session(session, None);
        true
    }

    /// Stores the other nodes. A failure is harmless: the server names them at each connection.
    async fn remember_nodes(
        &self,
        name: &str,
        nodes: Vec<String>,
        sessions: &mut LockedSessions<'_>,
    ) {
        if sessions.remember_nodes(name, nodes).await.is_err() {
            tracing::debug!("the other nodes cannot be stored");
        }
    }

    fn cached(&self) -> Option<CachedSession> {
        lock(&self.cache).clone()
    }

    fn cache_session(&self, session: StoredSession, unsaved_after: Option<Zeroizing<Vec<u8>>>) {
        *lock(&self.cache) = Some(CachedSession {
            session,
            unsaved_after,
        });
    }

    /// The device cookie to log in with as `name`; empty: none.
    pub async fn device_cookie(&self, name: &str) -> Result<Bytes, SignInError> {
        let sessions = self.store.sessions().await?;
        let cookie = sessions.cookie(&self.server.to_string(), name);
        Ok(cookie.map(Bytes::copy_from_slice).unwrap_or_default())
    }

    /// Stores the session and the device cookie of a register or login.
    pub async fn keep(&self, mut granted: wire::SessionGranted) -> Result<String, SignInError> {
        let cookie = Zeroizing::new(std::mem::take(&mut granted.device_cookie).to_vec());
        let email = granted
            .account
            .as_ref()
            .map(|account| account.email.clone());
        let session = self.parse_session(granted)?;
        let username = session.username.clone();
        let new = NewSession {
            session,
            email: email.unwrap_or_default(),
            cookie,
        };
        let mut sessions = self.store.lock_sessions().await?;
        sessions.begin(&self.server.to_string(), new).await?;
        Ok(username)
    }

    /// Stores how the server was trusted, unless it is stored already.
    async fn remember(&mut self, link: &Link) -> Result<(), SignInError> {
        let is_own = link.node == self.server;
        let (how, is_first) = match &mut self.trust {
            Trust::Public { authority, .. } if is_own => {
                let before = authority.replace(link.authority);
                if before == Some(link.authority) {
                    return Ok(());
                }
                let authority = link.authority;
                (Remembered::Public { authority }, before.is_none())
            }
            Trust::Authorities { authority, .. } => {
                *authority = Some(link.authority);
                (Remembered::Pinned(link.authority), false)
            }
            Trust::Pinned { pin, source } => {
                let is_first = match source {
                    PinSource::FirstSight => true,
                    PinSource::Flag => false,
                    PinSource::KnownServers(_) | PinSource::Server => return Ok(()),
                };
                (Remembered::Pinned(*pin), is_first)
            }
            // Of the other nodes no public authority says anything.
            Trust::Public { .. } | Trust::Unknown => return Ok(()),
        };
        if self.remembered != Some(how) {
            let server = self.server.to_string();
            match is_first {
                true => self.remember_first(&server, how).await?,
                false => self.remember_chosen(&server, how).await?,
            }
            self.remembered = Some(how);
        }
        Ok(())
    }

    /// The command line has precedence, and so has a server under a public authority.
    async fn remember_chosen(&self, server: &str, how: Remembered) -> Result<(), SignInError> {
        // A damaged line is what this mends.
        let known = self.store.known_server(server).await.ok().flatten();
        if known.map(Remembered::authority) != Some(how.authority()) {
            self.store.replace_server(server, how).await?;
        }
        Ok(())
    }

    /// Two processes that see a server for the first time have to see the same.
    async fn remember_first(&self, server: &str, how: Remembered) -> Result<(), SignInError> {
        let known = self.store.remember_server(server, how).await?;
        if known.authority() == how.authority() {
            return Ok(());
        }
        let path = self.store.known_servers_path();
        let error = TrustError::WrongPin {
            server: server.to_owned(),
            expected: known.authority(),
            got: how.authority(),
            said_by: PinSource::KnownServers(path).to_string(),
        };
        Err(ConnectError::from(error).into())
    }

    fn parse_session(&self, granted: wire::SessionGranted) -> Result<StoredSession, ApiError> {
        let account = granted
            .account
            .ok_or(ApiError::Malformed("a session without its account"))?;
        if granted.token.len() != TOKEN_LEN {
            return Err(ApiError::Malformed("a session whose token is none"));
        }
        let username: Username = account
            .username
            .parse()
            .map_err(|_| ApiError::Malformed("a session whose account has no name"))?;
        Ok(StoredSession {
            username: username.into(),
            token: Zeroizing::new(granted.token.to_vec()),
            expires_ms: granted.expires_ms,
            refresh_after_ms: granted.refresh_after_ms,
            nodes: self.known_nodes(),
        })
    }

    #[cfg(test)]
    pub(super) fn set_nodes(&mut self, nodes: Nodes) {
        self.nodes = nodes;
    }

    fn known_nodes(&self) -> Vec<String> {
        self.nodes
            .others()
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

/// The value is valid even after a panic of another holder.
fn lock(cache: &Mutex<Option<CachedSession>>) -> MutexGuard<'_, Option<CachedSession>> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Answer {
    Granted(wire::SessionGranted),
    Authenticated(wire::Authenticated),
}
