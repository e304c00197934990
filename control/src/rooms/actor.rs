//! The task that owns one room: takes the room for this node, feeds its state with inputs and carries its effects out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use confab_protocol::control::framing;
use confab_protocol::control::{ConferenceId, JoinId, Slug};
use confab_protocol::version::VersionRange;
use confab_protocol::wire;
use tokio::sync::mpsc;

use super::admission::{admit, change};
use super::announced::Announced;
use super::ask::{Ask, NoRoom, Outcome};
use super::clients::Clients;
use super::effect::{Effect, Input, RoomRequest};
use super::errors::Unavailable;
use super::home::{self, Owner, Recorded};
use super::label::LabelKey;
use super::ownership_check::LeaseEpoch;
use super::relay_request;
use super::roll_call::{self, Roll};
use super::room::{Numbers, Room, RoomKeys};
use super::shared::{PanicGuard, Shared};
use super::tickets::{Tickets, Waiting};
use super::world::World;
use crate::cluster::{LinkedRelay, RelayCriteria, RelayEvent};
use crate::inbox::{Inbox, InboxReader};
use crate::random::{self, jittered};
use crate::store::{HomeRecord, StoreError, ended_of};

/// Time for the store to answer a lookup of the room's home.
const LOOK_DEADLINE: Duration = Duration::from_millis(500);
/// A lookup of ended sessions that the store did not answer is repeated after this time.
const ENDED_RETRY: Duration = Duration::from_secs(30);

pub(super) struct Actor {
    pub(super) conference: ConferenceId,
    pub(super) shared: Arc<Shared>,
    pub(super) requests: mpsc::Receiver<Ask>,
    pub(super) inbox: InboxReader<Input>,
    /// The sending end of `inbox`, for the store's answers.
    pub(super) to_inbox: Inbox<Input>,
    pub(super) relay_events: InboxReader<RelayEvent>,
    /// The sending end of `relay_events`.
    pub(super) to_relay_events: Inbox<RelayEvent>,
    pub(super) live: Arc<AtomicU32>,
    /// Dropped last: the room's counts are given back by then.
    pub(super) _guard: PanicGuard,
}

impl Actor {
    pub(super) async fn run(mut self) {
        // Before the lookup of the home: a lease that lapses after it is noticed.
        let epoch = self.shared.nodes.lease_epoch(Instant::now());
        let store = self.shared.store.as_ref();
        // First: the home of a conference that does not exist would stay in the store for ever.
        let slug = match store.conference(self.conference).await {
            Ok(Some(conference)) => conference.slug,
            Ok(None) => return self.turn_away(&NoRoom::NoConference),
            Err(error) => return self.turn_away(&NoRoom::Store(error)),
        };
        let home = match home::take(store, &self.shared.nodes, self.conference).await {
            Ok(Owner::Us(home)) => home,
            Ok(Owner::Other(node)) => return self.turn_away(&NoRoom::Elsewhere(node)),
            Ok(Owner::Doubted) => return self.turn_away(&NoRoom::Again),
            Err(error) => return self.turn_away(&NoRoom::Store(error)),
        };
        let found =
            roll_call::call(&self.shared, self.conference, &home, &self.to_relay_events).await;
        let roll = match found {
            Ok(Roll::Fenced) => match home::look(store, self.conference, &home).await {
                // The store knows no later owner: the relay's fence is not of this room.
                Recorded::Done(_) => Roll::Nobody,
                _ => return self.turn_away(&NoRoom::Again),
            },
            Ok(roll) => roll,
            // The home stays with this node, which takes the room again with the next request.
            Err(error) => return self.turn_away(&NoRoom::Store(error)),
        };
        let mut numbers = Numbers::default();
        if let (Roll::There(..), Some(place)) = (&roll, &home.place) {
            // The home already names this placement.
            numbers.placement = place.placement;
        }
        let mut state = self.fresh_state(home, epoch, numbers);
        let mut presence = None;
        match roll {
            Roll::Nobody | Roll::Fenced => {}
            Roll::OutOfReach(place, idle_timeout) => {
                state.take_over_without(Instant::now(), place, idle_timeout);
            }
            Roll::There(adopted, by) => {
                state.adopt(Instant::now(), *adopted);
                presence = Some(by);
            }
        }
        let mut open = OpenRoom {
            state,
            tickets: Tickets::default(),
            clients: Clients::default(),
            unclaimed: Vec::new(),
            clients_left: false,
            place: None,
            announced: Announced::default(),
            told_of: 0,
        };
        self.carry_out_all(&mut open);
        open.announced.adopt(open.state.present());
        open.told_of = open.state.revision();
        drop(presence);
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
            let (now, mut world) = (Instant::now(), self.node_world());
            match input {
                Some(input) => open.state.handle(now, input, &mut world),
                None => open.state.expire(now, &mut world),
            }
            self.carry_out_all(&mut open);
            // A participant is there some time after its join began: the revision says when.
            if open.told_of != open.state.revision() && open.state.is_owned() {
                self.announce(&slug, &mut open);
            }
            let live = u32::try_from(open.state.live()).unwrap_or(u32::MAX);
            self.live.store(live, Ordering::Relaxed);
            if !open.state.is_owned() {
                tracing::info!(conference = %self.conference, "another node has the room");
                open.clients.send_away();
                return self.turn_away(&NoRoom::Again);
            }
            if open.state.is_over() {
                let home = open.state.home().clone();
                // The relay of an earlier owner stays in the home until this node has asked it.
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
                        // The home stays with this node, until a request comes for the room or the node ends.
                        tracing::debug!(conference = %self.conference, %error, "a room was not let go");
                    }
                    return;
                }
                // A request came at the last moment: a new room takes it. It also remembers participants that may be at unreachable
                // relays.
                let mut next = self.fresh_state(home, None, open.state.numbers());
                next.follow(&mut open.state);
                open.told_of = next.revision();
                open.state = next;
            }
        }
    }

    /// Tells others who has come and gone.
    fn announce(&self, slug: &Slug, open: &mut OpenRoom) {
        let told = (&self.shared.webhooks, &self.shared.guests);
        open.told_of = open.state.revision();
        let room = (self.conference, slug);
        open.announced.tell(room, open.state.present(), told);
    }

    /// Answers all requests without a room, and forgets the room.
    fn turn_away(&mut self, why: &NoRoom) {
        loop {
            while let Ok(ask) = self.requests.try_recv() {
                ask.turn_away(why);
            }
            if self
                .shared
                .retire(self.conference, || self.requests.is_empty())
            {
                return;
            }
        }
    }

    /// Starts a lookup of sessions that have ended without a notice to this node.
    fn look_for_ended_sessions(&self, open: &OpenRoom) {
        let sessions = open.state.sessions();
        if sessions.is_empty() {
            return;
        }
        let (shared, inbox) = (self.shared.clone(), self.to_inbox.clone());
        tokio::spawn(async move {
            // A task of its own, so that the lookup is repeated after a panic, too.
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

    /// The input of the room for a request; `None` for a request that does not concern its state.
    fn take_in(&self, ask: Ask, open: &mut OpenRoom) -> Option<Input> {
        if !open.state.is_owned() {
            ask.turn_away(&NoRoom::Again);
            return None;
        }
        match ask {
            Ask::Join {
                who,
                resume,
                sink,
                answer,
            } => {
                open.clients.insert(who.client, sink);
                let ticket = open.tickets.add(Waiting::Join(answer));
                let request = RoomRequest::Join { who, resume };
                Some(Input::Request { ticket, request })
            }
            Ask::Change { change, answer } => {
                let ticket = open.tickets.add(Waiting::Change(answer));
                let request = RoomRequest::Change(change);
                Some(Input::Request { ticket, request })
            }
            Ask::Roster { answer } => {
                let _ = answer.send(open.state.roster());
                None
            }
            Ask::CloseLeftover { relay, answer } => {
                if open.state.uses(&relay.name) {
                    let _ = answer.send(Ok(Outcome::Here(())));
                    return None;
                }
                let (relays, conference) = (self.shared.relays.clone(), self.conference);
                let (fence, inbox) = (open.state.fence(), self.to_inbox.clone());
                tokio::spawn(async move {
                    let closed = relay_request::close(&relays, &relay, conference, fence).await;
                    if closed.is_ok() {
                        inbox.send(Input::LeftoverClosed(relay));
                    }
                    let _ = answer.send(closed.map(Outcome::Here));
                });
                None
            }
        }
    }

    fn node_world(&self) -> NodeWorld<'_> {
        NodeWorld(&self.shared)
    }

    fn fresh_state(&self, home: HomeRecord, epoch: LeaseEpoch, numbers: Numbers) -> Room {
        let max = self.shared.limits.max_participants;
        let mut labels = [0; LabelKey::LEN];
        random::fill(&mut labels);
        let keys = RoomKeys {
            labels: LabelKey::new(labels),
            notes: self.shared.notes.of(self.conference),
            group: self.shared.group_keys.clone(),
        };
        Room::new(self.conference, (home, epoch), max, numbers, keys)
    }

    fn carry_out_all(&self, open: &mut OpenRoom) {
        loop {
            while let Some(effect) = open.state.next_effect() {
                self.carry_out(effect, open);
            }
            let Some(join_id) = open.unclaimed.pop() else {
                break;
            };
            let mut world = self.node_world();
            let unclaimed = Input::Unclaimed(join_id);
            open.state.handle(Instant::now(), unclaimed, &mut world);
        }
        // Only now: one of the effects tells the clients that leave.
        if std::mem::take(&mut open.clients_left) && open.state.is_owned() {
            let state = &open.state;
            open.clients.retain(|client| state.knows(client));
        }
    }

    fn carry_out(&self, effect: Effect, open: &mut OpenRoom) {
        let (shared, conference) = (self.shared.clone(), self.conference);
        match effect {
            Effect::Admit { ticket, account } => {
                let result = Err(Unavailable::Panicked.into());
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
                let result = Err(Unavailable::Panicked.into());
                self.later(Input::Stored { ticket, result }, async move {
                    let stored = change(shared.store.as_ref(), conference, account, old, new).await;
                    let result = stored.map_err(Into::into);
                    Input::Stored { ticket, result }
                });
            }
            Effect::Delete { ticket } => {
                let result = Err(Unavailable::Panicked.into());
                self.later(Input::Stored { ticket, result }, async move {
                    let now = shared.clock.now();
                    let result = shared.store.delete_conference(conference, now).await;
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
                relays.note_leftover(conference, &left.name, left.boot);
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
            Effect::AnswerJoin { ticket, answer } => {
                // A client that is refused gets no more events of this room.
                open.clients_left |= answer.is_err();
                // A client that is gone does not know of its participant.
                if let Some(joined) = open.tickets.answer_join(ticket, answer) {
                    open.unclaimed.extend(joined.made());
                }
            }
            Effect::AnswerChange { ticket, answer } => open.tickets.answer_change(ticket, answer),
            Effect::AskAgain(ticket) => open.tickets.ask_again(ticket),
            Effect::Tell { clients, event } => {
                let bytes = framing::encode(&wire::Event::from(&event));
                open.clients.tell(&clients, &bytes);
            }
            Effect::TellMember {
                client,
                join_id,
                message,
            } => open
                .clients
                .tell_member(client, (conference, join_id), &message),
            Effect::CountGroup(cause) => shared.group_counters.begun.count(cause),
            Effect::CountRefused(reason) => shared.group_counters.refused.count(reason),
            Effect::Present(account) => shared.present(account, conference),
            Effect::Absent(account) => {
                shared.absent(account, conference);
                open.clients_left = true;
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

    /// Runs `work` in a task and puts its result into the inbox; `failed` if it panics.
    fn later(&self, failed: Input, work: impl Future<Output = Input> + Send + 'static) {
        let pending = PendingAnswer {
            inbox: self.to_inbox.clone(),
            answer: Some(failed),
        };
        tokio::spawn(async move { pending.pay(work.await) });
    }
}

/// An input that a room waits for. It is sent when this is dropped.
struct PendingAnswer {
    inbox: Inbox<Input>,
    answer: Option<Input>,
}

impl PendingAnswer {
    fn pay(mut self, answer: Input) {
        self.answer = Some(answer);
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.inbox.send(answer);
        }
    }
}

/// The result of a lookup or a write of the home whose task panicked.
fn panicked() -> Recorded {
    Recorded::Unknown(StoreError::Unavailable("its task panicked".to_owned()))
}

/// The state of the actor.
struct OpenRoom {
    state: Room,
    tickets: Tickets,
    clients: Clients,
    /// Answered joins whose clients are gone.
    unclaimed: Vec<JoinId>,
    clients_left: bool,
    place: Option<LinkedRelay>,
    /// Whom others know to be here.
    announced: Announced,
    /// The room's revision when they were told.
    told_of: u64,
}

struct NodeWorld<'a>(&'a Shared);

impl World for NodeWorld<'_> {
    fn pick_relay(&mut self, wish: &RelayCriteria<'_>) -> Option<LinkedRelay> {
        self.0.relays.pick_for(wish)
    }

    fn media_version(&mut self, theirs: VersionRange) -> Option<u32> {
        self.0.relays.media_version(theirs)
    }

    fn note_unanswered(&mut self, relay: &LinkedRelay) {
        self.0.relays.note_unanswered(relay);
    }

    fn lease_epoch(&mut self, now: Instant) -> LeaseEpoch {
        self.0.nodes.lease_epoch(now)
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
