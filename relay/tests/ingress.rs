//! What a datagram has to pass, and that one which fails is counted and never answered.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab;

use std::net::SocketAddr;
use std::time::Duration;

use confab_protocol::cluster::{Action, CommandOutcome, Fence, MediaEndReason, OpenMedia};
use confab_protocol::media::downlink::{Downlink, DownlinkBody};
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{AudioLevel, ConnectionId, HopKey, SFRAME_TAG_LEN};
use confab_relay::core::DropCause;
use lab::{Lab, challenge_in};
use proptest::prelude::*;

#[test]
fn a_replayed_datagram_is_heard_once() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let _ben = lab.join(1, 1);
    let datagram = ann.audio("once");
    assert_eq!(lab.deliver(&ann, &datagram).len(), 1);
    for _ in 0..10 {
        assert!(lab.deliver(&ann, &datagram).is_empty());
    }
    assert_eq!(lab.dropped(DropCause::Replayed), 10);
}

#[test]
fn a_flipped_bit_anywhere_silences_a_datagram() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let _ben = lab.join(1, 1);
    let datagram = ann.audio("whole");
    for at in 0..datagram.len() {
        let mut bent = datagram.clone();
        bent[at] ^= 0x10;
        assert!(lab.deliver(&ann, &bent).is_empty(), "byte {at}");
    }
    assert_eq!(
        lab.deliver(&ann, &datagram).len(),
        1,
        "the window did not move"
    );
}

#[test]
fn every_truncation_is_dropped() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let _ben = lab.join(1, 1);
    let datagram = ann.audio("whole");
    for len in 0..datagram.len() {
        assert!(lab.deliver(&ann, &datagram[..len]).is_empty());
    }
    assert!(lab.deliver(&ann, &vec![1; 1201]).is_empty());
}

#[test]
fn foreign_ids_and_keys_are_dropped() {
    let mut lab = Lab::new();
    let ann = lab.join(1, 0);
    let mut stranger = ann.clone();
    stranger.uplink = HopKey::new([0xee; 16]);
    stranger.next = 100;
    let datagram = stranger.audio("let me in");
    assert!(lab.deliver(&ann, &datagram).is_empty());
    assert_eq!(lab.dropped(DropCause::BadTag), 1);

    let mut ghost = ann.clone();
    ghost.id = ConnectionId::new(0, ann.id.slot(), ann.id.check() ^ 1);
    let datagram = ghost.audio("let me in");
    assert!(lab.deliver(&ann, &datagram).is_empty());
    assert_eq!(lab.dropped(DropCause::UnknownConnection), 1);

    ghost.id = ConnectionId::new(7, 0, 0);
    let datagram = ghost.audio("let me in");
    assert!(lab.deliver(&ann, &datagram).is_empty());
    assert_eq!(lab.dropped(DropCause::UnknownConnection), 2);
}

#[test]
fn a_frame_under_another_leaf_is_dropped() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let _ben = lab.join(1, 1);
    let sframe = ann.sframe(1, "I am Ben");
    let datagram = ann.datagram(UplinkBody::Audio {
        level: AudioLevel::default(),
        sframe: &sframe,
    });
    assert!(lab.deliver(&ann, &datagram).is_empty());
    assert_eq!(lab.dropped(DropCause::WrongLeaf), 1);
}

#[test]
fn a_muted_member_is_not_heard_until_it_may_speak_again() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let ben = lab.join(1, 1);
    for (may_speak, heard) in [(false, 0), (true, 1)] {
        let outcome = lab.command(
            1,
            Action::SetMaySpeak {
                sender: 0,
                may_speak,
            },
        );
        assert_eq!(outcome, CommandOutcome::Obeyed);
        let datagram = ann.audio("hello");
        let sent = lab.deliver(&ann, &datagram);
        assert_eq!(ben.heard(&sent).len(), heard);
    }
    assert_eq!(lab.dropped(DropCause::MayNotSpeak), 1);
}

#[test]
fn a_flood_from_one_session_is_cut_to_its_rate() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let ben = lab.join(1, 1);
    let mut heard = 0;
    for _ in 0..5000 {
        lab.pass(Duration::from_millis(1));
        let datagram = ann.audio("spam");
        heard += ben.heard(&lab.deliver(&ann, &datagram)).len();
    }
    assert!((550..=650).contains(&heard), "{heard} in 5 s");
}

#[test]
fn no_media_goes_to_an_address_that_was_not_proved() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let mut ben = lab.open(1, 1);
    let keep_alive = ben.datagram(UplinkBody::KeepAlive { echo: [5; 8] });
    let sent = lab.deliver(&ben, &keep_alive);
    assert_eq!(sent.len(), 1, "a challenge and no pong");
    assert!(
        sent[0].1.len() <= keep_alive.len(),
        "no more bytes than came"
    );
    let challenge = challenge_in(&ben, &sent).unwrap();

    let datagram = ann.audio("hello");
    assert!(lab.deliver(&ann, &datagram).is_empty());

    let response = ben.datagram(UplinkBody::PathResponse { challenge });
    let elsewhere = SocketAddr::from(([10, 9, 9, 9], 9));
    lab.batch(&[(elsewhere, response)]);
    assert_eq!(lab.dropped(DropCause::StrayPathResponse), 1);
    let response = ben.datagram(UplinkBody::PathResponse { challenge });
    lab.deliver(&ben, &response);
    let datagram = ann.audio("hello");
    assert_eq!(lab.deliver(&ann, &datagram).len(), 1);
}

#[test]
fn media_follows_a_client_that_roams_and_stays_when_a_replay_pretends_to() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let mut ben = lab.join(1, 1);
    let old = ben.clone();
    ben.address = SocketAddr::from(([10, 0, 1, 9], 4711));
    let keep_alive = ben.datagram(UplinkBody::KeepAlive { echo: [1; 8] });
    let challenge = challenge_in(&ben, &lab.deliver(&ben, &keep_alive)).unwrap();
    let datagram = ann.audio("1");
    assert_eq!(old.heard(&lab.deliver(&ann, &datagram)).len(), 1, "not yet");
    let response = ben.datagram(UplinkBody::PathResponse { challenge });
    lab.deliver(&ben, &response);
    let datagram = ann.audio("2");
    assert_eq!(ben.heard(&lab.deliver(&ann, &datagram)).len(), 1);

    let thief = SocketAddr::from(([10, 6, 6, 6], 666));
    assert!(
        lab.batch(&[(thief, keep_alive)]).is_empty(),
        "a replay gets no answer"
    );
}

#[test]
fn a_keep_alive_is_answered_with_what_the_relay_has_seen() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    ann.next += 10;
    let datagram = ann.datagram(UplinkBody::KeepAlive { echo: *b"12345678" });
    let sent = lab.deliver(&ann, &datagram);
    let downlink = Downlink::parse(&sent[0].1).unwrap();
    assert!(downlink.is_authentic(&ann.downlink));
    let DownlinkBody::Pong(pong) = downlink.body else {
        panic!("{downlink:?}")
    };
    assert_eq!(&pong.echo, b"12345678");
    assert_eq!((pong.highest, pong.received), (12, 3));
}

#[test]
fn a_session_ends_by_bye_or_idle_timeout_and_is_reported_once() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let mut ben = lab.join(1, 1);
    let datagram = ann.datagram(UplinkBody::Bye);
    lab.deliver(&ann, &datagram);
    let ended = lab.ended();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].sender, ended[0].reason), (0, MediaEndReason::Bye));

    assert!(lab.live(&mut ben, Duration::from_secs(120)).is_empty());
    let silent = lab.now;
    let ended = lab.scan_for(Duration::from_secs(40));
    assert_eq!(ended.len(), 1);
    assert_eq!(
        (ended[0].sender, ended[0].reason),
        (1, MediaEndReason::Idle)
    );
    assert!(
        lab.now - silent >= Duration::from_secs(18),
        "its last answer was no older"
    );
    assert_eq!((lab.registry.sessions(), lab.registry.rooms()), (0, 0));
}

#[test]
fn a_session_whose_address_is_never_proved_ends_however_much_it_sends() {
    let mut lab = Lab::new();
    let mut ann = lab.open(1, 0);
    let (mut came, mut went) = (0, 0);
    let mut ended = Vec::new();
    while ended.is_empty() {
        for _ in 0..20 {
            lab.pass(Duration::from_millis(50));
            let datagram = ann.audio("x");
            came += datagram.len();
            went += lab
                .deliver(&ann, &datagram)
                .iter()
                .map(|(_, sent)| sent.len())
                .sum::<usize>();
            lab.round();
        }
        ended = lab.ended();
    }
    assert_eq!(ended[0].reason, MediaEndReason::Idle);
    assert!(went * 2 < came, "{went} bytes of challenges for {came}");
}

#[test]
fn unknown_types_and_frames_that_are_too_short_for_their_tag_have_their_causes() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let _ben = lab.join(1, 1);
    let mut unknown = ann.audio("x");
    unknown[0] = 0x3f;
    assert!(lab.deliver(&ann, &unknown).is_empty());
    assert_eq!(lab.dropped(DropCause::UnknownType), 1);

    // A header of two bytes and fifteen of a tag.
    let mut short = ann.sframe(0x7000, "");
    let header = short.len() - SFRAME_TAG_LEN;
    assert!(header > 1);
    short.truncate(1 + SFRAME_TAG_LEN);
    let level = AudioLevel::SILENCE;
    let datagram = ann.datagram(UplinkBody::Audio {
        level,
        sframe: &short,
    });
    assert!(lab.deliver(&ann, &datagram).is_empty());
    assert_eq!(lab.dropped(DropCause::BadFrame), 1);

    let mut whole = ann.audio("x");
    let cut = whole.len() - 12;
    whole.truncate(cut);
    assert!(lab.deliver(&ann, &whole).is_empty());
    assert_eq!(
        lab.dropped(DropCause::Malformed),
        1,
        "nothing was authentic"
    );
}

#[test]
fn levels_leave_in_steps_and_others_are_counted() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let ben = lab.join(1, 1);
    for byte in 0..=u8::MAX {
        lab.pass(Duration::from_millis(20));
        let sframe = ann.sframe(0, "x");
        let said = AudioLevel::from_byte(byte);
        let datagram = ann.datagram(UplinkBody::Audio {
            level: said,
            sframe: &sframe,
        });
        let sent = lab.deliver(&ann, &datagram);
        let to_ben = sent.iter().find(|(to, _)| *to == ben.address).unwrap();
        let downlink = Downlink::parse(&to_ben.1).unwrap();
        assert!(downlink.is_authentic(&ben.downlink));
        let DownlinkBody::Audio(records) = downlink.body else {
            panic!("{downlink:?}")
        };
        let heard = records.iter().next().unwrap().level;
        assert_eq!(heard, said.in_steps().0);
    }
    let steps = 2 * (126 / u64::from(AudioLevel::STEP_DB) + 1);
    assert_eq!(lab.workers[0].counters.levels_rounded.get(), 256 - steps);
}

#[test]
fn a_room_that_empties_in_a_batch_leaves_its_place_to_one_room_only() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let batch = [
        (ann.address, ann.audio("one")),
        (ann.address, ann.audio("two")),
        (ann.address, ann.datagram(UplinkBody::Bye)),
    ];
    lab.batch(&batch);
    lab.ended();
    let mut here = [lab.join(2, 0), lab.join(2, 1)];
    let there = [lab.join(3, 0), lab.join(3, 1)];
    let datagram = here[0].audio("in here");
    let sent = lab.deliver(&here[0], &datagram);
    assert_eq!(here[1].heard(&sent).len(), 1);
    assert!(there.iter().all(|client| client.heard(&sent).is_empty()));
}

#[test]
fn a_lower_fence_and_another_boot_command_nothing() {
    let mut lab = Lab::new();
    let fence = |era, placement| Fence { era, placement };
    let close = Action::CloseRoom;
    let mut as_owner = |era, placement| {
        lab.command_as(fence(era, placement), 1, close.clone())
            .outcome
    };
    assert_eq!(as_owner(5, 2), CommandOutcome::Obeyed);
    assert_eq!(as_owner(5, 1), CommandOutcome::Fenced);
    assert_eq!(as_owner(4, 9), CommandOutcome::Fenced);
    assert_eq!(as_owner(5, 2), CommandOutcome::Obeyed);
    assert_eq!(as_owner(6, 0), CommandOutcome::Obeyed);
    for _ in 0..60 {
        lab.pass(Duration::from_secs(60));
        lab.registry.sweep(lab.now);
    }
    assert_eq!(
        lab.command(1, close),
        CommandOutcome::Obeyed,
        "forgotten after an hour"
    );
}

#[test]
fn the_session_that_a_sender_had_before_ends_with_the_new_one() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let mut ben = lab.join(1, 1);
    let again = lab.join(1, 1);
    assert_ne!(ben.id, again.id);
    let datagram = ben.audio("old");
    assert!(lab.deliver(&ben, &datagram).is_empty());
    let datagram = ann.audio("hello");
    let sent = lab.deliver(&ann, &datagram);
    assert_eq!(sent.len(), 1);
    assert_eq!(again.heard(&sent).len(), 1);
    assert_eq!(lab.registry.sessions(), 2);
}

#[test]
fn a_room_with_all_its_members_refuses_another_session() {
    let mut lab = Lab::new();
    let open = |sender| {
        Action::OpenMedia(OpenMedia::new(
            sender,
            0,
            HopKey::new([0; 16]),
            HopKey::new([0; 16]),
        ))
    };
    for sender in 0..10_000 {
        assert_eq!(lab.command(1, open(sender)), CommandOutcome::Obeyed);
    }
    assert_eq!(lab.command(1, open(10_000)), CommandOutcome::Full);
}

proptest! {
    #[test]
    fn no_bytes_from_strangers_are_answered(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1300), 1..20)
    ) {
        let mut lab = Lab::new();
        let ann = lab.join(1, 0);
        let _ben = lab.join(1, 1);
        for datagram in datagrams {
            prop_assert!(lab.deliver(&ann, &datagram).is_empty());
        }
        prop_assert_eq!(lab.worker().free_buffers(), lab::BUFFERS);
    }

    /// Right tags, any order of numbers, any of the room's clients: nothing panics and no buffer is lost.
    #[test]
    fn any_sequence_of_events_returns_every_buffer(
        events in prop::collection::vec((0usize..6, 0u8..8, 0u32..50, 0u64..3000), 1..200)
    ) {
        let mut lab = Lab::new();
        let mut clients: Vec<_> = (0..6).map(|sender| lab.open(1 + (sender % 2) as u8, sender)).collect();
        for (who, what, number, millis) in events {
            lab.pass(Duration::from_millis(millis));
            let room = 1 + (who % 2) as u8;
            let sender = who as u16;
            let mut client = clients[who].clone();
            client.next = number;
            let sent = match what {
                0..=2 => { let d = client.audio("x"); lab.deliver(&client, &d) }
                3 => { let d = client.datagram(UplinkBody::KeepAlive { echo: [0; 8] }); lab.deliver(&client, &d) }
                4 => { let d = client.datagram(UplinkBody::Bye); lab.deliver(&client, &d) }
                5 => { lab.command(room, Action::CloseMedia { sender }); lab.flush() }
                6 => { clients[who] = lab.open(room, sender); lab.flush() }
                _ => { lab.wire.capacity = [Some(0), None][number as usize % 2]; lab.scan(); lab.flush() }
            };
            if let Some(challenge) = challenge_in(&client, &sent) {
                client.next = number + 50;
                let d = client.datagram(UplinkBody::PathResponse { challenge });
                lab.deliver(&client, &d);
            }
            lab.ended();
        }
        lab.wire.capacity = None;
        lab.flush();
        prop_assert_eq!(lab.worker().free_buffers(), lab::BUFFERS);
    }
}
