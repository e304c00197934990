//! Whole calls on virtual time.

use std::time::Duration;

use confab_e2ee::BaseKeys as _;
use confab_protocol::control::JoinId;
use confab_protocol::media::SframeHeader;
use confab_protocol::media::downlink::ByeReason;

use super::Event;
use super::relays::MediaEvent;
use super::stats::{SpeakerStats, Stats};
use super::testing::{Action, LinkQuality, World, grant};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn talking(members: &[u16], seed: u64) -> World {
    let mut world = World::new(members, seed);
    world.client(0).talks = true;
    world
}

pub(super) fn of(stats: &Stats, sender: u16) -> SpeakerStats {
    stats
        .speakers
        .iter()
        .find(|speaker| speaker.sender == sender)
        .unwrap()
        .clone()
}

pub(super) fn media_events(world: &mut World, n: u16) -> Vec<MediaEvent> {
    let events = world.client(n).events.iter();
    events
        .filter_map(|event| {
            if let Event::Media(event) = event {
                Some(*event)
            } else {
                None
            }
        })
        .collect()
}

fn stormy(seed: u64) -> (Stats, f64) {
    let mut world = talking(&[0, 1, 2], seed);
    world.weather = LinkQuality {
        loss: 0.03,
        duplicate: 0.02,
        delay: (Duration::from_millis(10), Duration::from_millis(45)),
    };
    world.client(1).talks = true;
    world.run(60 * SECOND);
    let client = world.client(2);
    (
        client.engine.stats(),
        f64::from(client.heard) / f64::from(client.played),
    )
}

#[test]
fn a_minute_of_loss_delay_and_duplicates_is_heard_to_its_end() {
    let (stats, heard) = stormy(7);
    for sender in [0, 1] {
        let speaker = of(&stats, sender);
        // Two ways, 3 % each: about 177 of 3000.
        assert!(
            (2700..2950).contains(&speaker.frames_received),
            "{speaker:?}"
        );
        assert!((90..350).contains(&speaker.lost), "{speaker:?}");
        assert!(speaker.concealed > 50, "{speaker:?}");
        assert_eq!(speaker.undecodable, 0);
        assert!(
            speaker
                .mean_level_dbov
                .is_some_and(|level| (-20.0..-8.0).contains(&level)),
            "{speaker:?}"
        );
    }
    assert!(heard > 0.98, "{heard}");
    assert!(stats.drops.replayed > 50, "{stats:?}");
    assert_eq!(
        stats.drops.not_authentic + stats.drops.unknown_leaf + stats.drops.wrong_tag,
        0
    );
    assert!(
        stats.rtt_ms.is_some_and(|rtt| (20.0..90.0).contains(&rtt)),
        "{stats:?}"
    );
}

#[test]
fn a_call_with_the_same_seed_goes_the_same_way() {
    let (one, two) = (stormy(11), stormy(11));
    assert_eq!(one, two);
}

#[test]
fn loss_on_the_way_up_is_measured_by_pongs() {
    let mut world = talking(&[0, 1], 3);
    world.run(5 * SECOND);
    assert_eq!(world.client(0).engine.stats().uplink_loss, Some(0.0));
    world.weather.loss = 0.2;
    world.run(60 * SECOND);
    let loss = world.client(0).engine.stats().uplink_loss.unwrap();
    assert!((0.1..0.3).contains(&loss), "{loss}");
}

#[test]
fn frames_that_were_tampered_with_are_dropped_and_counted() {
    let mut world = talking(&[0, 1], 1);
    world.deed = Action::Tamper;
    world.run(5 * SECOND);
    let client = world.client(1);
    let stats = client.engine.stats();
    assert!(stats.drops.not_authentic > 200, "{stats:?}");
    assert_eq!((client.heard, of(&stats, 0).frames_received), (0, 0));
}

#[test]
fn frames_that_a_relay_repeats_are_heard_once() {
    let mut world = talking(&[0, 1], 1);
    world.deed = Action::Repeat;
    world.run(5 * SECOND);
    let stats = world.client(1).engine.stats();
    let speaker = of(&stats, 0);
    assert_eq!(speaker.frames_received, speaker.duplicate);
    assert_eq!(stats.drops.duplicate, speaker.duplicate);
    assert_eq!(speaker.lost, 0);
}

#[test]
fn datagrams_under_a_foreign_key_are_dropped_and_counted() {
    let mut world = talking(&[0, 1], 1);
    world.deed = Action::Misdirect;
    world.run(5 * SECOND);
    let client = world.client(1);
    assert!(client.engine.stats().drops.wrong_tag > 200);
    assert_eq!(client.heard, 0);
}

#[test]
fn a_voice_that_is_faster_than_the_news_of_it_is_heard_from_its_beginning() {
    let mut world = World::new(&[1], 1);
    world.run(SECOND);
    world.enter(0);
    world.client(0).talks = true;
    world.run(SECOND / 4);
    assert_eq!(world.client(1).heard, 0);
    world.announce(0);
    world.run(2 * SECOND);
    let (sent, stats) = (
        world.client(0).engine.stats().frames_sent,
        world.client(1).engine.stats(),
    );
    assert!(
        of(&stats, 0).frames_received + 2 >= sent,
        "{sent} {stats:?}"
    );
    assert_eq!(stats.drops.unknown_leaf + stats.drops.unannounced, 0);
}

#[test]
fn a_voice_that_nobody_announces_is_never_heard() {
    let mut world = World::new(&[1], 1);
    world.enter(0);
    world.client(0).talks = true;
    world.run(5 * SECOND);
    let client = world.client(1);
    assert_eq!(client.heard, 0);
    assert!(client.engine.stats().drops.unannounced > 200);
}

#[test]
fn a_participant_who_left_is_not_heard() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    world.remove(0);
    world.run(SECOND / 2);
    let heard = world.client(1).heard;
    world.run(2 * SECOND);
    let client = world.client(1);
    assert_eq!(client.heard, heard);
    // What was counted is not forgotten.
    assert!(of(&client.engine.stats(), 0).frames_received > 90);
}

#[test]
fn a_relay_that_falls_silent_is_told_and_left_for_a_resumed_session() {
    let mut world = talking(&[0, 1], 1);
    world.run(5 * SECOND);
    world.dead.push(0);
    world.run(12 * SECOND);
    let events = media_events(&mut world, 1);
    let told = MediaEvent::Report {
        connection_id: grant(0, 1, 0).connection_id,
        alive: false,
    };
    assert_eq!(
        events[..4],
        [
            MediaEvent::Live,
            MediaEvent::Silent,
            told,
            MediaEvent::Rebind
        ]
    );
    assert_eq!(events.iter().filter(|event| **event == told).count(), 1);
    assert!(events.contains(&MediaEvent::NeedGrant), "{events:?}");
    // Control answers with the same join and a new media session, elsewhere.
    for n in [0, 1] {
        world.resume(n, Some(grant(1, n, 1)));
        world.client(n).events.clear();
    }
    let heard = world.client(1).heard;
    world.run(3 * SECOND);
    assert_eq!(media_events(&mut world, 1), [MediaEvent::Live]);
    assert!(world.client(1).heard > heard + 250);
    let stats = world.client(1).engine.stats();
    // The counter went on: nothing was taken for a replay, nothing for forged.
    assert_eq!(
        stats.drops.duplicate + stats.drops.not_authentic,
        0,
        "{stats:?}"
    );
}

#[test]
fn a_relay_that_comes_back_by_itself_needs_nobody() {
    let mut world = talking(&[0, 1], 1);
    world.run(5 * SECOND);
    world.dead.push(0);
    world.run(3 * SECOND);
    world.dead.clear();
    world.run(3 * SECOND);
    let events = media_events(&mut world, 0);
    assert_eq!(events.last(), Some(&MediaEvent::Live), "{events:?}");
    assert!(!events.contains(&MediaEvent::NeedGrant), "{events:?}");
}

#[test]
fn a_participant_with_a_fresh_join_is_heard_under_its_new_key() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    world.rejoin(&[(0, 7, JoinId::new([0xaa; 16]))]);
    let heard = world.client(1).heard;
    world.run(3 * SECOND);
    assert!(world.client(1).heard > heard + 250);
    assert!(of(&world.client(1).engine.stats(), 7).frames_received > 140);
}

#[test]
fn a_fresh_join_under_another_participants_former_label_is_heard() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    // Both come back in the other order: each has the label that the other had.
    world.rejoin(&[
        (1, 0, JoinId::new([0xa1; 16])),
        (0, 1, JoinId::new([0xa0; 16])),
    ]);
    // A second passes until the next group.
    world.run(2 * SECOND);
    let unsealed = world.client(0).engine.stats().drops.unsealed;
    let heard = world.client(1).heard;
    world.run(3 * SECOND);
    assert!(world.client(1).heard > heard + 250);
    assert_eq!(world.client(0).engine.stats().drops.unsealed, unsealed);
}

#[test]
fn a_bye_without_a_word_from_control_leads_to_a_new_session() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    world.end_session(grant(0, 1, 0).connection_id, ByeReason::Closed);
    world.run(3 * SECOND);
    let events = media_events(&mut world, 1);
    assert!(events.contains(&MediaEvent::NeedGrant));
    let gone = events.iter().filter(|event| **event == MediaEvent::Gone);
    assert_eq!(gone.count(), 1, "{events:?}");
}

#[test]
fn a_muted_participant_sends_no_voice_and_continues_its_timestamps() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    world.change(0, |participant| participant.muted = true);
    world.run(SECOND / 2);
    let sent = world.client(0).engine.stats().frames_sent;
    world.run(4 * SECOND);
    assert_eq!(world.client(0).engine.stats().frames_sent, sent);
    world.change(0, |participant| participant.muted = false);
    world.run(2 * SECOND);
    let speaker = of(&world.client(1).engine.stats(), 0);
    assert!(speaker.frames_received > 180, "{speaker:?}");
    assert_eq!(
        (speaker.lost, speaker.late),
        (0, 0),
        "a pause is no loss: {speaker:?}"
    );
}

#[test]
fn a_pause_of_the_input_is_no_loss() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    world.client(0).talks = false;
    let now = world.now;
    world.client(0).engine.pause(now);
    world.run(3 * SECOND);
    world.client(0).talks = true;
    world.run(2 * SECOND);
    let speaker = of(&world.client(1).engine.stats(), 0);
    assert_eq!((speaker.lost, speaker.late), (0, 0), "{speaker:?}");
    assert!(speaker.concealed <= 9, "{speaker:?}");
}

#[test]
fn samples_from_before_an_interruption_are_not_sent_after_it() {
    // With nothing and with half a frame left.
    for extra in [0, 10] {
        let mut world = talking(&[0, 1], 1);
        world.run(2 * SECOND + Duration::from_millis(extra));
        world.client(0).talks = false;
        world.run(3 * SECOND);
        let sent = world.client(0).engine.stats().frames_sent;
        world.client(0).engine.interrupt();
        world.run(SECOND);
        assert_eq!(world.client(0).engine.stats().frames_sent, sent);
        world.client(0).talks = true;
        world.run(2 * SECOND);
        let speaker = of(&world.client(1).engine.stats(), 0);
        assert_eq!((speaker.lost, speaker.late), (0, 0), "{speaker:?}");
        assert!(speaker.delay_ms < 30.0, "{speaker:?}");
    }
}

#[test]
fn samples_that_no_device_plays_are_not_counted_as_heard() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    let heard = of(&world.client(1).engine.stats(), 0);
    assert_eq!(heard.unheard_ms, 0);
    assert!(heard.mean_level_dbov.is_some());
    let mut world = talking(&[0, 1], 1);
    world.client(1).deaf = true;
    world.run(2 * SECOND);
    let unheard = of(&world.client(1).engine.stats(), 0);
    assert!((1700..2000).contains(&unheard.unheard_ms), "{unheard:?}");
    assert_eq!(unheard.mean_level_dbov, None);
}

#[test]
fn a_speaker_whom_the_relay_does_not_forward_any_more_is_not_lost() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    world.deed = Action::Suppress;
    world.inject(grant(0, 1, 0).connection_id, 0, &[]);
    world.run(SECOND / 10);
    let stopped = world
        .client(1)
        .events
        .iter()
        .filter(|event| matches!(event, Event::Speaking(s) if !s.speaking));
    assert_eq!(stopped.count(), 1);
    world.run(2 * SECOND);
    world.deed = Action::Forward;
    world.run(2 * SECOND);
    let speaker = of(&world.client(1).engine.stats(), 0);
    assert!(speaker.frames_received > 180, "{speaker:?}");
    assert_eq!((speaker.lost, speaker.late), (0, 0), "{speaker:?}");
}

#[test]
fn speaking_begins_and_ends_once() {
    let mut world = talking(&[0, 1], 1);
    world.run(2 * SECOND);
    world.client(0).talks = false;
    world.run(2 * SECOND);
    let speaking: Vec<_> = world
        .client(1)
        .events
        .iter()
        .filter_map(|event| {
            if let Event::Speaking(speaking) = event {
                Some(speaking.speaking)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(speaking, [true, false]);
}

#[test]
fn frames_under_ones_own_leaf_are_dropped() {
    let mut world = World::new(&[0, 1], 1);
    world.run(SECOND);
    let mut sframe = [0; SframeHeader::MAX_LEN];
    let key_id = world.client(1).engine.member().sealing().unwrap();
    let length = SframeHeader { key_id, counter: 3 }.write(&mut sframe);
    let mut sframe = sframe[..length].to_vec();
    sframe.extend_from_slice(&[0; 40]);
    world.inject(grant(0, 1, 0).connection_id, 1, &sframe);
    world.inject(grant(0, 1, 0).connection_id, 1, &[0xff]);
    world.run(SECOND);
    let drops = world.client(1).engine.stats().drops;
    assert_eq!((drops.own_leaf, drops.not_sframe), (1, 1), "{drops:?}");
}
