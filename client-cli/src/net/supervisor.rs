//! A participation that survives its connections: connects again, signs in, takes the join up or joins afresh.
//!
//! The `task` does it; an `attempt` of it can be interrupted; a `rejoin_wish` outlives attempts; a `failure` may be final.

mod attempt;
mod failure;
mod rejoin_wish;
mod task;

use std::time::Duration;

use confab_protocol::control::{ConferenceId, MediaGrant, Region, Slug};
use confab_protocol::media::ConnectionId;
use tokio::sync::{mpsc, oneshot, watch};

use super::api::{MediaReport, NO_MEDIA, NO_SECRET, OwnJoin};
use super::entry::{Connected, Room};
use super::event::ServerEvent;
use super::sign_in::{Access, SignInError};
use crate::engine::readability::Unreadable;
use crate::engine::room::Joined;
use task::Task;

/// Length of the queue of updates for the call. With all but `RESERVED` places taken no more events are read, so that the
/// server has to wait.
const UPDATES: usize = 2048;

/// Time limit for the answer to a leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// News for the call.
#[derive(Debug)]
pub enum Update {
    /// An event of the server.
    Event(ServerEvent),
    /// The connection is lost, for this reason, and the supervisor connects again. Repeated once if the server cannot be
    /// trusted meanwhile.
    Lost(String),
    /// The participant is in the room again: by the same join (`resumed`), or a new one.
    Rejoined {
        /// The answer to the join.
        joined: Box<Joined>,
        /// True when keys, leaf and label are as before.
        resumed: bool,
        /// True when the connection was lost in between.
        reconnected: bool,
    },
    /// The participation is over; no more updates follow.
    Failed(SignInError),
}

/// A request of the call to its supervisor.
#[derive(Debug)]
pub enum CallRequest {
    /// Resume the join, with a new media session unless a live one exists by then. The supervisor repeats this until it succeeds.
    Resume,
    /// The network changed: move the connection to a new socket.
    NetworkChanged,
    /// The network works again: make pending attempts at once.
    NetworkBack,
    /// The machine or the program was suspended for this time.
    Woke(Duration),
    /// Tell the server whether a relay answers.
    Report(MediaReport),
    /// Tell the server that frames in this conference's room do not open.
    ReportFrames(ConferenceId, Unreadable),
    /// Leave the room, close the connection, and then signal the sender.
    Leave(oneshot::Sender<()>),
}

/// A running supervisor.
#[derive(Debug)]
pub struct Supervisor {
    pub updates: mpsc::Receiver<Update>,
    requests: mpsc::UnboundedSender<CallRequest>,
    live: watch::Sender<Option<ConnectionId>>,
}

impl Supervisor {
    /// Connects, signs in and joins.
    pub async fn start(
        access: Access,
        slug: Slug,
        region: Option<Region>,
    ) -> Result<(Joined, MediaGrant, Self), SignInError> {
        let joiner = Joiner::connect(access).await?;
        joiner.join(slug, region).await
    }

    /// Tells the server of the leave and waits up to 2 s for its answer.
    pub async fn leave(&self) {
        let (left_to, left) = oneshot::channel();
        self.request(CallRequest::Leave(left_to));
        // Without an answer the relay reports the leave.
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, left).await;
    }

    /// Sends a request. It is ignored after the supervisor has failed.
    pub fn request(&self, request: CallRequest) {
        let _ = self.requests.send(request);
    }

    /// Sets the media session on which the relay answers now: a resumed join keeps it.
    pub fn live_session_is(&self, session: Option<ConnectionId>) {
        self.live
            .send_if_modified(|live| std::mem::replace(live, session) != session);
    }
}

/// A signed-in connection that has not joined a room. Dropping it has no effect at the server.
pub struct Joiner {
    access: Access,
    connected: Connected,
}

impl Joiner {
    /// Connects and signs in.
    pub async fn connect(mut access: Access) -> Result<Self, SignInError> {
        let connected = Connected::open(&mut access).await?;
        Ok(Self { access, connected })
    }

    /// Joins the room and starts the supervisor. `region` is the region of the person; default: that of the first node. If the
    /// future is dropped, the join may have taken effect at the server.
    pub async fn join(
        self,
        slug: Slug,
        region: Option<Region>,
    ) -> Result<(Joined, MediaGrant, Supervisor), SignInError> {
        let Self {
            mut access,
            connected,
        } = self;
        let mut room = Room { slug, region };
        let (connected, entered) = room.enter(connected, &mut access, || None).await?;
        let joined = entered.joined;
        let media = joined.media.clone().ok_or(NO_MEDIA)?;
        let join = OwnJoin {
            id: joined.me.join_id,
            secret: joined.resume.clone().ok_or(NO_SECRET)?,
        };
        let (updates_to, updates) = mpsc::channel(UPDATES);
        let (requests, requested) = mpsc::unbounded_channel();
        let (live, live_from) = watch::channel(None);
        let task = Task::new(access, room, join, updates_to, requested, live_from);
        tokio::spawn(task.run(connected));
        let supervisor = Supervisor {
            updates,
            requests,
            live,
        };
        Ok((joined, media, supervisor))
    }
}
