//! Bans, kicks and mutes, whenever they come.

use std::time::Duration;

use confab_protocol::cluster::{Action, BootId, CommandOutcome};
use confab_protocol::control::ErrorCode;
use confab_protocol::control::room::Role;

use super::table::*;
use crate::cluster::{RelayEvent, Response};
use crate::rooms::effect::{Effect, Input};
use crate::rooms::placement::PLACE_RETRY;
use crate::store::{Standing, StoreError};

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
    table.admit();
    let open = table.take(is_open);
    table.change(BOB, banned());
    table.store_change();
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
    table.change(BOB, muted());
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
    table.admit();
    table.change(BOB, muted());
    table.store_change();
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
fn a_failed_store_changes_nothing() {
    let mut table = Table::new();
    table.join(ANN);
    table.join(BOB);
    let (ban, before) = (table.change(BOB, banned()), table.events.len());
    let Effect::Change { ticket, .. } = table.take(is_change) else {
        unreachable!()
    };
    let result = Err(StoreError::Busy.into());
    table.handle(Input::Stored { ticket, result });
    assert_eq!(table.refusal(ban), ErrorCode::Busy);
    assert_eq!((table.room.live(), table.events.len()), (2, before));
}

#[test]
fn a_ban_without_a_relay_is_not_acknowledged_and_holds_when_one_is_there() {
    let mut table = Table::new();
    table.join(ANN);
    table.join(BOB);
    table.world.relays.clear();
    table.pass(Duration::from_secs(5));
    table.handle(Input::Relay(RelayEvent::Gone(BootId([1; 16]))));
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
    table.store_change();
    let Effect::Command { command, .. } = table.take(is_close) else {
        panic!("it is a command");
    };
    table.handle(Input::Relay(RelayEvent::CommandDone {
        command,
        response: Response::NoLink,
    }));
    assert_eq!(table.refusal(ban), ErrorCode::Busy);
    // Who asks again waits until the relay has obeyed.
    let again = table.change(BOB, banned());
    table.store_change();
    assert!(!table.is_answered(again));
    let close = Action::CloseMedia { sender: bob.sender };
    let before = table
        .actions
        .iter()
        .filter(|action| **action == close)
        .count();
    table.handle(Input::Relay(RelayEvent::Relinked(BootId([1; 16]))));
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
fn a_mute_that_meets_a_relay_s_end_is_not_acknowledged_and_holds_at_the_next() {
    let mut table = Table::new();
    table.join(ANN);
    table.pass(Duration::from_secs(5));
    let mute = table.change(ANN, muted());
    table.store_change();
    table.handle(Input::Relay(RelayEvent::Gone(BootId([1; 16]))));
    assert_eq!(table.refusal(mute), ErrorCode::Busy);
    let record = table.take(is_record);
    table.fulfil(record, CommandOutcome::Obeyed);
    let opened = table.actions.iter().rev().find_map(|action| match action {
        Action::OpenMedia(open) => Some(open.may_speak),
        _ => None,
    });
    assert_eq!(opened, Some(false));
}
