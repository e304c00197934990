//! Participants may be at a relay that nobody can command.

use std::time::Duration;

use confab_protocol::cluster::{BootId, MAX_IDLE_TIMEOUT};
use confab_protocol::control::room::Role;
use confab_protocol::control::{ErrorCode, JoinId};
use confab_protocol::media::ConnectionId;

use super::silence::{join_of, session_of, two};
use super::table::*;
use crate::cluster::{RelayEvent, Response};
use crate::rooms::effect::{Effect, Input};
use crate::rooms::former_relays::GIVEN_UP;
use crate::store::HomePlace;

const BERLIN: BootId = BootId([1; 16]);

/// Ann's and Bob's room has parted from Berlin, which is silent; with what Ann had there.
fn parted() -> (Table, (JoinId, ConnectionId)) {
    let mut table = two();
    let anns = (join_of(&table, ANN), session_of(&table, ANN));
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    table.pass(Duration::from_millis(400));
    table.settle();
    assert_eq!(table.moves().len(), 2);
    (table, anns)
}

/// Time passes, and nobody is seen at the next relay.
fn pass(table: &mut Table, time: Duration) {
    let end = table.now + time;
    while table.now < end {
        table.pass(Duration::from_secs(1));
        table.open.clear();
    }
}

/// How a mute is answered that the store takes: `Err` when it is to be tried again.
fn mute(table: &mut Table, who: u8) -> Result<Held, ErrorCode> {
    let mute = table.change(who, Some(standing(Role::Listener)));
    table.store_change();
    table.settle();
    let is_pending = table.pending.contains(&mute);
    table.answer(mute).map(|_| match is_pending {
        true => Held::Pending,
        false => Held::Everywhere,
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Held {
    Everywhere,
    Pending,
}

#[test]
fn the_relay_left_is_waited_for_as_long_as_its_idle_timeout_says() {
    let mut table = two();
    for relay in &mut table.world.relays {
        relay.idle_timeout = Duration::from_secs(90);
    }
    // The next relay is one with the longer timeout.
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    table.pass(Duration::from_millis(400));
    table.settle();
    table.handle(Input::Relay(RelayEvent::Silent(BootId([2; 16]))));
    table.pass(Duration::from_secs(6));
    table.settle();
    pass(&mut table, Duration::from_secs(60));
    assert_eq!(mute(&mut table, ANN), Err(ErrorCode::Busy));
    pass(&mut table, Duration::from_secs(40));
    assert_eq!(mute(&mut table, ANN), Ok(Held::Everywhere));
}

#[test]
fn a_report_that_the_relay_left_answers_moves_the_time_on() {
    let (mut table, anns) = parted();
    for _ in 0..4 {
        pass(&mut table, Duration::from_secs(20));
        table.report(ANN, anns, true);
    }
    assert_eq!(mute(&mut table, BOB), Err(ErrorCode::Busy));
    pass(&mut table, Duration::from_secs(34));
    assert_eq!(mute(&mut table, BOB), Err(ErrorCode::Busy));
    pass(&mut table, Duration::from_secs(2));
    assert_eq!(mute(&mut table, BOB), Ok(Held::Everywhere));
}

#[test]
fn what_is_said_of_a_session_that_was_not_there_or_is_anothers_moves_nothing() {
    let (mut table, (_, anns)) = parted();
    pass(&mut table, Duration::from_secs(20));
    let bobs = join_of(&table, BOB);
    table.report(BOB, (bobs, anns), true);
    table.report(BOB, (bobs, session_of(&table, BOB)), true);
    pass(&mut table, Duration::from_secs(16));
    assert_eq!(mute(&mut table, BOB), Ok(Held::Everywhere));
}

#[test]
fn what_is_held_back_for_ten_minutes_is_answered_as_pending() {
    let (mut table, anns) = parted();
    let left = table.now;
    while table.now < left + GIVEN_UP - Duration::from_secs(30) {
        pass(&mut table, Duration::from_secs(20));
        table.report(ANN, anns, true);
    }
    assert_eq!(mute(&mut table, BOB), Err(ErrorCode::Busy));
    pass(&mut table, Duration::from_secs(29));
    table.report(ANN, anns, true);
    pass(&mut table, Duration::from_secs(2));
    assert_eq!(mute(&mut table, BOB), Ok(Held::Pending));
    let kick = table.kick(BOB);
    table.settle();
    assert!(table.answer(kick).is_ok() && table.pending.contains(&kick));
    pass(&mut table, Duration::from_secs(36));
    assert_eq!(mute(&mut table, ANN), Ok(Held::Everywhere));
}

#[test]
fn a_relay_that_was_left_and_has_closed_the_room_is_waited_for_no_more() {
    let (mut table, _) = parted();
    assert_eq!(mute(&mut table, BOB), Err(ErrorCode::Busy));
    table.handle(Input::LeftoverClosed(relay("berlin", 9)));
    assert_eq!(mute(&mut table, BOB), Err(ErrorCode::Busy));
    table.handle(Input::LeftoverClosed(relay("berlin", 1)));
    assert_eq!(mute(&mut table, BOB), Ok(Held::Everywhere));
}

#[test]
fn a_room_whose_relay_could_not_be_asked_waits_as_long_as_any_relay_may_keep_a_session() {
    let mut table = Table::new();
    let berlin = || HomePlace {
        relay: "berlin".parse().unwrap(),
        boot: BERLIN,
        placement: 1,
    };
    table.room.take_over_without(table.now, berlin(), None);
    assert!(table.room.has_unreached());
    pass(&mut table, MAX_IDLE_TIMEOUT);
    assert_eq!(mute(&mut table, ANN), Err(ErrorCode::Busy));
    pass(&mut table, Duration::from_secs(6));
    assert!(!table.room.has_unreached());
    assert_eq!(mute(&mut table, ANN), Ok(Held::Everywhere));

    table
        .room
        .take_over_without(table.now, berlin(), Some(IDLE_TIMEOUT));
    pass(&mut table, Duration::from_secs(20));
    // Somebody comes from there who hears it, and is not known here.
    let resume = table.resume(JoinId::new([7; 16]), Some(ConnectionId::new(0, 1, 2)));
    let join = table.ask_join_with(BOB, Some(resume));
    assert_eq!(table.refusal(join), ErrorCode::NotFound);
    pass(&mut table, Duration::from_secs(30));
    assert_eq!(mute(&mut table, ANN), Err(ErrorCode::Busy));
    pass(&mut table, Duration::from_secs(6));
    assert_eq!(mute(&mut table, ANN), Ok(Held::Everywhere));
}

#[test]
fn a_relay_without_a_link_that_people_hear_is_waited_for_ten_minutes() {
    let mut table = two();
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    let hear = |table: &mut Table, time: Duration| {
        let end = table.now + time;
        while table.now < end {
            for (who, probe) in [ANN, BOB].into_iter().zip(table.take_probes()) {
                table.report(who, probe, true);
            }
            table.pass(Duration::from_secs(1));
        }
    };
    let mute = |table: &mut Table| {
        let mute = table.change(BOB, Some(standing(Role::Listener)));
        table.store_change();
        while let Some(Effect::Command { command, .. }) = table.open.pop_front() {
            let response = Response::NoLink;
            table.handle(Input::Relay(RelayEvent::CommandDone { command, response }));
        }
        let is_pending = table.pending.contains(&mute);
        table.answer(mute).map(|_| is_pending)
    };
    hear(&mut table, Duration::from_secs(60));
    assert_eq!(mute(&mut table), Err(ErrorCode::Busy));
    hear(&mut table, GIVEN_UP);
    assert_eq!(mute(&mut table), Ok(true));
    // And it holds when the relay is back.
    table.actions.clear();
    table.handle(Input::Relay(RelayEvent::Relinked(BERLIN)));
    let bob = table.person(BOB).participant.sender;
    let silenced = confab_protocol::cluster::Action::SetMaySpeak {
        sender: bob,
        may_speak: false,
    };
    assert!(table.actions.contains(&silenced));
}
