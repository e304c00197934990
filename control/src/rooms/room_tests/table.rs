//! A room with participants, a store and relays that do what the test says.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use confab_e2ee::mls::{Suite, ToMember};
use confab_protocol::cluster::{
    Action, BootId, CommandOutcome, CommandResult, GrantedLeaf, Leaves, MediaState, SessionNote,
};
use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{
    AccountId, Capabilities, ConferenceId, ErrorCode, GenerationLeaf, JoinId, MediaGrant, Refusal,
    ResumeSecret,
};
use confab_protocol::media::ConnectionId;
use confab_protocol::version::{self, VersionRange};

use super::super::effect::{
    Effect, EventKind, Input, Joined, Joiner, OwnJoin, Resume, RoomChange, RoomEvent, RoomRequest,
    Settled, Ticket,
};
use super::super::group_keys::GroupKeys;
use super::super::home::Recorded;
use super::super::label::LabelKey;
use super::super::note::NoteKeys;
use super::super::ownership_check::LeaseEpoch;
use super::super::participant::ParticipantState;
use super::super::room::{Numbers, Room, RoomKeys};
use super::super::world::World;
use crate::clock::UnixMillis;
use crate::cluster::nodes::messages::Moderation;
use crate::cluster::{LinkedRelay, RelayCriteria, RelayEvent, Response};
use crate::store::{ConferenceRecord, HomeRecord, NodeRun, SessionId, Standing, StoreError};

pub(super) const CONFERENCE: ConferenceId = ConferenceId::new([1; 16]);
pub(super) const LABELS: LabelKey = LabelKey::new([5; LabelKey::LEN]);
/// SHA-256 of the certificate of the cluster's authority.
pub(super) const AUTHORITY: [u8; 32] = [6; 32];
/// The lease epoch in which the room is taken.
pub(super) const CONFIRMED: LeaseEpoch = Some(0);
/// Of every relay.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const ANN: u8 = 1;
pub(super) const BOB: u8 = 2;

/// Relays that are there, and randomness that counts.
pub(super) struct TestWorld {
    pub(super) relays: Vec<LinkedRelay>,
    pub(super) drawn: u8,
    /// Relays that did not answer an open in time.
    pub(super) unanswered: Vec<String>,
    /// Sessions that each relay takes.
    pub(super) room_for: u64,
    /// The lease epoch of this node.
    pub(super) epoch: LeaseEpoch,
}

impl World for TestWorld {
    fn pick_relay(&mut self, wish: &RelayCriteria<'_>) -> Option<LinkedRelay> {
        let has_room = !wish.for_whole_room || wish.sessions <= self.room_for;
        let speaks = |relay: &&LinkedRelay| has_room && relay.media.contains(wish.media_version);
        let preferred = |relay: &&LinkedRelay| {
            let is_named = wish
                .prefer
                .is_some_and(|place| place.relay == relay.name && place.boot == relay.boot);
            is_named && Some(&relay.name) != wish.avoid
        };
        let mut relays = self.relays.iter().filter(speaks);
        let preferred = relays.clone().find(preferred);
        let better = relays.clone().find(|relay| Some(&relay.name) != wish.avoid);
        preferred.or(better).or(relays.next()).cloned()
    }

    fn media_version(&mut self, theirs: VersionRange) -> Option<u32> {
        let relays = self.relays.iter();
        let common = relays.filter_map(|relay| relay.media.common(theirs));
        common.map(VersionRange::max).max()
    }

    fn note_unanswered(&mut self, relay: &LinkedRelay) {
        self.unanswered.push(relay.name.to_string());
    }

    fn lease_epoch(&mut self, _: Instant) -> LeaseEpoch {
        self.epoch
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.drawn = self.drawn.wrapping_add(1);
        bytes.fill(self.drawn);
    }
}

/// A room with a store that says yes and a relay that does what the test says.
pub(super) struct Table {
    pub(super) now: Instant,
    pub(super) room: Room,
    pub(super) world: TestWorld,
    pub(super) next_ticket: Ticket,
    /// Effects that the test looks at or answers itself.
    pub(super) open: VecDeque<Effect>,
    pub(super) answers: Vec<(Ticket, Result<Option<Joined>, ErrorCode>)>,
    /// Requests that were answered as stored alone.
    pub(super) pending: Vec<Ticket>,
    pub(super) events: Vec<(Vec<u64>, RoomEvent)>,
    pub(super) actions: Vec<Action>,
    pub(super) presence: i64,
    /// Relays that may have the room still, and have to close it.
    pub(super) abandoned: Vec<String>,
    pub(super) next_connection: u32,
    /// What the store says when it is told where the room is, or asked whose it is.
    pub(super) store: StoreSays,
    /// Whether the store answers at once when it is asked whose the room is.
    pub(super) answers_looks: bool,
    /// What the delivery service has said to members.
    pub(super) to_members: VecDeque<(JoinId, ToMember)>,
    /// What clients were given to take their joins up again.
    pub(super) secrets: HashMap<JoinId, ResumeSecret>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum StoreSays {
    Yes,
    AnothersRoom,
    Nothing,
}

pub(super) fn home(era: u64) -> HomeRecord {
    HomeRecord {
        era,
        owner: Some(NodeRun {
            name: "one".parse().unwrap(),
            incarnation: 1,
        }),
        place: None,
    }
}

/// An empty room.
pub(super) fn room(home: HomeRecord, numbers: Numbers) -> Room {
    let keys = RoomKeys {
        labels: LABELS,
        notes: NoteKeys::new(&[9; 32]).of(CONFERENCE),
        group: GroupKeys::new(&[9; 32], &AUTHORITY, Suite::PostQuantum),
    };
    Room::new(CONFERENCE, (home, CONFIRMED), 10, numbers, keys)
}

pub(super) fn relay(name: &str, boot: u8) -> LinkedRelay {
    LinkedRelay {
        name: name.parse().unwrap(),
        boot: BootId([boot; 16]),
        addresses: vec!["192.0.2.1:9000".parse().unwrap()],
        region: None,
        media: version::MEDIA,
        idle_timeout: IDLE_TIMEOUT,
    }
}

pub(super) fn standing(role: Role) -> Standing {
    Standing {
        revision: 0,
        role,
        muted: false,
        since: UnixMillis(0),
    }
}

pub(super) fn record() -> ConferenceRecord {
    ConferenceRecord {
        id: CONFERENCE,
        slug: "friday-night".parse().unwrap(),
        title: "Friday".parse().unwrap(),
        visibility: Visibility::Public,
        owner: account(ANN),
        owner_name: "ann".parse().unwrap(),
        created: UnixMillis(0),
        region: None,
        revision: 0,
    }
}

pub(super) fn account(who: u8) -> AccountId {
    AccountId::new([who; 16])
}

/// The account's session and client have its number.
pub(super) fn joiner(who: u8) -> Joiner {
    Joiner {
        account: account(who),
        username: format!("person{who}").parse().unwrap(),
        session: SessionId([who; 16]),
        client: who.into(),
        region: None,
        media: version::MEDIA,
        capabilities: Capabilities::default(),
    }
}

impl Table {
    pub(super) fn new() -> Self {
        let world = TestWorld {
            relays: vec![relay("berlin", 1)],
            drawn: 0,
            unanswered: Vec::new(),
            room_for: 1000,
            epoch: CONFIRMED,
        };
        Self {
            now: Instant::now(),
            room: room(home(1), Numbers::default()),
            world,
            next_ticket: 0,
            open: VecDeque::new(),
            answers: Vec::new(),
            pending: Vec::new(),
            events: Vec::new(),
            actions: Vec::new(),
            presence: 0,
            abandoned: Vec::new(),
            next_connection: 0,
            store: StoreSays::Yes,
            answers_looks: true,
            to_members: VecDeque::new(),
            secrets: HashMap::new(),
        }
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.room.handle(self.now, input, &mut self.world);
        self.collect();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.room.expire(self.now, &mut self.world);
        self.collect();
    }

    pub(super) fn collect(&mut self) {
        while let Some(effect) = self.room.next_effect() {
            match effect {
                Effect::AnswerJoin { ticket, answer } => {
                    if let Ok(joined) = &answer
                        && let Some(secret) = &joined.resume_secret
                    {
                        let own = joined.own();
                        self.secrets.insert(own.join_id, secret.clone());
                    }
                    let answer = answer.map(|joined| Some(*joined));
                    let answer = answer.map_err(|error| Refusal::from(error).code);
                    self.answers.push((ticket, answer));
                }
                Effect::AnswerChange { ticket, answer } => {
                    if answer == Ok(Settled::WhereReached) {
                        self.pending.push(ticket);
                    }
                    let answer = answer.map(|_| None);
                    let answer = answer.map_err(|error| Refusal::from(error).code);
                    self.answers.push((ticket, answer));
                }
                Effect::AskAgain(ticket) => self.answers.push((ticket, Err(ErrorCode::Busy))),
                Effect::Tell { clients, event } => self.events.push((clients, event)),
                Effect::Present(_) => self.presence += 1,
                Effect::Absent(_) => self.presence -= 1,
                Effect::Settle(_) | Effect::CountGroup(_) | Effect::CountRefused(_) => {}
                Effect::Abandon(relay) => self.abandoned.push(relay.name.to_string()),
                Effect::Command { ref action, .. } => {
                    self.actions.push(action.clone());
                    self.open.push_back(effect);
                }
                Effect::TellMember {
                    join_id, message, ..
                } => self.to_members.push_back((join_id, message)),
                Effect::Look { .. } if self.answers_looks => {
                    self.open.push_back(effect);
                    let look = self.take(is_look);
                    self.fulfil(look, CommandOutcome::Obeyed);
                }
                Effect::Look { .. }
                | Effect::Admit { .. }
                | Effect::Change { .. }
                | Effect::Delete { .. }
                | Effect::RecordPlace { .. } => self.open.push_back(effect),
            }
        }
    }

    /// Store and relay do all that is asked of them.
    pub(super) fn settle(&mut self) {
        while let Some(effect) = self.open.pop_front() {
            self.fulfil(effect, CommandOutcome::Obeyed);
        }
    }

    pub(super) fn fulfil(&mut self, effect: Effect, outcome: CommandOutcome) {
        let input = match effect {
            Effect::Admit { ticket, .. } => Input::Admitted {
                ticket,
                result: Ok((record(), standing(Role::Member))),
            },
            Effect::Change { ticket, .. } | Effect::Delete { ticket } => Input::Stored {
                ticket,
                result: Ok(()),
            },
            Effect::Look { home } => Input::Looked(match self.store {
                StoreSays::Yes => Recorded::Done(home),
                StoreSays::AnothersRoom => Recorded::Superseded,
                StoreSays::Nothing => Recorded::Unknown(StoreError::Busy),
            }),
            Effect::RecordPlace { home, place } => Input::PlaceRecorded(match self.store {
                StoreSays::Yes => Recorded::Done(HomeRecord {
                    place: Some(place),
                    ..home
                }),
                StoreSays::AnothersRoom => Recorded::Superseded,
                StoreSays::Nothing => Recorded::Unknown(StoreError::Unavailable("test".to_owned())),
            }),
            Effect::Command { command, .. } => {
                self.next_connection += 1;
                let id = ConnectionId::new(0, self.next_connection, 0);
                let response = Response::Answered(CommandResult {
                    connection_id: Some(id),
                    ..CommandResult::bare(command, outcome)
                });
                Input::Relay(RelayEvent::CommandDone { command, response })
            }
            other => panic!("{other:?}"),
        };
        self.handle(input);
    }

    /// The relay answers the look who has come to it, which is due by now: whether its sessions have been seen.
    pub(super) fn call_the_roll(&mut self, relay: BootId, seen: [bool; 2]) {
        let roll = self.take(|effect| {
            matches!(effect, Effect::Command { action: Action::ListMedia { .. }, boot, .. } if *boot == relay)
        });
        let Effect::Command { command, .. } = roll else {
            panic!("it is a command");
        };
        let media = seen.into_iter().zip(0..).map(|(seen, sender)| MediaState {
            sender,
            leaves: Leaves::NONE,
            connection_id: ConnectionId::new(0, 9, 9),
            may_speak: true,
            seen,
            note: SessionNote::default(),
            media_version: 1,
            account_label: 0,
        });
        let result = CommandResult {
            media: media.collect(),
            ..CommandResult::bare(command, CommandOutcome::Obeyed)
        };
        let response = Response::Answered(result);
        self.handle(Input::Relay(RelayEvent::CommandDone { command, response }));
    }

    /// The participant of a join has this leaf.
    pub(super) fn give_leaf(&mut self, join_id: JoinId, leaf: u32) -> u32 {
        let granted = GrantedLeaf {
            leaf: GenerationLeaf {
                generation: 1,
                leaf,
            },
            first_epoch: 0,
        };
        let membership = self.room.membership_mut();
        membership.grant_leaf(join_id, granted).unwrap();
        leaf
    }

    /// The store has taken the change that is asked of it.
    pub(super) fn store_change(&mut self) {
        let change = self.take(is_change);
        self.fulfil(change, CommandOutcome::Obeyed);
    }

    /// The store has let somebody in.
    pub(super) fn admit(&mut self) {
        let admit = self.take(is_admit);
        self.fulfil(admit, CommandOutcome::Obeyed);
    }

    /// Has everybody of an account go out.
    pub(super) fn kick(&mut self, who: u8) -> Ticket {
        self.moderate(Moderation::Kick(account(who)))
    }

    /// Takes the next open effect that is one of these.
    pub(super) fn take(&mut self, is_it: impl Fn(&Effect) -> bool) -> Effect {
        let at = self.open.iter().position(is_it).expect("it is open");
        self.open.remove(at).unwrap()
    }

    pub(super) fn moderate(&mut self, moderation: Moderation) -> Ticket {
        self.ask(RoomRequest::Change(RoomChange::Moderate(moderation)))
    }

    pub(super) fn ask(&mut self, request: RoomRequest) -> Ticket {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.handle(Input::Request { ticket, request });
        ticket
    }

    pub(super) fn ask_join(&mut self, who: u8, resume: Option<JoinId>) -> Ticket {
        let resume = resume.map(|join_id| self.resume(join_id, None));
        self.ask_join_with(who, resume)
    }

    /// What the client that made a join says to take it up again.
    pub(super) fn resume(&self, join_id: JoinId, live: Option<ConnectionId>) -> Resume {
        Resume {
            join_id,
            secret: self.secret_of(join_id),
            live,
            group: None,
        }
    }

    /// What the client that made a join was given; something wrong for a join that nobody made.
    fn secret_of(&self, join_id: JoinId) -> ResumeSecret {
        let known = self.secrets.get(&join_id).cloned();
        known.unwrap_or(ResumeSecret::new([0xee; 16]))
    }

    pub(super) fn ask_join_with(&mut self, who: u8, resume: Option<Resume>) -> Ticket {
        let who = joiner(who);
        self.ask(RoomRequest::Join { who, resume })
    }

    pub(super) fn join(&mut self, who: u8) -> Joined {
        let ticket = self.ask_join(who, None);
        self.settle();
        self.answer(ticket).unwrap().expect("joined")
    }

    /// The same, by a client that is described.
    pub(super) fn join_as(&mut self, who: Joiner) -> Result<Joined, ErrorCode> {
        let resume = None;
        let ticket = self.ask(RoomRequest::Join { who, resume });
        self.settle();
        self.answer(ticket).map(|joined| joined.expect("joined"))
    }

    pub(super) fn change(&mut self, who: u8, new: Option<Standing>) -> Ticket {
        self.moderate(Moderation::Change {
            account: account(who),
            old: Some(standing(Role::Member)),
            new,
        })
    }

    /// Who was asked on which media session whether the relay answers, and not yet taken by the test.
    pub(super) fn take_probes(&mut self) -> Vec<(JoinId, ConnectionId)> {
        let mut probes = Vec::new();
        self.events.retain(|(_, event)| match event.kind {
            EventKind::ProbeMedia(join_id, connection_id) => {
                probes.push((join_id, connection_id));
                false
            }
            _ => true,
        });
        probes
    }

    /// Who was moved, to the session of which placement.
    pub(super) fn moves(&self) -> Vec<(Vec<u64>, u64)> {
        let moved = |(clients, event): &(Vec<u64>, RoomEvent)| match &event.kind {
            EventKind::MediaMoved(_, grant) => Some((clients.clone(), grant.placement)),
            _ => None,
        };
        self.events.iter().filter_map(moved).collect()
    }

    pub(super) fn report(
        &mut self,
        who: u8,
        (join_id, connection_id): (JoinId, ConnectionId),
        alive: bool,
    ) {
        let of = self.own(who, join_id);
        self.handle(Input::MediaReported {
            of,
            connection_id,
            alive,
        });
    }

    /// A join as the client says it that made it.
    pub(super) fn own(&self, who: u8, join_id: JoinId) -> OwnJoin {
        OwnJoin {
            account: account(who),
            join_id,
            secret: self.secret_of(join_id),
        }
    }

    pub(super) fn person(&self, who: u8) -> &ParticipantState {
        let mut participants = self.room.membership().all();
        let found = participants.find(|person| person.participant.account == account(who));
        found.expect("it is in the room")
    }

    pub(super) fn is_answered(&self, ticket: Ticket) -> bool {
        self.answers.iter().any(|(of, _)| *of == ticket)
    }

    pub(super) fn answer(&mut self, ticket: Ticket) -> Result<Option<Joined>, ErrorCode> {
        let at = self.answers.iter().position(|(of, _)| *of == ticket);
        self.answers.swap_remove(at.expect("it is answered")).1
    }

    pub(super) fn refusal(&mut self, ticket: Ticket) -> ErrorCode {
        self.answer(ticket).expect_err("it is refused")
    }
}

pub(super) fn is_admit(effect: &Effect) -> bool {
    matches!(effect, Effect::Admit { .. })
}

pub(super) fn is_look(effect: &Effect) -> bool {
    matches!(effect, Effect::Look { .. })
}

pub(super) fn is_record(effect: &Effect) -> bool {
    matches!(effect, Effect::RecordPlace { .. })
}

pub(super) fn is_change(effect: &Effect) -> bool {
    matches!(effect, Effect::Change { .. })
}

pub(super) fn is_open(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Command {
            action: Action::OpenMedia(_),
            ..
        }
    )
}

pub(super) fn is_close(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Command {
            action: Action::CloseMedia { .. },
            ..
        }
    )
}

pub(super) fn muted() -> Option<Standing> {
    Some(Standing {
        muted: true,
        ..standing(Role::Member)
    })
}

pub(super) fn banned() -> Option<Standing> {
    Some(standing(Role::Banned))
}

impl Room {
    pub(super) fn everyone_has_media(&self) -> bool {
        self.membership().are_all_open()
    }

    pub(super) fn participants(&self) -> Vec<confab_protocol::control::Participant> {
        let all = self.membership().all();
        all.map(|state| state.participant.clone()).collect()
    }
}

impl Joined {
    /// The participant that the join made or took up.
    pub(super) fn own(&self) -> &confab_protocol::control::Participant {
        let mut participants = self.participants.iter();
        let own = participants.find(|participant| participant.sender == self.sender);
        own.expect("a join is among the participants")
    }

    /// The media session that the join was given.
    pub(super) fn media_grant(&self) -> &MediaGrant {
        self.media.as_ref().expect("it was given one")
    }
}
