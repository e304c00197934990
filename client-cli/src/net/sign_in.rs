//! A connection that speaks for an account.

use std::time::Duration;

use confab_protocol::control::{ErrorCode, TOKEN_LEN, Username};
use confab_protocol::wire::{self, request};
use zeroize::Zeroizing;

use super::link::parse_nodes;
use super::trust::{PinSource, Remembered, Trust, TrustError};
use super::{ApiError, ConnectError, Link, Nodes, Server};
use crate::store::sessions::StoredSession;
use crate::store::{Store, StoreError};

/// Time for a node that one was sent to. It may have died a moment ago, and who sent one not know it yet.
const FOLLOW_TIMEOUT: Duration = Duration::from_millis(1500);

/// Why a connection speaks for nobody.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The config directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Never logged in here.
    #[error("not logged in at {0}: log in with `confab login NAME`")]
    NotLoggedIn(String),
    /// The session is over.
    #[error("the session at {0} is over: log in again with `confab login NAME`")]
    SessionOver(String),
    /// Anything else that the server says.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl SignInError {
    /// What a node said, or did not, to a request; `None` where it never came to one.
    pub(super) fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Connect(ConnectError::Api(error)) | Self::Api(error) => Some(error),
            Self::Connect(_) | Self::Store(_) | Self::NotLoggedIn(_) | Self::SessionOver(_) => None,
        }
    }
}

/// Where the connection of an account goes, and what vouches for it.
#[derive(Debug, Clone)]
pub struct Access {
    /// Which server.
    pub server: Server,
    /// Where it is reached.
    pub nodes: Nodes,
    /// What has to vouch for it.
    pub trust: Trust,
    /// Sessions, and how servers were trusted.
    pub store: Store,
    /// What was written down by this process: nothing is touched for it at a later connection.
    remembered: Option<Remembered>,
}

/// A session as it stands after signing in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who.
    pub username: String,
    /// Exchange the token after this, in milliseconds since 1970 by the server's clock.
    pub refresh_after_ms: u64,
}

impl Access {
    /// An access to the server by whichever nodes were remembered with its session.
    pub fn new(server: Server, trust: Trust, store: Store) -> Result<Self, SignInError> {
        let sessions = store.sessions()?;
        let session = sessions.get(&server.to_string());
        let remembered = session.map_or(&[][..], |session| &session.nodes);
        Ok(Self {
            nodes: Nodes::new(server.clone(), parse_nodes(remembered)),
            server,
            trust,
            store,
            remembered: None,
        })
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
        if self.store.sessions()?.get(&name).is_none() {
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

    /// Signs `link` in with the stored session, exchanging its token when that is due.
    pub async fn sign_in(&self, link: &Link, now_ms: u64) -> Result<SignedIn, SignInError> {
        let name = self.server.to_string();
        // Held over the exchange: two processes that used one token at once would lose the session.
        let mut sessions = self.store.lock_sessions().await?;
        let stored = sessions
            .get(&name)
            .cloned()
            .ok_or_else(|| SignInError::NotLoggedIn(name.clone()))?;
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
                let signed_in = SignedIn {
                    username: session.username.clone(),
                    refresh_after_ms: session.refresh_after_ms,
                };
                sessions.put(&name, session)?;
                Ok(signed_in)
            }
            Ok(Answer::Authenticated(session)) => {
                let nodes = self.known_nodes();
                if nodes != stored.nodes {
                    sessions.remember_nodes(&name, nodes)?;
                }
                Ok(SignedIn {
                    username: stored.username,
                    refresh_after_ms: session.refresh_after_ms,
                })
            }
            Err(error) if error.code() == Some(ErrorCode::SessionEnded) => {
                sessions.remove(&name)?;
                Err(SignInError::SessionOver(name))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the session that a register or login gave.
    pub async fn keep(&self, granted: wire::SessionGranted) -> Result<String, SignInError> {
        let session = self.parse_session(granted)?;
        let username = session.username.clone();
        self.store
            .lock_sessions()
            .await?
            .put(&self.server.to_string(), session)?;
        Ok(username)
    }

    /// Keeps how the server was trusted, where that is news.
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

    /// What the person says on the command line holds, and so does what a server says for which a public authority vouches.
    async fn remember_chosen(&self, server: &str, how: Remembered) -> Result<(), SignInError> {
        // A damaged line is what this mends.
        let known = self.store.known_server(server).ok().flatten();
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

    fn known_nodes(&self) -> Vec<String> {
        self.nodes
            .others()
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

enum Answer {
    Granted(wire::SessionGranted),
    Authenticated(wire::Authenticated),
}
