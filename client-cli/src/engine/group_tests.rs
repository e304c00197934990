//! Calls whose group changes, on virtual time.

use std::collections::HashSet;
use std::time::Duration;

use confab_e2ee::BaseKeys as _;
use confab_e2ee::mls::messages::{TextRefusal, ToMember};
use confab_e2ee::mls::{FromMember, Suite};
use confab_protocol::control::JoinId;

use super::Event;
use super::call_tests::{of, talking};
use super::membership::GroupEvent;
use super::testing::World;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// The group's events at a client, but for codes.
fn group_events(world: &mut World, n: u16) -> Vec<GroupEvent> {
    let events = world.client(n).events.iter();
    let events = events.filter_map(|event| match event {
        Event::Group(GroupEvent::Changed { .. }) => None,
        Event::Group(event) => Some(event.clone()),
        _ => None,
    });
    events.collect()
}

/// All that a client was heard to say came to another, as one voice.
fn assert_heard_without_a_gap(world: &mut World, listener: u16, talker: u16) {
    let sent = world.client(talker).engine.stats().frames_sent;
    let stats = world.client(listener).engine.stats();
    let voices = stats.speakers.iter().filter(|one| one.sender == talker);
    assert_eq!(voices.count(), 1, "{stats:?}");
    let speaker = of(&stats, talker);
    assert!(speaker.frames_received + 4 >= sent, "{sent} {speaker:?}");
    assert_eq!(speaker.lost, speaker.late, "{speaker:?}");
    let drops = stats.drops;
    assert_eq!(
        drops.unknown_leaf + drops.unannounced + drops.not_authentic + drops.duplicate,
        0,
        "{drops:?}"
    );
}

#[test]
fn a_voice_goes_on_through_a_new_generation() {
    let mut world = talking(&[0, 1, 2], 1);
    world.run(2 * SECOND);
    let before = world.client(0).engine.group_standing().unwrap().0;
    world.client(1).events.clear();
    world.begin_generation();
    world.run(3 * SECOND);
    let after = world.client(1).engine.group_standing().unwrap().0;
    assert!(after.generation > before.generation);
    let generations: HashSet<u8> = world.nonces.iter().map(|(id, _)| id.generation).collect();
    assert_eq!(generations.len(), 2);
    for listener in [1, 2] {
        assert_heard_without_a_gap(&mut world, listener, 0);
    }
    let speaking = |event: &Event| matches!(event, Event::Speaking(_));
    assert!(!world.client(1).events.iter().any(speaking));
}

#[test]
fn frames_of_an_epoch_that_is_not_there_yet_are_heard_once_it_is() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    let epoch = world.client(1).engine.group_standing().unwrap().1;
    world.delay_group(1);
    world.enter(2);
    world.announce(2);
    // The other one commits if this one does not, and seals under the new epoch 300 ms later.
    let sealing = |world: &World| world.clients[&0].engine.member().sealing().unwrap().epoch;
    let before = world.now;
    while u64::from(sealing(&world)) == epoch {
        assert!(world.now < before + 2 * SECOND);
        world.run(20 * MS);
    }
    world.run(200 * MS);
    assert_eq!(world.client(1).engine.group_standing().unwrap().1, epoch);
    world.deliver_group(1);
    world.run(2 * SECOND);
    assert_heard_without_a_gap(&mut world, 1, 0);
}

#[test]
fn frames_of_an_epoch_that_never_comes_are_counted() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    world.delay_group(1);
    world.enter(2);
    world.announce(2);
    world.run(3 * SECOND);
    let drops = world.client(1).engine.stats().drops;
    assert!(drops.unknown_leaf > 100, "{drops:?}");
}

#[test]
fn nothing_is_sent_while_a_leaf_is_unannounced_and_the_person_is_told() {
    let mut world = talking(&[0, 1, 2], 1);
    world.run(2 * SECOND);
    world.client(0).events.clear();
    world.hide(2);
    world.run(2 * SECOND);
    assert_eq!(world.client(0).engine.stats().drops.unsealed, 0);
    world.run(2 * SECOND);
    let events = group_events(&mut world, 0);
    assert!(
        matches!(&events[..], [GroupEvent::Unannounced { username, .. }] if username.as_str() == "user2"),
        "{events:?}"
    );
    let stats = world.client(0).engine.stats();
    world.run(SECOND);
    let later = world.client(0).engine.stats();
    assert_eq!(later.frames_sent, stats.frames_sent);
    assert!(later.drops.unsealed >= stats.drops.unsealed + 49);
    world.announce(2);
    world.run(SECOND);
    assert_eq!(
        group_events(&mut world, 0).last(),
        Some(&GroupEvent::Announced)
    );
    let again = world.client(0).engine.stats();
    assert!(again.frames_sent >= later.frames_sent + 49);
}

#[test]
fn nothing_is_sent_before_there_is_a_group() {
    let mut world = World::new(&[1], 1);
    world.delay_group(0);
    world.enter(0);
    world.announce(0);
    world.client(0).talks = true;
    world.run(SECOND);
    let stats = world.client(0).engine.stats();
    assert_eq!(stats.frames_sent, 0);
    assert!(stats.drops.unsealed > 40, "{stats:?}");
    world.deliver_group(0);
    world.run(SECOND);
    assert!(world.client(0).engine.stats().frames_sent > 40);
}

#[test]
fn a_text_comes_to_the_others_under_the_name_of_its_leaf() {
    let mut world = World::new(&[0, 1, 2], 1);
    let engine = &mut world.client(0).engine;
    engine.send_text("guten Tag").unwrap();
    assert_eq!(engine.member().texts_under_way(), 1);
    world.run(SECOND);
    assert_eq!(world.client(0).engine.member().texts_under_way(), 0);
    let text = GroupEvent::Text {
        from: "user0".parse().unwrap(),
        text: "guten Tag".to_owned(),
    };
    for n in [1, 2] {
        assert_eq!(
            group_events(&mut world, n),
            [GroupEvent::Suite(Suite::PostQuantum), text.clone()]
        );
    }
}

#[test]
fn a_text_that_the_server_refuses_is_told() {
    let mut world = World::new(&[0], 1);
    world.delay_group(0);
    world.client(0).engine.send_text("hello").unwrap();
    world.run(SECOND);
    let now = world.now;
    let refused = ToMember::TextRefused(TextRefusal::NotAllowed);
    world.client(0).engine.handle_group(now, refused);
    world.run(SECOND);
    let events = group_events(&mut world, 0);
    assert_eq!(
        events.last(),
        Some(&GroupEvent::TextRefused(TextRefusal::NotAllowed))
    );
    assert_eq!(world.client(0).engine.member().texts_under_way(), 0);
}

#[test]
fn all_members_are_told_the_same_code() {
    let mut world = World::new(&[0, 1], 1);
    world.enter(2);
    world.announce(2);
    world.run(SECOND);
    let last_code = |n| {
        let mut events = world.clients[&n].events.iter().rev();
        events.find_map(|event| match event {
            Event::Group(GroupEvent::Changed { code }) => Some(code.unwrap()),
            _ => None,
        })
    };
    assert_eq!(last_code(0), last_code(2));
    assert_eq!(last_code(1), last_code(2));
    assert!(last_code(0).is_some());
}

#[test]
fn a_resumed_join_goes_on_with_its_counters() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    world.unlink(0);
    world.run(SECOND);
    world.resume(0, None);
    world.run(2 * SECOND);
    let nonces: HashSet<_> = world.nonces.iter().collect();
    assert_eq!(nonces.len(), world.nonces.len());
    let highest = world.nonces.iter().map(|(_, counter)| *counter).max();
    assert!(highest.unwrap() > 200, "{highest:?}");
    assert_heard_without_a_gap(&mut world, 1, 0);
}

#[test]
fn a_member_that_missed_a_commit_without_connection_gets_it_when_it_resumes() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    world.unlink(1);
    world.enter(2);
    world.announce(2);
    world.client(2).talks = true;
    world.run(SECOND);
    world.resume(1, None);
    world.run(2 * SECOND);
    let standing = world.client(0).engine.group_standing();
    assert!(standing.is_some());
    assert_eq!(world.client(1).engine.group_standing(), standing);
    assert!(of(&world.client(1).engine.stats(), 2).frames_received > 90);
}

#[test]
fn a_fresh_join_is_a_new_member_and_a_resumed_one_repeats_its_key_packages() {
    let mut world = World::new(&[0, 1], 1);
    world.run(SECOND);
    let suites = |world: &mut World| {
        let engine = &mut world.client(0).engine;
        let messages = std::iter::from_fn(|| engine.poll_group());
        let suites = messages.filter_map(|message| match message {
            FromMember::KeyPackage { suite, .. } => Some(suite),
            _ => None,
        });
        suites.collect::<Vec<_>>()
    };
    assert_eq!(suites(&mut world), []);
    let device = |world: &World| {
        let leaves = world.clients[&1].engine.member().leaves();
        let mut own = leaves.filter(|(_, one)| one.username.as_str() == "user0");
        own.next().unwrap().1.device
    };
    let before = device(&world);
    world.resume(0, None);
    assert_eq!(suites(&mut world), Suite::ALL);
    world.rejoin(&[(0, 7, JoinId::new([0xaa; 16]))]);
    assert_eq!(world.client(0).engine.group_standing(), None);
    world.run(SECOND);
    assert!(world.client(0).engine.group_standing().is_some());
    assert_eq!(device(&world), before);
}
