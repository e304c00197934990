//! Finds a conference's room, starts it when it is needed and forgets it when it is over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use confab_e2ee::mls::FromMember;
use confab_protocol::control::{AccountId, ConferenceId, JoinId};
use confab_protocol::media::ConnectionId;
use tokio::sync::{mpsc, oneshot};

use super::actor::Actor;
use super::ask::{AnswerTo, Answered, Ask, Outcome};
use super::effect::{ClientId, Input, Joined, Joiner, OwnJoin, Resume, RoomChange, Settled};
use super::errors::{ChangeError, JoinError, Unavailable};
use super::group_keys::GroupKeys;
use super::guests::EndedGuests;
use super::note::NoteKeys;
use super::shared::{PanicGuard, RoomHandle, RoomLimits, Shared};
use crate::client_queues::ClientSink;
use crate::clock::Clock;
use crate::cluster::Relays;
use crate::cluster::nodes::messages::Moderation;
use crate::cluster::nodes::{NodeRequest, NodeResponse, Nodes};
use crate::inbox::{Inbox, inbox};
use crate::metrics::groups::GroupCounters;
use crate::mutex::lock;
use crate::random::jittered;
use crate::store::{NodeRecord, SessionId, Standing, Store};
use crate::webhooks::Webhooks;

/// Most requests that wait for a room: a few seconds of work.
const MAILBOX: usize = 2048;
/// A join is answered within this time, whatever the store, relays and other nodes do. Longer than a node takes to be declared dead,
/// shorter than clients wait.
const JOIN_DEADLINE: Duration = Duration::from_secs(6);
/// A moderation or a leave is answered within this time. Another node that is asked has 6 s of it.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest pause between two searches for the owner of a room.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after the first search; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Rooms that are woken at the same time, and the pause before the next ones.
const WOKEN_AT_ONCE: usize = 50;
const WAKE_PAUSE: Duration = Duration::from_millis(100);

/// The result of a join.
#[derive(Debug)]
pub enum Join {
    /// The client is in the room.
    Here(Box<Joined>),
    /// Another node owns the room: join there.
    Elsewhere(NodeRecord),
}

/// All rooms of this node. Clones share them.
#[derive(Clone)]
pub struct Rooms {
    pub(super) shared: Arc<Shared>,
}

impl Rooms {
    /// No rooms. This node owns rooms as one of `nodes`.
    pub fn new(
        store: Arc<dyn Store>,
        relays: Relays,
        limits: RoomLimits,
        clock: Clock,
        nodes: Nodes,
        (notes, group_keys): (NoteKeys, GroupKeys),
        (group_counters, webhooks, guests): (GroupCounters, Webhooks, EndedGuests),
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                relays,
                limits,
                clock,
                nodes,
                notes,
                group_keys,
                group_counters,
                webhooks,
                guests,
                rooms: Mutex::default(),
                presence: Mutex::default(),
                is_closed: AtomicBool::new(false),
            }),
        }
    }

    /// Joins a room or resumes a join, if this node owns the room. What the room says to the client after the answer goes to `sink`.
    pub async fn join(
        &self,
        conference: ConferenceId,
        who: Joiner,
        resume: Option<Resume>,
        sink: ClientSink,
    ) -> Result<Join, JoinError> {
        let ask = |answer| Ask::Join {
            who: who.clone(),
            resume: resume.clone(),
            sink: sink.clone(),
            answer,
        };
        let joining = async {
            let mut backoff = Backoff::default();
            loop {
                match self.ask(conference, ask).await? {
                    Outcome::Here(joined) => return Ok(Join::Here(joined)),
                    Outcome::Elsewhere(node) => return Ok(Join::Elsewhere(node)),
                    Outcome::Again => backoff.next().await,
                }
            }
        };
        match within(JOIN_DEADLINE, joining).await {
            Err(JoinError::RelaySilent) if self.shared.relays.linked() == 0 => {
                Err(JoinError::RelayGone)
            }
            joined => joined,
        }
    }

    /// A participant leaves by its own request.
    pub async fn leave(
        &self,
        conference: ConferenceId,
        account: AccountId,
        client: ClientId,
        join_id: JoinId,
    ) -> Result<(), ChangeError> {
        // The client of a participant is at the node that owns the room: a room that is not here has no such participant.
        if !lock(&self.shared.rooms).contains_key(&conference) {
            return Err(ChangeError::ParticipantGone);
        }
        let leave = RoomChange::Leave {
            account,
            client,
            join_id,
        };
        match within(DEADLINE, self.ask_change(conference, leave)).await? {
            Outcome::Here(_) => Ok(()),
            Outcome::Elsewhere(_) => Err(ChangeError::ParticipantGone),
            Outcome::Again => Err(Unavailable::Unsettled.into()),
        }
    }

    /// A client reports whether its relay answers. Ignored for rooms that this node does not own.
    pub fn media_reported(
        &self,
        conference: ConferenceId,
        of: OwnJoin,
        connection_id: ConnectionId,
        alive: bool,
    ) {
        let report = Input::MediaReported {
            of,
            connection_id,
            alive,
        };
        let _ = self.tell(conference, report);
    }

    /// A client reports that it cannot decrypt the frames under a leaf. Ignored for rooms that this node does not own.
    pub fn frames_reported(&self, conference: ConferenceId, of: OwnJoin, leaf: u32) {
        let _ = self.tell(conference, Input::FramesReported { of, leaf });
    }

    /// A participant says something to the delivery service. False if the room is too far behind to take it; what is for a room that
    /// this node does not own is ignored.
    pub fn to_group(
        &self,
        conference: ConferenceId,
        of: OwnJoin,
        messages: Vec<FromMember>,
        round_trip: Duration,
    ) -> bool {
        self.tell(
            conference,
            Input::ToGroup {
                of,
                messages,
                round_trip,
            },
        )
    }

    /// The connection of a client that has joined this room is lost.
    pub fn disconnected(&self, conference: ConferenceId, client: ClientId) {
        let _ = self.tell(conference, Input::Disconnected(client));
    }

    /// Puts a report into the inbox of a room that this node owns. False if the room is so far behind that it drops reports.
    fn tell(&self, conference: ConferenceId, input: Input) -> bool {
        let rooms = lock(&self.shared.rooms);
        let room = rooms.get(&conference);
        room.is_none_or(|room| room.inbox.offer(input).is_ok())
    }

    /// Removes all participants of an account.
    pub async fn kick(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> Result<Settled, ChangeError> {
        self.moderate(conference, Moderation::Kick(account)).await
    }

    /// Changes an account's standing from `old` to `new`, in the store and then in the room.
    pub async fn change(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Option<Standing>,
        new: Option<Standing>,
    ) -> Result<Settled, ChangeError> {
        let change = Moderation::Change { account, old, new };
        self.moderate(conference, change).await
    }

    /// Deletes the conference from the store and closes its room.
    pub async fn delete(&self, conference: ConferenceId) -> Result<Settled, ChangeError> {
        self.moderate(conference, Moderation::Delete).await
    }

    /// Asks the owner of the room, whichever node that is.
    async fn moderate(
        &self,
        conference: ConferenceId,
        moderation: Moderation,
    ) -> Result<Settled, ChangeError> {
        within(DEADLINE, self.moderate_at_last(conference, moderation)).await
    }

    async fn moderate_at_last(
        &self,
        conference: ConferenceId,
        moderation: Moderation,
    ) -> Result<Settled, ChangeError> {
        // True once an owner that did not answer may have carried the change out.
        let mut may_be_done = false;
        let mut backoff = Backoff::default();
        loop {
            let settled = match self.moderate_here(conference, moderation).await {
                Ok(Outcome::Here(settled)) => Ok(Some(settled)),
                Ok(Outcome::Elsewhere(node)) => {
                    let request = NodeRequest::Moderate(conference, moderation);
                    match self.shared.nodes.ask(&node, &request).await {
                        Ok(response) => settled_at_owner(response),
                        // If the node is dead, another one owns the room next.
                        Err(error) => {
                            tracing::warn!(node = %node.run.name, %error, "the owner of a room did not answer");
                            may_be_done |= error.may_be_done();
                            Ok(None)
                        }
                    }
                }
                Ok(Outcome::Again) => {
                    may_be_done = true;
                    Ok(None)
                }
                Err(error) => Err(error),
            };
            match settled {
                Ok(Some(settled)) => return Ok(settled),
                Ok(None) => backoff.next().await,
                Err(error) if may_be_done && ends(&moderation) && error.is_absent() => {
                    return Ok(Settled::Everywhere);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Changes the room if this node owns it. Other nodes ask for it, too.
    pub async fn moderate_here(
        &self,
        conference: ConferenceId,
        moderation: Moderation,
    ) -> Result<Outcome<Settled>, ChangeError> {
        let moderate = RoomChange::Moderate(moderation);
        let answer = self.ask_change(conference, moderate).await;
        if matches!(answer, Ok(Outcome::Elsewhere(_) | Outcome::Again)) {
            return answer;
        }
        // Also after a refusal: an account that is not in the room may have sessions in its leftovers.
        let are_closed = self.close_leftovers(conference).await?;
        match answer {
            Ok(Outcome::Here(Settled::Everywhere)) if !are_closed => {
                Ok(Outcome::Here(Settled::WhereReached))
            }
            answer => answer,
        }
    }

    /// Other nodes may have taken this one for dead, or have ended sessions without a notice to it: every room looks that up in the store,
    /// some after the others to spread the load.
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

    /// An account session has ended: its participants leave.
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

    /// The number of participants in the conference's room.
    pub fn live(&self, conference: ConferenceId) -> u32 {
        let rooms = lock(&self.shared.rooms);
        rooms
            .get(&conference)
            .map_or(0, |room| room.live.load(Ordering::Relaxed))
    }

    /// The number of rooms.
    pub fn count(&self) -> usize {
        lock(&self.shared.rooms).len()
    }

    /// The number of participants in all rooms.
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

    async fn ask_change(
        &self,
        conference: ConferenceId,
        change: RoomChange,
    ) -> Answered<Settled, ChangeError> {
        self.ask(conference, |answer| Ask::Change { change, answer })
            .await
    }

    /// Asks the room's actor, which is started if there is none. `make` makes the request of the sender for its answer.
    pub(super) async fn ask<T, E: From<Unavailable>>(
        &self,
        conference: ConferenceId,
        make: impl FnOnce(AnswerTo<T, E>) -> Ask,
    ) -> Answered<T, E> {
        let (answer, answered) = oneshot::channel();
        // Within the lock under which a room retires: a request meets a room that has stopped listening only while it panics.
        let sent = {
            let mut rooms = lock(&self.shared.rooms);
            if self.shared.is_closed.load(Ordering::Relaxed) {
                return Err(Unavailable::Closing.into());
            }
            let room = rooms
                .entry(conference)
                .or_insert_with(|| self.start(conference));
            room.requests.try_send(make(answer))
        };
        match sent {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(Outcome::Again),
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Unavailable::Crowded.into()),
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) if self.shared.is_closed.load(Ordering::Relaxed) => {
                Err(Unavailable::Closing.into())
            }
            // The room's task panicked: the next request takes the room again.
            Err(_) => Ok(Outcome::Again),
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
            _guard: PanicGuard::new(
                self.shared.clone(),
                conference,
                (inbox.clone(), to_relay_events),
            ),
        };
        tokio::spawn(actor.run());
        RoomHandle {
            requests,
            inbox,
            live,
        }
    }
}

/// The result of a moderation at another node. `None` if the node does not own the room any more.
fn settled_at_owner(response: NodeResponse) -> Result<Option<Settled>, ChangeError> {
    let refused = |refusal, is_absent| Err(ChangeError::ByOwner { refusal, is_absent });
    match response {
        NodeResponse::Done => Ok(Some(Settled::Everywhere)),
        NodeResponse::Pending => Ok(Some(Settled::WhereReached)),
        NodeResponse::Refused(refusal) => refused(refusal, false),
        NodeResponse::Absent(refusal) => refused(refusal, true),
        NodeResponse::NotOwner
        | NodeResponse::Live(_)
        | NodeResponse::Status(_)
        | NodeResponse::Roster(_)
        | NodeResponse::Busiest(_)
        | NodeResponse::Admin(_) => Ok(None),
    }
}

/// The result of `work`, or [`Unavailable::Unsettled`] after `deadline`.
async fn within<T, E: From<Unavailable>>(
    deadline: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let done = tokio::time::timeout(deadline, work).await;
    done.unwrap_or_else(|_| Err(Unavailable::Unsettled.into()))
}

/// Pauses between searches for the owner of a room: longer with each, and random, so that requests that wait for one node do not all come
/// at once.
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Backoff {
    async fn next(&mut self) {
        tokio::time::sleep(jittered(self.0)).await;
        self.0 = (self.0 * 2).min(PAUSE);
    }
}

/// Whether the moderation is done if its target does not exist.
fn ends(moderation: &Moderation) -> bool {
    match moderation {
        Moderation::Kick(_) | Moderation::Delete => true,
        Moderation::Change { new, .. } => new.is_none(),
    }
}
