//! A malicious relay with a valid identity: it can silence its own rooms and has no influence on others.

use std::time::{Duration, Instant};

use bytes::Bytes;
use confab_control::{Running, serve};
use confab_protocol::cluster::{
    Action, BootId, CommandOutcome, CommandResult, Leaves, MAX_LIVE_ROOMS, MAX_MESSAGE, MediaState,
    SessionNote,
};
use confab_protocol::control::{ConferenceId, ErrorCode};
use confab_protocol::media::ConnectionId;
use confab_protocol::wire::relay_to_control::Kind;
use confab_protocol::wire::{self, Visibility};

use crate::harness::{Client, PATIENCE, TestServer, cheap, eventually, kick, mute};
use crate::relay::FakeRelay;

const SLUG: &str = "friday-night";
const OTHER: &str = "saturday";

/// Ann and Bob in one room and Cem in another, at a malicious relay.
struct Scene {
    server: TestServer,
    relay: FakeRelay,
    ann: Client,
    ann_token: Bytes,
    ann_in: wire::RoomJoined,
    bob: Client,
    bob_in: wire::RoomJoined,
    cem: Client,
    cem_in: wire::RoomJoined,
}

async fn scene() -> Scene {
    let server = TestServer::start().await;
    let relay = server.relay("berlin").await;
    let ann = server.client().await;
    let ann_token = ann.register("ann").await.unwrap().token;
    ann.create(SLUG, Visibility::Public).await;
    let ann_in = ann.join(SLUG).await.unwrap();
    let bob = server.user("bob").await;
    let bob_in = bob.join(SLUG).await.unwrap();
    let cem = server.user("cem").await;
    cem.create(OTHER, Visibility::Public).await;
    let cem_in = cem.join(OTHER).await.unwrap();
    Scene {
        server,
        relay,
        ann,
        ann_token,
        ann_in,
        bob,
        bob_in,
        cem,
        cem_in,
    }
}

fn own_join(joined: &wire::RoomJoined) -> Bytes {
    let mut participants = joined.participants.iter();
    let own = participants.find(|one| one.sender == joined.self_sender);
    own.unwrap().join_id.clone()
}

fn conference(joined: &wire::RoomJoined) -> ConferenceId {
    let id = &joined.conference.as_ref().unwrap().id;
    ConferenceId::parse(id, "id").unwrap()
}

fn sender(joined: &wire::RoomJoined) -> u16 {
    u16::try_from(joined.self_sender).unwrap()
}

/// Restarts the server on its folder, with the relay unchanged: the rooms are adopted from the relay's report.
async fn restart(server: TestServer, relay: &FakeRelay) -> (TestServer, FakeRelay) {
    let TestServer { running, dir } = server;
    Running::shutdown(running).await;
    let running = serve(cheap(&dir)).await.unwrap();
    let server = TestServer { running, dir };
    let again = relay.link(&server, "berlin").await;
    eventually(|| server.running.peer_api().relays.linked() == 1).await;
    (server, again)
}

#[tokio::test]
async fn forged_or_swapped_notes_admit_no_participant() {
    let scene = scene().await;
    let (room, other) = (conference(&scene.ann_in), conference(&scene.cem_in));
    let (ann, bob, cem) = (
        (room, sender(&scene.ann_in)),
        (room, sender(&scene.bob_in)),
        (other, sender(&scene.cem_in)),
    );
    scene.relay.change_state(|sessions| {
        let note = |of: &(ConferenceId, u16)| sessions[of].note.clone();
        let (anns, bobs, cems) = (note(&ann), note(&bob), note(&cem));
        let state = |sender: u16, note: SessionNote| MediaState {
            sender,
            leaves: Leaves::NONE,
            connection_id: ConnectionId::new(0, sender.into(), 7),
            may_speak: true,
            seen: true,
            note,
            media_version: 1,
            account_label: 0,
        };
        // Ann's session with Bob's note, Bob's note under another label, Cem of another room, and an invented one.
        sessions.insert(ann, state(ann.1, bobs.clone()));
        sessions.remove(&bob);
        sessions.insert((room, 100), state(100, bobs));
        sessions.insert((room, 101), state(101, cems));
        sessions.insert(
            (room, 102),
            state(102, SessionNote::new(&[1; 150]).unwrap()),
        );
        sessions.insert((other, 103), state(103, anns));
    });
    let (server, relay) = restart(scene.server, &scene.relay).await;
    let ann = server.client().await;
    ann.authenticate(&scene.ann_token).await.unwrap();
    let gone = ann
        .resume(SLUG, &own_join(&scene.ann_in))
        .await
        .unwrap_err();
    assert_eq!(
        gone.code(),
        ErrorCode::NotFound,
        "the label that she had is free"
    );
    let joined = ann.join(SLUG).await.unwrap();
    assert_eq!(joined.participants.len(), 1, "{:?}", joined.participants);
    for closed in [100, 101, 102] {
        eventually(|| relay.closed(closed)).await;
    }
    let there = ann.join(OTHER).await.unwrap();
    let names: Vec<_> = there
        .participants
        .iter()
        .map(|one| one.username.as_str())
        .collect();
    assert_eq!(names, ["cem", "ann"], "Cem's own session has not changed");
    eventually(|| relay.closed(103)).await;
}

#[tokio::test]
async fn a_note_of_an_earlier_boot_admits_no_participant() {
    let scene = scene().await;
    let (server, again) = {
        let TestServer { running, dir } = scene.server;
        running.shutdown().await;
        let running = serve(cheap(&dir)).await.unwrap();
        let server = TestServer { running, dir };
        let mut moved = scene.relay;
        // A new boot of the relay presents the notes of the previous one.
        moved.boot = [0xee; 16];
        let again = moved.link(&server, "berlin").await;
        eventually(|| server.running.peer_api().relays.linked() == 1).await;
        (server, again)
    };
    let ann = server.client().await;
    ann.authenticate(&scene.ann_token).await.unwrap();
    let joined = ann.join(SLUG).await.unwrap();
    assert_eq!(joined.participants.len(), 1);
    assert_eq!(BootId(again.boot), again.commands()[0].boot);
}

#[tokio::test]
async fn an_endless_session_list_delays_no_request() {
    let scene = scene().await;
    let endless = |command: &confab_protocol::cluster::Command, mut result: CommandResult| {
        if matches!(command.action, Action::ListMedia { .. }) {
            // The same page repeatedly.
            result.more = true;
        }
        vec![result]
    };
    let TestServer { running, dir } = scene.server;
    running.shutdown().await;
    let running = serve(cheap(&dir)).await.unwrap();
    let server = TestServer { running, dir };
    let relay = scene.relay.link(&server, "berlin").await;
    relay.answer_instead(endless);
    relay.change_state(|sessions| {
        // Every page is that of the first sender.
        let first = sessions.pop_first().unwrap();
        sessions.clear();
        sessions.insert(
            (first.0.0, u16::MAX - 1),
            MediaState {
                sender: 0,
                ..first.1
            },
        );
    });
    eventually(|| server.running.peer_api().relays.linked() == 1).await;
    let ann = server.client().await;
    ann.authenticate(&scene.ann_token).await.unwrap();
    let began = Instant::now();
    let joined = ann.join(SLUG).await.unwrap();
    assert_eq!(joined.participants.len(), 1);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn unrequested_results_change_nothing() {
    let scene = scene().await;
    let connection_id = ConnectionId::new(9, 9, 9);
    for id in 0..10_000 {
        let result = CommandResult {
            connection_id: Some(connection_id),
            ..CommandResult::bare(id, CommandOutcome::Obeyed)
        };
        scene.relay.send(Kind::Result((&result).into())).await;
    }
    // Each result twice, the second time with a different outcome.
    scene.relay.answer_instead(|_, result| {
        let second = CommandResult::bare(result.id, CommandOutcome::Fenced);
        vec![result, second]
    });
    scene.ann.done(mute(SLUG, "bob", true)).await;
    scene.ann.done(kick(SLUG, "bob")).await;
    scene.bob.join(SLUG).await.unwrap();
    scene.cem.join(OTHER).await.unwrap();
}

#[tokio::test]
async fn a_relay_cannot_end_a_session_at_another_relay() {
    let scene = scene().await;
    let bad = scene.server.relay_with("paris", [9; 16], 0).await;
    eventually(|| scene.server.running.peer_api().relays.linked() == 2).await;
    let grant = scene.bob_in.media.clone().unwrap();
    for _ in 0..100 {
        let ended = wire::MediaEnded {
            conference_id: scene.bob_in.conference.as_ref().unwrap().id.clone(),
            sender: scene.bob_in.self_sender,
            connection_id: grant.connection_id.clone(),
            reason: wire::MediaEndReason::Bye.into(),
        };
        bad.send(Kind::MediaEnded(ended)).await;
    }
    let kept = scene
        .bob
        .resume_with(SLUG, &own_join(&scene.bob_in), &grant.connection_id)
        .await
        .unwrap();
    assert_eq!(kept.participants.len(), 2);
}

#[tokio::test]
async fn an_invalid_message_closes_only_the_link() {
    let scene = scene().await;
    let too_large = u32::try_from(MAX_MESSAGE + 1).unwrap().to_be_bytes();
    let long_list = wire::LiveRooms {
        conference_ids: vec![Bytes::from_static(&[1; 16]); MAX_LIVE_ROOMS + 1],
    };
    let nonsense = confab_protocol::control::framing::encode(&wire::RelayToControl {
        kind: Some(Kind::LiveRooms(long_list)),
    });
    let mut boot = 20;
    for bytes in [&too_large[..], &[0, 0, 0, 3, 0xff, 0xff, 0xff], &nonsense] {
        boot += 1;
        let bad = scene.server.relay_with("paris", [boot; 16], 0).await;
        bad.send_bytes(bytes).await;
        let closed = tokio::time::timeout(PATIENCE, bad.connection.closed()).await;
        assert!(closed.is_ok(), "{bytes:?} left the link open");
        scene.ann.done(mute(SLUG, "bob", boot % 2 == 0)).await;
    }
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = status.split(' ').nth(1).unwrap();
    pages.parse::<u64>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invented_rooms_of_a_relay_leave_no_state() {
    let scene = scene().await;
    let bad = scene.server.relay_with("paris", [9; 16], 0).await;
    eventually(|| scene.server.running.peer_api().relays.linked() == 2).await;
    let homes = || {
        let path = scene.server.dir.path().join("confab.sqlite");
        let db = rusqlite::Connection::open(path).unwrap();
        db.query_row("SELECT count(*) FROM conference_home", [], |row| {
            row.get::<_, u32>(0)
        })
        .unwrap()
    };
    let (before, began) = (homes(), Instant::now());
    let memory = resident();
    // Until the link is closed, at the maximum number of rooms.
    let mut said = 0u64;
    while bad.connection.close_reason().is_none() {
        let ids = (0..MAX_LIVE_ROOMS as u64).map(|at| {
            let id = [(said + at).to_be_bytes(), [7; 8]].concat();
            Bytes::from(id)
        });
        let conference_ids = ids.collect();
        said += MAX_LIVE_ROOMS as u64;
        let rooms = wire::LiveRooms { conference_ids };
        bad.send(Kind::LiveRooms(rooms)).await;
        assert!(said < 10_000_000, "the relay is believed for ever");
    }
    let grown = resident().saturating_sub(memory) >> 20;
    println!(
        "{said} rooms in {:?}; memory grew by {grown} MiB",
        began.elapsed()
    );
    assert!(grown < 300, "{grown} MiB");
    assert_eq!(homes(), before);
    scene.ann.done(mute(SLUG, "bob", true)).await;
    scene.cem.join(OTHER).await.unwrap();
    assert_eq!(homes(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_floods_one_room_does_not_delay_others() {
    let scene = scene().await;
    let bad = scene.server.relay_with("paris", [9; 16], 1000).await;
    // The next room goes to the less loaded relay, which is the malicious one.
    scene.relay.has_sessions(900);
    eventually(|| {
        let node = scene.server.running.peer_api();
        let status = node.relays.status(&node.node.run.name);
        status.len() == 2 && status.iter().any(|relay| relay.load.sessions == 900)
    })
    .await;
    let dia = scene.server.user("dia").await;
    dia.create("sunday", Visibility::Public).await;
    let dia_in = dia.join("sunday").await.unwrap();
    assert!(bad.has_session(sender(&dia_in)));
    let memory = resident();
    let flooding = async {
        let end = Instant::now() + Duration::from_secs(3);
        let mut said = 0u32;
        while Instant::now() < end && bad.connection.close_reason().is_none() {
            let ended = wire::MediaEnded {
                conference_id: dia_in.conference.as_ref().unwrap().id.clone(),
                sender: 500 + said % 5000,
                connection_id: Bytes::from_static(&[8; 8]),
                reason: wire::MediaEndReason::Idle.into(),
            };
            bad.send(Kind::MediaEnded(ended)).await;
            said += 1;
        }
        said
    };
    let others = async {
        let mut worst = Duration::ZERO;
        for turn in 0..20 {
            let began = Instant::now();
            scene.ann.done(mute(SLUG, "bob", turn % 2 == 0)).await;
            worst = worst.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        worst
    };
    let (said, worst) = tokio::join!(flooding, others);
    let grown = resident().saturating_sub(memory) >> 20;
    println!("{said} messages; the slowest mute took {worst:?}; memory grew by {grown} MiB");
    assert!(grown < 200, "{grown} MiB");
    assert!(worst < PATIENCE, "{worst:?}");
}

/// The relay's answers to a command to open a session; `None`: no answer.
const REFUSALS: [Option<CommandOutcome>; 5] = [
    Some(CommandOutcome::Full),
    Some(CommandOutcome::Invalid),
    Some(CommandOutcome::NotFound),
    Some(CommandOutcome::WrongBoot),
    None,
];

/// A server with a good, loaded relay and a bad one that reports no load, so that rooms go to the bad one first.
async fn good_and_idle() -> (TestServer, FakeRelay, FakeRelay) {
    let server = TestServer::start().await;
    let good = server.relay("berlin").await;
    good.has_sessions(900);
    let idle = server.relay_with("paris", [9; 16], 1000).await;
    eventually(|| {
        let node = server.running.peer_api();
        let status = node.relays.status(&node.node.run.name);
        status.len() == 2 && status.iter().any(|relay| relay.load.sessions == 900)
    })
    .await;
    (server, good, idle)
}

/// The relay obeys all commands except opens of sessions.
fn open_nothing(relay: &FakeRelay, answer: Option<CommandOutcome>) {
    relay.answer_instead(move |command, result| match (&command.action, answer) {
        (Action::OpenMedia(_), Some(outcome)) => vec![CommandResult::bare(result.id, outcome)],
        (Action::OpenMedia(_), None) => Vec::new(),
        _ => vec![result],
    });
}

fn opens(relay: &FakeRelay) -> usize {
    let actions = relay.actions();
    let is_open = |action: &&Action| matches!(action, Action::OpenMedia(_));
    actions.iter().filter(is_open).count()
}

#[tokio::test]
async fn new_rooms_avoid_a_relay_that_opens_no_session() {
    for answer in REFUSALS {
        let (server, good, bad) = good_and_idle().await;
        open_nothing(&bad, answer);
        let ann = server.user("ann").await;
        for slug in [SLUG, OTHER, "sunday"] {
            ann.create(slug, Visibility::Public).await;
            let joined = ann.join(slug).await;
            let joined = joined.unwrap_or_else(|error| panic!("{answer:?}: {slug}: {error:?}"));
            assert!(good.has_session(sender(&joined)));
        }
        assert_eq!(opens(&bad), 1, "{answer:?}: further rooms avoid it");
        let bob = server.user("bob").await;
        assert_eq!(bob.join(SLUG).await.unwrap().participants.len(), 2);
    }
}

#[tokio::test]
async fn a_room_moves_when_its_relay_opens_no_further_session() {
    for answer in REFUSALS {
        let (server, good, bad) = good_and_idle().await;
        let ann = server.user("ann").await;
        ann.create(SLUG, Visibility::Public).await;
        let ann_in = ann.join(SLUG).await.unwrap();
        assert!(bad.has_session(sender(&ann_in)));
        open_nothing(&bad, answer);
        let bob = server.user("bob").await;
        let bob_in = match bob.join(SLUG).await {
            Ok(joined) => joined,
            // One refusal does not move the room.
            Err(_) => bob.join(SLUG).await.unwrap(),
        };
        assert_eq!(bob_in.participants.len(), 2, "{answer:?}");
        eventually(|| good.has_session(sender(&ann_in)) && good.has_session(sender(&bob_in))).await;
    }
}
