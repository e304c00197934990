//! A participation that survives its connections: connects again, signs in, takes the join up or joins afresh.

use std::time::{Duration, Instant};

use confab_protocol::control::{ErrorCode, JoinId, Slug};
use tokio::sync::{mpsc, oneshot};

use super::event::ServerEvent;
use super::sign_in::{Access, SignInError, SignedIn};
use super::{ApiError, ConnectError, Link};
use crate::engine::room::{Joined, LeaveReason};

/// Time before the first try to connect again; it doubles with each.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// Longest time between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Time between two tries to exchange a token that is due.
const REFRESH_AGAIN: Duration = Duration::from_secs(60);

/// How often a join follows a node that says that another has the room.
const MAX_HOPS: u32 = 4;

/// What the supervisor tells.
#[derive(Debug)]
pub enum Update {
    /// The server said something.
    Event(ServerEvent),
    /// The connection is gone; another one is on its way.
    Lost(String),
    /// In the room again: by the same join (`resumed`), or a new one.
    Rejoined {
        /// What the join gave.
        joined: Box<Joined>,
        /// True when keys, leaf and label are as before.
        resumed: bool,
        /// True when the connection was gone meanwhile.
        reconnected: bool,
    },
    /// It cannot go on.
    Failed(SignInError),
}

/// What the supervisor is asked for.
#[derive(Debug)]
pub enum Ask {
    /// A new media session for the same join.
    Resume,
    /// The network changed: move the connection.
    NetworkChanged,
    /// Leave the room, say goodbye, and then tell.
    Leave(oneshot::Sender<()>),
}

/// A supervisor at work.
#[derive(Debug)]
pub struct Supervisor {
    /// What it tells.
    pub updates: mpsc::UnboundedReceiver<Update>,
    asks: mpsc::UnboundedSender<Ask>,
}

impl Supervisor {
    /// Connects, signs in and joins; from then on keeps it so.
    pub async fn start(mut access: Access, slug: Slug) -> Result<(Joined, Self), SignInError> {
        let (connected, joined, _) = enter(&mut access, &slug, None).await?;
        let (updates_to, updates) = mpsc::unbounded_channel();
        let (asks, asked) = mpsc::unbounded_channel();
        let task = Task {
            access,
            slug,
            join_id: joined.me.join_id,
            updates: updates_to,
            asks: asked,
        };
        tokio::spawn(task.run(connected));
        Ok((joined, Self { updates, asks }))
    }

    /// Asks for something. After the supervisor has failed nothing comes of it.
    pub fn ask(&self, ask: Ask) {
        let _ = self.asks.send(ask);
    }
}

struct Task {
    access: Access,
    slug: Slug,
    join_id: JoinId,
    updates: mpsc::UnboundedSender<Update>,
    asks: mpsc::UnboundedReceiver<Ask>,
}

struct Connected {
    link: Link,
    events: mpsc::Receiver<ServerEvent>,
    refresh_at: Instant,
}

/// Why a connection is no longer served.
enum Served {
    Over,
    Lost { reason: String, wait: Duration },
}

impl Connected {
    async fn open(access: &mut Access) -> Result<Self, SignInError> {
        let (link, signed_in) = access.open_signed_in().await?;
        let events = link.events();
        let refresh_at = refresh_at(&link, &signed_in);
        Ok(Self {
            link,
            events,
            refresh_at,
        })
    }
}

impl Task {
    async fn run(mut self, mut connected: Connected) {
        loop {
            match self.serve(&mut connected).await {
                Served::Over => return,
                Served::Lost { reason, wait } => {
                    self.tell(Update::Lost(reason));
                    match self.reconnect(wait).await {
                        Some(again) => connected = again,
                        None => return,
                    }
                }
            }
        }
    }

    async fn serve(&mut self, connected: &mut Connected) -> Served {
        let Connected {
            link,
            events,
            refresh_at: due,
        } = connected;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(ServerEvent::GoingAway(wait)) => {
                        return Served::Lost { reason: "the server is going away".into(), wait };
                    }
                    // The relay heard nothing for long, as after a computer's sleep. One is here again.
                    Some(ServerEvent::Removed(join, LeaveReason::Lost)) if join == self.join_id => {
                        if let Some(served) = self.take_up(link, false).await {
                            return served;
                        }
                    }
                    Some(event) => self.tell(Update::Event(event)),
                    None => return Served::Lost { reason: link.lost().await, wait: Duration::ZERO },
                },
                ask = self.asks.recv() => match ask {
                    Some(Ask::Resume) => {
                        if let Some(served) = self.take_up(link, false).await {
                            return served;
                        }
                    }
                    Some(Ask::NetworkChanged) => link.rebind(),
                    Some(Ask::Leave(left)) => {
                        if let Err(error) = link.leave(&self.slug, self.join_id).await {
                            tracing::debug!(%error, "the server was not told of the leave");
                        }
                        link.close().await;
                        // The one who asked may have given up waiting.
                        let _ = left.send(());
                        return Served::Over;
                    }
                    None => return Served::Over,
                },
                () = tokio::time::sleep_until((*due).into()) => {
                    *due = Instant::now() + REFRESH_AGAIN;
                    match self.access.sign_in(link, link.server_now_ms()).await {
                        Ok(signed_in) => *due = refresh_at(link, &signed_in).max(*due),
                        Err(error) if is_final(&error) => {
                            self.tell(Update::Failed(error));
                            return Served::Over;
                        }
                        Err(error) => log_failure(&error),
                    }
                }
            }
        }
    }

    /// Tries until it works, cannot work any more, or is told to leave.
    async fn reconnect(&mut self, mut wait: Duration) -> Option<Connected> {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let pause = wait.max(jittered(backoff));
            let attempt = {
                let attempt = async {
                    tokio::time::sleep(pause).await;
                    enter(&mut self.access, &self.slug, Some(self.join_id)).await
                };
                tokio::pin!(attempt);
                loop {
                    tokio::select! {
                        result = &mut attempt => break Some(result),
                        ask = self.asks.recv() => match ask {
                            // Done by the join that is on its way.
                            Some(Ask::Resume | Ask::NetworkChanged) => {}
                            // The relay hears the goodbye, and control of it from the relay.
                            Some(Ask::Leave(_)) | None => break None,
                        },
                    }
                }
            };
            match attempt {
                None => return None,
                Some(Ok((connected, joined, resumed))) => {
                    self.rejoined(joined, resumed, true);
                    return Some(connected);
                }
                Some(Err(error)) if is_final(&error) => {
                    self.tell(Update::Failed(error));
                    return None;
                }
                Some(Err(error)) => {
                    log_failure(&error);
                    wait = retry_after(&error);
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// A new media session on a connection that stands; says when it is the connection that does not.
    async fn take_up(&mut self, link: &Link, reconnected: bool) -> Option<Served> {
        match rejoin(link, &self.slug, self.join_id).await {
            Ok((joined, resumed)) => {
                self.rejoined(joined, resumed, reconnected);
                None
            }
            Err(ApiError::Lost(reason)) => Some(Served::Lost {
                reason,
                wait: Duration::ZERO,
            }),
            Err(ApiError::Elsewhere(nodes)) => {
                self.access.nodes.go_to(nodes);
                Some(Served::Lost {
                    reason: "the room has gone to another node".into(),
                    wait: Duration::ZERO,
                })
            }
            Err(ApiError::Timeout) => Some(Served::Lost {
                reason: "the server does not answer".into(),
                wait: Duration::ZERO,
            }),
            Err(error) => {
                let error = SignInError::from(error);
                if is_final(&error) {
                    self.tell(Update::Failed(error));
                    return Some(Served::Over);
                }
                log_failure(&error);
                None
            }
        }
    }

    fn rejoined(&mut self, joined: Joined, resumed: bool, reconnected: bool) {
        self.join_id = joined.me.join_id;
        self.tell(Update::Rejoined {
            joined: Box::new(joined),
            resumed,
            reconnected,
        });
    }

    fn tell(&self, update: Update) {
        // Without a listener the asks end too, and with them this task.
        let _ = self.updates.send(update);
    }
}

/// Connects and goes into the room, to whichever node has it; true when it was by the join to `resume`.
async fn enter(
    access: &mut Access,
    slug: &Slug,
    resume: Option<JoinId>,
) -> Result<(Connected, Joined, bool), SignInError> {
    let mut hops = 0;
    loop {
        let connected = Connected::open(access).await?;
        let entered = match resume {
            Some(join) => rejoin(&connected.link, slug, join).await,
            None => connected
                .link
                .join(slug, None)
                .await
                .map(|joined| (joined, false)),
        };
        match entered {
            Ok((joined, resumed)) => return Ok((connected, joined, resumed)),
            Err(ApiError::Elsewhere(nodes)) if hops < MAX_HOPS => {
                hops += 1;
                access.nodes.go_to(nodes);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn rejoin(link: &Link, slug: &Slug, join: JoinId) -> Result<(Joined, bool), ApiError> {
    match link.join(slug, Some(join)).await {
        Ok(joined) => Ok((joined, true)),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => {
            Ok((link.join(slug, None).await?, false))
        }
        Err(error) => Err(error),
    }
}

/// True when trying again would end the same.
fn is_final(error: &SignInError) -> bool {
    let refused = |error: &ApiError| {
        matches!(
            error.code(),
            Some(
                ErrorCode::Denied
                    | ErrorCode::Banned
                    | ErrorCode::NotFound
                    | ErrorCode::LimitReached
                    | ErrorCode::NotAuthenticated
                    | ErrorCode::SessionEnded
                    | ErrorCode::UnsupportedVersion
                    | ErrorCode::UnknownRequest
                    | ErrorCode::InvalidArgument
            )
        )
    };
    match error {
        SignInError::NotLoggedIn(_) | SignInError::SessionOver(_) => true,
        SignInError::Connect(ConnectError::Trust(_) | ConnectError::Version(_)) => true,
        SignInError::Connect(ConnectError::Api(error)) | SignInError::Api(error) => refused(error),
        SignInError::Connect(_) | SignInError::Store(_) => false,
    }
}

/// The messages of the other kinds name the server, by its address perhaps, and files of the person.
fn log_failure(error: &SignInError) {
    match error {
        SignInError::Api(error) => tracing::debug!(%error, "not signed in and joined yet"),
        SignInError::Store(_) => tracing::debug!("the config directory cannot be used now"),
        _ => tracing::debug!("no connection yet"),
    }
}

fn retry_after(error: &SignInError) -> Duration {
    match error {
        SignInError::Connect(ConnectError::Api(ApiError::Refused(refusal)))
        | SignInError::Api(ApiError::Refused(refusal)) => refusal.retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    }
}

/// Half to all of it, so that clients who lost one server do not come to the next all at once.
fn jittered(backoff: Duration) -> Duration {
    backoff.mul_f64(0.5 + 0.5 * crate::random::fraction())
}

/// The server's clock was told at the greeting.
fn refresh_at(link: &Link, signed_in: &SignedIn) -> Instant {
    link.greeted
        + Duration::from_millis(
            signed_in
                .refresh_after_ms
                .saturating_sub(link.server_time_ms),
        )
}
