//! A relay that is about to end is left without a gap.

use std::time::Duration;

use confab_protocol::cluster::{Action, BootId, CommandOutcome};

use super::table::*;
use crate::cluster::{RelayEvent, Response};
use crate::rooms::effect::{Effect, Input};
use crate::rooms::placement::PLACE_RETRY;

const BERLIN: BootId = BootId([1; 16]);
const PARIS: BootId = BootId([2; 16]);

/// Ann and Bob, who have been told to go from Berlin to Paris and have sessions there.
fn moving() -> Table {
    let mut table = Table::new();
    table.join(ANN);
    table.join(BOB);
    table.pass(Duration::from_secs(5));
    table.world.relays.push(relay("paris", 2));
    table.handle(Input::Relay(RelayEvent::Drains(BERLIN)));
    table.settle();
    assert_eq!(table.moves().len(), 2);
    table
}

/// What has been asked of the relay that is left, and is not answered.
fn asked_of_berlin(table: &Table) -> Vec<Action> {
    let of_berlin = |effect: &Effect| match effect {
        Effect::Command { boot, action, .. } if *boot == BERLIN => Some(action.clone()),
        _ => None,
    };
    table.open.iter().filter_map(of_berlin).collect()
}

/// All is done that is asked, but there is no link to the relay that is left.
fn settle_without_berlin(table: &mut Table) {
    while let Some(effect) = table.open.pop_front() {
        match effect {
            Effect::Command { command, boot, .. } if boot == BERLIN => {
                let response = Response::NoLink;
                table.handle(Input::Relay(RelayEvent::CommandDone { command, response }));
            }
            effect => table.fulfil(effect, CommandOutcome::Obeyed),
        }
    }
}

#[test]
fn old_sessions_stay_until_everybody_was_seen_at_the_new_relay() {
    let mut table = moving();
    table.pass(Duration::from_millis(100));
    table.call_the_roll(PARIS, [true, false]);
    for _ in 0..20 {
        table.pass(Duration::from_millis(100));
        table.call_the_roll(PARIS, [true, false]);
    }
    assert_eq!(asked_of_berlin(&table), []);
    table.pass(Duration::from_millis(100));
    table.call_the_roll(PARIS, [true, true]);
    table.pass(Duration::from_millis(250));
    assert_eq!(asked_of_berlin(&table), [Action::CloseRoom]);
}

#[test]
fn who_does_not_come_is_waited_for_only_so_long() {
    let mut table = moving();
    for _ in 0..49 {
        table.pass(Duration::from_millis(100));
        table.call_the_roll(PARIS, [true, false]);
    }
    assert_eq!(asked_of_berlin(&table), []);
    table.pass(Duration::from_millis(100));
    assert_eq!(asked_of_berlin(&table), [Action::CloseRoom]);
}

#[test]
fn a_ban_meanwhile_holds_at_both_relays_before_it_is_acknowledged() {
    let mut table = moving();
    let ban = table.change(BOB, banned());
    table.store_change();
    assert_eq!(
        table.open.iter().filter(|effect| is_close(effect)).count(),
        2
    );
    let first = table.take(is_close);
    table.fulfil(first, CommandOutcome::Obeyed);
    assert!(!table.is_answered(ban));
    let second = table.take(is_close);
    table.fulfil(second, CommandOutcome::Obeyed);
    assert!(matches!(table.answer(ban), Ok(None)));
}

#[test]
fn a_ban_that_the_old_relay_does_not_obey_is_not_acknowledged() {
    let mut table = moving();
    let ban = table.change(BOB, banned());
    table.store_change();
    settle_without_berlin(&mut table);
    assert!(table.answer(ban).is_err());
}

#[test]
fn a_relay_drains_until_there_is_another() {
    let mut table = Table::new();
    table.join(ANN);
    table.handle(Input::Relay(RelayEvent::Drains(BERLIN)));
    for _ in 0..20 {
        table.pass(PLACE_RETRY);
    }
    assert!(table.moves().is_empty() && table.open.is_empty());
    table.world.relays.push(relay("paris", 2));
    table.pass(PLACE_RETRY);
    table.settle();
    assert_eq!(table.moves(), [(vec![u64::from(ANN)], 2)]);
}

#[test]
fn who_joins_while_the_room_is_about_to_move_comes_in_at_the_new_relay() {
    let mut table = Table::new();
    table.join(ANN);
    table.world.relays.push(relay("paris", 2));
    table.handle(Input::Relay(RelayEvent::Drains(BERLIN)));
    let record = table.take(is_record);
    let join = table.ask_join(BOB, None);
    table.admit();
    // Asked of the old relay; before it answers the home says where the room goes.
    let at_berlin = table.take(is_open);
    table.fulfil(record, CommandOutcome::Obeyed);
    table.fulfil(at_berlin, CommandOutcome::Obeyed);
    assert!(!table.is_answered(join));
    table.settle();
    let joined = table.answer(join).unwrap().unwrap();
    assert_eq!(joined.media_grant().placement, 2);
}

#[test]
fn what_the_old_relay_did_not_obey_is_left_over_there_and_closed_before_it_is_asked_again() {
    let mut table = moving();
    table.change(BOB, banned());
    table.store_change();
    settle_without_berlin(&mut table);
    assert_eq!(table.abandoned, ["berlin"]);
    assert!(!table.room.uses(&"berlin".parse().unwrap()));
}

#[test]
fn where_a_room_goes_is_written_after_where_it_was() {
    let mut table = Table::new();
    table.store = StoreSays::Nothing;
    table.join(ANN);
    table.store = StoreSays::Yes;
    // Berlin is being written again when the room is told to leave it.
    table.pass(Duration::from_secs(1));
    let berlin = table.take(is_record);
    table.world.relays.push(relay("paris", 2));
    table.handle(Input::Relay(RelayEvent::Drains(BERLIN)));
    assert!(!table.open.iter().any(is_record), "one at a time");
    table.fulfil(berlin, CommandOutcome::Obeyed);
    table.settle();
    let place = table.room.home().place.clone().unwrap();
    assert_eq!((place.relay.as_str(), place.placement), ("paris", 2));
    assert_eq!(table.moves(), [(vec![u64::from(ANN)], 2)]);
}
