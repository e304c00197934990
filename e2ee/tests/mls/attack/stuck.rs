//! What must not keep a room from agreeing: silence, lies, lost links, a relay that does not answer.

use std::time::Duration;

use confab_e2ee::BaseKeys as _;
use confab_e2ee::mls::delivery::Output;
use confab_e2ee::mls::member::{Announced, MemberEvent};
use confab_e2ee::mls::signing::SigningKey;
use confab_e2ee::mls::{FromMember, Member};
use confab_protocol::control::{GenerationLeaf, JoinId};

use super::hall::{Hall, SECOND, TICK, lying};
use super::keys::{key_package, offer};
use crate::lab::member_config;

#[test]
fn commits_come_after_the_welcome_that_waits_for_the_relay() {
    let (mut hall, joins) = Hall::of(2);
    let group = hall.group(joins[0]);
    hall.is_gate_stuck = true;
    hall.join();
    hall.run(SECOND);
    hall.leave(joins[1]);
    hall.run(SECOND);
    hall.is_gate_stuck = false;
    hall.run(SECOND);
    assert!(hall.agree());
    assert_eq!(hall.group(joins[0]), group);
    let failed = hall
        .events
        .iter()
        .any(|(_, event)| matches!(event, MemberEvent::Refused(_)));
    assert!(!failed);
}

#[test]
fn texts_reach_a_joiner_whose_welcome_waits_for_relays() {
    let (mut hall, joins) = Hall::of(3);
    hall.is_gate_stuck = true;
    let joiner = hall.join();
    hall.run(SECOND / 2);
    hall.write(joins[0], "before the next commit");
    // It goes on, and leads to another epoch while the joiner waits.
    hall.leave(joins[2]);
    hall.run(SECOND / 2);
    hall.write(joins[0], "after it");
    hall.run(SECOND / 2);
    assert_eq!(hall.members[&joiner].leaves().count(), 0);
    hall.is_gate_stuck = false;
    hall.run(SECOND);
    for join in [joins[1], joiner] {
        assert_eq!(hall.texts(join), ["before the next commit", "after it"]);
    }
    assert!(hall.agree());
}

#[test]
fn who_waits_for_the_relay_when_its_group_ends_gets_into_the_next_one() {
    let (mut hall, joins) = Hall::of(1);
    hall.is_gate_stuck = true;
    let late = hall.join();
    hall.run(SECOND);
    // The only member that could commit goes: a new group begins.
    hall.leave(joins[0]);
    hall.run(SECOND);
    let other = hall.join();
    hall.run(SECOND);
    hall.is_gate_stuck = false;
    hall.run(5 * SECOND);
    assert!(hall.agree());
    assert_eq!(hall.members[&late].leaves().count(), 2);
    assert_eq!(hall.members[&other].leaves().count(), 2);
}

#[test]
fn a_resumed_link_does_not_spend_a_key_package_whose_welcome_waits_for_the_relay() {
    let (mut hall, joins) = Hall::of(2);
    hall.is_gate_stuck = true;
    let late = hall.join();
    hall.run(SECOND);
    hall.delivery.disconnect(hall.now, late);
    hall.members.get_mut(&late).unwrap().resume();
    hall.delivery.resume(hall.now, late, None);
    hall.run(SECOND);
    hall.is_gate_stuck = false;
    hall.run(3 * SECOND);
    assert!(hall.agree());
    hall.leave(joins[0]);
    hall.run(3 * SECOND);
    assert!(hall.agree());
}

#[test]
fn a_text_that_was_under_way_to_a_group_that_ended_is_sent_in_the_next_one() {
    let (mut hall, joins) = Hall::of(3);
    let before = hall.group(joins[0]);
    // Nobody answers any more, so that the group ends; the text goes to where nobody takes it.
    hall.tamper = Box::new(|_, message| match message {
        FromMember::Text { .. } | FromMember::Committed { .. } => None,
        other => Some(other),
    });
    hall.write(joins[0], "one");
    hall.join();
    hall.run(SECOND);
    hall.tamper = Box::new(|_, message| Some(message));
    hall.run(5 * SECOND);
    assert!(hall.agree());
    assert!(hall.group(joins[0]).generation > before.generation);
    hall.write(joins[0], "two");
    hall.run(SECOND);
    assert_eq!(hall.texts(joins[1]), ["one", "two"]);
}

#[test]
fn who_leaves_while_it_is_added_again_takes_nobody_else_along() {
    let (mut hall, joins) = Hall::of(4);
    let group = hall.group(joins[0]);
    let leaving = joins[1];
    // It cannot go on, and the commit that adds it again, with somebody else before it, is under way when it leaves.
    let (send, commits) = std::sync::mpsc::channel();
    let mut has_failed = false;
    hall.tamper = Box::new(move |from, message| match message {
        FromMember::Merged { group, epoch } if from == leaving => {
            has_failed = true;
            Some(FromMember::Failed { group, epoch })
        }
        FromMember::Committed { .. } if has_failed => {
            let _ = send.send((from, message));
            None
        }
        other => Some(other),
    });
    let first = hall.join();
    // Its key package is added before that of the leaving one.
    let early = hall.join_as(JoinId::new([0; 16]));
    hall.run(Duration::from_millis(200));
    hall.delivery.leave(hall.now, leaving);
    hall.members.remove(&leaving);
    hall.tamper = Box::new(|_, message| Some(message));
    for (from, message) in commits.try_iter() {
        hall.delivery.handle(hall.now, from, message);
    }
    hall.run(5 * SECOND);
    assert!(hall.agree());
    assert_eq!(hall.group(first), group);
    assert_eq!(hall.members[&early].leaves().count(), hall.members.len());
}

#[test]
fn who_failed_under_three_committers_is_added_again_in_a_quiet_room() {
    let (mut hall, joins) = Hall::of(5);
    let (failing, mut failures) = (joins[4], 0);
    hall.tamper = Box::new(move |from, message| match message {
        FromMember::Merged { group, epoch } if from == failing && failures < 5 => {
            failures += 1;
            Some(FromMember::Failed { group, epoch })
        }
        other => Some(other),
    });
    hall.join();
    // Nothing happens but what the delivery service asks to be woken for.
    let end = hall.now + 20 * SECOND;
    while let Some(at) = hall.delivery.update(hall.now).filter(|at| *at < end) {
        hall.now = at.max(hall.now);
        hall.delivery.update(hall.now);
        hall.pump();
    }
    assert!(hall.agree());
    assert_eq!(hall.members[&failing].leaves().count(), 6);
}

#[test]
fn two_silent_participants_do_not_keep_a_room_without_a_group() {
    let mut hall = Hall::new();
    for _ in 0..2 {
        let join = hall.join_without_member();
        let bytes = key_package(hall.accounts[&join], &SigningKey::generate());
        offer(&mut hall, join, bytes);
    }
    hall.join();
    hall.join();
    hall.run(6 * SECOND);
    assert!(hall.agree());
}

#[test]
fn two_liars_who_stay_cannot_leave_a_room_without_a_group() {
    let (mut hall, joins) = Hall::of(6);
    let liars = [joins[0], joins[1]];
    hall.tamper = lying(liars);
    hall.have_guests(12);
    // They are silent from now on.
    hall.tamper = Box::new(move |from, message| Some(message).filter(|_| !liars.contains(&from)));
    hall.run(20 * SECOND);
    let late = hall.join();
    hall.run(10 * SECOND);
    for liar in liars {
        hall.members.remove(&liar);
    }
    assert!(hall.agree());
    assert!(hall.members[&late].leaves().count() >= 5);
}

#[test]
fn two_liars_cannot_leave_a_room_without_anybody_who_may_commit() {
    let (mut hall, joins) = Hall::of(6);
    let liars = [joins[4], joins[5]];
    hall.tamper = lying(liars);
    hall.have_guests(12);
    for liar in liars {
        hall.leave(liar);
    }
    hall.tamper = Box::new(|_, message| Some(message));
    hall.run(10 * SECOND);
    hall.leave(joins[0]);
    hall.run(10 * SECOND);
    assert!(hall.agree());
    for member in hall.members.values() {
        assert_eq!(member.leaves().count(), hall.members.len());
    }
}

#[test]
fn a_round_trip_that_a_committer_has_made_long_does_not_hold_up_the_room() {
    let (mut hall, joins) = Hall::of(4);
    let group = hall.group(joins[0]);
    let liar = joins[3];
    hall.delivery.set_round_trip(liar, 60 * SECOND);
    hall.tamper = Box::new(move |from, message| match message {
        FromMember::Committed { .. } if from == liar => None,
        other => Some(other),
    });
    for _ in 0..6 {
        hall.join();
        hall.run(3 * SECOND);
        assert!(hall.agree());
    }
    assert_eq!(hall.group(joins[0]), group);
}

#[test]
fn who_is_far_away_still_gets_a_group() {
    let mut hall = Hall::new();
    let join = hall.join_without_member();
    hall.delivery.set_round_trip(join, 2 * SECOND);
    let member = Member::new(member_config(hall.accounts[&join]));
    hall.members.insert(join, member);
    // What it sends comes two seconds late.
    let (send, receive) = std::sync::mpsc::channel();
    hall.tamper = Box::new(move |_, message| {
        let _ = send.send(message);
        None
    });
    let mut late = std::collections::VecDeque::new();
    for _ in 0..1000 {
        hall.run(TICK);
        let arrives = hall.now + 2 * SECOND;
        late.extend(receive.try_iter().map(|message| (arrives, message)));
        while late.front().is_some_and(|(at, _)| *at <= hall.now) {
            let (_, message) = late.pop_front().unwrap();
            hall.delivery.handle(hall.now, join, message);
        }
    }
    let groups = hall
        .outputs
        .iter()
        .filter(|output| matches!(output, Output::NewGroup { .. }))
        .count();
    assert_eq!(groups, 1);
}

#[test]
fn two_that_refuse_every_newcomer_keep_nobody_out() {
    for count in [4, 6] {
        let (mut hall, joins) = Hall::of(count);
        let liars = [joins[0], joins[1]];
        // They answer first, whoever is asked.
        hall.tamper = Box::new(move |from, message| match message {
            FromMember::Committed { group, epoch, .. } if liars.contains(&from) => {
                Some(FromMember::CannotCommit {
                    group,
                    epoch,
                    refused: vec![0],
                })
            }
            other => Some(other),
        });
        for _ in 0..6 {
            let guest = hall.join();
            hall.run(2 * SECOND);
            assert!(hall.members[&guest].group().is_some(), "{count}");
            hall.leave(guest);
            hall.run(SECOND);
        }
    }
}

#[test]
fn who_was_left_out_gets_in_once_the_liars_are_gone() {
    // Two of three: nobody can tell who lies.
    let (mut hall, joins) = Hall::of(3);
    let liars = [joins[0], joins[1]];
    hall.tamper = Box::new(move |from, message| match message {
        FromMember::Committed { group, epoch, .. } => {
            liars.contains(&from).then_some(FromMember::CannotCommit {
                group,
                epoch,
                refused: vec![0],
            })
        }
        other => Some(other),
    });
    let guest = hall.join();
    hall.run(2 * SECOND);
    assert!(hall.members[&guest].group().is_none());
    hall.tamper = Box::new(|_, message| Some(message));
    for liar in liars {
        hall.leave(liar);
    }
    hall.run(10 * SECOND);
    assert!(hall.agree());
    assert!(hall.members[&guest].group().is_some());
}

#[test]
fn a_text_of_who_creates_a_group_waits_until_others_are_in_it() {
    let mut hall = Hall::new();
    let creator = hall.join();
    let late = hall.join_without_member();
    let coming = Announced {
        account: hall.accounts[&late],
        leaf: None,
    };
    let now = hall.now;
    let member = hall.members.get_mut(&creator).unwrap();
    member.announce(now, late, coming);
    hall.write(creator, "one");
    hall.run(SECOND);
    assert_eq!(hall.members[&creator].texts_under_way(), 1);
    let member = Member::new(member_config(hall.accounts[&late]));
    hall.members.insert(late, member);
    hall.run(2 * SECOND);
    assert_eq!(hall.texts(late), ["one"]);
}

#[test]
fn a_text_goes_out_when_it_turns_out_that_nobody_else_comes() {
    let mut hall = Hall::new();
    let creator = hall.join();
    hall.run(SECOND);
    let account = hall.accounts[&creator];
    let under_way = |hall: &Hall| hall.members[&creator].texts_under_way();
    // Its own leaf is announced after the group is there; nothing else is said to it then.
    let leaf = hall.members[&creator].group().map(|group| GenerationLeaf {
        generation: group.generation,
        leaf: 0,
    });
    let now = hall.now;
    let member = hall.members.get_mut(&creator).unwrap();
    member.announce(
        now,
        creator,
        Announced {
            account,
            leaf: None,
        },
    );
    hall.write(creator, "one");
    hall.run(SECOND);
    assert_eq!(under_way(&hall), 1);
    let now = hall.now;
    let member = hall.members.get_mut(&creator).unwrap();
    member.announce(now, creator, Announced { account, leaf });
    hall.run(SECOND);
    assert_eq!(under_way(&hall), 0);

    // Somebody was to come, and has gone.
    let late = hall.join_without_member();
    let coming = Announced {
        account: hall.accounts[&late],
        leaf: None,
    };
    let now = hall.now;
    let member = hall.members.get_mut(&creator).unwrap();
    member.announce(now, late, coming);
    hall.write(creator, "two");
    hall.run(SECOND);
    assert_eq!(under_way(&hall), 1);
    let now = hall.now;
    hall.members.get_mut(&creator).unwrap().depart(now, late);
    hall.run(SECOND);
    assert_eq!(under_way(&hall), 0);
}

#[test]
fn a_member_that_never_acknowledges_delays_no_newcomer_for_long() {
    let (mut hall, joins) = Hall::of(3);
    let silent = joins[2];
    hall.tamper = Box::new(move |from, message| match message {
        FromMember::Merged { .. } if from == silent => None,
        other => Some(other),
    });
    hall.have_guests(4);
    let guest = hall.join();
    hall.run(5 * TICK);
    let key = hall.members[&joins[0]].sealing().unwrap();
    assert!(
        hall.members[&guest].base_key(key).is_some(),
        "all seal under its epoch"
    );
}
