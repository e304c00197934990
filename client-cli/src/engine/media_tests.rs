//! A media session alone, against datagrams made by hand.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use confab_protocol::media::downlink::{Pong, Record, audio_header, path_challenge};
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{
    AudioLevel, Downlink, HopKey, Loss, LossReport, PACKET_NUMBER_LIMIT, ReceptionCounts,
    RecordDigest, Uplink,
};

use super::liveness::{Health, SILENT_AFTER};
use super::media::{MediaSession, Received, Refused, Transmit};
use super::testing::grant;

const MS: Duration = Duration::from_millis(1);

struct Fixture {
    session: MediaSession,
    now: Instant,
    out: VecDeque<Transmit>,
    next_packet: u32,
}

/// A parsed datagram of the client, without a borrow.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum CallEvent {
    Audio,
    KeepAlive([u8; 8]),
    PathResponse([u8; 8]),
    Bye,
    Reception(ReceptionCounts),
}

impl Fixture {
    fn new(addresses: &[&str]) -> Self {
        let mut grant = grant(0, 1, 0);
        grant.addresses = addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        let now = Instant::now();
        Self {
            session: MediaSession::new(grant, now),
            now,
            out: VecDeque::new(),
            next_packet: 0,
        }
    }

    fn key(&self) -> HopKey {
        self.session.grant().downlink_key.clone()
    }

    fn receive(&mut self, from: &str, datagram: &[u8]) -> Result<(), Refused> {
        let parsed = Downlink::parse(datagram).unwrap();
        let received =
            self.session
                .receive(self.now, from.parse().unwrap(), &parsed, &mut self.out)?;
        assert!(matches!(received, Received::Nothing));
        Ok(())
    }

    fn pong(&mut self, from: &str, echo: [u8; 8]) {
        let number = self.number();
        let datagram = Pong {
            echo,
            highest: 0,
            received: 1,
        }
        .encode(number, &self.key());
        self.receive(from, &datagram).unwrap();
    }

    fn number(&mut self) -> u32 {
        self.next_packet += 1;
        self.next_packet - 1
    }

    /// Goes to the next deadline, and says what was sent.
    fn step(&mut self) -> Vec<(SocketAddr, CallEvent)> {
        self.now = self.session.poll_timeout().unwrap().max(self.now);
        self.session.handle_timeout(self.now, &mut self.out);
        self.sent()
    }

    fn sent(&mut self) -> Vec<(SocketAddr, CallEvent)> {
        let key = self.session.grant().uplink_key.clone();
        self.out
            .drain(..)
            .map(|transmit| {
                let uplink = Uplink::parse(&transmit.datagram).unwrap();
                assert!(uplink.is_authentic(&key));
                let said = match uplink.body {
                    UplinkBody::Audio { .. } => CallEvent::Audio,
                    UplinkBody::KeepAlive { echo } => CallEvent::KeepAlive(echo),
                    UplinkBody::PathResponse { challenge } => CallEvent::PathResponse(challenge),
                    UplinkBody::Bye => CallEvent::Bye,
                    UplinkBody::Reception(counts) => CallEvent::Reception(counts),
                };
                (transmit.to, said)
            })
            .collect()
    }

    fn live() -> Self {
        let mut fixture = Self::new(&["192.0.2.1:9"]);
        let [(_, CallEvent::KeepAlive(echo))] = fixture.step()[..] else {
            panic!("one keep-alive")
        };
        fixture.now += 30 * MS;
        fixture.pong("192.0.2.1:9", echo);
        fixture
    }
}

#[test]
fn addresses_are_raced_and_the_first_that_answers_is_used() {
    let mut fixture = Fixture::new(&["[2001:db8::1]:9", "192.0.2.1:9"]);
    let start = fixture.now;
    let first = fixture.step();
    assert_eq!(first.len(), 2);
    assert!(
        !fixture
            .session
            .send_audio(start, AudioLevel::SILENCE, &[1; 30], &mut fixture.out)
    );
    let second = fixture.step();
    assert_eq!((second.len(), fixture.now - start), (2, 100 * MS));
    let (to, CallEvent::KeepAlive(echo)) = second[1] else {
        panic!("a keep-alive")
    };
    fixture.pong("192.0.2.1:9", echo);
    assert_eq!(fixture.session.address(), Some(to));
    // The other one answers too late to matter.
    let CallEvent::KeepAlive(late) = first[0].1 else {
        panic!("a keep-alive")
    };
    fixture.pong("[2001:db8::1]:9", late);
    assert_eq!(fixture.session.address(), Some(to));
    let number = fixture.number();
    let challenge = path_challenge([7; 8], number, &fixture.key());
    fixture.receive("[2001:db8::1]:9", &challenge).unwrap();
    assert_eq!(fixture.sent(), []);
}

#[test]
fn keep_alives_back_off_while_nobody_answers() {
    let mut fixture = Fixture::new(&["192.0.2.1:9"]);
    let mut gaps = Vec::new();
    let mut before = fixture.now;
    for _ in 0..12 {
        fixture.step();
        gaps.push(fixture.now - before);
        before = fixture.now;
    }
    assert_eq!(gaps[1], 100 * MS);
    assert!(
        gaps.windows(2)
            .all(|pair| pair[1] >= pair[0] && pair[1] <= 400 * MS),
        "{gaps:?}"
    );
    assert_eq!(fixture.session.health(), Health::Silent);
}

#[test]
fn a_challenge_is_answered_to_where_it_came_from_and_then_a_keep_alive_goes_out() {
    let mut fixture = Fixture::live();
    let number = fixture.number();
    let challenge = path_challenge([7; 8], number, &fixture.key());
    // An address behind a translation that control did not know.
    fixture.receive("203.0.113.5:77", &challenge).unwrap();
    let sent = fixture.sent();
    assert_eq!(
        sent[0],
        (
            "203.0.113.5:77".parse().unwrap(),
            CallEvent::PathResponse([7; 8])
        )
    );
    assert!(matches!(sent[1], (_, CallEvent::KeepAlive(_))), "{sent:?}");
}

#[test]
fn a_quiet_session_is_kept_alive_every_five_seconds_and_a_talking_one_every_two() {
    let mut fixture = Fixture::live();
    let start = fixture.now;
    assert_eq!(fixture.session.poll_timeout().unwrap() - start, 5000 * MS);
    assert!(
        fixture
            .session
            .send_audio(start, AudioLevel::SILENCE, &[1; 30], &mut fixture.out)
    );
    assert_eq!(fixture.session.poll_timeout().unwrap() - start, 2000 * MS);
}

#[test]
fn a_session_without_pongs_falls_silent_and_recovers_with_one() {
    let mut fixture = Fixture::live();
    let mut asked = None;
    while fixture.session.health() == Health::Live {
        fixture.step();
        asked = asked.or(Some(fixture.now));
    }
    let silent_after = fixture.now - asked.unwrap();
    assert!(
        silent_after >= 450 * MS && silent_after < SILENT_AFTER,
        "{silent_after:?}"
    );
    let Some((_, CallEvent::KeepAlive(echo))) = fixture.step().last().copied() else {
        panic!("a keep-alive")
    };
    fixture.pong("192.0.2.1:9", echo);
    assert_eq!(fixture.session.health(), Health::Live);
}

#[test]
fn a_new_route_is_told_at_once() {
    let mut fixture = Fixture::live();
    fixture.now += 10 * MS;
    fixture.session.route_changed(fixture.now, &mut fixture.out);
    assert!(matches!(fixture.sent()[..], [(_, CallEvent::KeepAlive(_))]));
    assert_eq!(
        fixture.session.poll_timeout().unwrap() - fixture.now,
        100 * MS
    );
}

#[test]
fn a_datagram_passes_once_and_a_forged_one_never() {
    let mut fixture = Fixture::live();
    let number = fixture.number();
    let good = path_challenge([7; 8], number, &fixture.key());
    let forged = path_challenge([7; 8], number + 5, &HopKey::new([1; 16]));
    assert_eq!(fixture.receive("192.0.2.1:9", &forged), Err(Refused::Tag));
    assert_eq!(fixture.receive("192.0.2.1:9", &good), Ok(()));
    assert!(matches!(
        fixture.receive("192.0.2.1:9", &good),
        Err(Refused::Replay(_))
    ));
}

#[test]
fn the_round_trip_is_measured_by_the_echo() {
    let fixture = Fixture::live();
    assert_eq!(fixture.session.rtt(), Some(30 * MS));
}

#[test]
fn a_goodbye_is_said() {
    let mut fixture = Fixture::live();
    fixture.session.bye(&mut fixture.out);
    assert!(matches!(fixture.sent()[..], [(_, CallEvent::Bye)]));
}

#[test]
fn a_session_is_worn_out_when_the_relays_numbers_come_to_their_end() {
    let mut fixture = Fixture::new(&["192.0.2.1:9000"]);
    assert!(!fixture.session.is_worn_out());
    let late = PACKET_NUMBER_LIMIT - 1;
    let challenge = path_challenge([1; 8], late, &fixture.key());
    fixture.receive("192.0.2.1:9000", &challenge).unwrap();
    assert!(fixture.session.is_worn_out());
}

#[test]
fn what_has_come_of_the_relays_datagrams_is_told_twice_a_second_while_audio_comes() {
    let mut fixture = Fixture::new(&["10.0.0.1:1"]);
    fixture.step();
    fixture.pong("10.0.0.1:1", 0u64.to_be_bytes());
    fixture.out.clear();
    let record = Record::header(1, AudioLevel::SILENCE, 0).unwrap();
    let mut told = Vec::new();
    for n in 1..=100u32 {
        fixture.now += 20 * MS;
        let number = fixture.number();
        if n % 10 == 0 {
            continue;
        }
        let header = audio_header(1, number, &fixture.key(), [&RecordDigest::of(&record)]);
        let datagram = [&header[..], &record].concat();
        let parsed = Downlink::parse(&datagram).unwrap();
        let from = "10.0.0.1:1".parse().unwrap();
        let received = fixture
            .session
            .receive(fixture.now, from, &parsed, &mut fixture.out);
        assert!(matches!(received, Ok(Received::Audio(_))));
        told.extend(fixture.sent().into_iter().map(|(_, said)| said));
    }
    let told: Vec<ReceptionCounts> = told
        .into_iter()
        .map(|said| match said {
            CallEvent::Reception(counts) => counts,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told.len(), 4);
    let loss = told[3].loss_since(&told[0]).unwrap();
    assert!((loss.part() - 0.1).abs() < 0.02 && loss.mean_burst() == 1.0);
}

#[test]
fn a_loss_report_of_the_relay_is_handed_on() {
    let mut fixture = Fixture::new(&["10.0.0.1:1"]);
    let report = LossReport {
        uplink: Loss {
            fraction: 1,
            burst: 2,
        },
        receivers: Loss {
            fraction: 3,
            burst: 4,
        },
    };
    let datagram = report.encode(fixture.number(), &fixture.key());
    let parsed = Downlink::parse(&datagram).unwrap();
    let from = "10.0.0.1:1".parse().unwrap();
    let received = fixture
        .session
        .receive(fixture.now, from, &parsed, &mut fixture.out);
    assert!(matches!(received, Ok(Received::Loss(told)) if told == report));
}
