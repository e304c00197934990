//! A frame goes to everyone in the room but its speaker, once, authentic, in few datagrams.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab;

use std::time::Duration;

use confab_protocol::cluster::Action;
use confab_relay::core::DropCause;
use lab::{Incoming, Lab};

#[test]
fn a_frame_reaches_everyone_in_the_room_but_its_speaker() {
    let mut lab = Lab::new();
    let mut clients: Vec<_> = (0..5).map(|sender| lab.join(1, sender)).collect();
    let elsewhere = lab.join(2, 0);
    let datagram = clients[2].audio("hello");
    let sent = lab.deliver(&clients[2].clone(), &datagram);
    assert_eq!(sent.len(), 4);
    for client in &clients {
        let expected = if client.sender == 2 {
            vec![]
        } else {
            vec![(2, "hello".to_owned())]
        };
        assert_eq!(client.heard(&sent), expected);
    }
    assert!(elsewhere.heard(&sent).is_empty());
}

#[test]
fn frames_of_one_batch_share_a_datagram_and_a_talker_skips_its_own() {
    let mut lab = Lab::new();
    let mut clients: Vec<_> = (0..6).map(|sender| lab.join(1, sender)).collect();
    let batch: Vec<_> = (0..3)
        .map(|n| (clients[n].address, clients[n].audio(&format!("frame {n}"))))
        .collect();
    let sent = lab.batch(&batch);
    assert_eq!(sent.len(), 6, "one datagram a receiver");
    for client in &clients {
        let expected: Vec<_> = (0..3)
            .filter(|n| *n != client.sender)
            .map(|n| (n, format!("frame {n}")))
            .collect();
        assert_eq!(client.heard(&sent), expected);
    }
}

#[test]
fn two_frames_of_one_speaker_in_a_batch_go_in_two_datagrams_in_order() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let ben = lab.join(1, 1);
    let batch = [
        (ann.address, ann.audio("one")),
        (ann.address, ann.audio("two")),
    ];
    let sent = lab.batch(&batch);
    assert_eq!(sent.len(), 2);
    assert_eq!(
        ben.heard(&sent),
        [(0, "one".to_owned()), (0, "two".to_owned())]
    );
}

#[test]
fn a_bundle_never_grows_past_what_a_datagram_may_hold() {
    let mut lab = Lab::new();
    let mut clients: Vec<_> = (0..12).map(|sender| lab.join(1, sender)).collect();
    let text = "x".repeat(300);
    let batch: Vec<_> = clients
        .iter_mut()
        .map(|client| (client.address, client.audio(&text)))
        .collect();
    let sent = lab.batch(&batch);
    assert!(sent.iter().all(|(_, datagram)| datagram.len() <= 1200));
    for client in &clients {
        assert_eq!(client.heard(&sent).len(), 11);
    }
}

#[test]
fn every_datagram_of_a_receiver_has_a_number_of_its_own() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let ben = lab.join(1, 1);
    let mut numbers = Vec::new();
    for _ in 0..50 {
        lab.pass(Duration::from_millis(20));
        let datagram = ann.audio("x");
        for (to, sent) in lab.deliver(&ann.clone(), &datagram) {
            // Who speaks is told now and then what is lost.
            if to == ben.address {
                numbers.push(u32::from_be_bytes(sent[2..6].try_into().unwrap()));
            }
        }
    }
    // 0 was the path challenge.
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_closed_session_is_sent_nothing_and_forwards_nothing() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let mut ben = lab.join(1, 1);
    lab.command(1, Action::CloseMedia { sender: 1 });
    let goodbye = lab.flush();
    assert_eq!(goodbye.len(), 1, "a bye");
    let datagram = ann.audio("still here?");
    assert!(lab.deliver(&ann.clone(), &datagram).is_empty());
    let datagram = ben.audio("let me in");
    assert!(lab.deliver(&ben.clone(), &datagram).is_empty());
    assert_eq!(lab.dropped(DropCause::UnknownConnection), 1);
}

#[test]
fn a_large_room_is_served_in_chunks_and_delays_a_small_one_by_one_chunk_only() {
    let mut lab = Lab::new();
    let mut large: Vec<_> = (0..1000).map(|sender| lab.join(1, sender)).collect();
    let mut small: Vec<_> = (0..3).map(|sender| lab.join(2, sender)).collect();
    let batch = [
        (large[0].address, large[0].audio("to many")),
        (small[0].address, small[0].audio("to few")),
    ];
    lab.wire.chunks.clear();
    let sent = lab.batch(&batch);
    assert_eq!(sent.len(), 999 + 2);
    let small_at = sent.iter().rposition(|(to, _)| *to == small[2].address);
    assert!(small_at.unwrap() <= 64 + 2, "{small_at:?}");
    assert!(lab.wire.chunks.iter().all(|chunk| *chunk <= 64));
}

#[test]
fn a_full_socket_delays_but_loses_and_doubles_nothing() {
    let mut lab = Lab::new();
    let mut clients: Vec<_> = (0..100).map(|sender| lab.join(1, sender)).collect();
    lab.wire.capacity = Some(30);
    let datagram = clients[0].audio("patience");
    let mut sent = lab.deliver(&clients[0].clone(), &datagram);
    assert_eq!(sent.len(), 30);
    assert!(lab.worker().has_output());
    lab.wire.capacity = None;
    sent.extend(lab.flush());
    assert_eq!(sent.len(), 99);
    for client in &clients[1..] {
        assert_eq!(client.heard(&sent).len(), 1);
    }
    let numbers = sent
        .iter()
        .map(|(_, sent)| u32::from_be_bytes(sent[2..6].try_into().unwrap()));
    assert!(
        numbers.into_iter().all(|number| number == 1),
        "no number was used up in vain"
    );
}

#[test]
fn a_destination_that_fails_is_skipped() {
    let mut lab = Lab::new();
    let mut clients: Vec<_> = (0..10).map(|sender| lab.join(1, sender)).collect();
    lab.wire.refused = Some(clients[4].address);
    let datagram = clients[0].audio("go on");
    let sent = lab.deliver(&clients[0].clone(), &datagram);
    assert_eq!(sent.len(), 8);
    assert_eq!(lab.dropped(DropCause::SendFailed), 1);
}

#[test]
fn a_bundle_that_waited_too_long_is_dropped_and_counted() {
    let mut lab = Lab::new();
    let mut clients: Vec<_> = (0..10).map(|sender| lab.join(1, sender)).collect();
    lab.wire.capacity = Some(0);
    let datagram = clients[0].audio("too late");
    lab.deliver(&clients[0].clone(), &datagram);
    lab.pass(Duration::from_millis(500));
    lab.wire.capacity = None;
    assert!(lab.flush().is_empty());
    assert_eq!(lab.dropped(DropCause::Late), 9);
}

#[test]
fn a_frame_that_waited_too_long_in_the_socket_is_dropped() {
    let mut lab = Lab::new();
    let mut clients: Vec<_> = (0..3).map(|sender| lab.join(1, sender)).collect();
    for (waited, heard) in [(150, 1), (250, 0)] {
        let frame = clients[0].audio("after a pause");
        let incoming = Incoming {
            from: clients[0].address,
            bytes: frame,
            waited: Duration::from_millis(waited),
        };
        lab.hand_over_late(0, incoming);
        let sent = lab.flush();
        assert_eq!(clients[1].heard(&sent).len(), heard);
    }
    assert_eq!(lab.dropped(DropCause::Late), 1);
}

#[test]
fn buffers_are_free_again_after_the_socket_was_full() {
    let mut lab = Lab::new();
    let mut clients: Vec<_> = (0..20).map(|sender| lab.join(1, sender)).collect();
    lab.wire.capacity = Some(0);
    for round in 0..200 {
        lab.pass(Duration::from_millis(20));
        let batch: Vec<_> = clients
            .iter_mut()
            .map(|client| (client.address, client.audio(&format!("{round}"))))
            .collect();
        assert!(lab.batch(&batch).is_empty());
    }
    lab.wire.capacity = None;
    lab.flush();
    assert_eq!(lab.worker().free_buffers(), lab::BUFFERS);
}

#[test]
fn joins_and_leaves_between_frames_change_only_the_receivers() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    for sender in 1..200 {
        lab.join(1, sender);
        lab.pass(Duration::from_millis(20));
        let datagram = ann.audio("x");
        let sent = lab.deliver(&ann.clone(), &datagram);
        let heard = sent.iter().filter(|(to, _)| *to != ann.address).count();
        assert_eq!(heard, usize::from(sender.min(10)));
        if sender >= 10 {
            lab.command(1, Action::CloseMedia { sender: sender - 9 });
            lab.flush();
        }
    }
}
