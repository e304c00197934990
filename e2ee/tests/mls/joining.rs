//! Who comes and goes, and what they can open.

use std::time::Duration;

use confab_e2ee::BaseKeys;
use confab_e2ee::mls::delivery::Output;
use confab_e2ee::mls::member::MemberEvent;
use confab_e2ee::mls::{Suite, ToMember};
use confab_protocol::control::JoinId;

use crate::lab::{Network, Room};

const SECOND: Duration = Duration::from_secs(1);

fn room_of(count: usize) -> (Room, Vec<JoinId>) {
    Room::of(1, count)
}

#[test]
fn a_lone_participant_is_in_a_group_of_its_own() {
    let (room, joins) = room_of(1);
    assert_eq!(room.people[&joins[0]].member().leaves().count(), 1);
    assert!(room.people[&joins[0]].member().sealing().is_some());
}

#[test]
fn participants_hear_each_other_after_they_joined() {
    let (mut room, joins) = room_of(4);
    let from = room.now;
    room.run(SECOND);
    let to = room.now;
    room.run(SECOND);
    room.assert_no_gap(&joins, from, to);
}

#[test]
fn nobody_who_stays_misses_a_frame_when_others_come_and_go() {
    let (mut room, joins) = room_of(5);
    let from = room.now;
    let mut guests = Vec::new();
    for _ in 0..6 {
        guests.push(room.join());
        room.run(Duration::from_millis(300));
    }
    for guest in guests {
        room.leave(guest);
        room.run(Duration::from_millis(300));
    }
    let to = room.now;
    room.run(2 * SECOND);
    assert!(room.agrees());
    room.assert_no_gap(&joins, from, to);
}

#[test]
fn a_hundred_who_join_within_a_second_are_in_after_two_with_few_commits() {
    let mut room = Room::new(3, Network::WIDE);
    let first = room.join();
    room.run(SECOND);
    let before = room.people[&first].member().epoch().unwrap();
    for _ in 0..100 {
        room.join();
        room.run(Duration::from_millis(10));
    }
    room.run(SECOND);
    assert!(room.agrees());
    let epochs = room.people[&first].member().epoch().unwrap() - before;
    assert!(epochs <= 12, "{epochs} commits");
}

#[test]
fn who_was_removed_opens_nothing_of_the_next_epoch() {
    let (mut room, joins) = room_of(3);
    let gone = room.people.remove(&joins[2]).unwrap();
    room.leave(joins[2]);
    room.run(2 * SECOND);
    let mut sframe = Vec::new();
    let speaker = room.people.get_mut(&joins[0]).unwrap();
    speaker.cipher.seal(b"after", &mut sframe).unwrap();
    let mut gone = gone;
    assert!(gone.cipher.open(&sframe, &mut Vec::new()).is_err());
    let listener = room.people.get_mut(&joins[1]).unwrap();
    assert!(listener.cipher.open(&sframe, &mut Vec::new()).is_ok());
    // Nor can it send.
    let mut late = Vec::new();
    gone.cipher.seal(b"from outside", &mut late).unwrap();
    assert!(listener.cipher.open(&late, &mut Vec::new()).is_err());
}

#[test]
fn who_joins_later_opens_nothing_from_before() {
    let (mut room, joins) = room_of(2);
    let mut sframe = Vec::new();
    room.people
        .get_mut(&joins[0])
        .unwrap()
        .cipher
        .seal(b"before", &mut sframe)
        .unwrap();
    let late = room.join();
    room.run(2 * SECOND);
    assert!(room.agrees());
    assert!(
        room.people
            .get_mut(&late)
            .unwrap()
            .cipher
            .open(&sframe, &mut Vec::new())
            .is_err()
    );
}

#[test]
fn a_member_whose_link_was_lost_goes_on_and_catches_up() {
    let (mut room, joins) = room_of(3);
    room.unlink(joins[1]);
    let from = room.now;
    let guest = room.join();
    room.run(3 * SECOND);
    let to = room.now;
    room.relink(joins[1]);
    room.run(2 * SECOND);
    assert!(room.agrees());
    // Nobody was removed: it was heard under its old epoch.
    assert_eq!(
        room.longest_gap(joins[0], joins[1], from, to),
        Duration::ZERO
    );
    room.leave(guest);
    room.run(SECOND);
    assert!(room.agrees());
}

#[test]
fn the_committer_that_dies_is_replaced() {
    let (mut room, joins) = room_of(3);
    for join in &joins[..2] {
        room.unlink_unnoticed(*join);
    }
    let guest = room.join();
    room.run(5 * SECOND);
    assert_eq!(room.group(guest), room.group(joins[2]));
    assert!(room.group(guest).is_some());
}

#[test]
fn when_nobody_can_commit_a_new_group_begins() {
    let (mut room, joins) = room_of(1);
    room.unlink(joins[0]);
    let guest = room.join();
    room.run(4 * SECOND);
    assert!(room.group(guest).is_some_and(|name| name.generation > 5));
    room.relink(joins[0]);
    room.run(3 * SECOND);
    assert!(room.agrees());
}

#[test]
fn everybody_rotates_their_keys() {
    let (mut room, _) = room_of(4);
    for _ in 0..8 {
        let guest = room.join();
        room.run(SECOND);
        room.leave(guest);
        room.run(SECOND);
    }
    let committers: std::collections::BTreeSet<_> = room
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send(to, ToMember::CommitWanted { .. }) => Some(*to),
            _ => None,
        })
        .collect();
    assert!(committers.len() >= 4, "{} committers", committers.len());
}

#[test]
fn secrets_do_not_pile_up() {
    let (mut room, joins) = room_of(3);
    let mut held = Vec::new();
    for _ in 0..20 {
        let guest = room.join();
        room.run(SECOND);
        room.leave(guest);
        room.run(SECOND);
        held.push(room.people[&joins[0]].member().secrets());
    }
    assert!(held[19] <= held[4].max(held[5]) + 1, "{held:?}");
}

#[test]
fn texts_reach_everybody_in_order_while_the_epoch_changes() {
    let (mut room, joins) = room_of(3);
    for number in 0..20 {
        room.people
            .get_mut(&joins[0])
            .unwrap()
            .cipher
            .keys_mut()
            .send_text(&format!("text {number}"))
            .unwrap();
        if number % 5 == 0 {
            room.join();
        }
        room.run(Duration::from_millis(200));
    }
    room.run(6 * SECOND);
    let expected: Vec<_> = (0..20).map(|number| format!("text {number}")).collect();
    for listener in &joins[1..] {
        let texts: Vec<_> = room.people[listener]
            .events
            .iter()
            .filter_map(|event| match event {
                MemberEvent::Text { text, .. } => Some(text.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(texts, expected);
    }
}

#[test]
fn rooms_are_post_quantum() {
    let (room, _) = room_of(2);
    assert!(room.outputs.iter().any(|output| matches!(
        output,
        Output::NewGroup {
            suite: Suite::PostQuantum,
            ..
        }
    )));
}
