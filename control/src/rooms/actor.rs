//! The task that owns one room: feeds its state and carries out what follows.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use confab_protocol::control::framing;
use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{AccountId, ConferenceId, ErrorCode, JoinId, Refusal};
use confab_protocol::wire;
use tokio::sync::{mpsc, oneshot};

use super::effect::{Answer, ClientId, Effect, Input, Joiner, Ticket};
use super::home;
use super::registry::Shared;
use super::state::{RoomState, World};
use crate::cluster::registry::RoomInbox;
use crate::cluster::{LinkedRelay, RelayName, Relays};
use crate::events::EventSink;
use crate::random;
use crate::store::{ConferenceRecord, Standing, Store, StoreError};

/// What a request asks of a room.
pub(super) enum Ask {
    Join {
        who: Joiner,
        resume: Option<JoinId>,
        events: EventSink,
    },
    Leave {
        account: AccountId,
        client: ClientId,
        join_id: JoinId,
    },
    Kick {
        account: AccountId,
    },
    Change {
        account: AccountId,
        old: Option<Standing>,
        new: Option<Standing>,
    },
    Delete,
}

pub(super) struct Request {
    pub(super) ask: Ask,
    pub(super) answer: oneshot::Sender<Result<Answer, Refusal>>,
}

pub(super) struct Actor {
    pub(super) conference: ConferenceId,
    pub(super) shared: Arc<Shared>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) inbox: mpsc::UnboundedReceiver<Input>,
    /// The other end of `inbox`, for stores and relays to answer to.
    pub(super) to_inbox: RoomInbox,
    pub(super) live: Arc<AtomicU32>,
    /// Told to the registry once it is claimed; 0 before.
    pub(super) era: Arc<AtomicU64>,
}

impl Actor {
    pub(super) async fn run(mut self) {
        let mut open = OpenRoom {
            state: self.fresh_state(0),
            tickets: HashMap::new(),
            next_ticket: 0,
            clients: HashMap::new(),
            somebody_went: false,
            place: None,
        };
        loop {
            let deadline = open.state.deadline();
            let input = tokio::select! {
                biased;
                input = self.inbox.recv() => input,
                request = self.requests.recv() => match request {
                    Some(request) => Some(open.take_in(request)),
                    // The server closes.
                    None => return,
                },
                () = sleep_until(deadline) => None,
            };
            let (now, mut world) = (
                Instant::now(),
                Surroundings(self.shared.relays.clone(), self.conference),
            );
            match input {
                Some(input) => open.state.handle(now, input, &mut world),
                None => open.state.expire(now, &mut world),
            }
            while let Some(effect) = open.state.next_effect() {
                self.carry_out(effect, &mut open);
            }
            // Only now: whoever went is told of it by one of the effects.
            if std::mem::take(&mut open.somebody_went) {
                let state = &open.state;
                open.clients.retain(|client, _| state.knows(*client));
            }
            let live = u32::try_from(open.state.live()).unwrap_or(u32::MAX);
            self.live.store(live, Ordering::Relaxed);
            if open.state.is_over() {
                if self
                    .shared
                    .retire(self.conference, || self.requests.is_empty())
                {
                    return;
                }
                // Somebody came at the last moment, and comes to a new room.
                open.state = self.fresh_state(open.state.next_command());
            }
        }
    }

    fn fresh_state(&self, first_command: u64) -> RoomState {
        let mut world = Surroundings(self.shared.relays.clone(), self.conference);
        let max = self.shared.limits.max_participants;
        RoomState::new(self.conference, max, first_command, &mut world)
    }

    fn carry_out(&self, effect: Effect, open: &mut OpenRoom) {
        let (shared, conference) = (self.shared.clone(), self.conference);
        match effect {
            Effect::Admit { ticket, account } => self.later(async move {
                let result = admit(&shared, conference, account).await;
                Input::Admitted { ticket, result }
            }),
            Effect::Change {
                ticket,
                account,
                old,
                new,
            } => self.later(async move {
                let stored = change(shared.store.as_ref(), conference, account, old, new).await;
                let result = stored.map_err(Into::into);
                Input::Stored { ticket, result }
            }),
            Effect::Delete { ticket } => self.later(async move {
                let result = shared.store.delete_conference(conference).await;
                let result = result.map_err(Into::into);
                Input::Stored { ticket, result }
            }),
            Effect::ClaimHome => {
                let told = self.era.clone();
                self.later(async move {
                    let claim = home::claim(shared.store.as_ref(), conference, &shared.node);
                    let era = claim.await.map(|home| home.era);
                    if let Ok(era) = &era {
                        told.store(*era, Ordering::Relaxed);
                    }
                    Input::HomeClaimed(era.map_err(Into::into))
                })
            }
            Effect::Settle(relay) => self.settle(relay, open),
            Effect::Command {
                command,
                boot,
                fence,
                action,
            } => {
                if let Some(relay) = &open.place {
                    let room = (command, self.to_inbox.clone());
                    let relays = &self.shared.relays;
                    relays.command(&relay.name, conference, room, (fence, boot), action);
                }
            }
            Effect::Answer { ticket, answer } => {
                if let Some(waiting) = open.tickets.remove(&ticket) {
                    // Whoever asked may be gone; what was done stays done.
                    let _ = waiting.send(answer);
                }
            }
            Effect::Tell { clients, event } => {
                let bytes = framing::encode(&wire::Event::from(&event));
                for client in clients {
                    if let Some(events) = open.clients.get(&client) {
                        events.push(bytes.clone());
                    }
                }
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
            && !relays.settle(relay, self.conference, self.to_inbox.clone())
        {
            let _ = self.to_inbox.send(Input::RelayGone(relay.boot));
        }
        open.place = relay;
    }

    /// Has something answered to the inbox when it is done.
    fn later(&self, work: impl Future<Output = Input> + Send + 'static) {
        let inbox = self.to_inbox.clone();
        tokio::spawn(async move {
            let _ = inbox.send(work.await);
        });
    }
}

/// What changes while the actor runs.
struct OpenRoom {
    state: RoomState,
    tickets: HashMap<Ticket, oneshot::Sender<Result<Answer, Refusal>>>,
    next_ticket: Ticket,
    clients: HashMap<ClientId, EventSink>,
    somebody_went: bool,
    place: Option<LinkedRelay>,
}

impl OpenRoom {
    fn take_in(&mut self, request: Request) -> Input {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tickets.insert(ticket, request.answer);
        match request.ask {
            Ask::Join {
                who,
                resume,
                events,
            } => {
                self.clients.insert(who.client, events);
                Input::Join {
                    ticket,
                    who,
                    resume,
                }
            }
            Ask::Leave {
                account,
                client,
                join_id,
            } => Input::Leave {
                ticket,
                account,
                client,
                join_id,
            },
            Ask::Kick { account } => Input::Kick { ticket, account },
            Ask::Change { account, old, new } => Input::Change {
                ticket,
                account,
                old,
                new,
            },
            Ask::Delete => Input::Delete { ticket },
        }
    }
}

struct Surroundings(Relays, ConferenceId);

impl World for Surroundings {
    fn pick_relay(&mut self, avoid: Option<&RelayName>) -> Option<LinkedRelay> {
        self.0.pick_for(self.1, avoid)
    }

    fn random(&mut self, bytes: &mut [u8]) {
        random::fill(bytes);
    }
}

/// Looks the account's standing up; a public conference takes in whoever comes.
async fn admit(
    shared: &Shared,
    conference: ConferenceId,
    account: AccountId,
) -> Result<(ConferenceRecord, Standing), Refusal> {
    let gone = || Refusal::new(ErrorCode::NotFound, "there is no such conference").about("slug");
    let store = &shared.store;
    let record = store.conference(conference).await?.ok_or_else(gone)?;
    if let Some(standing) = store.member(conference, account).await? {
        return Ok((record, standing));
    }
    if record.visibility != Visibility::Public {
        return Err(Refusal::new(
            ErrorCode::Denied,
            "this conference is by invitation: ask its owner for one",
        ));
    }
    if store.count_members(conference).await? >= shared.limits.max_members {
        return Err(Refusal::new(
            ErrorCode::LimitReached,
            format!(
                "the conference has its {} members already",
                shared.limits.max_members
            ),
        ));
    }
    let standing = Standing {
        role: Role::Member,
        muted: false,
        since: shared.clock.now(),
    };
    match store.add_member(conference, account, standing).await {
        Ok(()) => Ok((record, standing)),
        // Invited, or in by another device, at the same moment.
        Err(StoreError::Conflict) => {
            let standing = store.member(conference, account).await?;
            Ok((record, standing.ok_or(StoreError::Conflict)?))
        }
        Err(error) => Err(error.into()),
    }
}

async fn change(
    store: &dyn Store,
    conference: ConferenceId,
    account: AccountId,
    old: Option<Standing>,
    new: Option<Standing>,
) -> Result<(), StoreError> {
    match (old, new) {
        (None, None) => Ok(()),
        (None, Some(new)) => store.add_member(conference, account, new).await,
        (Some(old), Some(new)) => store.change_member(conference, account, old, new).await,
        (Some(old), None) => store.remove_member(conference, account, old).await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
