//! Finds a conference's room, starts it when it is needed and forgets it when it is over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use confab_protocol::control::{AccountId, ConferenceId, ErrorCode, JoinId, Refusal};
use tokio::sync::{mpsc, oneshot};

use super::actor::{Actor, Ask, Request};
use super::effect::{Answer, ClientId, Input, Joined, Joiner};
use crate::clock::Clock;
use crate::cluster::Relays;
use crate::cluster::registry::RoomInbox;
use crate::events::EventSink;
use crate::store::{NodeRun, SessionId, Standing, Store};

/// Requests that wait for a room at most: a few seconds' work.
const MAILBOX: usize = 2048;
/// What a client is told to wait when a room's mailbox is full.
const MAILBOX_RETRY: Duration = Duration::from_millis(500);

/// What the operator decides about rooms.
#[derive(Clone, Copy, Debug)]
pub struct RoomLimits {
    /// Participants that a room takes.
    pub max_participants: usize,
    /// Members that a conference takes, bans included.
    pub max_members: u64,
}

/// All rooms of this node. Clones share them.
#[derive(Clone)]
pub struct Rooms {
    pub(super) shared: Arc<Shared>,
}

/// What every room's actor needs.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) relays: Relays,
    pub(super) limits: RoomLimits,
    pub(super) clock: Clock,
    /// This run of the node, as the store knows it.
    pub(super) node: NodeRun,
    rooms: Mutex<HashMap<ConferenceId, Room>>,
    /// In which rooms an account is, and how often.
    presence: Mutex<HashMap<AccountId, HashMap<ConferenceId, u32>>>,
}

struct Room {
    requests: mpsc::Sender<Request>,
    inbox: RoomInbox,
    live: Arc<AtomicU32>,
    era: Arc<AtomicU64>,
}

impl Rooms {
    /// No room yet. `node` is in whose name rooms are claimed.
    pub fn new(
        store: Arc<dyn Store>,
        relays: Relays,
        limits: RoomLimits,
        clock: Clock,
        node: NodeRun,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                relays,
                limits,
                clock,
                node,
                rooms: Mutex::default(),
                presence: Mutex::default(),
            }),
        }
    }

    /// Brings somebody into the room, or takes a join up again. Its events go to `events` from the moment that the answer
    /// describes.
    pub async fn join(
        &self,
        conference: ConferenceId,
        who: Joiner,
        resume: Option<JoinId>,
        events: EventSink,
    ) -> Result<Box<Joined>, Refusal> {
        let ask = Ask::Join {
            who,
            resume,
            events,
        };
        match self.ask(conference, ask).await? {
            Answer::Joined(joined) => Ok(joined),
            Answer::Done => Err(closing()),
        }
    }

    /// Takes a participant out at its account's own wish.
    pub async fn leave(
        &self,
        conference: ConferenceId,
        account: AccountId,
        client: ClientId,
        join_id: JoinId,
    ) -> Result<(), Refusal> {
        let ask = Ask::Leave {
            account,
            client,
            join_id,
        };
        self.ask(conference, ask).await.map(drop)
    }

    /// Takes all participants of an account out.
    pub async fn kick(&self, conference: ConferenceId, account: AccountId) -> Result<(), Refusal> {
        self.close_leftovers(conference).await?;
        self.ask(conference, Ask::Kick { account }).await.map(drop)
    }

    /// Changes an account's standing from `old` to `new`, in the store and then in the room.
    pub async fn change(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Option<Standing>,
        new: Option<Standing>,
    ) -> Result<(), Refusal> {
        self.close_leftovers(conference).await?;
        let ask = Ask::Change { account, old, new };
        self.ask(conference, ask).await.map(drop)
    }

    /// Deletes the conference from the store and closes its room.
    pub async fn delete(&self, conference: ConferenceId) -> Result<(), Refusal> {
        self.close_leftovers(conference).await?;
        self.ask(conference, Ask::Delete).await.map(drop)
    }

    /// Takes out what the session brought in.
    pub fn session_ended(&self, account: AccountId, session: SessionId) {
        let conferences: Vec<ConferenceId> = {
            let presence = lock(&self.shared.presence);
            let rooms = presence.get(&account);
            rooms.into_iter().flat_map(HashMap::keys).copied().collect()
        };
        let rooms = lock(&self.shared.rooms);
        for room in conferences
            .iter()
            .filter_map(|conference| rooms.get(conference))
        {
            let _ = room.inbox.send(Input::SessionEnded(session));
        }
    }

    /// How many are in the conference's room.
    pub fn live(&self, conference: ConferenceId) -> u32 {
        let rooms = lock(&self.shared.rooms);
        rooms
            .get(&conference)
            .map_or(0, |room| room.live.load(Ordering::Relaxed))
    }

    /// The era in which the conference's room is owned here, if it has been claimed.
    pub(super) fn era(&self, conference: ConferenceId) -> Option<u64> {
        let rooms = lock(&self.shared.rooms);
        let era = rooms.get(&conference)?.era.load(Ordering::Relaxed);
        (era > 0).then_some(era)
    }

    /// How many rooms there are.
    pub fn count(&self) -> usize {
        lock(&self.shared.rooms).len()
    }

    /// Ends the actors. The relays keep what they have: a node that goes away ends no call.
    pub fn close(&self) {
        lock(&self.shared.rooms).clear();
    }

    async fn ask(&self, conference: ConferenceId, ask: Ask) -> Result<Answer, Refusal> {
        let (answer, answered) = oneshot::channel();
        let request = Request { ask, answer };
        // Within the lock under which a room retires: a request never meets a room that has stopped listening.
        let sent = {
            let mut rooms = lock(&self.shared.rooms);
            let room = rooms
                .entry(conference)
                .or_insert_with(|| self.start(conference));
            room.requests.try_send(request)
        };
        sent.map_err(|_| {
            Refusal::new(
                ErrorCode::Busy,
                "too much is going on in this room; try again in a moment",
            )
            .after(MAILBOX_RETRY)
        })?;
        answered.await.unwrap_or_else(|_| Err(closing()))
    }

    fn start(&self, conference: ConferenceId) -> Room {
        let (requests, queue) = mpsc::channel(MAILBOX);
        let (inbox, inputs) = mpsc::unbounded_channel();
        let live = Arc::new(AtomicU32::new(0));
        let era = Arc::new(AtomicU64::new(0));
        let actor = Actor {
            conference,
            shared: self.shared.clone(),
            requests: queue,
            inbox: inputs,
            to_inbox: inbox.clone(),
            live: live.clone(),
            era: era.clone(),
        };
        tokio::spawn(actor.run());
        Room {
            requests,
            inbox,
            live,
            era,
        }
    }
}

impl Shared {
    /// Forgets the room if nobody has asked anything of it in the meantime.
    pub(super) fn retire(&self, conference: ConferenceId, is_idle: impl FnOnce() -> bool) -> bool {
        let mut rooms = lock(&self.rooms);
        let idle = is_idle();
        if idle {
            rooms.remove(&conference);
        }
        idle
    }

    pub(super) fn present(&self, account: AccountId, conference: ConferenceId) {
        let mut presence = lock(&self.presence);
        *presence
            .entry(account)
            .or_default()
            .entry(conference)
            .or_default() += 1;
    }

    pub(super) fn absent(&self, account: AccountId, conference: ConferenceId) {
        let mut presence = lock(&self.presence);
        let Some(rooms) = presence.get_mut(&account) else {
            return;
        };
        if let Some(count) = rooms.get_mut(&conference) {
            *count -= 1;
            if *count == 0 {
                rooms.remove(&conference);
            }
        }
        if rooms.is_empty() {
            presence.remove(&account);
        }
    }
}

fn closing() -> Refusal {
    Refusal::new(
        ErrorCode::Busy,
        "the server is closing; connect again in a moment",
    )
    .after(MAILBOX_RETRY)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
