//! What clients and the relay tell each other of loss.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod lab;

use std::net::SocketAddr;
use std::time::Duration;

use confab_protocol::media::downlink::{Downlink, DownlinkBody};
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{Loss, LossReport, ReceptionCounts};
use lab::{Client, Lab};

const FRAME: Duration = Duration::from_millis(20);

/// The loss reports to a client in what the relay sent.
fn reports(client: &Client, sent: &[(SocketAddr, Vec<u8>)]) -> Vec<LossReport> {
    let to_client = sent.iter().filter(|(to, _)| *to == client.address);
    let reports = to_client.filter_map(|(_, datagram)| {
        let downlink = Downlink::parse(datagram).unwrap();
        assert!(downlink.is_authentic(&client.downlink));
        match downlink.body {
            DownlinkBody::Loss(report) => Some(report),
            _ => None,
        }
    });
    reports.collect()
}

/// Ann talks for a second and loses these of her 50 datagrams; what she is told.
fn talk(lab: &mut Lab, ann: &mut Client, lost: &[usize]) -> Vec<LossReport> {
    let mut told = Vec::new();
    for n in 0..50 {
        lab.pass(FRAME);
        let datagram = ann.audio("hello");
        if !lost.contains(&n) {
            told.extend(reports(ann, &lab.deliver(ann, &datagram)));
        }
    }
    told
}

fn tell(lab: &mut Lab, client: &mut Client, highest: u32, received: u32, runs: u16) {
    let counts = ReceptionCounts {
        highest,
        received,
        runs,
    };
    let datagram = client.datagram(UplinkBody::Reception(counts));
    assert!(lab.deliver(client, &datagram).is_empty());
}

#[test]
fn a_speaker_is_told_twice_a_second_what_is_lost_on_both_ways() {
    let mut lab = Lab::new();
    let (mut ann, mut ben) = (lab.join(1, 0), lab.join(1, 1));
    assert_eq!(talk(&mut lab, &mut ann, &[]), [LossReport::default(); 2]);
    tell(&mut lab, &mut ben, 100, 90, 5);
    let told = talk(&mut lab, &mut ann, &[3, 4, 5, 30, 40]);
    assert_eq!(told.len(), 2);
    assert!(told[0].uplink.fraction > 0 && told[1].uplink.fraction > 0);
    assert_eq!(told[0].uplink.mean_burst(), 3.0);
    assert_eq!(told[1].uplink.mean_burst(), 1.0);
    let receivers = Loss {
        fraction: 25,
        burst: 8,
    };
    assert_eq!(told[1].receivers, receivers);
}

#[test]
fn who_says_nothing_is_told_nothing() {
    let mut lab = Lab::new();
    let (mut ann, mut ben) = (lab.join(1, 0), lab.join(1, 1));
    let mut told = Vec::new();
    for _ in 0..100 {
        lab.pass(FRAME);
        let datagram = ann.audio("hello");
        told.extend(reports(&ben, &lab.deliver(&ann, &datagram)));
        let keep_alive = ben.datagram(UplinkBody::KeepAlive { echo: [0; 8] });
        told.extend(reports(&ben, &lab.deliver(&ben, &keep_alive)));
    }
    assert_eq!(told, []);
}

#[test]
fn rooms_do_not_learn_of_each_others_losses() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let _ben = lab.join(1, 1);
    let mut carl = lab.join(2, 0);
    tell(&mut lab, &mut carl, 100, 10, 1);
    assert_eq!(talk(&mut lab, &mut ann, &[]), [LossReport::default(); 2]);
}
