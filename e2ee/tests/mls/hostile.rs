//! Members with valid keys, and a control that does what it should not.

use std::time::Duration;

use confab_e2ee::BaseKeys;
use confab_e2ee::mls::delivery::Output;
use confab_e2ee::mls::member::{MemberEvent, UNANNOUNCED_FOR};
use confab_e2ee::mls::{FromMember, ToMember};
use confab_protocol::control::JoinId;

use crate::lab::Room;

const SECOND: Duration = Duration::from_secs(1);

fn room_of(count: usize) -> (Room, Vec<JoinId>) {
    Room::of(11, count)
}

#[test]
fn garbage_in_place_of_commits_bars_its_sender_and_the_others_go_on() {
    let (mut room, _) = room_of(4);
    room.intercept = Some(|random, _, message| {
        if let FromMember::Committed { commit, .. } = message
            && random.below(2) == 0
        {
            let at = random.below(commit.len() as u64) as usize;
            commit[at] ^= 1;
        }
    });
    for _ in 0..4 {
        room.join();
        room.run(2 * SECOND);
    }
    room.intercept = None;
    room.run(3 * SECOND);
    assert!(room.agrees());
    assert!(
        room.outputs
            .iter()
            .any(|output| matches!(output, Output::Refused(..)))
    );
}

#[test]
fn a_welcome_that_cannot_be_opened_is_replaced_by_another_committers() {
    let (mut room, _) = room_of(4);
    // The encrypted GroupInfo is broken: no public check can see that.
    room.intercept = Some(|random, _, message| {
        if let FromMember::Committed { welcome, .. } = message
            && !welcome.is_empty()
            && random.below(2) == 0
        {
            let last = welcome.len() - 1;
            welcome[last] ^= 1;
        }
    });
    for _ in 0..3 {
        room.join();
        room.run(3 * SECOND);
    }
    room.intercept = None;
    room.run(5 * SECOND);
    assert!(room.agrees());
}

#[test]
fn a_commit_that_only_members_can_see_to_be_wrong_ends_its_group() {
    let (mut room, joins) = room_of(4);
    let before = room.group(joins[0]).unwrap().generation;
    // The membership tag at the end of the commit is for members alone.
    room.intercept = Some(|_, _, message| {
        if let FromMember::Committed { commit, .. } = message {
            let last = commit.len() - 1;
            commit[last] ^= 1;
        }
    });
    room.join();
    room.run(Duration::from_millis(500));
    room.intercept = None;
    room.run(5 * SECOND);
    assert!(room.agrees());
    assert!(room.group(joins[0]).unwrap().generation > before);
}

#[test]
fn a_leaf_that_control_does_not_announce_stops_everybody_and_is_named() {
    let (mut room, joins) = room_of(2);
    let ghost = room.join();
    let account = room.people[&ghost].account;
    room.hide(ghost);
    room.run(UNANNOUNCED_FOR + 2 * SECOND);
    for join in &joins {
        let person = &room.people[join];
        assert!(person.member().sealing().is_none());
        let named = person.events.iter().any(|event| {
            matches!(event, MemberEvent::Unannounced { credential, .. } if credential.account == account)
        });
        assert!(named);
    }
    room.leave(ghost);
    room.run(2 * SECOND);
    for join in &joins {
        assert!(room.people[join].member().sealing().is_some());
    }
}

#[test]
fn an_ear_that_control_puts_in_anew_every_two_seconds_is_named_too() {
    let (mut room, joins) = room_of(2);
    let mut longest = Duration::ZERO;
    let from = room.now;
    for _ in 0..4 {
        let ghost = room.join();
        room.hide(ghost);
        for _ in 0..20 {
            room.run(SECOND / 10);
            let key = room.people[&joins[0]].member().sealing();
            let ear = room.people[&ghost].member();
            if key.is_some_and(|key| ear.base_key(key).is_some()) {
                longest = longest.max(room.now - from);
            }
        }
        room.leave(ghost);
        room.run(SECOND / 4);
    }
    assert!(
        longest < 2 * UNANNOUNCED_FOR,
        "somebody was heard after {longest:?}"
    );
    let person = &room.people[&joins[0]];
    let named = |event: &&MemberEvent| matches!(event, MemberEvent::Unannounced { .. });
    assert!(person.events.iter().any(|event| named(&event)));
    // Without an ear sending goes on.
    room.run(2 * SECOND);
    assert!(room.people[&joins[0]].member().sealing().is_some());
}

#[test]
fn a_lower_generation_and_a_smaller_suite_are_refused() {
    let (mut room, joins) = room_of(1);
    let now = room.now;
    let member = room.people.get_mut(&joins[0]).unwrap().cipher.keys_mut();
    let mut group = member.group().unwrap();
    let known = group;
    group.generation -= 1;
    let suite = confab_e2ee::mls::Suite::PostQuantum;
    member.handle(now, ToMember::CreateGroup { group, suite });
    assert_eq!(member.group(), Some(known));
    group.generation += 2;
    let suite = confab_e2ee::mls::Suite::Classical;
    member.handle(now, ToMember::CreateGroup { group, suite });
    assert_eq!(member.group(), Some(known));
}
