//! A room that is larger than a worker: frames go to its home and from there to all workers that have members of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab;

use std::collections::BTreeSet;
use std::time::Duration;

use confab_protocol::cluster::{Action, CommandOutcome, OpenMedia};
use confab_protocol::media::{AudioLevel, HopKey, uplink::UplinkBody};
use confab_relay::core::Capacity;
use confab_relay::core::DropCause;
use lab::{Client, Lab, Setup};

/// Workers whose rooms spread after `share` members.
fn spread(workers: u8, share: u32) -> Setup {
    let setup = Setup::default();
    let capacity = Capacity {
        share,
        ..setup.capacity
    };
    Setup {
        workers,
        capacity,
        ..setup
    }
}

fn workers_of(clients: &[Client]) -> BTreeSet<u8> {
    clients.iter().map(|client| client.id.worker()).collect()
}

#[test]
fn a_room_goes_to_another_worker_only_when_one_has_its_share() {
    let mut lab = Lab::with(spread(4, 3));
    let clients: Vec<_> = (0..12).map(|sender| lab.join(1, sender)).collect();
    for share in clients.chunks(3) {
        assert_eq!(workers_of(share).len(), 1);
    }
    assert_eq!(workers_of(&clients).len(), 4);
    let more: Vec<_> = (12..16).map(|sender| lab.join(1, sender)).collect();
    assert_eq!(workers_of(&more).len(), 4, "then all take some");
}

#[test]
fn everyone_hears_everyone_wherever_they_are_and_nobody_themselves() {
    let mut lab = Lab::with(spread(3, 4));
    let mut clients: Vec<_> = (0..12).map(|sender| lab.join(1, sender)).collect();
    let _others: Vec<_> = (0..3).map(|sender| lab.join(2, sender)).collect();
    for round in 0..20 {
        lab.pass(Duration::from_millis(20));
        let speakers = 1 + round % 12;
        let frames: Vec<_> = clients[..speakers]
            .iter_mut()
            .map(|client| (client.address, client.audio(&format!("{round}"))))
            .collect();
        let sent = lab.batch(&frames);
        let rooms: BTreeSet<_> = sent.iter().map(|(to, _)| to.ip()).collect();
        assert_eq!(rooms.len(), 1, "nobody of the other room hears it");
        for client in &clients {
            let mut heard: Vec<_> = client
                .heard(&sent)
                .into_iter()
                .map(|(from, _)| from)
                .collect();
            heard.sort_unstable();
            let expected: Vec<_> = (0..speakers as u16)
                .filter(|n| *n != client.sender)
                .collect();
            assert_eq!(heard, expected);
        }
    }
    assert_eq!(lab.dropped(DropCause::RingFull), 0);
}

#[test]
fn frames_of_all_workers_share_datagrams() {
    let mut lab = Lab::with(spread(2, 5));
    let mut clients: Vec<_> = (0..10).map(|sender| lab.join(1, sender)).collect();
    for lab_worker in &mut lab.workers {
        lab_worker.worker.set_window(Duration::from_millis(10));
    }
    let frames: Vec<_> = [0, 1, 5, 6]
        .map(|n| (clients[n].address, clients[n].audio("x")))
        .into();
    assert!(lab.batch(&frames).is_empty(), "it waits at the home");
    lab.pass(Duration::from_millis(10));
    let sent = lab.flush();
    assert_eq!(sent.len(), 10, "one datagram for each");
    assert_eq!(clients[9].heard(&sent).len(), 4);
    assert_eq!(clients[5].heard(&sent).len(), 3);
}

#[test]
fn the_loudest_are_chosen_among_all_workers_members() {
    let setup = Setup {
        speakers: 2,
        ..spread(2, 2)
    };
    let mut lab = Lab::with(setup);
    let mut clients: Vec<_> = (0..4).map(|sender| lab.join(1, sender)).collect();
    assert_eq!(workers_of(&clients[..2]).len(), 1);
    let levels = [60.0, 20.0, 60.0, 20.0];
    let mut heard = [0; 4];
    for round in 0..200 {
        lab.pass(Duration::from_millis(20));
        for speaker in 0..4 {
            let sframe = clients[speaker].sframe(speaker as u32, "x");
            let level = AudioLevel::new(true, levels[speaker]);
            let body = UplinkBody::Audio {
                level,
                sframe: &sframe,
            };
            let datagram = clients[speaker].datagram(body);
            let sent = lab.deliver(&clients[speaker].clone(), &datagram);
            let is_heard = sent.iter().any(|(to, _)| *to != clients[speaker].address);
            heard[speaker] += usize::from(round >= 100 && is_heard);
        }
    }
    assert_eq!(heard, [0, 100, 0, 100]);
}

/// Three accounts with four devices each, on every worker of a room with four places, say that they are as loud as can be.
#[test]
fn a_speaker_keeps_its_place_among_the_devices_of_few_accounts_on_all_workers() {
    let setup = Setup {
        speakers: 4,
        ..spread(3, 5)
    };
    let mut lab = Lab::with(setup);
    let mut noise: Vec<_> = (0..12)
        .map(|sender| lab.open_for(1, sender, 100 + u32::from(sender % 3)))
        .collect();
    let mut ann = lab.join(1, 12);
    let mut ben = lab.join(1, 13);
    assert_eq!(workers_of(&noise).len(), 3);
    let (mut said, mut heard) = (0, 0);
    for round in 0..50 * 60 {
        lab.pass(Duration::from_millis(20));
        let mut frames = Vec::new();
        for device in &mut noise {
            let sframe = device.sframe(device.sender.into(), "noise");
            let level = AudioLevel::new(true, 0.0);
            let body = UplinkBody::Audio {
                level,
                sframe: &sframe,
            };
            frames.push((device.address, device.datagram(body)));
        }
        // Speech of three seconds, and a breath.
        let speaks = round % 200 < 150;
        if speaks {
            frames.insert(round % 12, (ann.address, ann.audio("hello")));
        }
        let sent = lab.batch(&frames);
        for client in noise.iter_mut().chain([&mut ann, &mut ben]) {
            lab.answer(client, &sent);
        }
        let hears = ben.heard(&sent).iter().any(|(_, text)| text == "hello");
        if round >= 50 {
            said += usize::from(speaks);
            heard += usize::from(hears);
        }
    }
    assert_eq!(heard, said);
}

#[test]
fn a_worker_sends_home_no_more_speakers_than_can_be_forwarded() {
    let setup = Setup {
        speakers: 2,
        ..spread(2, 20)
    };
    let mut lab = Lab::with(setup);
    let mut clients: Vec<_> = (0..40).map(|sender| lab.join(1, sender)).collect();
    for _ in 0..50 {
        lab.pass(Duration::from_millis(20));
        let frames: Vec<_> = clients[20..]
            .iter_mut()
            .map(|client| (client.address, client.audio("all at once")))
            .collect();
        lab.batch(&frames);
    }
    let away = usize::from(clients[20].id.worker());
    let crossed = lab.workers[away].counters.frames_crossed.get();
    assert_eq!(crossed, 2 * 50);
    assert_eq!(lab.dropped(DropCause::NotLoudest), 18 * 50);
}

#[test]
fn the_home_need_not_have_members_of_its_own() {
    let mut lab = Lab::with(spread(2, 2));
    let mut clients: Vec<_> = (0..4).map(|sender| lab.join(1, sender)).collect();
    for sender in 0..2 {
        assert_eq!(
            lab.command(1, Action::CloseMedia { sender }),
            CommandOutcome::Obeyed
        );
    }
    lab.flush();
    let mut ann = clients.remove(2);
    let frame = ann.audio("still here");
    let sent = lab.deliver(&ann, &frame);
    assert_eq!(clients[2].heard(&sent), [(2, "still here".to_owned())]);
    assert_eq!(sent.len(), 1);
}

#[test]
fn a_room_that_closed_forwards_nothing_that_was_on_its_way() {
    let mut lab = Lab::with(spread(2, 1));
    let clients: Vec<_> = (0..2).map(|sender| lab.join(1, sender)).collect();
    let mut ben = clients[1].clone();
    let frame = ben.audio("too late");
    let at = usize::from(ben.id.worker());
    lab.hand_over(at, ben.address, &frame);
    lab.workers[at].round(lab.now, &mut lab.wire);
    lab.command(1, Action::CloseRoom);
    let again = lab.join(1, 7);
    let sent = lab.flush();
    assert!(again.heard(&sent).is_empty());
    assert_eq!(lab.dropped(DropCause::RoomClosed), 1);
}

#[test]
fn a_datagram_that_came_to_the_wrong_worker_is_passed_on() {
    let mut lab = Lab::with(spread(2, 1));
    let clients: Vec<_> = (0..2).map(|sender| lab.join(1, sender)).collect();
    let mut ann = clients[0].clone();
    let frame = ann.audio("astray");
    let wrong = 1 - usize::from(ann.id.worker());
    lab.hand_over(wrong, ann.address, &frame);
    let sent = lab.flush();
    assert_eq!(clients[1].heard(&sent), [(0, "astray".to_owned())]);
}

#[test]
fn a_full_ring_sheds_and_counts_and_loses_no_buffer() {
    let setup = Setup {
        ring: 4,
        ..spread(2, 1)
    };
    let mut lab = Lab::with(setup);
    let clients: Vec<_> = (0..2).map(|sender| lab.join(1, sender)).collect();
    let mut ben = clients[1].clone();
    for round in 0..10 {
        lab.pass(Duration::from_millis(500));
        for _ in 0..7 {
            let frame = ben.audio("x");
            lab.hand_over(usize::from(ben.id.worker()), ben.address, &frame);
        }
        let sent = lab.flush();
        assert_eq!(clients[0].heard(&sent).len(), 4);
        assert_eq!(lab.dropped(DropCause::RingFull), 3 * (round + 1));
    }
    for lab_worker in &lab.workers {
        assert_eq!(lab_worker.worker.free_buffers(), lab::BUFFERS);
    }
}

#[test]
fn a_room_takes_so_many_members_and_no_more() {
    let mut setup = spread(2, 2);
    setup.capacity.members = 3;
    setup.capacity.rooms = 1;
    let mut lab = Lab::with(setup);
    let _clients: Vec<_> = (0..3).map(|sender| lab.join(1, sender)).collect();
    let open = |sender| {
        Action::OpenMedia(OpenMedia::new(
            sender,
            0,
            HopKey::new([1; 16]),
            HopKey::new([2; 16]),
        ))
    };
    assert_eq!(lab.command(1, open(3)), CommandOutcome::Full);
    assert_eq!(
        lab.command(1, open(2)),
        CommandOutcome::Obeyed,
        "comes again"
    );
    assert_eq!(
        lab.command(2, open(0)),
        CommandOutcome::Full,
        "one room only"
    );
    assert_eq!(lab.command(1, Action::CloseRoom), CommandOutcome::Obeyed);
    assert_eq!(lab.command(2, open(0)), CommandOutcome::Obeyed);
}

#[test]
fn a_room_of_ten_thousand_hears_one_speaker_and_others_do_not_wait_for_it() {
    let mut lab = Lab::with(spread(4, 1000));
    let mut clients: Vec<_> = (0..10_000).map(|sender| lab.open(1, sender)).collect();
    for client in &mut clients {
        client
            .address
            .set_ip([10, (client.sender >> 8) as u8, client.sender as u8, 1].into());
    }
    for client in &mut clients {
        lab.prove_path(client);
    }
    let mut ann = lab.join(2, 0);
    let ben = lab.join(2, 1);
    let large = clients[0].audio("to ten thousand");
    let small = ann.audio("to one");
    let frames = [(clients[0].address, large), (ann.address, small)];
    lab.wire.chunks.clear();
    let sent = lab.batch(&frames);
    assert_eq!(sent.len(), 10_000);
    let mine = sent.iter().position(|(to, _)| *to == ben.address).unwrap();
    let share = sent.len() / 4;
    let of_worker = mine % (share + 1);
    assert!(
        of_worker <= 2 * 64,
        "at most a chunk of the large room's before it: {of_worker}"
    );
}
