//! Finds a conference's room, starts it when it is needed and forgets it when it is over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use confab_protocol::control::{AccountId, ConferenceId, ErrorCode, JoinId, Refusal};
use confab_protocol::media::ConnectionId;
use tokio::sync::{mpsc, oneshot};

use super::actor::{Actor, Ask, Request};
use super::effect::{Answer, ClientId, Input, Joined, Joiner, OwnJoin, Resume, RoomRequest};
use super::note::NoteKeys;
use super::refusals::participant_gone;
use crate::clock::Clock;
use crate::cluster::nodes::messages::Moderation;
use crate::cluster::nodes::{NodeAnswer, NodeAsk, Nodes, PeerError};
use crate::cluster::{RelayEvent, Relays};
use crate::events::EventSink;
use crate::inbox::{Inbox, inbox};
use crate::random::jittered;
use crate::store::{NodeRecord, SessionId, Standing, Store};

/// Requests that wait for a room at most: a few seconds' work.
const MAILBOX: usize = 2048;
/// What a client is told to wait when a room's mailbox is full.
const MAILBOX_RETRY: Duration = Duration::from_millis(500);
/// A join is answered within this time, whatever the store, relays and other nodes do: longer than it takes to be sure that a
/// node is dead, shorter than clients wait.
const JOIN_DEADLINE: Duration = Duration::from_secs(6);
/// The same for what moderators ask, and for leaving. Another node that is asked has 6 s of it.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest pause between two looks who has a room.
const PAUSE: Duration = Duration::from_millis(250);
/// The pause after the first look at most; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// What a client is told to wait when nobody knows who has a room.
const UNSETTLED_RETRY: Duration = Duration::from_millis(250);
/// Rooms that are woken at the same time, and the pause before the next ones.
const WOKEN_AT_ONCE: usize = 50;
const WAKE_PAUSE: Duration = Duration::from_millis(100);

/// What a join comes to.
#[derive(Debug)]
pub enum Join {
    /// In the room.
    Here(Box<Joined>),
    /// This node has the room: join there.
    Elsewhere(NodeRecord),
}

/// How far something that was asked of a room holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// For everybody: it is stored, and the relay has obeyed.
    Holds,
    /// It is stored. A relay that has been out of reach for long obeys it when it is back.
    Pending,
}

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
    /// This node and the others.
    pub(super) nodes: Nodes,
    pub(super) notes: NoteKeys,
    rooms: Mutex<HashMap<ConferenceId, RoomHandle>>,
    /// In which rooms an account is, and how often.
    presence: Mutex<HashMap<AccountId, HashMap<ConferenceId, u32>>>,
    /// No room is begun any more.
    is_closed: AtomicBool,
}

struct RoomHandle {
    requests: mpsc::Sender<Request>,
    inbox: Inbox<Input>,
    live: Arc<AtomicU32>,
}

impl Rooms {
    /// No room yet. This node takes rooms as one of `nodes`.
    pub fn new(
        store: Arc<dyn Store>,
        relays: Relays,
        limits: RoomLimits,
        clock: Clock,
        nodes: Nodes,
        notes: NoteKeys,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                relays,
                limits,
                clock,
                nodes,
                notes,
                rooms: Mutex::default(),
                presence: Mutex::default(),
                is_closed: AtomicBool::new(false),
            }),
        }
    }

    /// Brings somebody into the room, or takes a join up again. Its events go to `events` from the moment that the answer
    /// describes. Or says which node has the room.
    pub async fn join(
        &self,
        conference: ConferenceId,
        who: Joiner,
        resume: Option<Resume>,
        events: EventSink,
    ) -> Result<Join, Refusal> {
        let ask = Ask::Join(who, resume, events);
        let joining = async {
            let mut pauses = Pauses::default();
            loop {
                match self.ask(conference, ask.clone()).await? {
                    Answer::Joined(joined) => return Ok(Join::Here(joined)),
                    Answer::Elsewhere(node) => return Ok(Join::Elsewhere(node)),
                    Answer::Done | Answer::Pending | Answer::Again => pauses.next().await,
                }
            }
        };
        within(JOIN_DEADLINE, joining).await
    }

    /// Takes a participant out at its account's own wish.
    pub async fn leave(
        &self,
        conference: ConferenceId,
        account: AccountId,
        client: ClientId,
        join_id: JoinId,
    ) -> Result<(), Refusal> {
        // Who joined is where the room is, and a room that is not here is not begun for one who leaves.
        if !lock(&self.shared.rooms).contains_key(&conference) {
            return Err(participant_gone());
        }
        let leave = RoomRequest::Leave {
            account,
            client,
            join_id,
        };
        match within(DEADLINE, self.ask(conference, Ask::Other(leave))).await? {
            Answer::Done | Answer::Pending | Answer::Joined(_) => Ok(()),
            Answer::Elsewhere(_) => Err(participant_gone()),
            Answer::Again => Err(unsettled()),
        }
    }

    /// Takes in whether a client's relay answers. What is said of a room that is not here says nothing.
    pub fn media_reported(
        &self,
        conference: ConferenceId,
        of: OwnJoin,
        connection_id: ConnectionId,
        alive: bool,
    ) {
        self.tell(
            conference,
            Input::MediaReported {
                of,
                connection_id,
                alive,
            },
        );
    }

    /// Takes in that a client cannot open the frames under a leaf. What is said of a room that is not here says nothing.
    pub fn frames_reported(&self, conference: ConferenceId, of: OwnJoin, leaf: u32) {
        self.tell(conference, Input::FramesReported { of, leaf });
    }

    /// Puts something into the inbox of a room that is here.
    fn tell(&self, conference: ConferenceId, input: Input) {
        if let Some(room) = lock(&self.shared.rooms).get(&conference) {
            // A room that is this far behind does without what its clients report.
            let _ = room.inbox.offer(input);
        }
    }

    /// Takes all participants of an account out.
    pub async fn kick(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> Result<Settled, Refusal> {
        self.moderate(conference, Moderation::Kick(account)).await
    }

    /// Changes an account's standing from `old` to `new`, in the store and then in the room.
    pub async fn change(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Option<Standing>,
        new: Option<Standing>,
    ) -> Result<Settled, Refusal> {
        let change = Moderation::Change { account, old, new };
        self.moderate(conference, change).await
    }

    /// Deletes the conference from the store and closes its room.
    pub async fn delete(&self, conference: ConferenceId) -> Result<Settled, Refusal> {
        self.moderate(conference, Moderation::Delete).await
    }

    /// What another node asks of this one, because it has the room.
    pub async fn asked_by_node(
        &self,
        conference: ConferenceId,
        moderation: Moderation,
    ) -> NodeAnswer {
        match self.moderate_here(conference, moderation).await {
            Ok(Answer::Done | Answer::Joined(_)) => NodeAnswer::Done,
            Ok(Answer::Pending) => NodeAnswer::Pending,
            Ok(Answer::Elsewhere(_) | Answer::Again) => NodeAnswer::NotOwner,
            Err(refusal) => NodeAnswer::Refused(refusal),
        }
    }

    /// Has the node that has the room do it, whichever that is.
    async fn moderate(
        &self,
        conference: ConferenceId,
        moderation: Moderation,
    ) -> Result<Settled, Refusal> {
        within(DEADLINE, self.moderate_at_last(conference, moderation)).await
    }

    async fn moderate_at_last(
        &self,
        conference: ConferenceId,
        moderation: Moderation,
    ) -> Result<Settled, Refusal> {
        // Whether it may have been done by one that did not live to say so.
        let mut may_be_done = false;
        let mut pauses = Pauses::default();
        loop {
            let answer = match self.moderate_here(conference, moderation).await {
                Ok(Answer::Elsewhere(node)) => {
                    let asked = NodeAsk::Moderate(conference, moderation);
                    match self.shared.nodes.ask(&node, &asked).await {
                        Ok(NodeAnswer::Done) => Ok(Some(Settled::Holds)),
                        Ok(NodeAnswer::Pending) => Ok(Some(Settled::Pending)),
                        Ok(NodeAnswer::Refused(refusal)) => Err(refusal),
                        Ok(NodeAnswer::NotOwner | NodeAnswer::Live(_) | NodeAnswer::Status(_)) => {
                            Ok(None)
                        }
                        Err(error) => {
                            // If the node is dead, this one is next.
                            tracing::warn!(node = %node.run.name, %error, "the owner of a room did not answer");
                            may_be_done |= error != PeerError::Unreachable;
                            Ok(None)
                        }
                    }
                }
                Ok(Answer::Done | Answer::Joined(_)) => Ok(Some(Settled::Holds)),
                Ok(Answer::Pending) => Ok(Some(Settled::Pending)),
                Ok(Answer::Again) => {
                    may_be_done = true;
                    Ok(None)
                }
                Err(refusal) => Err(refusal),
            };
            match answer {
                Ok(Some(settled)) => return Ok(settled),
                Ok(None) => pauses.next().await,
                Err(refusal)
                    if may_be_done && ends(&moderation) && refusal.code == ErrorCode::NotFound =>
                {
                    return Ok(Settled::Holds);
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    async fn moderate_here(
        &self,
        conference: ConferenceId,
        moderation: Moderation,
    ) -> Result<Answer, Refusal> {
        let moderate = Ask::Other(RoomRequest::Moderate(moderation));
        let answer = self.ask(conference, moderate).await;
        if matches!(answer, Ok(Answer::Elsewhere(_) | Answer::Again)) {
            return answer;
        }
        // Refused, too: who is not in the room may be in what is left over of it.
        let are_closed = self.close_leftovers(conference).await?;
        match answer {
            Ok(Answer::Done) if !are_closed => Ok(Answer::Pending),
            answer => answer,
        }
    }

    /// Others may have taken this node for dead, or have ended sessions without its hearing of it: every room looks, some after
    /// the others, for the store has to answer them all.
    pub async fn wake(&self) {
        let inboxes: Vec<Inbox<Input>> = {
            let rooms = lock(&self.shared.rooms);
            rooms.values().map(|room| room.inbox.clone()).collect()
        };
        for some in inboxes.chunks(WOKEN_AT_ONCE) {
            for inbox in some {
                inbox.send(Input::Woken);
            }
            tokio::time::sleep(WAKE_PAUSE).await;
        }
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
            room.inbox.send(Input::SessionEnded(session));
        }
    }

    /// How many are in the conference's room.
    pub fn live(&self, conference: ConferenceId) -> u32 {
        let rooms = lock(&self.shared.rooms);
        rooms
            .get(&conference)
            .map_or(0, |room| room.live.load(Ordering::Relaxed))
    }

    /// How many rooms there are.
    pub fn count(&self) -> usize {
        lock(&self.shared.rooms).len()
    }

    /// How many participants there are in all of them.
    pub fn participants(&self) -> u32 {
        let rooms = lock(&self.shared.rooms);
        rooms
            .values()
            .map(|room| room.live.load(Ordering::Relaxed))
            .fold(0, u32::saturating_add)
    }

    /// Ends the actors. The relays keep what they have: a node that goes away ends no call.
    pub fn close(&self) {
        let mut rooms = lock(&self.shared.rooms);
        self.shared.is_closed.store(true, Ordering::Relaxed);
        rooms.clear();
    }

    pub(super) async fn ask(&self, conference: ConferenceId, ask: Ask) -> Result<Answer, Refusal> {
        let (answer, answered) = oneshot::channel();
        let request = Request { ask, answer };
        // Within the lock under which a room retires: a request meets a room that has stopped listening only while it panics.
        let sent = {
            let mut rooms = lock(&self.shared.rooms);
            if self.shared.is_closed.load(Ordering::Relaxed) {
                return Err(closing());
            }
            let room = rooms
                .entry(conference)
                .or_insert_with(|| self.start(conference));
            room.requests.try_send(request)
        };
        match sent {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(Answer::Again),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let full = "too much is going on in this room; try again in a moment";
                return Err(Refusal::new(ErrorCode::Busy, full).after(MAILBOX_RETRY));
            }
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) if self.shared.is_closed.load(Ordering::Relaxed) => Err(closing()),
            // The room's task panicked: it is taken anew.
            Err(_) => Ok(Answer::Again),
        }
    }

    fn start(&self, conference: ConferenceId) -> RoomHandle {
        let (requests, queue) = mpsc::channel(MAILBOX);
        let (inbox, inputs) = inbox();
        let (to_relay_events, relay_events) = crate::inbox::inbox();
        let live = Arc::new(AtomicU32::new(0));
        let actor = Actor {
            conference,
            shared: self.shared.clone(),
            requests: queue,
            inbox: inputs,
            to_inbox: inbox.clone(),
            relay_events,
            to_relay_events: to_relay_events.clone(),
            live: live.clone(),
            _fall: Fall {
                shared: self.shared.clone(),
                conference,
                inbox: inbox.clone(),
                relay_events: to_relay_events,
            },
        };
        tokio::spawn(actor.run());
        RoomHandle {
            requests,
            inbox,
            live,
        }
    }
}

/// Takes a room away whose task panics, so that the next request takes the conference anew, under a later era. Media goes on
/// meanwhile, and the room's clients are sent away by [`Clients`](super::clients::Clients).
pub(super) struct Fall {
    shared: Arc<Shared>,
    conference: ConferenceId,
    inbox: Inbox<Input>,
    relay_events: Inbox<RelayEvent>,
}

impl Drop for Fall {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let of = (&self.inbox, &self.relay_events);
            self.shared.lose(self.conference, of);
        }
    }
}

impl Shared {
    /// Forgets a room whose task has panicked. What its relay has of it is left over, until somebody takes the room anew.
    fn lose(
        &self,
        conference: ConferenceId,
        (inbox, relay_events): (&Inbox<Input>, &Inbox<RelayEvent>),
    ) {
        tracing::error!(%conference, "a room's task panicked: the room is taken anew by the next request");
        let mut rooms = lock(&self.rooms);
        if rooms
            .get(&conference)
            .is_some_and(|room| room.inbox.is_same(inbox))
        {
            rooms.remove(&conference);
            // Within the lock: a room that is begun anew counts afresh.
            lock(&self.presence).retain(|_, rooms| {
                rooms.remove(&conference);
                !rooms.is_empty()
            });
            self.relays.lose_room(conference, relay_events);
        }
    }

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
            *count = count.saturating_sub(1);
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

fn unsettled() -> Refusal {
    Refusal::new(
        ErrorCode::Busy,
        "which server has the room is not settled, or that server does not answer; try again in a moment",
    )
    .after(UNSETTLED_RETRY)
}

/// What comes of `work`, or a refusal after that time.
async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let done = tokio::time::timeout(deadline, work).await;
    done.unwrap_or_else(|_| Err(unsettled()))
}

/// Pauses between looks who has a room: longer with each, and random, so that those who wait for one node do not ask all at
/// once.
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    async fn next(&mut self) {
        tokio::time::sleep(jittered(self.0)).await;
        self.0 = (self.0 * 2).min(PAUSE);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it has been done when what it is about is not there any more.
fn ends(moderation: &Moderation) -> bool {
    match moderation {
        Moderation::Kick(_) | Moderation::Delete => true,
        Moderation::Change { new, .. } => new.is_none(),
    }
}
