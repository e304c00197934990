//! A participation that survives its connections: connects again, signs in, takes the join up or joins afresh.
//!
//! The `task` does it; the [`outbox`] has what goes to the room's group; an `attempt` of it can be interrupted; a `rejoin_wish`
//! outlives attempts; a `failure` may be final.

mod attempt;
mod failure;
mod messages;
pub mod outbox;
mod rejoin_wish;
mod task;

use std::time::Duration;

use confab_e2ee::mls::identity::ServerId;
use confab_protocol::control::{MediaGrant, Region, Slug};
use tokio::sync::{mpsc, oneshot, watch};

use super::api::{NO_MEDIA, NO_SECRET, OwnJoin};
use super::entry::{Connected, Room};
use super::sign_in::{Access, SignInError};
use crate::engine::room::Joined;
pub use messages::{CallRequest, Standing, Update};
use task::Task;

/// Length of the queue of updates for the call. With all but `RESERVED` places taken no more events are read, so that the
/// server has to wait.
const UPDATES: usize = 2048;

/// Time limit for the answer to a leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running supervisor.
#[derive(Debug)]
pub struct Supervisor {
    pub updates: mpsc::Receiver<Update>,
    requests: mpsc::UnboundedSender<CallRequest>,
    standing: watch::Sender<Standing>,
    /// The server as the credentials of its participants name it.
    server: ServerId,
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

    /// Sets where the call stands now: for a resumed join.
    pub fn call_stands(&self, standing: Standing) {
        self.standing
            .send_if_modified(|known| std::mem::replace(known, standing) != standing);
    }

    /// The server as the credentials of its participants name it.
    pub fn server_id(&self) -> ServerId {
        self.server
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
            conference: joined.conference,
            id: joined.me.join_id,
            secret: joined.resume.clone().ok_or(NO_SECRET)?,
        };
        let (updates_to, updates) = mpsc::channel(UPDATES);
        let (requests, requested) = mpsc::unbounded_channel();
        let (standing, standing_from) = watch::channel(Standing::default());
        let server = connected.link.server_id();
        let task = Task::new(access, room, join, updates_to, requested, standing_from);
        tokio::spawn(task.run(connected));
        let supervisor = Supervisor {
            updates,
            requests,
            standing,
            server,
        };
        Ok((joined, media, supervisor))
    }
}
