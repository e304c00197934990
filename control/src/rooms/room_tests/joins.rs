//! Who comes, comes again and goes.

use std::time::Duration;

use confab_protocol::cluster::{CommandOutcome, MediaEndReason};
use confab_protocol::control::ErrorCode;
use confab_protocol::control::room::LeaveReason;

use super::table::*;
use crate::cluster::COMMAND_DEADLINE;
use crate::cluster::RelayEvent;
use crate::rooms::effect::{EventKind, Input, RoomChange, RoomEvent, RoomRequest};
use crate::store::SessionId;

#[test]
fn a_join_is_answered_when_the_relay_has_obeyed_and_not_before() {
    let mut table = Table::new();
    let ticket = table.ask_join(ANN, None);
    table.admit();
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
    assert_eq!(
        (joined.media_grant().era, joined.media_grant().placement),
        (1, 1)
    );
    assert_eq!(joined.participants.len(), 1);
}

#[test]
fn events_after_a_join_have_revisions_above_its_own_and_none_is_missing() {
    let mut table = Table::new();
    let ann = table.join(ANN);
    table.join(BOB);
    let ticket = table.change(BOB, muted());
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
    assert_ne!(
        after.media_grant().uplink_key,
        before.media_grant().uplink_key
    );
    assert_eq!((table.room.live(), table.presence), (1, 1));
    // The old session's end ends nobody.
    let ended = |connection_id| {
        Input::Relay(RelayEvent::MediaEnded {
            sender: before.sender,
            connection_id,
            reason: MediaEndReason::Idle,
        })
    };
    table.handle(ended(before.media_grant().connection_id));
    assert_eq!(table.room.live(), 1);
    table.handle(ended(after.media_grant().connection_id));
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
    table.admit();
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
fn one_account_does_not_fill_a_room_by_joining_with_many_devices_at_once() {
    let mut table = Table::new();
    let joins: Vec<_> = (0..10).map(|_| table.ask_join(ANN, None)).collect();
    table.settle();
    let answers = joins.into_iter().map(|join| table.answer(join));
    assert_eq!(answers.filter(Result::is_ok).count(), 8);
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
        table.ask(RoomRequest::Change(RoomChange::Leave {
            account: account(BOB),
            client: u64::from(BOB),
            join_id,
        }));
        table.settle();
        table.answers.clear();
        table.events.clear();
        table.actions.clear();
    }
    // The first one's is still taken.
    assert_eq!(table.join(BOB).sender, first + 1);
}
