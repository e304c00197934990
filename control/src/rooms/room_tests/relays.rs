//! Relays that come and go.

use std::time::Duration;

use confab_protocol::cluster::{Action, BootId, CommandOutcome, MediaEndReason};
use confab_protocol::control::ErrorCode;

use super::table::*;
use crate::cluster::COMMAND_DEADLINE;
use crate::cluster::RelayEvent;
use crate::rooms::effect::{EventKind, Input, RoomEvent};
use crate::rooms::placement::PLACE_RETRY;

#[test]
fn a_relay_that_does_not_answer_in_time_is_not_waited_for() {
    let mut table = Table::new();
    table.join(ANN);
    table.join(BOB);
    let mute = table.change(BOB, muted());
    table.store_change();
    let join = table.ask_join(3, None);
    table.admit();
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
fn later_sessions_get_the_addresses_that_the_relay_has_by_then() {
    let mut table = Table::new();
    let ann = table.join(ANN);
    let external = vec![([203, 0, 113, 9], 4434).into()];
    let elsewhere = RelayEvent::Readdressed(BootId([9; 16]), Vec::new());
    table.handle(Input::Relay(elsewhere));
    let changed = RelayEvent::Readdressed(BootId([1; 16]), external.clone());
    table.handle(Input::Relay(changed));
    let bob = table.join(BOB);
    assert_eq!(bob.media_grant().addresses, external);
    assert_ne!(ann.media_grant().addresses, external);
    assert!(table.moves().is_empty(), "open sessions go on");
}

#[test]
fn a_relay_that_is_gone_is_replaced_and_everyone_is_told() {
    let mut table = Table::new();
    let ann = table.join(ANN);
    table.join(BOB);
    table.pass(Duration::from_secs(5));
    table.world.relays = vec![relay("paris", 2)];
    table.handle(Input::Relay(RelayEvent::Gone(BootId([9; 16]))));
    assert!(table.open.is_empty(), "another relay's end is not ours");
    table.handle(Input::Relay(RelayEvent::Gone(BootId([1; 16]))));
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
    assert_eq!(ann.media_grant().placement, 1);
}

#[test]
fn without_a_relay_the_room_looks_for_one_and_joins_are_refused() {
    let mut table = Table::new();
    table.join(ANN);
    table.pass(Duration::from_secs(5));
    table.world.relays.clear();
    table.handle(Input::Relay(RelayEvent::Gone(BootId([1; 16]))));
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
fn the_last_to_go_closes_the_room() {
    let mut table = Table::new();
    let joined = table.join(ANN);
    table.handle(Input::Relay(RelayEvent::MediaEnded {
        sender: joined.sender,
        connection_id: joined.media_grant().connection_id,
        reason: MediaEndReason::Bye,
    }));
    assert_eq!(table.actions.last(), Some(&Action::CloseRoom));
    assert!(table.room.is_over());
}
