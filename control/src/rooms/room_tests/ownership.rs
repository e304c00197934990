//! Rooms that change their node.

use std::time::Duration;

use confab_protocol::cluster::{BootId, CommandOutcome};
use confab_protocol::control::ErrorCode;
use confab_protocol::control::room::Role;

use super::table::*;
use crate::rooms::effect::Input;
use crate::rooms::room::Numbers;
use crate::store::{HomePlace, Standing};

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
    table.handle(Input::RelayGone(BootId([1; 16])));
    table.pass(Duration::from_secs(60));
    assert!(table.open.is_empty() && table.actions.len() == before);
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
