//! Moves from relay to relay, dead relays and lost networks, on virtual time.

use std::time::Duration;

use confab_protocol::control::JoinId;
use confab_protocol::media::downlink::ByeReason;

use super::call_tests::{media_events, of, talking};
use super::relays::MediaEvent;
use super::testing::{LinkQuality, World, grant, relay_address};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Control moves `n` to a session at `relay`.
fn move_to(world: &mut World, n: u16, relay: u8, placement: u32) {
    let moved = grant(relay, n, placement);
    world.open(moved.clone(), n);
    let now = world.now;
    world.client(n).engine.move_media(moved, now);
}

/// Every frame of everyone has come to everyone else, but for those still on their way: none is missing, though one may
/// have been later than the jitter buffer had expected.
fn assert_all_heard(world: &mut World, members: &[u16]) {
    for listener in members {
        let stats = world.client(*listener).engine.stats();
        for talker in members.iter().filter(|n| *n != listener) {
            let sent = world.client(*talker).engine.stats().frames_sent;
            let speaker = of(&stats, *talker);
            assert_eq!(speaker.lost, speaker.late, "{listener}: {speaker:?}");
            assert!(
                speaker.frames_received + 4 >= sent && speaker.frames_received <= sent,
                "{listener}: {sent} {speaker:?}"
            );
        }
        assert_eq!(stats.drops.not_authentic + stats.drops.unknown_leaf, 0);
    }
}

#[test]
fn a_room_whose_members_move_at_different_moments_loses_no_frame() {
    let members = [0, 1, 2, 3];
    for seed in 0..4 {
        let mut world = World::new(&members, seed);
        world.weather = LinkQuality {
            loss: 0.0,
            duplicate: 0.1,
            delay: (10 * MS, 40 * MS),
        };
        members.iter().for_each(|n| world.client(*n).talks = true);
        world.run(3 * SECOND);
        // Within a second, in another order and at other distances each time.
        for k in 0..members.len() as u64 {
            let n = ((k + seed) % 4) as u16;
            move_to(&mut world, n, 1, 1);
            world.run((70 + 60 * ((seed + k) % 4) as u32) * MS);
        }
        // Control has seen all of them there.
        world.run(SECOND / 2);
        for n in members {
            world.end_session(grant(0, n, 0).connection_id, ByeReason::Draining);
        }
        world.run(5 * SECOND);
        assert_all_heard(&mut world, &members);
        for n in members {
            assert_eq!(
                media_events(&mut world, n),
                [MediaEvent::Live, MediaEvent::Live],
                "the old relay's goodbye is nothing to talk about"
            );
            assert_eq!(world.client(n).engine.relay(), Some(relay_address(1)));
            let drops = world.client(n).engine.stats().drops;
            assert!(drops.duplicate > 20, "both carried it: {drops:?}");
        }
    }
}

#[test]
fn a_move_on_while_a_move_is_under_way_loses_no_frame() {
    let members = [0, 1, 2];
    for gap in [5, 60, 300, 1200] {
        let mut world = World::new(&members, 3);
        members.iter().for_each(|n| world.client(*n).talks = true);
        world.run(2 * SECOND);
        // The relay that they are sent to drains too, before or after they have reached it.
        for (relay, placement) in [(1, 1), (2, 2)] {
            for n in members {
                move_to(&mut world, n, relay, placement);
                world.run(50 * MS);
            }
            world.run(gap * MS);
        }
        world.run(SECOND);
        for n in members {
            world.end_session(grant(0, n, 0).connection_id, ByeReason::Draining);
        }
        world.run(6 * SECOND);
        assert_all_heard(&mut world, &members);
        for n in members {
            assert_eq!(world.client(n).engine.relay(), Some(relay_address(2)));
            assert!(!media_events(&mut world, n).contains(&MediaEvent::NeedGrant));
        }
    }
}

#[test]
fn an_older_grant_does_not_take_the_media_back() {
    let mut world = talking(&[0, 1], 1);
    let (newer, older) = (grant(1, 1, 5), grant(0, 1, 4));
    world.open(newer.clone(), 1);
    world.open(older.clone(), 1);
    let now = world.now;
    world.client(1).engine.move_media(newer, now);
    world.client(1).engine.move_media(older, now);
    world.run(2 * SECOND);
    assert_eq!(world.client(1).engine.relay(), Some(relay_address(1)));
}

#[test]
fn a_relay_that_dies_is_left_within_a_second_when_control_moves_the_room() {
    let mut world = talking(&[0, 1], 1);
    world.run(5 * SECOND);
    world.dead.push(0);
    // Control has noticed, asked, and placed the room elsewhere.
    world.run(700 * MS);
    for n in [0, 1] {
        move_to(&mut world, n, 1, 1);
    }
    let heard = world.client(1).heard;
    world.run(300 * MS);
    assert!(world.client(1).heard > heard + 10);
    world.run(5 * SECOND);
    let speaker = of(&world.client(1).engine.stats(), 0);
    assert!(speaker.frames_received > 450, "{speaker:?}");
}

#[test]
fn a_resumed_join_without_media_keeps_the_session() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    let now = world.now;
    let session = world.client(1).engine.live_session(now);
    assert_eq!(session, Some(grant(0, 1, 0).connection_id));
    world.resume(1, None);
    world.run(2 * SECOND);
    let speaker = of(&world.client(1).engine.stats(), 0);
    assert_eq!((speaker.lost, speaker.late), (0, 0), "{speaker:?}");
    assert_eq!(media_events(&mut world, 1), [MediaEvent::Live]);
}

#[test]
fn only_a_session_that_answers_is_to_be_kept() {
    let mut world = World::new(&[0, 1], 1);
    let now = world.now;
    assert_eq!(world.client(1).engine.live_session(now), None);
    world.run(20 * SECOND);
    let now = world.now;
    assert!(world.client(1).engine.live_session(now).is_some());
    world.dead.push(0);
    // A quiet room asks every five seconds.
    world.run(6 * SECOND);
    let now = world.now;
    assert_eq!(world.client(1).engine.live_session(now), None);
    world.dead.clear();
    world.run(SECOND);
    let now = world.now;
    assert!(world.client(1).engine.live_session(now).is_some());
    world.client(1).engine.resume_after_sleep(now);
    assert_eq!(world.client(1).engine.live_session(now), None);
    world.run(SECOND / 2);
    world.end_session(grant(0, 1, 0).connection_id, ByeReason::Closed);
    world.run(SECOND / 2);
    let now = world.now;
    assert_eq!(world.client(1).engine.live_session(now), None);
}

/// The report of `n` when control probes `connection_id` of `join`.
fn reports(world: &mut World, n: u16, session: (u8, u32)) -> Vec<bool> {
    let now = world.now;
    let connection_id = grant(session.0, n, session.1).connection_id;
    let engine = &mut world.client(n).engine;
    let join = engine.join_id();
    engine.probe_media(JoinId::new([0xee; 16]), connection_id, now);
    engine.probe_media(join, connection_id, now);
    world.client(n).events.clear();
    world.run(260 * MS);
    let events = media_events(world, n).into_iter();
    events
        .filter_map(|event| match event {
            MediaEvent::Report {
                connection_id: of,
                alive,
            } => {
                assert_eq!(of, connection_id);
                Some(alive)
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_probe_tells_within_250_ms_whether_the_relay_answers() {
    let mut world = World::new(&[0, 1], 1);
    world.run(2 * SECOND);
    assert_eq!(reports(&mut world, 1, (0, 0)), [true]);
    assert_eq!(
        reports(&mut world, 1, (0, 7)),
        [false],
        "a session that is not known"
    );
    world.dead.push(0);
    assert_eq!(reports(&mut world, 1, (0, 0)), [false]);
    // Where one is sent, and where one comes from.
    move_to(&mut world, 1, 1, 1);
    assert_eq!(reports(&mut world, 1, (1, 1)), [true]);
    assert_eq!(reports(&mut world, 1, (0, 0)), [false]);
}

#[test]
fn a_network_that_is_back_after_ten_seconds_carries_voice_within_one() {
    for offset in [0, 130, 270, 390] {
        let mut world = talking(&[0, 1], 1);
        world.client(1).talks = true;
        world.run(3 * SECOND);
        world.cut_off.push(1);
        world.run(10 * SECOND + offset * MS);
        world.cut_off.clear();
        let heard = (world.client(0).heard, world.client(1).heard);
        world.run(SECOND);
        // Ten blocks of those are the jitter buffer's.
        assert!(world.client(1).heard > heard.1 + 30, "{offset}");
        assert!(world.client(0).heard > heard.0 + 30, "{offset}");
        let events = media_events(&mut world, 1);
        assert_eq!(events.last(), Some(&MediaEvent::Live), "{events:?}");
    }
}

#[test]
fn a_loss_of_three_in_a_hundred_is_no_silence() {
    for (seed, talks) in [(1, true), (2, false)] {
        let mut world = World::new(&[0, 1], seed);
        world.client(0).talks = talks;
        world.weather = LinkQuality {
            loss: 0.03,
            duplicate: 0.0,
            delay: (20 * MS, 60 * MS),
        };
        world.run(240 * SECOND);
        for n in [0, 1] {
            let events = media_events(&mut world, n);
            assert_eq!(events, [MediaEvent::Live], "{n} of seed {seed}");
        }
    }
}

#[test]
fn a_quiet_room_costs_a_keep_alive_each_five_seconds() {
    let mut world = World::new(&[0, 1], 1);
    world.run(2 * SECOND);
    world.uplinks.clear();
    world.run(60 * SECOND);
    let sent = world.uplinks[&relay_address(0)];
    assert!((2 * 11..=2 * 13).contains(&sent), "{sent}");
}
