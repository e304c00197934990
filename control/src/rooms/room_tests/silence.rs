//! What becomes of a room whose relay is not heard.

use std::time::Duration;

use confab_protocol::cluster::BootId;
use confab_protocol::control::ErrorCode;
use confab_protocol::control::room::Role;

use super::table::*;
use crate::cluster::{RelayEvent, Response};
use crate::rooms::effect::{Effect, Input};

const BERLIN: BootId = BootId([1; 16]);
const PARIS: BootId = BootId([2; 16]);

/// Ann and Bob at one of two relays, for some time.
pub(super) fn two() -> Table {
    let mut table = Table::new();
    table.world.relays.push(relay("paris", 2));
    table.join(ANN);
    table.join(BOB);
    table.pass(Duration::from_secs(5));
    table.events.clear();
    table
}

#[test]
fn a_relay_that_nobody_hears_is_left_as_soon_as_all_have_said_so() {
    let mut table = two();
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    let probes = table.take_probes();
    assert_eq!(probes.len(), 2, "both are asked");
    table.report(ANN, probes[0], false);
    assert!(table.open.is_empty(), "Bob may still hear it");
    table.report(BOB, probes[1], false);
    table.settle();
    let both = [(vec![u64::from(ANN)], 2), (vec![u64::from(BOB)], 2)];
    assert_eq!(table.moves(), both);
}

#[test]
fn a_relay_that_nobody_speaks_for_is_left_after_a_while() {
    let mut table = two();
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    table.pass(Duration::from_millis(399));
    assert!(table.open.is_empty());
    table.pass(Duration::from_millis(1));
    table.settle();
    assert_eq!(table.moves().len(), 2);
}

/// Some may be at the relay that was left and hear one another, until all have been seen at the next one.
#[test]
fn what_has_to_hold_for_all_is_acknowledged_once_all_have_been_seen() {
    let mut table = two();
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    table.pass(Duration::from_millis(400));
    table.settle();
    assert_eq!(table.moves().len(), 2);
    table.pass(Duration::from_millis(100));
    table.call_the_roll(PARIS, [true, false]);
    let mute = table.change(ANN, Some(standing(Role::Listener)));
    table.store_change();
    table.settle();
    assert_eq!(
        table.refusal(mute),
        ErrorCode::Busy,
        "it is stored, and held back"
    );
    table.pass(Duration::from_millis(100));
    table.call_the_roll(PARIS, [true, true]);
    let mute = table.change(BOB, Some(standing(Role::Listener)));
    table.store_change();
    table.settle();
    assert!(table.answer(mute).unwrap().is_none());
    table.pass(Duration::from_secs(1));
    assert!(table.open.is_empty(), "nobody is looked for any more");
}

/// Somebody does not come: what was at the relay that was left is over after a while.
#[test]
fn a_relay_that_was_left_holds_nothing_back_for_ever() {
    let mut table = two();
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    table.pass(Duration::from_millis(400));
    table.settle();
    for _ in 0..36 {
        table.pass(Duration::from_secs(1));
        table.open.clear();
    }
    let mute = table.change(ANN, Some(standing(Role::Listener)));
    table.store_change();
    table.settle();
    assert!(table.answer(mute).unwrap().is_none());
}

#[test]
fn a_relay_that_one_hears_keeps_the_room_until_the_link_is_back() {
    let mut table = two();
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    for _ in 0..30 {
        for (who, probe) in [ANN, BOB].into_iter().zip(table.take_probes()) {
            table.report(who, probe, who == ANN);
        }
        table.pass(Duration::from_secs(1));
    }
    assert!(table.open.is_empty() && table.moves().is_empty());
    table.handle(Input::Relay(RelayEvent::Relinked(BERLIN)));
    table.settle();
    table.take_probes();
    table.pass(Duration::from_secs(60));
    assert!(table.take_probes().is_empty() && table.moves().is_empty());
}

#[test]
fn a_room_stays_at_a_silent_relay_when_there_is_no_other() {
    let mut table = two();
    table.world.relays.truncate(1);
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    for _ in 0..10 {
        table.pass(Duration::from_secs(1));
    }
    assert!(table.moves().is_empty());
    table.world.relays.push(relay("paris", 2));
    table.pass(Duration::from_secs(1));
    table.settle();
    assert_eq!(table.moves().len(), 2);
}

#[test]
fn one_who_hears_nothing_moves_nobody_who_does() {
    let mut table = two();
    let probe = (join_of(&table, ANN), session_of(&table, ANN));
    table.report(ANN, probe, false);
    let probes = table.take_probes();
    assert_eq!(probes.len(), 2);
    table.report(ANN, probes[0], false);
    table.report(BOB, probes[1], true);
    table.pass(Duration::from_secs(2));
    assert!(table.open.is_empty() && table.moves().is_empty());
}

#[test]
fn a_relay_that_answers_control_and_no_client_is_left() {
    let mut table = two();
    let probe = (join_of(&table, ANN), session_of(&table, ANN));
    table.report(ANN, probe, false);
    for (who, probe) in [ANN, BOB].into_iter().zip(table.take_probes()) {
        table.report(who, probe, false);
    }
    table.settle();
    assert_eq!(table.moves().len(), 2);
}

#[test]
fn what_is_said_of_another_session_says_nothing() {
    let mut table = two();
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    let probes = table.take_probes();
    table.report(BOB, probes[0], false);
    table.report(ANN, (probes[0].0, probes[1].1), false);
    table.report(BOB, probes[1], false);
    assert!(table.open.is_empty(), "Ann has said nothing");
}

pub(super) fn join_of(table: &Table, who: u8) -> confab_protocol::control::JoinId {
    table.person(who).participant.join_id
}

pub(super) fn session_of(table: &Table, who: u8) -> confab_protocol::media::ConnectionId {
    match table.person(who).media {
        crate::rooms::participant::MediaSession::Open(id) => id,
        _ => panic!("it is open"),
    }
}

#[test]
fn one_alone_does_not_hold_the_others_at_a_relay_that_they_do_not_hear() {
    let mut table = two();
    table.join(3);
    table.take_probes();
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    for _ in 0..8 {
        for (who, probe) in [ANN, BOB, 3].into_iter().zip(table.take_probes()) {
            table.report(who, probe, who == ANN);
        }
        table.pass(Duration::from_secs(1));
    }
    table.settle();
    assert_eq!(table.moves().len(), 3);
}

#[test]
fn a_resume_while_the_link_is_lost_takes_nobody_off_a_relay_that_is_heard() {
    let mut table = two();
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    let join_id = join_of(&table, ANN);
    let resume = table.ask_join(ANN, Some(join_id));
    table.admit();
    for _ in 0..5 {
        while let Some(effect) = table.open.pop_front() {
            let Effect::Command { command, .. } = effect else {
                panic!("nothing is written: the room stays");
            };
            let response = Response::NoLink;
            table.handle(Input::Relay(RelayEvent::CommandDone { command, response }));
        }
        for probe in table.take_probes() {
            table.report(BOB, probe, true);
        }
        table.pass(Duration::from_millis(300));
    }
    assert_eq!(table.refusal(resume), ErrorCode::Busy);
    assert!(table.moves().is_empty());
    table.handle(Input::Relay(RelayEvent::Relinked(BERLIN)));
    table.pass(Duration::from_millis(300));
    table.settle();
    // She has a new session there, and Bob the one that he had.
    assert_eq!(table.moves(), [(vec![u64::from(ANN)], 1)]);
}

#[test]
fn one_member_of_bad_will_does_not_have_the_others_asked_all_the_time() {
    let mut table = two();
    let probe = (join_of(&table, ANN), session_of(&table, ANN));
    let mut asked = 0;
    for _ in 0..600 {
        table.report(ANN, probe, false);
        for (join_id, connection_id) in table.take_probes() {
            if join_id == join_of(&table, BOB) {
                asked += 1;
                table.report(BOB, (join_id, connection_id), true);
            }
        }
        table.pass(Duration::from_millis(100));
    }
    assert!(
        (2..=8).contains(&asked),
        "Bob was asked {asked} times in a minute"
    );
    assert!(table.moves().is_empty());
}

#[test]
fn an_account_has_one_voice_and_no_label_is_sure_to_be_asked() {
    let mut table = Table::new();
    table.world.relays.push(relay("paris", 2));
    // Two accounts with four devices each took the lowest labels.
    for _ in 0..4 {
        table.join(100);
        table.join(101);
    }
    for who in 1..=2 {
        table.join(who);
    }
    table.pass(Duration::from_secs(5));
    table.take_probes();
    table.handle(Input::Relay(RelayEvent::Silent(BERLIN)));
    let probes = table.take_probes();
    let account_of = |join_id| {
        let participants = table.room.participants();
        let one = participants.iter().find(|one| one.join_id == join_id);
        one.unwrap().account
    };
    let mut accounts: Vec<_> = probes
        .iter()
        .map(|(join_id, _)| account_of(*join_id))
        .collect();
    accounts.sort_unstable();
    assert_eq!(
        accounts,
        [account(1), account(2), account(100), account(101)]
    );
}
