//! Where media goes, and for how long: to an address that answers challenges, and no further.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab;

use std::net::SocketAddr;
use std::time::Duration;

use confab_protocol::media::downlink::{Downlink, DownlinkBody};
use confab_protocol::media::uplink::UplinkBody;
use lab::{Client, Lab, Setup, challenge_in};

type Sent = Vec<(SocketAddr, Vec<u8>)>;

const FRAME: Duration = Duration::from_millis(20);
/// What the documentation promises of an address that has stopped answering.
const PROMISE: Duration = Duration::from_secs(30);

fn elsewhere() -> SocketAddr {
    SocketAddr::from(([10, 6, 6, 6], 666))
}

/// A relay that keeps sessions for `idle`, with one who speaks and one who listens.
fn lab(idle: u64) -> (Lab, Client, Client) {
    let mut lab = Lab::with(Setup {
        idle_timeout: Duration::from_secs(idle),
        ..Setup::default()
    });
    let (ann, ben) = (lab.join(1, 0), lab.join(1, 1));
    (lab, ann, ben)
}

/// 20 ms of the speaker's voice, with all that a relay's thread does; the speaker answers what it is asked.
fn turn(lab: &mut Lab, speaker: &mut Client) -> Sent {
    lab.pass(FRAME);
    let frame = speaker.audio("x");
    let mut sent = lab.deliver(&speaker.clone(), &frame);
    lab.round();
    sent.extend(lab.flush());
    lab.answer(speaker, &sent);
    sent
}

fn to(address: SocketAddr, sent: &Sent) -> usize {
    let mine = sent.iter().filter(|(to, _)| *to == address);
    mine.map(|(_, datagram)| datagram.len()).sum()
}

fn audio_to(address: SocketAddr, sent: &Sent) -> bool {
    sent.iter().any(|(to, datagram)| {
        let body = Downlink::parse(datagram).unwrap().body;
        *to == address && matches!(body, DownlinkBody::Audio(_))
    })
}

#[test]
fn a_listener_who_answers_is_sent_to_for_as_long_as_it_likes() {
    let (mut lab, mut ann, mut ben) = lab(30);
    let mut asked = 0;
    for _ in 0..50 * 300 {
        let sent = turn(&mut lab, &mut ann);
        assert!(audio_to(ben.address, &sent));
        asked += usize::from(challenge_in(&ben, &sent).is_some());
        lab.answer(&mut ben, &sent);
        assert!(lab.ended().is_empty());
    }
    let counters = &lab.workers[0].counters;
    assert!((25..40).contains(&asked), "about every 10 s: {asked}");
    assert_eq!(counters.path_checks.get(), 2 * asked as u64);
    assert_eq!(
        (counters.path_moves.get(), counters.paths_lost.get()),
        (2, 0)
    );
}

/// Half of all checks and of all answers are lost, for ten minutes.
#[test]
fn a_lossy_network_does_not_end_a_session() {
    let (mut lab, mut ann, mut ben) = lab(30);
    let mut chance = 7u32;
    let mut is_lost = || {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        chance >> 31 == 0
    };
    for _ in 0..50 * 600 {
        let sent = turn(&mut lab, &mut ann);
        if !is_lost() && !is_lost() {
            lab.answer(&mut ben, &sent);
        }
        assert!(lab.ended().is_empty());
    }
}

/// The member has proved the victim's address once, and goes on sending under it without hearing anything.
#[test]
fn an_address_that_a_member_forges_is_sent_to_for_30_s_at_most() {
    for idle in [20, 30, 120] {
        let (mut lab, mut ann, mut ben) = lab(idle);
        let victim = ben.address;
        let last_answer = lab.now;
        let (mut last, mut spared) = (lab.now, (0, 0));
        for at in 0..50 * 150 {
            let sent = turn(&mut lab, &mut ann);
            if audio_to(victim, &sent) {
                last = lab.now;
            }
            let forged = match at % 50 {
                0 => ben.datagram(UplinkBody::KeepAlive { echo: [0; 8] }),
                _ => ben.audio("under your name"),
            };
            let answers = lab.batch(&[(victim, forged.clone())]);
            if lab.now > last_answer + PROMISE {
                assert!(!audio_to(victim, &answers));
                spared.0 += forged.len();
                spared.1 += to(victim, &sent) + to(victim, &answers);
            }
            lab.ended();
        }
        let held = last - last_answer;
        assert!(held <= PROMISE, "{idle} s: {held:?}");
        assert!(spared.1 < spared.0, "no more than came: {spared:?}");
        assert_eq!(lab.registry.sessions(), 1, "the session ended");
    }
}

/// The client has moved, and no challenge reaches it where it is now.
#[test]
fn the_address_that_a_client_has_left_is_sent_to_for_30_s_at_most() {
    for idle in [30, 120] {
        let (mut lab, mut ann, mut ben) = lab(idle);
        let old = ben.address;
        ben.address = elsewhere();
        let left = lab.now;
        let (mut last, mut ended) = (lab.now, None);
        for _ in 0..50 * 150 {
            let sent = turn(&mut lab, &mut ann);
            let frame = ben.audio("I am here now");
            let answers = lab.deliver(&ben.clone(), &frame);
            assert!(!audio_to(ben.address, &sent) && !audio_to(ben.address, &answers));
            if audio_to(old, &sent) {
                last = lab.now;
            }
            if !lab.ended().is_empty() {
                ended = Some(lab.now - left);
            }
        }
        assert!(last - left <= PROMISE, "{:?}", last - left);
        let ended = ended.unwrap();
        let expected = Duration::from_secs(idle);
        assert!(
            ended >= expected && ended <= expected + Duration::from_secs(2),
            "{ended:?}"
        );
    }
}

#[test]
fn a_client_whose_challenges_are_lost_for_a_while_is_followed_when_one_arrives() {
    for seconds in [1, 5, 15] {
        let (mut lab, mut ann, mut ben) = lab(30);
        ben.address = elsewhere();
        for at in 0..50 * 20 {
            turn(&mut lab, &mut ann);
            let frame = ben.audio("hello?");
            let answers = lab.deliver(&ben.clone(), &frame);
            if at >= 50 * seconds {
                lab.answer(&mut ben, &answers);
            }
        }
        let sent = turn(&mut lab, &mut ann);
        assert!(audio_to(ben.address, &sent), "after {seconds} s");
        assert!(lab.ended().is_empty());
    }
}

/// A NAT gives the client's flow another port now and then: nothing is missed but what was under way.
#[test]
fn a_nat_that_rebinds_costs_a_round_trip() {
    let (mut lab, mut ann, mut ben) = lab(30);
    for port in 0..200 {
        ben.address.set_port(5000 + port);
        let keep_alive = ben.datagram(UplinkBody::KeepAlive { echo: [1; 8] });
        let sent = lab.deliver(&ben.clone(), &keep_alive);
        lab.answer(&mut ben, &sent);
        for _ in 0..100 {
            let sent = turn(&mut lab, &mut ann);
            assert!(audio_to(ben.address, &sent));
            lab.answer(&mut ben, &sent);
        }
    }
}

/// A path that is lost while the session lives on is proved again by the next packet.
#[test]
fn a_client_that_comes_back_to_a_lost_path_hears_at_once() {
    let (mut lab, mut ann, mut ben) = lab(120);
    for _ in 0..50 * 40 {
        turn(&mut lab, &mut ann);
    }
    assert_eq!(lab.workers[0].counters.paths_lost.get(), 1);
    let sent = turn(&mut lab, &mut ann);
    assert!(!audio_to(ben.address, &sent));
    lab.prove_path(&mut ben);
    let sent = turn(&mut lab, &mut ann);
    assert!(audio_to(ben.address, &sent));
    assert!(lab.ended().is_empty());
}

/// One who sends from one address and hears at another can prove neither.
#[test]
fn an_address_that_only_sends_is_never_sent_audio() {
    let (mut lab, mut ann, _ben) = lab(30);
    let mut carl = lab.open(1, 2);
    let hears_at = elsewhere();
    for _ in 0..50 * 40 {
        let sent = turn(&mut lab, &mut ann);
        assert!(!audio_to(carl.address, &sent) && !audio_to(hears_at, &sent));
        let frame = carl.audio("x");
        let answers = lab.deliver(&carl.clone(), &frame);
        if let Some(challenge) = challenge_in(&carl, &answers) {
            let response = carl.datagram(UplinkBody::PathResponse { challenge });
            lab.batch(&[(hears_at, response)]);
        }
        lab.ended();
    }
    assert_eq!(lab.registry.sessions(), 1, "the others have ended");
}
