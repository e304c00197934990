//! Rooms that change their node.

use std::time::Duration;

use confab_protocol::cluster::{BootId, CommandOutcome};
use confab_protocol::control::ErrorCode;

use super::table::*;
use crate::cluster::RelayEvent;
use crate::rooms::effect::Input;
use crate::rooms::room::Numbers;
use crate::store::{HomePlace, SessionId};

#[test]
fn an_owner_that_is_fenced_has_everybody_ask_again_and_commands_nothing_more() {
    let mut table = Table::new();
    table.join(ANN);
    let join = table.ask_join(BOB, None);
    let mute = table.change(ANN, muted());
    table.store_change();
    table.admit();
    let open = table.take(is_open);
    table.fulfil(open, CommandOutcome::Fenced);
    assert!(!table.room.is_owned());
    assert_eq!(table.refusal(join), ErrorCode::Busy);
    assert_eq!(table.refusal(mute), ErrorCode::Busy);
    assert_eq!(table.presence, 0);
    let before = table.actions.len();
    table.open.clear();
    table.handle(Input::Relay(RelayEvent::Gone(BootId([1; 16]))));
    table.pass(Duration::from_secs(60));
    assert!(table.open.is_empty() && table.actions.len() == before);
}

#[test]
fn a_probe_that_is_fenced_ends_the_owner() {
    let mut table = Table::new();
    table.join(ANN);
    table.handle(Input::Relay(RelayEvent::Relinked(BootId([1; 16]))));
    let probe = table.open.pop_front().unwrap();
    table.fulfil(probe, CommandOutcome::Fenced);
    assert!(!table.room.is_owned());
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
    table.room = room(taken, Numbers::default());
    let joined = table.join(ANN);
    assert_eq!(
        (joined.media_grant().era, joined.media_grant().placement),
        (7, 1)
    );
    let place = table.room.home().place.clone().unwrap();
    assert_eq!(place.relay.to_string(), "paris");
}

#[test]
fn after_a_break_requests_wait_until_the_store_has_said_whose_the_room_is() {
    let mut table = Table::new();
    table.join(ANN);
    table.answers_looks = false;
    table.world.epoch = Some(1);
    let join = table.ask_join(BOB, None);
    let kick = table.kick(ANN);
    assert_eq!(table.open.len(), 1, "one look, and nothing else");
    let look = table.take(is_look);
    table.fulfil(look, CommandOutcome::Obeyed);
    table.settle();
    assert!(table.answer(join).is_ok());
    assert!(table.answer(kick).is_ok());
    assert!(table.open.is_empty());
}

#[test]
fn who_waits_for_the_store_asks_again_when_another_node_has_the_room() {
    let mut table = Table::new();
    table.join(ANN);
    table.answers_looks = false;
    table.world.epoch = None;
    let (join, kick) = (table.ask_join(BOB, None), table.kick(ANN));
    table.store = StoreSays::AnothersRoom;
    table.settle();
    assert_eq!(table.refusal(join), ErrorCode::Busy);
    assert_eq!(table.refusal(kick), ErrorCode::Busy);
    assert!(!table.room.is_owned() && table.presence == 0);
}

#[test]
fn joins_do_not_queue_behind_a_moderation_that_waits_for_a_store_that_hangs() {
    let mut table = Table::new();
    table.join(ANN);
    table.world.epoch = None;
    table.store = StoreSays::Nothing;
    // It does not answer; the room goes on.
    table.pass(Duration::ZERO);
    table.answers_looks = false;
    let kick = table.kick(ANN);
    let look = table.take(is_look);
    let join = table.ask_join(BOB, None);
    table.settle();
    assert!(table.answer(join).is_ok());
    assert!(!table.is_answered(kick));
    table.fulfil(look, CommandOutcome::Obeyed);
    table.settle();
    assert!(
        table.answer(kick).is_ok(),
        "an owner acts until it is fenced"
    );
}

#[test]
fn a_client_whose_join_waits_for_the_store_is_known_and_hears_of_the_room_afterwards() {
    let mut table = Table::new();
    table.join(ANN);
    table.answers_looks = false;
    table.world.epoch = Some(1);
    let join = table.ask_join(BOB, None);
    assert!(table.room.knows(u64::from(BOB)));
    table.handle(Input::SessionEnded(SessionId([ANN; 16])));
    assert!(!table.room.knows(u64::from(ANN)) && table.room.knows(u64::from(BOB)));
    table.settle();
    assert!(table.answer(join).is_ok());
}
