//! The task that owns one room: takes it for this node, feeds its state and carries out what follows.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use confab_protocol::control::framing;
use confab_protocol::control::{ConferenceId, ErrorCode, JoinId, Refusal, RoomSecret};
use confab_protocol::version::VersionRange;
use confab_protocol::wire;
use tokio::sync::{mpsc, oneshot};

use super::admission::{admit, change, no_conference};
use super::clients::Clients;
use super::effect::{Answer, Effect, Input, Joiner, Resume, RoomRequest, Ticket};
use super::home::{self, Owner, Recorded};
use super::leftovers;
use super::ownership_check::LeaseEpoch;
use super::registry::{Fall, Shared};
use super::roll_call::{self, Roll};
use super::room::{Numbers, Room, World};
use crate::cluster::{LinkedRelay, RelayEvent, RelayWish};
use crate::events::EventSink;
use crate::inbox::{Inbox, InboxReader};
use crate::random::{self, jittered};
use crate::store::{HomeRecord, StoreError, ended_of};

/// How long the store is asked whose the room is, when this node may have been taken for dead.
const LOOK_DEADLINE: Duration = Duration::from_millis(500);
/// A store that did not say whose session has ended is asked again after this time.
const ENDED_RETRY: Duration = Duration::from_secs(30);

/// What is asked of the owner of a room.
#[derive(Clone)]
pub(super) enum Ask {
    /// A join or a resume. Events of the room go to the sink from then on.
    Join(Joiner, Option<Resume>, EventSink),
    /// A request of another kind.
    Other(RoomRequest),
    /// A relay is to close what it has left over of the room.
    CloseLeftover(LinkedRelay),
}

pub(super) struct Request {
    pub(super) ask: Ask,
    pub(super) answer: AnswerTo,
}

pub(super) type AnswerTo = oneshot::Sender<Result<Answer, Refusal>>;

pub(super) struct Actor {
    pub(super) conference: ConferenceId,
    pub(super) shared: Arc<Shared>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) inbox: InboxReader<Input>,
    /// The sending end of `inbox`, for the store's answers.
    pub(super) to_inbox: Inbox<Input>,
    pub(super) relay_events: InboxReader<RelayEvent>,
    /// The sending end of `relay_events`.
    pub(super) to_relay_events: Inbox<RelayEvent>,
    pub(super) live: Arc<AtomicU32>,
    /// The last to be dropped: what the room counts is counted no more by then.
    pub(super) _fall: Fall,
}

impl Actor {
    pub(super) async fn run(mut self) {
        // Before the look: what happens after it is noticed.
        let epoch = self.shared.nodes.sure_since(Instant::now());
        let store = self.shared.store.as_ref();
        // First: a home that is taken once is a row for ever.
        match store.conference(self.conference).await {
            Ok(Some(_)) => {}
            Ok(None) => return self.turn_away(|| Err(no_conference())),
            Err(error) => {
                let refusal = Refusal::from(error);
                return self.turn_away(|| Err(refusal.clone()));
            }
        }
        let home = match home::take(store, &self.shared.nodes, self.conference).await {
            Ok(Owner::Us(home)) => home,
            Ok(Owner::Other(node)) => {
                return self.turn_away(|| Ok(Answer::Elsewhere(node.clone())));
            }
            Ok(Owner::Doubted) => return self.turn_away(|| Ok(Answer::Again)),
            Err(error) => {
                let refusal = Refusal::from(error);
                return self.turn_away(|| Err(refusal.clone()));
            }
        };
        let found =
            roll_call::call(&self.shared, self.conference, &home, &self.to_relay_events).await;
        let roll = match found {
            Ok(Roll::Fenced) => match home::look(store, self.conference, &home).await {
                // Not by an owner that the store knows of: what the relay has is none of this room's.
                Recorded::Done(_) => Roll::Nobody,
                _ => return self.turn_away(|| Ok(Answer::Again)),
            },
            Ok(roll) => roll,
            // The home stays this node's: it is taken anew when it is asked for again.
            Err(refusal) => return self.turn_away(|| Err(refusal.clone())),
        };
        let mut numbers = Numbers::default();
        if let (Roll::There(..), Some(place)) = (&roll, &home.place) {
            // Where it is stays written down as it is.
            numbers.placement = place.placement;
        }
        let mut state = self.fresh_state(home, epoch, numbers);
        let mut held = None;
        match roll {
            Roll::Nobody | Roll::Fenced => {}
            Roll::OutOfReach(place, idle_timeout) => {
                state.take_over_without(Instant::now(), place, idle_timeout);
            }
            Roll::There(adopted, by) => {
                state.adopt(Instant::now(), *adopted);
                held = Some(by);
            }
        }
        let mut open = OpenRoom {
            state,
            tickets: HashMap::new(),
            next_ticket: 0,
            clients: Clients::default(),
            unclaimed: Vec::new(),
            somebody_went: false,
            place: None,
        };
        self.carry_out_all(&mut open);
        drop(held);
        loop {
            let deadline = open.state.deadline();
            let (input, request) = tokio::select! {
                biased;
                event = self.relay_events.next() => (event.map(Input::Relay), None),
                input = self.inbox.next() => (input, None),
                request = self.requests.recv() => match request {
                    Some(request) => (None, Some(request)),
                    // The server closes.
                    None => return,
                },
                () = sleep_until(deadline) => (None, None),
            };
            if matches!(input, Some(Input::Woken)) {
                self.look_for_ended_sessions(&open);
            }
            let input = input.or_else(|| self.take_in(request?, &mut open));
            let (now, mut world) = (Instant::now(), self.surroundings());
            match input {
                Some(input) => open.state.handle(now, input, &mut world),
                None => open.state.expire(now, &mut world),
            }
            self.carry_out_all(&mut open);
            let live = u32::try_from(open.state.live()).unwrap_or(u32::MAX);
            self.live.store(live, Ordering::Relaxed);
            if !open.state.is_owned() {
                tracing::info!(conference = %self.conference, "another node has the room");
                open.clients.send_away();
                return self.turn_away(|| Ok(Answer::Again));
            }
            if open.state.is_over() {
                let home = open.state.home().clone();
                // Where an earlier owner had it stays written down until somebody has been there.
                let was_placed = open.state.fence().placement > 0;
                if !open.state.has_unreached()
                    && self
                        .shared
                        .retire(self.conference, || self.requests.is_empty())
                {
                    let store = self.shared.store.as_ref();
                    if let Recorded::Unknown(error) =
                        home::let_go(store, self.conference, home, was_placed).await
                    {
                        // Then it stays this node's, until somebody asks for it or the node ends.
                        tracing::debug!(conference = %self.conference, %error, "a room was not let go");
                    }
                    return;
                }
                // Somebody came at the last moment, and comes to a new room; so does everybody else who comes while it is
                // remembered that somebody may be out of reach.
                let mut next = self.fresh_state(home, None, open.state.numbers());
                next.follow(&mut open.state);
                open.state = next;
            }
        }
    }

    /// Answers whoever asked, and forgets the room.
    fn turn_away(&mut self, answer: impl Fn() -> Result<Answer, Refusal>) {
        loop {
            while let Ok(request) = self.requests.try_recv() {
                // Whoever asked may be gone.
                let _ = request.answer.send(answer());
            }
            if self
                .shared
                .retire(self.conference, || self.requests.is_empty())
            {
                return;
            }
        }
    }

    /// Finds out whose session has ended without this node's hearing of it. Does not wait for that.
    fn look_for_ended_sessions(&self, open: &OpenRoom) {
        let sessions = open.state.sessions();
        if sessions.is_empty() {
            return;
        }
        let (shared, inbox) = (self.shared.clone(), self.to_inbox.clone());
        tokio::spawn(async move {
            // A task of its own, so that it is asked again after a panic, too.
            let looking =
                tokio::spawn(async move { ended_of(&shared.store, &shared.clock, sessions).await });
            match looking.await {
                Ok(Ok(ended)) => {
                    for session in ended {
                        inbox.send(Input::SessionEnded(session));
                    }
                }
                Ok(Err(_)) | Err(_) => {
                    tokio::time::sleep(jittered(ENDED_RETRY)).await;
                    inbox.send(Input::Woken);
                }
            }
        });
    }

    /// What a request is to the room's state; `None` for what is no matter of it.
    fn take_in(&self, request: Request, open: &mut OpenRoom) -> Option<Input> {
        let Request { ask, answer } = request;
        match ask {
            _ if !open.state.is_owned() => {
                let _ = answer.send(Ok(Answer::Again));
                None
            }
            Ask::Join(who, resume, events) => {
                open.clients.insert(who.client, events);
                let request = RoomRequest::Join { who, resume };
                Some(open.take_in(request, answer))
            }
            Ask::Other(request) => Some(open.take_in(request, answer)),
            Ask::CloseLeftover(relay) => {
                if open.state.uses(&relay.name) {
                    let _ = answer.send(Ok(Answer::Done));
                    return None;
                }
                let (relays, conference) = (self.shared.relays.clone(), self.conference);
                let (fence, inbox) = (open.state.fence(), self.to_inbox.clone());
                tokio::spawn(async move {
                    let closed = leftovers::close(&relays, &relay, conference, fence).await;
                    if closed.is_ok() {
                        inbox.send(Input::LeftoverClosed(relay));
                    }
                    let _ = answer.send(closed.map(|()| Answer::Done));
                });
                None
            }
        }
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings(&self.shared)
    }

    fn fresh_state(&self, home: HomeRecord, epoch: LeaseEpoch, numbers: Numbers) -> Room {
        let max = self.shared.limits.max_participants;
        let mut secret = [0; RoomSecret::LEN];
        random::fill(&mut secret);
        let notes = self.shared.notes.of(self.conference);
        Room::new(
            self.conference,
            (home, epoch),
            max,
            numbers,
            RoomSecret::new(secret),
            notes,
        )
    }

    fn carry_out_all(&self, open: &mut OpenRoom) {
        loop {
            while let Some(effect) = open.state.next_effect() {
                self.carry_out(effect, open);
            }
            let Some(join_id) = open.unclaimed.pop() else {
                break;
            };
            let mut world = self.surroundings();
            let unclaimed = Input::Unclaimed(join_id);
            open.state.handle(Instant::now(), unclaimed, &mut world);
        }
        // Only now: whoever went is told of it by one of the effects.
        if std::mem::take(&mut open.somebody_went) && open.state.is_owned() {
            let state = &open.state;
            open.clients.retain(|client| state.knows(client));
        }
    }

    fn carry_out(&self, effect: Effect, open: &mut OpenRoom) {
        let (shared, conference) = (self.shared.clone(), self.conference);
        match effect {
            Effect::Admit { ticket, account } => {
                let result = Err(failed());
                self.later(Input::Admitted { ticket, result }, async move {
                    let result = admit(&shared, conference, account).await;
                    Input::Admitted { ticket, result }
                });
            }
            Effect::Change {
                ticket,
                account,
                old,
                new,
            } => {
                let result = Err(failed());
                self.later(Input::Stored { ticket, result }, async move {
                    let stored = change(shared.store.as_ref(), conference, account, old, new).await;
                    let result = stored.map_err(Into::into);
                    Input::Stored { ticket, result }
                });
            }
            Effect::Delete { ticket } => {
                let result = Err(failed());
                self.later(Input::Stored { ticket, result }, async move {
                    let result = shared.store.delete_conference(conference).await;
                    let result = result.map_err(Into::into);
                    Input::Stored { ticket, result }
                });
            }
            Effect::RecordPlace { home, place } => {
                self.later(Input::PlaceRecorded(panicked()), async move {
                    let store = shared.store.as_ref();
                    Input::PlaceRecorded(home::record_place(store, conference, home, place).await)
                });
            }
            Effect::Look { home } => {
                self.later(Input::Looked(panicked()), async move {
                    let look = home::look(shared.store.as_ref(), conference, &home);
                    let looked = tokio::time::timeout(LOOK_DEADLINE, look).await;
                    Input::Looked(looked.unwrap_or(Recorded::Unknown(StoreError::Busy)))
                });
            }
            Effect::Settle(relay) => self.settle(relay, open),
            Effect::Abandon(left) => {
                let relays = &self.shared.relays;
                relays.note_left(conference, &left.name, left.boot);
            }
            Effect::Command {
                command,
                relay,
                boot,
                fence,
                action,
            } => {
                let room = (command, self.to_relay_events.clone());
                let relays = &self.shared.relays;
                relays.command(&relay, conference, room, (fence, boot), action);
            }
            Effect::Answer { ticket, answer } => {
                // Whoever is refused has no more to hear from this room.
                open.somebody_went |= answer.is_err();
                let waiting = open.tickets.remove(&ticket);
                // Whoever asked may be gone; what was done stays done, but for a join.
                let unheard = waiting.and_then(|waiting| waiting.send(answer).err());
                if let Some(Ok(Answer::Joined(joined))) = unheard {
                    open.unclaimed.extend(joined.made());
                }
            }
            Effect::Tell { clients, event } => {
                let bytes = framing::encode(&wire::Event::from(&event));
                open.clients.tell(&clients, &bytes);
            }
            Effect::Present(account) => shared.present(account, conference),
            Effect::Absent(account) => {
                shared.absent(account, conference);
                open.somebody_went = true;
            }
        }
    }

    fn settle(&self, relay: Option<LinkedRelay>, open: &mut OpenRoom) {
        let relays = &self.shared.relays;
        if let Some(left) = open.place.take() {
            relays.leave(&left, self.conference);
        }
        if let Some(relay) = &relay
            && !relays.settle(relay, self.conference, self.to_relay_events.clone())
        {
            self.to_relay_events.send(RelayEvent::Gone(relay.boot));
        }
        open.place = relay;
    }

    /// Has something answered to the inbox when it is done; by `failed` when it panics.
    fn later(&self, failed: Input, work: impl Future<Output = Input> + Send + 'static) {
        let owed = Owed {
            inbox: self.to_inbox.clone(),
            answer: Some(failed),
        };
        tokio::spawn(async move { owed.pay(work.await) });
    }
}

/// An answer that a room waits for, sent when this is dropped.
struct Owed {
    inbox: Inbox<Input>,
    answer: Option<Input>,
}

impl Owed {
    fn pay(mut self, answer: Input) {
        self.answer = Some(answer);
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.inbox.send(answer);
        }
    }
}

/// Of something that panicked. Whether it was stored is not known.
fn failed() -> Refusal {
    Refusal::new(
        ErrorCode::Internal,
        "the server failed; its log says why. Look whether it was done before you try again",
    )
}

/// The result of a look at the home, or of a write to it, whose task panicked.
fn panicked() -> Recorded {
    Recorded::Unknown(StoreError::Unavailable("its task panicked".to_owned()))
}

/// What changes while the actor runs.
struct OpenRoom {
    state: Room,
    tickets: HashMap<Ticket, AnswerTo>,
    next_ticket: Ticket,
    clients: Clients,
    /// Joins that were answered to nobody.
    unclaimed: Vec<JoinId>,
    somebody_went: bool,
    place: Option<LinkedRelay>,
}

impl OpenRoom {
    fn take_in(&mut self, request: RoomRequest, answer: AnswerTo) -> Input {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tickets.insert(ticket, answer);
        Input::Request { ticket, request }
    }
}

struct Surroundings<'a>(&'a Shared);

impl World for Surroundings<'_> {
    fn pick_relay(&mut self, wish: &RelayWish<'_>) -> Option<LinkedRelay> {
        self.0.relays.pick_for(wish)
    }

    fn media_version(&mut self, theirs: VersionRange) -> Option<u32> {
        self.0.relays.media_version(theirs)
    }

    fn note_unanswered(&mut self, relay: &LinkedRelay) {
        self.0.relays.note_unanswered(relay);
    }

    fn lease_epoch(&mut self, now: Instant) -> LeaseEpoch {
        self.0.nodes.sure_since(now)
    }

    fn random(&mut self, bytes: &mut [u8]) {
        random::fill(bytes);
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
