//! A thousand random changes, and owners of the room that die, after which all agree.

use std::time::Duration;

use confab_e2ee::BaseKeys as _;
use confab_e2ee::mls::delivery::{NEWCOMER_WAIT, RETURN_WAIT};
use confab_protocol::control::{AccountId, JoinId};

use crate::lab::{Network, Room};

/// Joins, leaves, broken links, crashes of whoever it is.
fn churn(seed: u64, changes: usize) {
    let mut room = Room::new(seed, Network::WIDE);
    let stable = [room.join(), room.join()];
    room.run(Duration::from_secs(2));
    let from = room.now;
    let mut unlinked = Vec::new();
    for _ in 0..changes {
        let guests: Vec<_> = room
            .people
            .keys()
            .copied()
            .filter(|join| !stable.contains(join))
            .collect();
        let some = |room: &mut Room| guests[room.random.below(guests.len() as u64) as usize];
        match room.random.below(10) {
            _ if guests.len() < 3 => drop(room.join()),
            0..=3 if guests.len() < 12 => drop(room.join()),
            4..=6 => {
                let guest = some(&mut room);
                room.leave(guest);
                unlinked.retain(|one| *one != guest);
            }
            7 | 8 => {
                let guest = some(&mut room);
                room.unlink(guest);
                unlinked.push(guest);
            }
            _ => {
                for guest in unlinked.drain(..) {
                    room.relink(guest);
                }
            }
        }
        let wait = Duration::from_millis(room.random.below(400));
        room.run(wait);
    }
    for guest in unlinked.drain(..) {
        room.relink(guest);
    }
    let to = room.now;
    room.run(Duration::from_secs(6));
    assert!(room.agrees(), "seed {seed}");
    for (listener, speaker) in [(stable[0], stable[1]), (stable[1], stable[0])] {
        let gap = room.longest_gap(listener, speaker, from, to);
        assert!(
            gap <= Duration::from_millis(60),
            "seed {seed}: a gap of {gap:?}"
        );
    }
}

#[test]
fn after_a_thousand_changes_all_agree_and_stable_members_missed_nothing() {
    for seed in 0..10 {
        churn(seed, 100);
    }
}

#[test]
fn a_room_is_taken_over_without_a_gap() {
    take_over_without_a_gap(Network::WIDE);
}

#[test]
fn a_room_with_slow_links_is_taken_over_without_a_gap() {
    take_over_without_a_gap(Network {
        shortest: Duration::from_millis(50),
        longest: Duration::from_millis(500),
    });
}

fn take_over_without_a_gap(network: Network) {
    for seed in 0..10 {
        let (mut room, people) = Room::of(seed, 6);
        room.network = network;
        room.run(Duration::from_secs(1));
        let from = room.now;
        room.take_over();
        let mut back = people.clone();
        while let Some(next) = back.pop() {
            let wait = Duration::from_millis(room.random.below(3000));
            room.run(wait);
            room.relink(next);
        }
        room.run(Duration::from_secs(3));
        let to = room.now;
        room.run(Duration::from_secs(2));
        room.assert_no_gap(&people, from, to);
        assert!(room.agrees(), "seed {seed}");
        let generation = room
            .group(people[0])
            .expect("all are in a group")
            .generation;
        assert!(generation >= 1 << 32, "a group of the new owner");
        assert_ne!(generation & 3, 5 & 3, "key ids of another generation");
    }
}

#[test]
fn who_does_not_come_back_after_a_takeover_is_not_waited_for_forever() {
    let (mut room, people) = Room::of(1, 4);
    room.take_over();
    for join in &people[1..] {
        room.relink(*join);
    }
    room.run(RETURN_WAIT + Duration::from_secs(2));
    let group = room.group(people[1]);
    assert!(group.unwrap().generation >= 1 << 32);
    assert_eq!(room.group(people[2]), group);
    room.relink(people[0]);
    room.run(Duration::from_secs(3));
    assert!(room.agrees());
}

#[test]
fn a_kick_while_members_come_back_after_a_takeover_leaves_no_gap() {
    for seed in 0..10 {
        let (mut room, mut people) = Room::of(seed, 6);
        let kicked = people.remove(0);
        let from = room.now;
        room.take_over();
        let mut is_kicked = false;
        for next in &people {
            room.relink(*next);
            if !std::mem::replace(&mut is_kicked, true) {
                room.leave(kicked);
            }
            let wait = Duration::from_millis(room.random.below(400));
            room.run(wait);
        }
        room.run(Duration::from_secs(3));
        let to = room.now;
        room.run(Duration::from_secs(2));
        room.assert_no_gap(&people, from, to);
        assert!(room.agrees(), "seed {seed}");
    }
}

#[test]
fn who_joins_just_before_a_room_is_taken_over_waits_no_longer_than_one_who_joins_after() {
    let (mut room, people) = Room::of(2, 3);
    let late = room.join();
    room.take_over();
    for join in &people[1..] {
        room.relink(*join);
    }
    room.relink(late);
    assert!(room.group(late).is_none(), "it had no group before");
    room.run(NEWCOMER_WAIT + Duration::from_secs(1));
    assert!(room.group(late).is_some());
}

#[test]
fn who_joins_a_room_that_was_taken_over_waits_for_no_more_than_that() {
    let (mut room, people) = Room::of(2, 3);
    room.take_over();
    room.relink(people[0]);
    let late = room.join();
    room.run(NEWCOMER_WAIT + Duration::from_secs(1));
    assert!(room.group(late).is_some());
    for join in &people[1..] {
        room.relink(*join);
    }
    room.run(Duration::from_secs(3));
    assert!(room.agrees());
}

/// Accounts that come and go as fast as they can keep nobody from sending.
#[test]
fn participants_who_come_and_go_all_the_time_keep_nobody_from_sending() {
    for (seed, guests, each) in [(1, 1, 90), (2, 1, 250), (3, 4, 90)] {
        let (mut room, stable) = Room::of(seed, 2);
        let mut there: Vec<Option<JoinId>> = vec![None; guests];
        let from = room.now;
        let mut silent = Duration::ZERO;
        let step = Duration::from_millis(each);
        while room.now < from + Duration::from_secs(30) {
            let guest = room.random.below(guests as u64) as usize;
            there[guest] = match there[guest].take() {
                Some(join) => {
                    room.leave(join);
                    None
                }
                None => Some(room.join_as(AccountId::new([200 + guest as u8; 16]))),
            };
            room.run(step);
            for join in &stable {
                if room.people[join].member().sealing().is_none() {
                    silent += step;
                }
            }
        }
        assert_eq!(silent, Duration::ZERO, "seed {seed}");
        let to = room.now;
        room.run(Duration::from_secs(1));
        room.assert_no_gap(&stable, from, to);
    }
}
