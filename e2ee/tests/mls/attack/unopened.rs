//! Frames that do not open: a group that is forked, and an epoch out of reach.

use std::time::Duration;

use confab_e2ee::BaseKeys as _;
use confab_e2ee::mls::FromMember;
use confab_e2ee::mls::member::{
    BEHIND_AGAIN_AFTER, FORK_FRAMES, FORK_WITHIN, MemberEvent, UNREACHABLE_AFTER,
};
use confab_protocol::media::KeyId;

use super::hall::{Hall, SECOND};

const FRAME: Duration = Duration::from_millis(20);

/// The key id of the second member, as the first one sees it.
fn of_the_other(hall: &Hall, epochs_ahead: u8) -> KeyId {
    let first = hall.members.values().next().expect("a member");
    let own = first.sealing().expect("it seals");
    let mut leaves = first.leaves();
    let other = leaves.find(|(leaf, _)| *leaf != own.leaf);
    let (leaf, _) = other.expect("another member");
    KeyId::new(leaf, own.generation, own.epoch.wrapping_add(epochs_ahead))
}

/// The events of the first member after frames of the other did not open for a time, one each `pause`.
fn after(hall: &mut Hall, key_id: KeyId, time: Duration, pause: Duration) -> Vec<MemberEvent> {
    let end = hall.now + time;
    let mut members = hall.members.values_mut();
    let member = members.next().expect("a member");
    while hall.now < end {
        hall.now += pause;
        member.note_unopened(hall.now, key_id);
    }
    std::iter::from_fn(|| member.poll_event()).collect()
}

#[test]
fn a_forked_group_is_told_once_when_many_frames_do_not_open() {
    let (mut hall, _) = Hall::of(2);
    hall.run(SECOND);
    let key_id = of_the_other(&hall, 0);
    let forked = [MemberEvent::Forked { leaf: key_id.leaf }];
    assert_eq!(after(&mut hall, key_id, FORK_WITHIN, FRAME), forked);
    assert_eq!(after(&mut hall, key_id, 5 * SECOND, FRAME), []);
}

#[test]
fn a_frame_now_and_then_that_does_not_open_is_no_fork() {
    let (mut hall, _) = Hall::of(2);
    hall.run(SECOND);
    let key_id = of_the_other(&hall, 0);
    let rare = FORK_WITHIN / (FORK_FRAMES as u32 - 2);
    assert_eq!(after(&mut hall, key_id, 10 * SECOND, rare), []);
    // Nor are frames of nobody.
    let nobody = KeyId::new(77, key_id.generation, key_id.epoch);
    assert_eq!(after(&mut hall, nobody, 10 * SECOND, FRAME), []);
}

#[test]
fn who_cannot_get_to_the_epoch_of_the_others_says_so() {
    let (mut hall, _) = Hall::of(2);
    hall.run(SECOND);
    let ahead = of_the_other(&hall, 1);
    assert_eq!(
        after(&mut hall, ahead, UNREACHABLE_AFTER - FRAME, FRAME),
        []
    );
    let told = after(&mut hall, ahead, 5 * FRAME, FRAME);
    assert_eq!(told, [MemberEvent::Unreachable]);
    let member = hall.members.values_mut().next().unwrap();
    let epoch = member.epoch().unwrap();
    let group = member.group().unwrap();
    let said: Vec<_> = std::iter::from_fn(|| member.poll_message()).collect();
    assert_eq!(said, [FromMember::Behind { group, epoch }]);
    // A commit that comes after all begins anew.
    hall.join();
    hall.run(SECOND);
    let ahead = of_the_other(&hall, 1);
    assert_eq!(after(&mut hall, ahead, SECOND, FRAME), []);
}

#[test]
fn who_stays_behind_asks_again_and_less_and_less_often() {
    let (mut hall, _) = Hall::of(2);
    hall.run(SECOND);
    let ahead = of_the_other(&hall, 1);
    let start = hall.now;
    let mut asked = Vec::new();
    for _ in 0..60 {
        after(&mut hall, ahead, SECOND, FRAME);
        let member = hall.members.values_mut().next().expect("a member");
        while let Some(message) = member.poll_message() {
            assert!(matches!(message, FromMember::Behind { .. }), "{message:?}");
            asked.push(hall.now - start);
        }
    }
    let first = UNREACHABLE_AFTER + SECOND;
    let waits = [0, 1, 3, 7, 15].map(|times| first + times * BEHIND_AGAIN_AFTER);
    assert_eq!(asked, waits);
}
