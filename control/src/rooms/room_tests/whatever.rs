//! Whatever happens, in whatever order.

use std::time::Duration;

use confab_e2ee::mls::{FromMember, GroupName, Suite};
use confab_protocol::cluster::{Action, BootId, CommandOutcome, MediaEndReason};
use confab_protocol::control::JoinId;
use confab_protocol::control::room::Role;
use confab_protocol::media::ConnectionId;
use proptest::prelude::*;

use super::table::*;
use crate::cluster::{RelayEvent, Response};
use crate::rooms::effect::{Effect, Input, Ticket};
use crate::rooms::room::Numbers;
use crate::store::{SessionId, Standing};

/// Something that happens to a room, for the test below.
#[derive(Debug, Clone)]
enum Happening {
    Join(u8),
    /// Takes its newest join up again; with the media session that it had, if so.
    Resume(u8, bool),
    Kick(u8),
    Ban(u8),
    Mute(u8, bool),
    EndSession(u8),
    /// The n-th open effect is carried out, or the relay does this with it.
    Fulfil(usize, CommandOutcome),
    NoLink(usize),
    RelayGone,
    RelayBack,
    RelaySilent(u8),
    RelayHeard(u8),
    RelayDrains(u8),
    /// A relay where the room is not has closed what it had of it.
    LeftoverClosed(u8),
    /// The answer to somebody's newest join found no client.
    Unclaimed(u8),
    /// Somebody says of its newest session whether its relay answers.
    Report(u8, bool),
    Wait(u16),
    /// The lease epoch of this node from now on.
    LeaseEpoch(Option<u64>),
    /// Other nodes may have had the room.
    Woken,
    /// What the store says from now on.
    Store(StoreSays),
    MediaEnds(u8),
    /// Somebody says something to the group that is not asked for, or makes no sense.
    ToGroup(u8, u8),
    /// Somebody's connection is lost.
    Disconnected(u8),
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
        2 => (0u8..5, any::<bool>()).prop_map(|(who, keeps)| Resume(who, keeps)),
        1 => (0u8..5).prop_map(Kick),
        1 => (0u8..5).prop_map(Ban),
        2 => (0u8..5, any::<bool>()).prop_map(|(who, muted)| Mute(who, muted)),
        1 => (0u8..5).prop_map(EndSession),
        16 => (0usize..4, outcome).prop_map(|(at, outcome)| Fulfil(at, outcome)),
        1 => (0usize..4).prop_map(NoLink),
        1 => Just(RelayGone),
        1 => Just(RelayBack),
        1 => (1u8..3).prop_map(RelaySilent),
        1 => (1u8..3).prop_map(RelayHeard),
        1 => (1u8..3).prop_map(RelayDrains),
        1 => (1u8..3).prop_map(LeftoverClosed),
        1 => (0u8..5).prop_map(Unclaimed),
        2 => (0u8..5, any::<bool>()).prop_map(|(who, alive)| Report(who, alive)),
        2 => (0u16..3000).prop_map(Wait),
        1 => prop::option::of(0u64..3).prop_map(LeaseEpoch),
        1 => Just(Woken),
        1 => prop_oneof![3 => Just(StoreSays::Yes), 2 => Just(StoreSays::Nothing), 1 => Just(StoreSays::AnothersRoom)].prop_map(Store),
        1 => (0u8..5).prop_map(MediaEnds),
        2 => (0u8..5, any::<u8>()).prop_map(|(who, what)| ToGroup(who, what)),
        1 => (0u8..5).prop_map(Disconnected),
    ]
}

fn group_message(what: u8) -> FromMember {
    let group = GroupName {
        conference: CONFERENCE,
        era: 1,
        generation: (1 << 32) + u64::from(what % 3),
    };
    let bytes = || vec![what; what.into()];
    match what % 6 {
        0 => FromMember::KeyPackage {
            suite: Suite::PostQuantum,
            key_package: bytes(),
        },
        1 => FromMember::Created {
            group,
            group_info: bytes(),
            tree: bytes(),
        },
        2 => FromMember::Committed {
            group,
            epoch: what.into(),
            commit: bytes(),
            welcome: bytes(),
        },
        3 => FromMember::Merged {
            group,
            epoch: u64::MAX,
        },
        4 => FromMember::Failed { group, epoch: 0 },
        _ => FromMember::Text {
            group,
            epoch: 0,
            message: bytes(),
        },
    }
}

proptest! {
    /// Whatever happens in whatever order: every request is answered once, nobody is counted twice, revisions only rise,
    /// and when all is quiet everyone in the room has a session and the relay knows what each may do.
    #[test]
    fn whatever_happens_the_room_comes_to_rest(steps in prop::collection::vec(happenings(), 1..80)) {
        let mut table = Table::new();
        table.world.relays.push(relay("paris", 2));
        table.answers_looks = false;
        let mut joined: Vec<(u8, u16, JoinId, ConnectionId)> = Vec::new();
        let mut asked: Vec<Ticket> = Vec::new();
        for step in steps {
            match step {
                Happening::Join(who) => asked.push(table.ask_join(who, None)),
                Happening::Resume(who, keeps) => {
                    let known = joined.iter().rev().find(|(of, ..)| *of == who);
                    let join_id = known.map_or(JoinId::new([0xee; 16]), |(_, _, join_id, _)| *join_id);
                    let live = known.map(|(.., connection_id)| *connection_id).filter(|_| keeps);
                    let resume = table.resume(join_id, live);
                    asked.push(table.ask_join_with(who, Some(resume)));
                }
                Happening::Kick(who) => asked.push(table.kick(who)),
                Happening::Ban(who) => asked.push(table.change(who, banned())),
                Happening::Mute(who, muted) => {
                    let new = Standing { muted, ..standing(Role::Member) };
                    asked.push(table.change(who, Some(new)));
                }
                Happening::Disconnected(who) => table.handle(Input::Disconnected(who.into())),
                Happening::ToGroup(who, what) => {
                    if let Some((_, _, join_id, _)) = joined.iter().rev().find(|(of, ..)| *of == who) {
                        let of = table.own(who, *join_id);
                        let messages = vec![group_message(what)];
                        let round_trip = Duration::from_millis(what.into());
                        table.handle(Input::ToGroup { of, messages, round_trip });
                    }
                }
                Happening::EndSession(who) => table.handle(Input::SessionEnded(SessionId([who; 16]))),
                Happening::Fulfil(at, outcome) => {
                    if let Some(effect) = table.open.remove(at) {
                        table.fulfil(effect, outcome);
                    }
                }
                Happening::NoLink(at) => {
                    if let Some(Effect::Command { command, .. }) = table.open.get(at) {
                        let (command, response) = (*command, Response::NoLink);
                        table.open.remove(at);
                        table.handle(Input::Relay(RelayEvent::CommandDone { command, response }));
                    }
                }
                Happening::RelayGone => table.handle(Input::Relay(RelayEvent::Gone(BootId([1; 16])))),
                Happening::RelayBack => table.handle(Input::Relay(RelayEvent::Relinked(BootId([1; 16])))),
                Happening::RelaySilent(boot) => table.handle(Input::Relay(RelayEvent::Silent(BootId([boot; 16])))),
                Happening::RelayHeard(boot) => table.handle(Input::Relay(RelayEvent::Recovered(BootId([boot; 16])))),
                Happening::RelayDrains(boot) => table.handle(Input::Relay(RelayEvent::Drains(BootId([boot; 16])))),
                Happening::LeftoverClosed(boot) => {
                    let name = if boot == 1 { "berlin" } else { "paris" };
                    let left = relay(name, boot);
                    if !table.room.uses(&left.name) {
                        table.handle(Input::LeftoverClosed(left));
                    }
                }
                Happening::Unclaimed(who) => {
                    if let Some((_, _, join_id, _)) = joined.iter().rev().find(|(of, ..)| *of == who) {
                        table.handle(Input::Unclaimed(*join_id));
                    }
                }
                Happening::Report(who, alive) => {
                    if let Some((_, _, join_id, connection_id)) = joined.iter().rev().find(|(of, ..)| *of == who) {
                        table.report(who, (*join_id, *connection_id), alive);
                    }
                }
                Happening::Wait(ms) => table.pass(Duration::from_millis(ms.into())),
                Happening::LeaseEpoch(epoch) => table.world.epoch = epoch,
                Happening::Woken => table.handle(Input::Woken),
                Happening::Store(says) => table.store = says,
                Happening::MediaEnds(who) => {
                    if let Some((_, sender, _, connection_id)) = joined.iter().rev().find(|(of, ..)| *of == who) {
                        table.handle(Input::Relay(RelayEvent::MediaEnded {
                            sender: *sender,
                            connection_id: *connection_id,
                            reason: MediaEndReason::Idle,
                        }));
                    }
                }
            }
            if !table.room.is_owned() {
                // The actor goes, and with it all that it waits for; who asks again comes to another one, of a later era.
                table.open.clear();
                table.events.clear();
                let home = home(table.room.home().era + 1);
                let numbers = Numbers { placement: 0, ..table.room.numbers() };
                table.room = room(home, numbers);
            }
            for (_, answer) in &table.answers {
                if let Ok(Some(answer)) = answer {
                    let own = answer.participants.iter().find(|p| p.sender == answer.sender).unwrap();
                    let who = own.account.as_bytes()[0];
                    let media = answer.media.as_ref().map(|media| media.connection_id);
                    let known = joined.iter().rev().find(|(of, ..)| *of == who).map(|(.., id)| *id);
                    joined.push((who, own.sender, own.join_id, media.or(known).unwrap()));
                }
            }
        }
        table.store = StoreSays::Yes;
        table.world.epoch = CONFIRMED;
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
