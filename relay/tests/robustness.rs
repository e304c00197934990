//! What a relay must not be impressed by: floods, churn, clocks that leap.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab;

use std::net::SocketAddr;
use std::time::Duration;

use confab_protocol::cluster::{Action, CommandOutcome};
use confab_protocol::media::ConnectionId;
use confab_protocol::media::uplink::UplinkBody;
use confab_relay::core::DropCause;
use lab::{Client, IDLE_TIMEOUT, Lab, Setup};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// One frame from `speaker`, and whether `listener` hears it and nobody else is sent anything that is not audio.
fn is_heard(lab: &mut Lab, speaker: &mut Client, listener: &Client) -> bool {
    let frame = speaker.audio("are you there?");
    let sent = lab.deliver(&speaker.clone(), &frame);
    listener.heard(&sent).len() == 1
}

#[test]
fn datagrams_without_a_session_are_not_answered_and_hold_no_buffer() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let ben = lab.join(1, 1);
    let mut random = StdRng::seed_from_u64(1);
    let before = lab.worker().free_buffers();
    for n in 0..20_000u32 {
        let mut datagram = vec![0; random.random_range(0..1300)];
        random.fill_bytes(&mut datagram);
        match n % 4 {
            // Bytes at random; an id that was never given; Ann's id with a tag that is wrong; Ann's id, cut off.
            0 => {}
            1 => {
                let id = ConnectionId::new(0, random.random_range(0..1 << 24), random.next_u32());
                let mut ghost = ann.clone();
                ghost.id = id;
                datagram = ghost.audio("boo");
            }
            2 => {
                datagram = ann.clone().audio("not from Ann");
                let at = random.random_range(9..datagram.len());
                datagram[at] ^= 1 << random.random_range(0..8);
            }
            _ => {
                datagram = ann.clone().audio("cut");
                datagram.truncate(random.random_range(0..datagram.len()));
            }
        }
        let from = SocketAddr::from((random.random::<[u8; 4]>(), random.random()));
        let sent = lab.batch(&[(from, datagram)]);
        assert!(sent.is_empty(), "a stranger was answered");
    }
    assert_eq!(lab.worker().free_buffers(), before);
    assert!(is_heard(&mut lab, &mut ann, &ben));
    let dropped: u64 = DropCause::ALL.iter().map(|cause| lab.dropped(*cause)).sum();
    assert_eq!(dropped, 20_000, "every one has its cause");
}

#[test]
fn a_member_who_floods_is_held_to_its_rate_and_nobody_else_is() {
    let mut lab = Lab::new();
    let mut clients: Vec<_> = (0..3).map(|sender| lab.join(1, sender)).collect();
    let (mut of_flood, mut of_ben) = (0, 0);
    for _ in 0..500 {
        lab.pass(Duration::from_millis(20));
        let mut frames = Vec::new();
        for _ in 0..50 {
            frames.push((clients[0].address, clients[0].audio("spam")));
        }
        frames.push((clients[1].address, clients[1].audio("hello")));
        let sent = lab.batch(&frames);
        for (sender, _) in clients[2].heard(&sent) {
            match sender {
                0 => of_flood += 1,
                _ => of_ben += 1,
            }
        }
    }
    assert_eq!(of_ben, 500);
    assert!(
        (1200..=1300).contains(&of_flood),
        "120 a second: {of_flood}"
    );
    assert!(lab.dropped(DropCause::RateLimited) > 20_000);
}

#[test]
fn a_thousand_joins_and_leaves_a_second_lose_no_frame_of_the_others() {
    let mut setup = Setup {
        workers: 2,
        ..Setup::default()
    };
    setup.capacity.share = 300;
    let mut lab = Lab::with(setup);
    let mut stay: Vec<_> = (0..20).map(|sender| lab.join(1, sender)).collect();
    let mut apart: Vec<_> = (0..2).map(|sender| lab.join(2, sender)).collect();
    let mut come_and_go = std::collections::VecDeque::new();
    let mut next_sender = 100;
    for ms in 0..5_000 {
        lab.pass(Duration::from_millis(1));
        come_and_go.push_back(lab.join(1, next_sender));
        next_sender = 100 + (next_sender - 99) % 30_000;
        if come_and_go.len() > 500 {
            let gone: Client = come_and_go.pop_front().unwrap();
            let sender = gone.sender;
            assert_eq!(
                lab.command(1, Action::CloseMedia { sender }),
                CommandOutcome::Obeyed
            );
            lab.flush();
        }
        if ms % 20 == 0 {
            let speaker = ms / 20 % 20;
            let frame = stay[speaker].audio("still here");
            let sent = lab.deliver(&stay[speaker].clone(), &frame);
            for listener in stay.iter().filter(|one| one.sender != speaker as u16) {
                assert_eq!(listener.heard(&sent).len(), 1);
            }
            let others = sent.iter().filter(|(to, _)| *to != stay[speaker].address);
            assert_eq!(others.count(), 19 + come_and_go.len());
            let frame = apart[0].audio("us two");
            let sent = lab.deliver(&apart[0].clone(), &frame);
            assert_eq!(apart[1].heard(&sent).len(), 1);
            let others = sent.iter().filter(|(to, _)| *to != apart[0].address);
            assert_eq!(others.count(), 1);
            apart.swap(0, 1);
        }
    }
    for cause in [DropCause::Late, DropCause::NoBuffer, DropCause::RingFull] {
        assert_eq!(lab.dropped(cause), 0);
    }
}

#[test]
fn a_clock_that_is_set_back_or_forward_ends_no_session_and_delays_no_frame() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let mut ben = lab.join(1, 1);
    assert!(lab.scan().is_empty());
    for leap in [
        IDLE_TIMEOUT,
        Duration::from_secs(86_400),
        Duration::from_secs(1 << 32),
    ] {
        lab.pass(leap);
        assert!(
            lab.scan().is_empty(),
            "the worker stood still, not the clients"
        );
        assert!(is_heard(&mut lab, &mut ann, &ben));
        assert!(is_heard(&mut lab, &mut ben, &ann));
    }
    let then = lab.now;
    lab.now = then - Duration::from_secs(3600);
    for _ in 0..10 {
        lab.pass(Duration::from_millis(20));
        assert!(is_heard(&mut lab, &mut ann, &ben));
    }
    assert!(lab.scan().is_empty());
    lab.now = then;
    let silent = lab.scan_for(2 * IDLE_TIMEOUT);
    assert_eq!(
        silent.len(),
        2,
        "who is silent while the clock goes on is let go"
    );
}

#[test]
fn a_path_that_is_flooded_with_challenges_stays_where_it_is() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let ben = lab.join(1, 1);
    let mut answered = 0;
    for n in 0..1000u16 {
        lab.pass(Duration::from_millis(10));
        // Somebody copies Ann's packets and sends them faster than she does, from anywhere.
        let stolen = ann.datagram(UplinkBody::KeepAlive { echo: [0; 8] });
        let elsewhere = SocketAddr::from(([203, 0, 113, 7], n));
        let sent = lab.batch(&[(elsewhere, stolen)]);
        assert!(
            sent.iter().all(|(_, datagram)| datagram.len() <= 25),
            "no amplification"
        );
        answered += sent.len();
    }
    assert!(answered <= 120, "a challenge each 100 ms: {answered}");
    assert!(is_heard(&mut lab, &mut ann, &ben));
    let mut ben = ben;
    assert!(
        is_heard(&mut lab, &mut ben, &ann),
        "Ann is still where she was"
    );
}
