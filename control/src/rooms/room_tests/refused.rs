//! Relays that do not open sessions.

use std::time::Duration;

use confab_protocol::cluster::{Action, BootId, CommandOutcome};
use confab_protocol::control::ErrorCode;

use super::table::*;
use crate::cluster::COMMAND_DEADLINE;
use crate::rooms::effect::{Effect, Ticket};
use crate::rooms::placement::PLACE_RETRY;

const BERLIN: BootId = BootId([1; 16]);
const PARIS: BootId = BootId([2; 16]);

/// How a relay refuses.
#[derive(Clone, Copy)]
enum Bad {
    Answers(CommandOutcome),
    Silent,
}

const EACH: [Bad; 4] = [
    Bad::Answers(CommandOutcome::Full),
    Bad::Answers(CommandOutcome::Invalid),
    Bad::Answers(CommandOutcome::NotFound),
    Bad::Silent,
];

/// Berlin, where rooms go first, and Paris.
fn two_relays() -> Table {
    let mut table = Table::new();
    table.world.relays.push(relay("paris", 2));
    table
}

fn opens_at(effect: &Effect, of: BootId) -> bool {
    matches!(effect, Effect::Command { action: Action::OpenMedia(_), boot, .. } if *boot == of)
}

/// All is done that is asked, but the relays of these boots open no session.
fn settle_but(table: &mut Table, refusing: &[BootId], bad: Bad) {
    while let Some(effect) = table.open.pop_front() {
        let is_refused = refusing.iter().any(|boot| opens_at(&effect, *boot));
        match bad {
            Bad::Answers(outcome) if is_refused => table.fulfil(effect, outcome),
            Bad::Silent if is_refused => {}
            _ => table.fulfil(effect, CommandOutcome::Obeyed),
        }
    }
}

/// The same until the join is answered, for 6 s.
fn wait_for(table: &mut Table, join: Ticket, refusing: &[BootId], bad: Bad) -> Duration {
    let began = table.now;
    while !table.is_answered(join) && table.now < began + Duration::from_secs(6) {
        settle_but(table, refusing, bad);
        if !table.is_answered(join) {
            table.pass(Duration::from_millis(50));
        }
    }
    settle_but(table, refusing, bad);
    table.now - began
}

fn relay_of(table: &Table) -> String {
    table.room.home().place.clone().unwrap().relay.to_string()
}

#[test]
fn a_new_room_goes_to_another_relay_when_the_first_opens_no_session() {
    for bad in EACH {
        let mut table = two_relays();
        let join = table.ask_join(ANN, None);
        let took = wait_for(&mut table, join, &[BERLIN], bad);
        let joined = table.answer(join).unwrap().unwrap();
        assert_eq!(joined.media_grant().placement, 2);
        assert_eq!(relay_of(&table), "paris");
        let longest = match bad {
            Bad::Answers(_) => PLACE_RETRY,
            Bad::Silent => COMMAND_DEADLINE,
        };
        assert!(took <= longest, "{took:?}");
        assert_eq!((table.room.live(), table.presence), (1, 1));
    }
}

#[test]
fn a_relay_that_leaves_an_open_unanswered_is_noted() {
    let mut table = two_relays();
    let join = table.ask_join(ANN, None);
    wait_for(&mut table, join, &[BERLIN], Bad::Silent);
    assert_eq!(table.world.unanswered, ["berlin"]);
    assert_eq!(table.abandoned, ["berlin"], "it may have opened it");
}

#[test]
fn without_another_relay_a_join_is_refused_as_the_relay_says() {
    let codes = [
        ErrorCode::NoRelay,
        ErrorCode::Internal,
        ErrorCode::Internal,
        ErrorCode::Busy,
    ];
    for (bad, code) in EACH.into_iter().zip(codes) {
        let mut table = Table::new();
        let join = table.ask_join(ANN, None);
        wait_for(&mut table, join, &[BERLIN], bad);
        assert_eq!(table.refusal(join), code);
        assert_eq!((table.room.live(), table.presence), (0, 0));
    }
}

#[test]
fn a_join_does_not_go_round_among_relays_that_all_refuse() {
    for bad in EACH {
        let mut table = two_relays();
        let join = table.ask_join(ANN, None);
        wait_for(&mut table, join, &[BERLIN, PARIS], bad);
        assert!(table.answer(join).is_err());
        assert_eq!(
            table
                .actions
                .iter()
                .filter(|action| is_opening(action))
                .count(),
            3
        );
        assert!(table.room.is_over());
    }
}

fn is_opening(action: &Action) -> bool {
    matches!(action, Action::OpenMedia(_))
}

#[test]
fn everybody_who_waits_comes_in_at_the_other_relay() {
    let mut table = two_relays();
    let (ann, bob) = (table.ask_join(ANN, None), table.ask_join(BOB, None));
    let bad = Bad::Answers(CommandOutcome::Full);
    wait_for(&mut table, ann, &[BERLIN], bad);
    wait_for(&mut table, bob, &[BERLIN], bad);
    for join in [ann, bob] {
        let joined = table.answer(join).unwrap().unwrap();
        assert_eq!(joined.media_grant().placement, 2);
    }
}

#[test]
fn who_is_alone_and_comes_again_gets_a_session_at_another_relay() {
    let mut table = two_relays();
    let join_id = table.join(ANN).own().join_id;
    let resume = table.ask_join(ANN, Some(join_id));
    wait_for(&mut table, resume, &[BERLIN], Bad::Silent);
    let joined = table.answer(resume).unwrap().unwrap();
    assert_eq!(
        (joined.media_grant().placement, joined.own().join_id),
        (2, join_id)
    );
    assert!(table.room.everyone_has_media());
}

#[test]
fn a_room_is_moved_with_everybody_when_its_relay_is_full_and_another_has_room() {
    let mut table = two_relays();
    table.join(ANN);
    let join = table.ask_join(BOB, None);
    wait_for(
        &mut table,
        join,
        &[BERLIN],
        Bad::Answers(CommandOutcome::Full),
    );
    let joined = table.answer(join).unwrap().unwrap();
    assert_eq!(joined.media_grant().placement, 2);
    assert_eq!(table.moves(), [(vec![u64::from(ANN)], 2)]);
    assert!(table.room.everyone_has_media());
}

#[test]
fn a_room_stays_at_a_full_relay_when_no_other_has_room_for_all() {
    let mut table = two_relays();
    table.join(ANN);
    table.world.room_for = 1;
    let join = table.ask_join(BOB, None);
    wait_for(
        &mut table,
        join,
        &[BERLIN],
        Bad::Answers(CommandOutcome::Full),
    );
    assert_eq!(table.refusal(join), ErrorCode::NoRelay);
    assert!(table.moves().is_empty() && relay_of(&table) == "berlin");
}

#[test]
fn a_room_is_moved_with_everybody_when_its_relay_refuses_again() {
    for bad in [Bad::Answers(CommandOutcome::Invalid), Bad::Silent] {
        let mut table = two_relays();
        table.join(ANN);
        let join = table.ask_join(BOB, None);
        wait_for(&mut table, join, &[BERLIN], bad);
        assert!(table.answer(join).is_err());
        assert!(table.moves().is_empty(), "once may be chance");
        let join = table.ask_join(BOB, None);
        wait_for(&mut table, join, &[BERLIN], bad);
        let joined = table.answer(join).unwrap().unwrap();
        assert_eq!(joined.media_grant().placement, 2);
        assert_eq!(table.moves(), [(vec![u64::from(ANN)], 2)]);
    }
}

#[test]
fn a_room_is_not_moved_to_and_fro_by_relays_that_are_full() {
    let mut table = two_relays();
    table.join(ANN);
    let bad = Bad::Answers(CommandOutcome::Full);
    for _ in 0..5 {
        let join = table.ask_join(BOB, None);
        // Both have a place for the first alone: whatever opens next is refused.
        while let Some(effect) = table.open.pop_front() {
            let is_bobs = matches!(&effect, Effect::Command { action: Action::OpenMedia(open), .. } if open.sender != 0);
            match (is_bobs, bad) {
                (true, Bad::Answers(outcome)) => table.fulfil(effect, outcome),
                _ => table.fulfil(effect, CommandOutcome::Obeyed),
            }
        }
        assert_eq!(table.refusal(join), ErrorCode::NoRelay);
        table.pass(Duration::from_secs(5));
    }
    assert_eq!(table.moves().len(), 1);
}
