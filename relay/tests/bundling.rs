//! Delay is spent only where it is asked for, and only the loudest are forwarded.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab;

use std::time::Duration;

use confab_protocol::media::AudioLevel;
use confab_protocol::media::downlink::{Downlink, DownlinkBody};
use confab_protocol::media::uplink::UplinkBody;
use confab_relay::core::DropCause;
use lab::{Client, Lab};

#[test]
fn frames_within_the_window_share_a_datagram_and_leave_when_it_closes() {
    let mut lab = Lab::new();
    let mut clients: Vec<_> = (0..5).map(|sender| lab.join(1, sender)).collect();
    lab.worker().set_window(Duration::from_millis(10));
    for client in &mut clients[..3] {
        lab.pass(Duration::from_millis(3));
        let datagram = client.audio("a frame");
        assert!(
            lab.deliver(&client.clone(), &datagram).is_empty(),
            "it waits"
        );
    }
    let closes = lab.worker().deadline().unwrap();
    assert_eq!(closes - lab.now, Duration::from_millis(4));
    lab.now = closes;
    let sent = lab.batch(&[]);
    assert_eq!(sent.len(), 5);
    assert_eq!(clients[4].heard(&sent).len(), 3);
    assert_eq!(lab.worker().deadline(), None);
}

#[test]
fn a_second_frame_of_a_speaker_does_not_wait_behind_its_first() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let ben = lab.join(1, 1);
    lab.worker().set_window(Duration::from_millis(20));
    let first = ann.audio("one");
    assert!(lab.deliver(&ann.clone(), &first).is_empty());
    let second = ann.audio("two");
    let sent = lab.deliver(&ann.clone(), &second);
    assert_eq!(ben.heard(&sent), [(0, "one".to_owned())]);
    lab.pass(Duration::from_millis(20));
    assert_eq!(ben.heard(&lab.batch(&[])), [(0, "two".to_owned())]);
}

#[test]
fn an_open_window_gives_way_when_buffers_run_low() {
    let mut lab = Lab::new();
    let rooms: Vec<_> = (0..250u8)
        .map(|room| [lab.join(room, 0), lab.join(room, 1)])
        .collect();
    lab.worker().set_window(Duration::from_secs(1));
    let mut heard = 0;
    for [mut ann, ben] in rooms {
        let datagram = ann.audio("x");
        let sent = lab.deliver(&ann.clone(), &datagram);
        heard += ben.heard(&sent).len() + sent.len();
        assert!(lab.worker().free_buffers() >= lab::BUFFERS / 4 - 1);
    }
    assert!(heard > 0, "some rooms were served early");
}

/// One frame of `level` dB under full scale.
fn speak(lab: &mut Lab, client: &mut Client, level: f32) -> Vec<(std::net::SocketAddr, Vec<u8>)> {
    let sframe = client.sframe(client.sender.into(), "x");
    let level = AudioLevel::new(true, level);
    let datagram = client.datagram(UplinkBody::Audio {
        level,
        sframe: &sframe,
    });
    lab.deliver(&client.clone(), &datagram)
}

#[test]
fn a_louder_speaker_replaces_another_and_clients_are_notified() {
    let mut lab = Lab::with_speakers(2);
    let mut clients: Vec<_> = (0..4).map(|sender| lab.join(1, sender)).collect();
    let mut heard = [0; 3];
    let mut stopped = Vec::new();
    for round in 0..100 {
        lab.pass(Duration::from_millis(20));
        for speaker in 0..3 {
            if speaker == 2 && round < 50 {
                continue;
            }
            let level = [60.0, 40.0, 20.0][speaker];
            for (to, datagram) in speak(&mut lab, &mut clients[speaker], level) {
                if to != clients[3].address {
                    continue;
                }
                let downlink = Downlink::parse(&datagram).unwrap();
                assert!(downlink.is_authentic(&clients[3].downlink));
                let DownlinkBody::Audio(records) = downlink.body else {
                    continue;
                };
                for record in records.iter() {
                    if record.sframe.is_empty() {
                        stopped.push((round, record.sender));
                    } else {
                        heard[usize::from(record.sender)] += 1;
                    }
                }
            }
        }
    }
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    let (round, sender) = stopped[0];
    assert_eq!(sender, 0, "the weakest gives way");
    assert!(
        (50..60).contains(&round),
        "soon after somebody louder began: {round}"
    );
    assert_eq!(
        (heard[0], heard[1]),
        (round + 1, 100),
        "the weakest spoke first in that round"
    );
    assert_eq!(heard[2], 100 - round);
    let refused = lab.dropped(DropCause::NotLoudest);
    assert_eq!(refused, (99 - round) as u64 + (round - 50) as u64);
}
