//! The room's decisions on virtual time, without a relay, a store or a network.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, CommandOutcome, MediaEndReason};
use confab_protocol::control::room::{LeaveReason, Role, Visibility};
use confab_protocol::control::{AccountId, ConferenceId, ErrorCode, JoinId, Refusal};
use confab_protocol::media::ConnectionId;
use proptest::prelude::*;

use super::commands::COMMAND_DEADLINE;
use super::effect::{Answer, Done, Effect, EventKind, Input, Joined, Joiner, RoomEvent, Ticket};
use super::home::Recorded;
use super::state::{Numbers, PLACE_RETRY, RoomState, World};
use crate::clock::UnixMillis;
use crate::cluster::{LinkedRelay, RelayName};
use crate::store::{
    ConferenceRecord, HomePlace, HomeRecord, NodeRun, SessionId, Standing, StoreError,
};

const CONFERENCE: ConferenceId = ConferenceId::new([1; 16]);
const ANN: u8 = 1;
const BOB: u8 = 2;

/// Relays that are there, and randomness that counts.
struct TestWorld {
    relays: Vec<LinkedRelay>,
    drawn: u8,
}

impl World for TestWorld {
    fn pick_relay(
        &mut self,
        prefer: Option<&RelayName>,
        avoid: Option<&RelayName>,
    ) -> Option<LinkedRelay> {
        let preferred = |relay: &&LinkedRelay| prefer == Some(&relay.name) && prefer != avoid;
        if let Some(relay) = self.relays.iter().find(preferred) {
            return Some(relay.clone());
        }
        let better = self.relays.iter().find(|relay| Some(&relay.name) != avoid);
        better.or(self.relays.first()).cloned()
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.drawn = self.drawn.wrapping_add(1);
        bytes.fill(self.drawn);
    }
}

/// A room with a store that says yes and a relay that does what the test says.
struct Table {
    now: Instant,
    room: RoomState,
    world: TestWorld,
    next_ticket: Ticket,
    /// Effects that the test looks at or answers itself.
    open: VecDeque<Effect>,
    answers: Vec<(Ticket, Result<Option<Joined>, ErrorCode>)>,
    events: Vec<(Vec<u64>, RoomEvent)>,
    actions: Vec<Action>,
    presence: i64,
    next_connection: u32,
    /// What the store says when it is told where the room is.
    store: StoreSays,
}

#[derive(Clone, Copy)]
enum StoreSays {
    Yes,
    AnothersRoom,
    Nothing,
}

fn home(era: u64) -> HomeRecord {
    HomeRecord {
        era,
        owner: Some(NodeRun {
            name: "one".parse().unwrap(),
            incarnation: 1,
        }),
        place: None,
        gathered: 1,
    }
}

fn relay(name: &str, boot: u8) -> LinkedRelay {
    LinkedRelay {
        name: name.parse().unwrap(),
        boot: BootId([boot; 16]),
        addresses: vec!["192.0.2.1:9000".parse().unwrap()],
    }
}

fn standing(role: Role) -> Standing {
    Standing {
        role,
        muted: false,
        since: UnixMillis(0),
    }
}

fn record() -> ConferenceRecord {
    ConferenceRecord {
        id: CONFERENCE,
        slug: "friday-night".parse().unwrap(),
        title: "Friday".parse().unwrap(),
        visibility: Visibility::Public,
        owner: account(ANN),
        owner_name: "ann".parse().unwrap(),
        created: UnixMillis(0),
        region: None,
    }
}

fn account(who: u8) -> AccountId {
    AccountId::new([who; 16])
}

/// The account's session and client have its number.
fn joiner(who: u8) -> Joiner {
    Joiner {
        account: account(who),
        username: format!("person{who}").parse().unwrap(),
        session: SessionId([who; 16]),
        client: who.into(),
        region: None,
    }
}

impl Table {
    fn new() -> Self {
        let mut world = TestWorld {
            relays: vec![relay("berlin", 1)],
            drawn: 0,
        };
        Self {
            now: Instant::now(),
            room: RoomState::new(CONFERENCE, home(1), 10, Numbers::default(), &mut world),
            world,
            next_ticket: 0,
            open: VecDeque::new(),
            answers: Vec::new(),
            events: Vec::new(),
            actions: Vec::new(),
            presence: 0,
            next_connection: 0,
            store: StoreSays::Yes,
        }
    }

    fn handle(&mut self, input: Input) {
        self.room.handle(self.now, input, &mut self.world);
        self.collect();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.room.expire(self.now, &mut self.world);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(effect) = self.room.next_effect() {
            match effect {
                Effect::Answer { ticket, answer } => {
                    let answer = match answer {
                        Ok(Answer::Done) => Ok(None),
                        Ok(Answer::Joined(joined)) => Ok(Some(*joined)),
                        Ok(Answer::Again) => Err(ErrorCode::Busy),
                        Ok(Answer::Elsewhere(_)) => panic!("a room does not know of others"),
                        Err(refusal) => Err(refusal.code),
                    };
                    self.answers.push((ticket, answer));
                }
                Effect::Tell { clients, event } => self.events.push((clients, event)),
                Effect::Present(_) => self.presence += 1,
                Effect::Absent(_) => self.presence -= 1,
                Effect::Settle(_) | Effect::Abandon => {}
                Effect::Command { ref action, .. } => {
                    self.actions.push(action.clone());
                    self.open.push_back(effect);
                }
                Effect::Admit { .. }
                | Effect::Change { .. }
                | Effect::Delete { .. }
                | Effect::RecordPlace { .. } => self.open.push_back(effect),
            }
        }
    }

    /// Store and relay do all that is asked of them.
    fn settle(&mut self) {
        while let Some(effect) = self.open.pop_front() {
            self.fulfil(effect, CommandOutcome::Obeyed);
        }
    }

    fn fulfil(&mut self, effect: Effect, outcome: CommandOutcome) {
        let input = match effect {
            Effect::Admit { ticket, .. } => Input::Admitted {
                ticket,
                result: Ok((record(), standing(Role::Member))),
            },
            Effect::Change { ticket, .. } | Effect::Delete { ticket } => Input::Stored {
                ticket,
                result: Ok(()),
            },
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
                let outcome = Done::Answered(outcome, Some(id));
                Input::CommandDone { command, outcome }
            }
            other => panic!("{other:?}"),
        };
        self.handle(input);
    }

    /// Takes the next open effect that is one of these.
    fn take(&mut self, is_it: impl Fn(&Effect) -> bool) -> Effect {
        let at = self.open.iter().position(is_it).expect("it is open");
        self.open.remove(at).unwrap()
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }

    fn ask_join(&mut self, who: u8, resume: Option<JoinId>) -> Ticket {
        let ticket = self.ticket();
        let who = joiner(who);
        self.handle(Input::Join {
            ticket,
            who,
            resume,
        });
        ticket
    }

    fn join(&mut self, who: u8) -> Joined {
        let ticket = self.ask_join(who, None);
        self.settle();
        self.answer(ticket).unwrap().expect("joined")
    }

    fn change(&mut self, who: u8, new: Option<Standing>) -> Ticket {
        let (ticket, account) = (self.ticket(), account(who));
        let old = Some(standing(Role::Member));
        self.handle(Input::Change {
            ticket,
            account,
            old,
            new,
        });
        ticket
    }

    fn is_answered(&self, ticket: Ticket) -> bool {
        self.answers.iter().any(|(of, _)| *of == ticket)
    }

    fn answer(&mut self, ticket: Ticket) -> Result<Option<Joined>, ErrorCode> {
        let at = self.answers.iter().position(|(of, _)| *of == ticket);
        self.answers.swap_remove(at.expect("it is answered")).1
    }

    fn refusal(&mut self, ticket: Ticket) -> ErrorCode {
        self.answer(ticket).expect_err("it is refused")
    }
}

fn is_admit(effect: &Effect) -> bool {
    matches!(effect, Effect::Admit { .. })
}

fn is_record(effect: &Effect) -> bool {
    matches!(effect, Effect::RecordPlace { .. })
}

fn is_change(effect: &Effect) -> bool {
    matches!(effect, Effect::Change { .. })
}

fn is_open(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Command {
            action: Action::OpenMedia(_),
            ..
        }
    )
}

fn is_close(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Command {
            action: Action::CloseMedia { .. },
            ..
        }
    )
}

fn banned() -> Option<Standing> {
    Some(standing(Role::Banned))
}

#[test]
fn a_join_is_answered_when_the_relay_has_obeyed_and_not_before() {
    let mut table = Table::new();
    let ticket = table.ask_join(ANN, None);
    let admit = table.take(is_admit);
    table.fulfil(admit, CommandOutcome::Obeyed);
    // Nothing is said to the relay before the home names it.
    assert!(table.actions.is_empty());
    let record = table.take(is_record);
    table.fulfil(record, CommandOutcome::Obeyed);
    assert!(!table.is_answered(ticket) && table.room.live() == 0);
    let place = table.room.home().place.clone().unwrap();
    assert_eq!(
        (place.relay.to_string(), place.placement),
        ("berlin".to_owned(), 1)
    );
    table.settle();
    let joined = table.answer(ticket).unwrap().unwrap();
    assert_eq!((joined.media.era, joined.media.placement), (1, 1));
    assert_eq!(joined.participants.len(), 1);
}

#[test]
fn events_after_a_join_have_revisions_above_its_own_and_none_is_missing() {
    let mut table = Table::new();
    let ann = table.join(ANN);
    table.join(BOB);
    let ticket = table.change(
        BOB,
        Some(Standing {
            muted: true,
            ..standing(Role::Member)
        }),
    );
    table.settle();
    assert!(matches!(table.answer(ticket), Ok(None)));
    let to_ann: Vec<_> = table
        .events
        .iter()
        .filter(|(clients, _)| clients.contains(&u64::from(ANN)))
        .map(|(_, event)| (event.revision, matches!(event.kind, EventKind::Joined(_))))
        .collect();
    assert_eq!(
        to_ann,
        [(ann.revision + 1, true), (ann.revision + 2, false)]
    );
}

#[test]
fn who_is_banned_while_the_membership_is_read_does_not_get_in() {
    let mut table = Table::new();
    table.join(ANN);
    let join = table.ask_join(BOB, None);
    let read_before = table.take(is_admit);
    let ban = table.change(BOB, banned());
    table.settle();
    assert!(matches!(table.answer(ban), Ok(None)));
    table.fulfil(read_before, CommandOutcome::Obeyed);
    table.settle();
    assert_eq!(table.refusal(join), ErrorCode::Banned);
    assert_eq!(table.room.live(), 1);
}

#[test]
fn who_is_banned_while_the_relay_opens_is_closed_again() {
    let mut table = Table::new();
    table.join(ANN);
    let join = table.ask_join(BOB, None);
    let admit = table.take(is_admit);
    table.fulfil(admit, CommandOutcome::Obeyed);
    let open = table.take(is_open);
    table.change(BOB, banned());
    let store = table.take(is_change);
    table.fulfil(store, CommandOutcome::Obeyed);
    assert_eq!(table.refusal(join), ErrorCode::Banned);
    assert!(matches!(
        table.actions.last(),
        Some(Action::CloseMedia { .. })
    ));
    table.fulfil(open, CommandOutcome::Obeyed);
    table.settle();
    assert_eq!((table.room.live(), table.presence), (1, 1));
}

#[test]
fn who_is_muted_while_the_membership_is_read_comes_in_muted() {
    let mut table = Table::new();
    table.join(ANN);
    let join = table.ask_join(BOB, None);
    let read_before = table.take(is_admit);
    table.change(
        BOB,
        Some(Standing {
            muted: true,
            ..standing(Role::Member)
        }),
    );
    table.settle();
    table.fulfil(read_before, CommandOutcome::Obeyed);
    // It is read again, for what was read may be from before.
    let Effect::Admit { ticket, .. } = table.take(is_admit) else {
        unreachable!()
    };
    let muted = Standing {
        muted: true,
        ..standing(Role::Member)
    };
    table.handle(Input::Admitted {
        ticket,
        result: Ok((record(), muted)),
    });
    table.settle();
    let joined = table.answer(join).unwrap().unwrap();
    assert!(
        joined
            .participants
            .iter()
            .any(|p| p.account == account(BOB) && p.muted)
    );
}

#[test]
fn who_is_muted_while_the_relay_opens_comes_in_muted() {
    let mut table = Table::new();
    table.join(ANN);
    let join = table.ask_join(BOB, None);
    let admit = table.take(is_admit);
    table.fulfil(admit, CommandOutcome::Obeyed);
    table.change(
        BOB,
        Some(Standing {
            muted: true,
            ..standing(Role::Member)
        }),
    );
    let store = table.take(is_change);
    table.fulfil(store, CommandOutcome::Obeyed);
    table.settle();
    let joined = table.answer(join).unwrap().unwrap();
    assert!(
        joined
            .participants
            .iter()
            .any(|p| p.account == account(BOB) && p.muted)
    );
    let sender = joined.sender;
    assert!(table.actions.contains(&Action::SetMaySpeak {
        sender,
        may_speak: false
    }));
}

#[test]
fn a_relay_that_does_not_answer_in_time_is_not_waited_for() {
    let mut table = Table::new();
    table.join(ANN);
    table.join(BOB);
    let mute = table.change(
        BOB,
        Some(Standing {
            muted: true,
            ..standing(Role::Member)
        }),
    );
    let store = table.take(is_change);
    table.fulfil(store, CommandOutcome::Obeyed);
    let join = table.ask_join(3, None);
    let admit = table.take(is_admit);
    table.fulfil(admit, CommandOutcome::Obeyed);
    let late = table.take(is_open);
    table.pass(COMMAND_DEADLINE - Duration::from_millis(1));
    assert!(!table.is_answered(mute) && !table.is_answered(join));
    table.pass(Duration::from_millis(1));
    assert_eq!(table.refusal(mute), ErrorCode::Busy);
    assert_eq!(table.refusal(join), ErrorCode::Busy);
    // What comes too late changes nothing.
    table.fulfil(late, CommandOutcome::Obeyed);
    table.settle();
    assert_eq!((table.room.live(), table.presence), (2, 2));
}

#[test]
fn a_failed_store_changes_nothing() {
    let mut table = Table::new();
    table.join(ANN);
    table.join(BOB);
    let (ban, before) = (table.change(BOB, banned()), table.events.len());
    let Effect::Change { ticket, .. } = table.take(is_change) else {
        unreachable!()
    };
    let result = Err(Refusal::new(ErrorCode::Busy, "the store is away"));
    table.handle(Input::Stored { ticket, result });
    assert_eq!(table.refusal(ban), ErrorCode::Busy);
    assert_eq!((table.room.live(), table.events.len()), (2, before));
}

#[test]
fn a_resume_keeps_who_one_is_and_changes_the_keys() {
    let mut table = Table::new();
    let before = table.join(ANN);
    let join_id = before.participants[0].join_id;
    let resume = table.ask_join(ANN, Some(join_id));
    table.settle();
    let after = table.answer(resume).unwrap().unwrap();
    assert_eq!(
        (after.sender, after.participants[0].join_id),
        (before.sender, join_id)
    );
    assert_eq!(after.secret, before.secret);
    assert_ne!(after.media.uplink_key, before.media.uplink_key);
    assert_eq!((table.room.live(), table.presence), (1, 1));
    // The old session's end ends nobody.
    let ended = |connection_id| Input::MediaEnded {
        sender: before.sender,
        connection_id,
        reason: MediaEndReason::Idle,
    };
    table.handle(ended(before.media.connection_id));
    assert_eq!(table.room.live(), 1);
    table.handle(ended(after.media.connection_id));
    assert_eq!((table.room.live(), table.presence), (0, 0));
    let (stranger, gone) = (
        table.ask_join(BOB, Some(join_id)),
        table.ask_join(ANN, Some(join_id)),
    );
    assert_eq!(table.refusal(stranger), ErrorCode::NotFound);
    assert_eq!(table.refusal(gone), ErrorCode::NotFound);
}

#[test]
fn a_resume_that_failed_leaves_a_participant_with_a_session() {
    let mut table = Table::new();
    let joined = table.join(ANN);
    let resume = table.ask_join(ANN, Some(joined.participants[0].join_id));
    let admit = table.take(is_admit);
    table.fulfil(admit, CommandOutcome::Obeyed);
    table.take(is_open);
    table.pass(COMMAND_DEADLINE);
    assert_eq!(table.refusal(resume), ErrorCode::Busy);
    table.pass(Duration::ZERO);
    table.settle();
    assert!(matches!(
        table.events.last(),
        Some((
            _,
            RoomEvent {
                kind: EventKind::MediaMoved(..),
                ..
            }
        ))
    ));
    assert_eq!((table.room.live(), table.presence), (1, 1));
}

#[test]
fn a_relay_that_is_gone_is_replaced_and_everyone_is_told() {
    let mut table = Table::new();
    let ann = table.join(ANN);
    table.join(BOB);
    table.pass(Duration::from_secs(5));
    table.world.relays = vec![relay("paris", 2)];
    table.handle(Input::RelayGone(BootId([9; 16])));
    assert!(table.open.is_empty(), "another relay's end is not ours");
    table.handle(Input::RelayGone(BootId([1; 16])));
    table.settle();
    let moved: Vec<_> = table
        .events
        .iter()
        .filter_map(|(clients, event)| match &event.kind {
            EventKind::MediaMoved(_, grant) => Some((clients.clone(), grant.placement)),
            _ => None,
        })
        .collect();
    assert_eq!(
        moved,
        [(vec![u64::from(ANN)], 2), (vec![u64::from(BOB)], 2)]
    );
    assert_eq!(ann.media.placement, 1);
}

#[test]
fn without_a_relay_the_room_looks_for_one_and_joins_are_refused() {
    let mut table = Table::new();
    table.join(ANN);
    table.pass(Duration::from_secs(5));
    table.world.relays.clear();
    table.handle(Input::RelayGone(BootId([1; 16])));
    let join = table.ask_join(BOB, None);
    table.settle();
    table.pass(PLACE_RETRY);
    assert_eq!(table.refusal(join), ErrorCode::NoRelay);
    for _ in 0..100 {
        table.pass(PLACE_RETRY);
    }
    assert_eq!(table.room.live(), 1);
    table.world.relays = vec![relay("berlin", 2)];
    table.pass(PLACE_RETRY);
    table.settle();
    assert!(matches!(
        table.events.last(),
        Some((
            _,
            RoomEvent {
                kind: EventKind::MediaMoved(..),
                ..
            }
        ))
    ));
}

#[test]
fn an_owner_that_is_fenced_has_everybody_ask_again_and_commands_nothing_more() {
    let mut table = Table::new();
    table.join(ANN);
    let join = table.ask_join(BOB, None);
    let mute = table.change(
        ANN,
        Some(Standing {
            muted: true,
            ..standing(Role::Member)
        }),
    );
    let store = table.take(is_change);
    table.fulfil(store, CommandOutcome::Obeyed);
    let admit = table.take(is_admit);
    table.fulfil(admit, CommandOutcome::Obeyed);
    let open = table.take(is_open);
    table.fulfil(open, CommandOutcome::Fenced);
    assert!(!table.room.is_owned());
    assert_eq!(table.refusal(join), ErrorCode::Busy);
    assert_eq!(table.refusal(mute), ErrorCode::Busy);
    assert_eq!(table.presence, 0);
    let before = table.actions.len();
    table.open.clear();
    table.handle(Input::RelayGone(BootId([1; 16])));
    table.pass(Duration::from_secs(60));
    assert!(table.open.is_empty() && table.actions.len() == before);
}

#[test]
fn a_ban_without_a_relay_is_not_acknowledged_and_holds_when_one_is_there() {
    let mut table = Table::new();
    table.join(ANN);
    table.join(BOB);
    table.world.relays.clear();
    table.pass(Duration::from_secs(5));
    table.handle(Input::RelayGone(BootId([1; 16])));
    let ban = table.change(BOB, banned());
    table.settle();
    assert_eq!(table.refusal(ban), ErrorCode::Busy);
    let again = table.change(BOB, banned());
    table.settle();
    assert_eq!(table.refusal(again), ErrorCode::Busy);
    // The same run of the relay comes back, with what it had.
    table.world.relays.push(relay("berlin", 1));
    let before = table.actions.len();
    table.pass(PLACE_RETRY);
    table.settle();
    assert_eq!(table.actions[before], Action::CloseRoom);
    let last = table.change(BOB, banned());
    table.settle();
    assert!(matches!(table.answer(last), Ok(None)));
}

#[test]
fn what_a_lost_link_did_not_close_is_closed_when_it_is_back() {
    let mut table = Table::new();
    table.join(ANN);
    let bob = table.join(BOB);
    let ban = table.change(BOB, banned());
    let store = table.take(is_change);
    table.fulfil(store, CommandOutcome::Obeyed);
    let Effect::Command { command, .. } = table.take(is_close) else {
        panic!("it is a command");
    };
    table.handle(Input::CommandDone {
        command,
        outcome: Done::NoLink,
    });
    assert_eq!(table.refusal(ban), ErrorCode::Busy);
    // Who asks again waits until the relay has obeyed.
    let again = table.change(BOB, banned());
    let store = table.take(is_change);
    table.fulfil(store, CommandOutcome::Obeyed);
    assert!(!table.is_answered(again));
    let close = Action::CloseMedia { sender: bob.sender };
    let before = table
        .actions
        .iter()
        .filter(|action| **action == close)
        .count();
    table.handle(Input::RelayBack(BootId([1; 16])));
    let after = table
        .actions
        .iter()
        .filter(|action| **action == close)
        .count();
    assert_eq!(after, before + 1);
    table.settle();
    assert!(matches!(table.answer(again), Ok(None)));
}

#[test]
fn a_probe_that_is_fenced_ends_the_owner() {
    let mut table = Table::new();
    table.join(ANN);
    table.handle(Input::RelayBack(BootId([1; 16])));
    let probe = table.open.pop_front().unwrap();
    table.fulfil(probe, CommandOutcome::Fenced);
    assert!(!table.room.is_owned());
}

#[test]
fn one_account_does_not_fill_a_room_by_joining_with_many_devices_at_once() {
    let mut table = Table::new();
    let joins: Vec<_> = (0..10).map(|_| table.ask_join(ANN, None)).collect();
    table.settle();
    let answers = joins.into_iter().map(|join| table.answer(join));
    assert_eq!(answers.filter(Result::is_ok).count(), 8);
}

#[test]
fn a_room_that_another_node_has_taken_is_opened_nowhere() {
    let mut table = Table::new();
    table.store = StoreSays::AnothersRoom;
    let join = table.ask_join(ANN, None);
    table.settle();
    assert_eq!(table.refusal(join), ErrorCode::Busy);
    assert!(!table.room.is_owned() && table.actions.is_empty());
}

#[test]
fn a_store_that_is_down_stops_no_room_and_is_told_later() {
    let mut table = Table::new();
    table.store = StoreSays::Nothing;
    table.join(ANN);
    assert!(table.room.is_owned() && table.room.home().place.is_none());
    table.store = StoreSays::Yes;
    for _ in 0..4 {
        table.pass(Duration::from_millis(500));
        table.settle();
    }
    assert!(table.room.home().place.is_some());
}

#[test]
fn a_room_that_was_taken_over_stays_at_its_relay() {
    let mut table = Table::new();
    let relays = [relay("berlin", 1), relay("paris", 2)];
    table.world.relays = relays.to_vec();
    let mut taken = home(7);
    taken.place = Some(HomePlace {
        relay: "paris".parse().unwrap(),
        boot: BootId([2; 16]),
        placement: 4,
    });
    table.room = RoomState::new(CONFERENCE, taken, 10, Numbers::default(), &mut table.world);
    let joined = table.join(ANN);
    assert_eq!((joined.media.era, joined.media.placement), (7, 1));
    let place = table.room.home().place.clone().unwrap();
    assert_eq!(place.relay.to_string(), "paris");
}

#[test]
fn a_mute_that_meets_a_relay_s_end_is_not_acknowledged_and_holds_at_the_next() {
    let mut table = Table::new();
    table.join(ANN);
    table.pass(Duration::from_secs(5));
    let mute = table.change(
        ANN,
        Some(Standing {
            muted: true,
            ..standing(Role::Member)
        }),
    );
    let store = table.take(is_change);
    table.fulfil(store, CommandOutcome::Obeyed);
    table.handle(Input::RelayGone(BootId([1; 16])));
    assert_eq!(table.refusal(mute), ErrorCode::Busy);
    let record = table.take(is_record);
    table.fulfil(record, CommandOutcome::Obeyed);
    let opened = table.actions.iter().rev().find_map(|action| match action {
        Action::OpenMedia(open) => Some(open.may_speak),
        _ => None,
    });
    assert_eq!(opened, Some(false));
}

#[test]
fn a_session_takes_its_own_out_and_no_other() {
    let mut table = Table::new();
    table.join(ANN);
    table.join(BOB);
    let join = table.ask_join(BOB, None);
    table.handle(Input::SessionEnded(SessionId([BOB; 16])));
    assert_eq!(table.refusal(join), ErrorCode::SessionEnded);
    assert_eq!((table.room.live(), table.presence), (1, 1));
    let gone = table.events.iter().any(|(clients, event)| {
        clients == &[u64::from(BOB)]
            && matches!(event.kind, EventKind::Removed(_, LeaveReason::SessionEnded))
    });
    assert!(gone);
}

#[test]
fn a_label_comes_again_only_after_all_the_others() {
    let mut table = Table::new();
    let first = table.join(ANN).sender;
    for round in 1..=u32::from(u16::MAX) {
        let joined = table.join(BOB);
        assert_eq!(u32::from(joined.sender), u32::from(first) + round);
        let join_id = joined
            .participants
            .iter()
            .find(|p| p.sender == joined.sender)
            .unwrap()
            .join_id;
        let ticket = table.ticket();
        let (account, client) = (account(BOB), u64::from(BOB));
        table.handle(Input::Leave {
            ticket,
            account,
            client,
            join_id,
        });
        table.settle();
        table.answers.clear();
        table.events.clear();
        table.actions.clear();
    }
    // The first one's is still taken.
    assert_eq!(table.join(BOB).sender, first + 1);
}

#[test]
fn the_last_to_go_closes_the_room() {
    let mut table = Table::new();
    let joined = table.join(ANN);
    table.handle(Input::MediaEnded {
        sender: joined.sender,
        connection_id: joined.media.connection_id,
        reason: MediaEndReason::Bye,
    });
    assert_eq!(table.actions.last(), Some(&Action::CloseRoom));
    assert!(table.room.is_over());
}

/// Something that happens to a room, for the test below.
#[derive(Debug, Clone)]
enum Happening {
    Join(u8),
    Resume(u8),
    Kick(u8),
    Ban(u8),
    Mute(u8, bool),
    EndSession(u8),
    /// The n-th open effect is carried out, or the relay does this with it.
    Fulfil(usize, CommandOutcome),
    NoLink(usize),
    RelayGone,
    RelayBack,
    Wait(u16),
    MediaEnds(u8),
}

fn happenings() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let outcome = prop_oneof![
        8 => Just(CommandOutcome::Obeyed),
        1 => Just(CommandOutcome::Fenced),
        1 => Just(CommandOutcome::Full),
        1 => Just(CommandOutcome::NotFound),
        1 => Just(CommandOutcome::WrongBoot),
    ];
    prop_oneof![
        4 => (0u8..5).prop_map(Join),
        2 => (0u8..5).prop_map(Resume),
        1 => (0u8..5).prop_map(Kick),
        1 => (0u8..5).prop_map(Ban),
        2 => (0u8..5, any::<bool>()).prop_map(|(who, muted)| Mute(who, muted)),
        1 => (0u8..5).prop_map(EndSession),
        16 => (0usize..4, outcome).prop_map(|(at, outcome)| Fulfil(at, outcome)),
        1 => (0usize..4).prop_map(NoLink),
        1 => Just(RelayGone),
        1 => Just(RelayBack),
        2 => (0u16..3000).prop_map(Wait),
        1 => (0u8..5).prop_map(MediaEnds),
    ]
}

proptest! {
    /// Whatever happens in whatever order: every request is answered once, nobody is counted twice, revisions only rise,
    /// and when all is quiet everyone in the room has a session and the relay knows what each may do.
    #[test]
    fn whatever_happens_the_room_comes_to_rest(steps in prop::collection::vec(happenings(), 1..80)) {
        let mut table = Table::new();
        let mut joined: Vec<(u8, u16, JoinId, ConnectionId)> = Vec::new();
        let mut asked: Vec<Ticket> = Vec::new();
        for step in steps {
            match step {
                Happening::Join(who) => asked.push(table.ask_join(who, None)),
                Happening::Resume(who) => {
                    let known = joined.iter().rev().find(|(of, ..)| *of == who);
                    let join_id = known.map_or(JoinId::new([0xee; 16]), |(_, _, join_id, _)| *join_id);
                    asked.push(table.ask_join(who, Some(join_id)));
                }
                Happening::Kick(who) => {
                    let (ticket, account) = (table.ticket(), account(who));
                    asked.push(ticket);
                    table.handle(Input::Kick { ticket, account });
                }
                Happening::Ban(who) => asked.push(table.change(who, banned())),
                Happening::Mute(who, muted) => {
                    let new = Standing { muted, ..standing(Role::Member) };
                    asked.push(table.change(who, Some(new)));
                }
                Happening::EndSession(who) => table.handle(Input::SessionEnded(SessionId([who; 16]))),
                Happening::Fulfil(at, outcome) => {
                    if let Some(effect) = table.open.remove(at) {
                        table.fulfil(effect, outcome);
                    }
                }
                Happening::NoLink(at) => {
                    if let Some(Effect::Command { command, .. }) = table.open.get(at) {
                        let (command, outcome) = (*command, Done::NoLink);
                        table.open.remove(at);
                        table.handle(Input::CommandDone { command, outcome });
                    }
                }
                Happening::RelayGone => table.handle(Input::RelayGone(BootId([1; 16]))),
                Happening::RelayBack => table.handle(Input::RelayBack(BootId([1; 16]))),
                Happening::Wait(ms) => table.pass(Duration::from_millis(ms.into())),
                Happening::MediaEnds(who) => {
                    if let Some((_, sender, _, connection_id)) = joined.iter().rev().find(|(of, ..)| *of == who) {
                        table.handle(Input::MediaEnded {
                            sender: *sender,
                            connection_id: *connection_id,
                            reason: MediaEndReason::Idle,
                        });
                    }
                }
            }
            if !table.room.is_owned() {
                // The actor goes, and with it all that it waits for; who asks again comes to another one, of a later era.
                table.open.clear();
                table.events.clear();
                let home = home(table.room.home().era + 1);
                let numbers = Numbers { placement: 0, ..table.room.numbers() };
                table.room = RoomState::new(CONFERENCE, home, 10, numbers, &mut table.world);
            }
            for (_, answer) in &table.answers {
                if let Ok(Some(answer)) = answer {
                    let own = answer.participants.iter().find(|p| p.sender == answer.sender).unwrap();
                    let who = own.account.as_bytes()[0];
                    joined.push((who, own.sender, own.join_id, answer.media.connection_id));
                }
            }
        }
        for _ in 0..40 {
            table.settle();
            table.pass(Duration::from_millis(500));
        }
        table.settle();
        let mut answered: Vec<Ticket> = table.answers.iter().map(|(ticket, _)| *ticket).collect();
        answered.sort_unstable();
        asked.sort_unstable();
        prop_assert_eq!(answered, asked);
        prop_assert_eq!(table.presence, table.room.live() as i64);
        prop_assert!(table.room.everyone_has_media(), "somebody has no session");
        prop_assert_eq!(table.room.is_over(), table.room.live() == 0);
        let revisions: Vec<u64> = table.events.iter().map(|(_, event)| event.revision).collect();
        prop_assert!(revisions.is_sorted());
        for participant in table.room.participants() {
            let newest = table.actions.iter().rev().find_map(|action| match action {
                Action::OpenMedia(open) if open.sender == participant.sender => Some(open.may_speak),
                Action::SetMaySpeak { sender, may_speak } if *sender == participant.sender => Some(*may_speak),
                _ => None,
            });
            prop_assert_eq!(newest, Some(participant.may_speak()));
        }
    }
}

impl RoomState {
    fn everyone_has_media(&self) -> bool {
        self.people
            .values()
            .all(|person| matches!(person.media, super::state::Media::Open(_)))
    }

    fn participants(&self) -> Vec<confab_protocol::control::Participant> {
        self.people
            .values()
            .map(|person| person.participant.clone())
            .collect()
    }
}
