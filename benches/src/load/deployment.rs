//! Relays that stand already: accounts, conferences and joins through control's public API, as any client has them.
//!
//! There is one account for each member of a room, and it is in all rooms at once, over one connection: what is measured
//! is the relays, and a hundred accounts cost control as many password hashes as a hundred people do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use confab::net::api::OwnJoin;
use confab::net::trust::{PinSource, public_roots};
use confab::net::{ApiError, ConnectError, Fingerprint, Link, Server, Trust, TrustError};
use confab_protocol::control::{ErrorCode, Slug};
use confab_protocol::wire::{self, request};
use rand::RngExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Shape;
use super::group::{NewMember, take_part};
use super::voice::Session;
use crate::program;

/// All members of a step have keys after this time.
const KEYS_DEADLINE: Duration = Duration::from_secs(2 * 60);
/// How often it is looked whether they do.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why there are no rooms at the deployment.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// There is no server.
    #[error(
        "cannot reach the server {server}: {reason}; check --control, and that the server runs"
    )]
    Unreachable {
        server: String,
        /// The error of the last attempt.
        reason: String,
    },
    /// No public authority vouches for the server, and none was given.
    #[error(
        "no public authority vouches for the server {server}; it shows the authority {got}: if that is what `confab-control fingerprint` prints \
         there, give it with --fingerprint"
    )]
    Unknown { server: String, got: Fingerprint },
    #[error(transparent)]
    Connect(ConnectError),
    /// An account could not be made.
    #[error("cannot register account {name}: {error}")]
    Register {
        name: String,
        /// The server's answer.
        error: ApiError,
    },
    /// The server checks fewer passwords at once.
    #[error(
        "cannot register account {name}: {error}; --login-burst at the server has to be --members at least"
    )]
    TooMany {
        name: String,
        /// The server's answer.
        error: ApiError,
    },
    /// A room could not be opened or joined.
    #[error("cannot open room {slug}: {error}")]
    Room {
        slug: String,
        /// The server's answer.
        error: ApiError,
    },
    /// A session that is not where it was.
    #[error("the server has moved or removed {0} sessions: the measurement is of no use")]
    Moved(u64),
    /// Members that got no keys of their rooms.
    #[error(
        "{0} members have no keys of their rooms after two minutes: control or the members have too much to do"
    )]
    WithoutKeys(usize),
    /// A task of the load failed.
    #[error("a task of the load failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl From<ConnectError> for DeploymentError {
    /// In the words of this program's flags.
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NoAddress { server, reason }
            | ConnectError::Unreachable { server, reason } => Self::Unreachable { server, reason },
            ConnectError::Trust(TrustError::NotPublic { server, got, .. }) => {
                Self::Unknown { server, got }
            }
            error => Self::Connect(error),
        }
    }
}

/// A connection, and the way to what takes part in its rooms' groups.
#[derive(Clone)]
struct Connected {
    link: Arc<Link>,
    members: mpsc::UnboundedSender<NewMember>,
}

/// A deployment with the load's accounts.
pub struct Deployment {
    /// A connection for each account.
    links: Vec<Connected>,
    password: String,
    /// Begins every name of this run.
    prefix: String,
    moved: Arc<AtomicU64>,
}

impl Deployment {
    /// No accounts yet. Names will begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        // Of its own for each run, so that what an earlier one left behind is not in the way.
        let run: u32 = rand::rng().random();
        Self {
            links: Vec::new(),
            password: format!("{:032x}", rand::rng().random::<u128>()),
            prefix: format!("{prefix}-{run:08x}"),
            moved: Arc::default(),
        }
    }

    /// Registers so many accounts, and connects them. Without a pin a public authority has to vouch for the server.
    pub async fn register(
        &mut self,
        server: &Server,
        pin: Option<Fingerprint>,
        accounts: u16,
    ) -> Result<(), DeploymentError> {
        let trust = match pin {
            Some(pin) => Trust::Pinned {
                pin,
                source: PinSource::Flag,
            },
            None => Trust::Public {
                roots: public_roots().await.map_err(ConnectError::from)?,
                authority: None,
            },
        };
        for account in 0..accounts {
            self.register_one(server, &trust, account).await?;
        }
        Ok(())
    }

    /// Opens every session of `shape`. Rooms are numbered from `first_room` on.
    pub async fn open(
        &self,
        shape: Shape,
        first_room: u32,
    ) -> Result<Vec<Session>, DeploymentError> {
        let rooms = first_room..first_room + shape.rooms;
        let mut making = JoinSet::new();
        for (at, link) in self.links.iter().enumerate() {
            let mine = rooms.clone().skip(at).step_by(self.links.len());
            let slugs: Vec<_> = mine.map(|room| self.slug(room)).collect();
            let link = Arc::clone(&link.link);
            making.spawn(async move {
                for slug in slugs {
                    create(&link, &slug).await?;
                }
                Ok::<_, DeploymentError>(())
            });
        }
        while let Some(made) = making.join_next().await {
            made??;
        }
        let mut joining = JoinSet::new();
        for (member, link) in (0..shape.members).zip(&self.links) {
            let slugs: Vec<_> = rooms.clone().map(|room| (room, self.slug(room))).collect();
            let link = link.clone();
            joining.spawn(async move {
                let mut sessions = Vec::new();
                for (room, slug) in slugs {
                    sessions.push(join(&link, room, &slug, member).await?);
                }
                Ok::<_, DeploymentError>(sessions)
            });
        }
        let mut sessions = Vec::new();
        while let Some(joined) = joining.join_next().await {
            sessions.extend(joined??);
        }
        sessions.sort_by_key(|session| (session.room, session.member));
        all_have_keys(&sessions).await?;
        Ok(sessions)
    }

    /// An error when a session is no longer where it was opened.
    pub fn check(&self) -> Result<(), DeploymentError> {
        match self.moved.load(Relaxed) {
            0 => Ok(()),
            moved => Err(DeploymentError::Moved(moved)),
        }
    }

    /// Deletes the accounts, and with them their conferences.
    pub async fn end(&self) {
        for Connected { link, .. } in &self.links {
            let delete = wire::DeleteAccount {
                password: self.password.clone(),
            };
            if let Err(error) = link.done(request::Kind::DeleteAccount(delete)).await {
                program::print_error(&format!(
                    "confab-load: an account that begins with {} is left behind: {error}",
                    self.prefix
                ));
            }
            link.close().await;
        }
    }

    async fn register_one(
        &mut self,
        server: &Server,
        trust: &Trust,
        account: u16,
    ) -> Result<(), DeploymentError> {
        let link = Link::open(server, trust).await?;
        let name = format!("{}-{account}", self.prefix);
        let register = wire::Register {
            username: name.clone(),
            email: format!("{name}@load.invalid"),
            password: self.password.clone(),
            birthday: "1990-01-01".to_owned(),
            device: "confab-load".to_owned(),
            invitation: None,
        };
        if let Err(error) = link.granted(request::Kind::Register(register)).await {
            return Err(match error.code() {
                Some(ErrorCode::Throttled) => DeploymentError::TooMany { name, error },
                _ => DeploymentError::Register { name, error },
            });
        }
        let link = Arc::new(link);
        let (members, new) = mpsc::unbounded_channel();
        tokio::spawn(take_part(Arc::clone(&link), new, Arc::clone(&self.moved)));
        self.links.push(Connected { link, members });
        Ok(())
    }

    fn slug(&self, room: u32) -> String {
        format!("{}-{room}", self.prefix)
    }
}

async fn create(link: &Link, slug: &str) -> Result<(), DeploymentError> {
    let create = wire::CreateConference {
        slug: slug.to_owned(),
        title: String::new(),
        visibility: wire::Visibility::Public.into(),
        ..Default::default()
    };
    let made = link.conference(request::Kind::CreateConference(create));
    made.await.map(drop).map_err(|error| DeploymentError::Room {
        slug: slug.to_owned(),
        error,
    })
}

/// Waits until every member seals.
async fn all_have_keys(sessions: &[Session]) -> Result<(), DeploymentError> {
    let give_up = Instant::now() + KEYS_DEADLINE;
    loop {
        let without = sessions
            .iter()
            .filter(|session| session.key.get().is_none());
        match without.count() {
            0 => return Ok(()),
            without if Instant::now() >= give_up => {
                return Err(DeploymentError::WithoutKeys(without));
            }
            _ => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

async fn join(
    connected: &Connected,
    room: u32,
    slug: &str,
    member: u16,
) -> Result<Session, DeploymentError> {
    let link = &*connected.link;
    let failed = |error| DeploymentError::Room {
        slug: slug.to_owned(),
        error,
    };
    let parsed: Slug = slug
        .parse()
        .map_err(|_| failed(ApiError::Malformed("a slug that it did not refuse before")))?;
    let joined = link.join(&parsed, None, None).await.map_err(failed)?;
    let media = joined.media.clone();
    let media = media.ok_or_else(|| failed(ApiError::Malformed("a join without media")))?;
    let secret = joined.resume.clone();
    let own = OwnJoin {
        conference: joined.conference,
        id: joined.me.join_id,
        secret: secret.ok_or_else(|| failed(ApiError::Malformed("a join without a secret")))?,
    };
    let group_member = NewMember::new(link, own, &joined);
    let key = group_member.key();
    // The task ends with the connection.
    let _ = connected.members.send(group_member);
    let relay: Option<&SocketAddr> = media.addresses.first();
    let relay = relay.ok_or_else(|| failed(ApiError::Malformed("a relay without an address")))?;
    Ok(Session {
        room,
        member,
        key,
        relay: *relay,
        id: media.connection_id,
        uplink_key: media.uplink_key,
        downlink_key: media.downlink_key,
    })
}
