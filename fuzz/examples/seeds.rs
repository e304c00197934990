//! Writes the seeds of the corpus: `cargo run --no-default-features --example seeds`.
//!
//! Made from the protocol's vectors, from its own encoders and from scripts of what usually happens.

use std::fs;
use std::path::{Path, PathBuf};

use confab_protocol::cluster::{
    Action, BootId, Command, CommandOutcome, CommandResult, Fence, GrantedLeaf, Leaves, MediaState,
    OpenMedia, SessionNote,
};
use confab_protocol::control::framing;
use confab_protocol::control::room::{Capability, Participant, Role};
use confab_protocol::control::{
    AccountId, Capabilities, ConferenceId, ErrorCode, GenerationLeaf, JoinId, MediaGrant,
    ParticipantName, Refusal,
};
use confab_protocol::media::{ConnectionId, HopKey};
use confab_protocol::wire::{self, control_to_relay, event, relay_to_control, request, response};
use data_encoding::HEXLOWER;
use prost::Message;
use serde_json::Value;

fn main() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors");
    for name in ["uplink", "downlink", "sframe_header"] {
        for (n, bytes) in hexadecimal(&vectors, name).into_iter().enumerate() {
            write("datagrams", &format!("{name}-{n:02}"), &bytes);
        }
    }
    for (n, bytes) in hexadecimal(&vectors, "payload").into_iter().enumerate() {
        write(
            "frames",
            &format!("payload-{n:02}"),
            &[&[0], &bytes[..]].concat(),
        );
    }
    for (name, bytes) in rooms() {
        write("frames", name, &bytes);
    }
    for (name, bytes) in messages() {
        write("messages", name, &bytes);
    }
    for (n, text) in TEXTS.into_iter().enumerate() {
        write(
            "text",
            &format!("text-{n:02}"),
            &[&[0], text.as_bytes()].concat(),
        );
    }
    // The same by bytes that stand for characters near the rules, all of them in a row.
    let near: Vec<u8> = (0x80..=0xff).collect();
    write("text", "near", &[&[1], &near[..]].concat());
    for (name, bytes) in arrivals() {
        write("jitter", name, &bytes);
    }
    for (name, bytes) in orders() {
        write("orders", name, &bytes);
    }
    for (name, bytes) in calls() {
        write("relay_core", name, &bytes);
    }
    for (name, bytes) in client_calls() {
        write("call", name, &bytes);
    }
    for (name, bytes) in KEY_SCRIPTS {
        write("mls", name, bytes);
    }
}

/// Steps of rooms: kinds as in `mls.rs`, each with its parameters and a time.
const KEY_SCRIPTS: [(&str, &[u8]); 5] = [
    ("comes-and-goes", &[3, 100, 3, 100, 3, 100, 3, 100]),
    ("texts", &[4, 10, 5, 10, 4, 0, 5, 0, 7, 200]),
    ("resumes", &[6, 100, 6, 0, 5, 0, 6, 100]),
    (
        "changed-commit",
        &[0, 3, 0, 3, 0, 3, 100, 0, 0, 40, 1, 1, 0, 200, 7, 250],
    ),
    (
        "bytes",
        &[
            1, 2, 0, 0, 4, 0, 1, 0, 1, 50, 2, 3, 0, 1, 0, 4, 0, 1, 0, 3, 50,
        ],
    ),
];

/// What people write, and what only somebody does who wants to deceive.
const TEXTS: [&str; 12] = [
    "Friday night",
    "caf\u{e9} cafe\u{301} \u{1112}\u{1161}\u{11ab}",
    "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
    "\u{915}\u{94d}\u{200d}\u{937}",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{2764}\u{fe0f} 1\u{fe0f}\u{20e3} \u{1f44d}\u{1f3fd}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} \u{1f1e9}\u{1f1ea}",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{5f3}",
    "a\u{1b}]0;title\u{7}\u{9b}31m\r\n\t\u{85}",
    "\u{202e}evil\u{2066}\u{61c}\u{ad}\u{2060}\u{180e}\u{e0041}\u{fff9}",
    "\u{3164}\u{2800}\u{3000}\u{a0}",
    "a\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}b",
    "\u{301}\u{200c}\u{640}\u{e000}\u{ffff}\u{378}\"\\{}",
];

/// Every string of hexadecimal digits in a file of vectors that is long enough to be a thing of its own.
fn hexadecimal(vectors: &Path, name: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(vectors.join(name).with_extension("json")).expect("vectors");
    let mut found = Vec::new();
    collect(&serde_json::from_str(&text).expect("JSON"), &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<Vec<u8>>) {
    const WHOLE: [&str; 3] = ["datagram", "payload", "header"];
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if WHOLE.contains(&name.as_str()) => {
                        found.extend(HEXLOWER.decode(text.as_bytes()));
                    }
                    Value::Array(_) | Value::Object(_) => collect(value, found),
                    _ => {}
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "corpus", target]
        .iter()
        .collect();
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(format!("seed-{name}")), bytes).expect("a file");
}

/// One message of each kind that becomes a domain type, cut in the middle, and several in one stream.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let register = request(request::Kind::Register(wire::Register {
        username: "ann".into(),
        email: "ann@example.org".into(),
        password: "correct horse battery".into(),
        birthday: "1990-01-31".into(),
        device: "laptop".into(),
        invitation: None,
    }));
    // Letters that take more bytes in lower case.
    let grows = request(request::Kind::Register(wire::Register {
        email: format!("{}@b.c", "İ".repeat(125)),
        ..wire::Register::default()
    }));
    let hello = request(request::Kind::Hello(wire::Hello {
        min_version: 1,
        max_version: 1,
        agent: "example/1.0".into(),
    }));
    let create = request(request::Kind::CreateConference(wire::CreateConference {
        slug: "friday-night".into(),
        title: "Friday night".into(),
        visibility: wire::Visibility::Public.into(),
        region: "eu".into(),
    }));
    let join = request(request::Kind::JoinRoom(wire::JoinRoom {
        slug: "friday-night".into(),
        resume_join_id: JoinId::new([1; 16]).to_wire(),
        live_connection_id: vec![3; 8].into(),
        region: "eu".into(),
        resume_secret: vec![4; 16].into(),
        min_media_version: 1,
        max_media_version: 2,
        capabilities: vec![1, 2, 99],
        group: Some(wire::GroupEpoch {
            group_id: vec![9; 32].into(),
            epoch: 300,
        }),
    }));
    let login = request(request::Kind::Login(wire::Login {
        name: "ann".into(),
        password: "correct horse battery".into(),
        device: String::new(),
        device_cookie: vec![6; 40].into(),
    }));
    let role = request(request::Kind::SetRole(wire::SetRole {
        slug: "friday-night".into(),
        username: "bob".into(),
        role: Role::Listener.into(),
        only_of_banned: false,
    }));

    let refusal = Refusal::invalid("slug", "no").after(std::time::Duration::from_secs(1));
    let error = response(response::Kind::Error(refusal.into()));
    let busy = response(response::Kind::Error(wire::Error {
        code: ErrorCode::Busy.into(),
        ..wire::Error::default()
    }));
    let joined = response(response::Kind::RoomJoined(wire::RoomJoined {
        conference: Some(wire::Conference {
            id: ConferenceId::new([2; 16]).to_wire(),
            slug: "friday-night".into(),
            ..wire::Conference::default()
        }),
        revision: 3,
        participants: vec![(&participant(0)).into(), (&participant(1)).into()],
        self_sender: 1,
        media: Some((&grant()).into()),
        delivery_key: vec![5; 32].into(),
        key_scheme: wire::KeyScheme::Mls.into(),
        media_version: 1,
        resume_secret: vec![4; 16].into(),
    }));
    let account = response(response::Kind::Account(wire::Account {
        id: AccountId::new([3; 16]).to_wire(),
        username: "ann".into(),
        ..wire::Account::default()
    }));

    let came = event(event::Kind::Joined(wire::ParticipantJoined {
        participant: Some((&participant(2)).into()),
    }));
    let left = event(event::Kind::Left(wire::ParticipantLeft {
        sender: 2,
        reason: wire::LeaveReason::Kicked.into(),
    }));
    let moved = event(event::Kind::MediaMoved(wire::MediaMoved {
        join_id: JoinId::new([1; 16]).to_wire(),
        media: Some((&grant()).into()),
    }));
    let going = event(event::Kind::GoingAway(wire::GoingAway {
        retry_after_ms: 1000,
    }));

    let relay_hello = to_control(relay_to_control::Kind::Hello(wire::RelayHello {
        min_version: 1,
        max_version: 1,
        agent: "relay/1.0".into(),
        boot_id: vec![9; 16].into(),
        region: "eu".into(),
        addresses: vec!["192.0.2.1:9000".into()],
        workers: 2,
        max_sessions: 1000,
        min_media_version: 1,
        max_media_version: 1,
        idle_timeout_ms: 30_000,
    }));
    let granted = GrantedLeaf {
        leaf: GenerationLeaf {
            generation: 0,
            leaf: 1,
        },
        first_epoch: 3,
    };
    let result = to_control(relay_to_control::Kind::Result(
        (&CommandResult {
            id: 7,
            outcome: CommandOutcome::Obeyed,
            connection_id: Some(ConnectionId::new(1, 2, 3)),
            media: vec![MediaState {
                sender: 1,
                leaves: Leaves::one(granted),
                connection_id: ConnectionId::new(1, 2, 3),
                may_speak: true,
                seen: true,
                note: SessionNote::new(&[7; 138]).expect("it is short enough"),
                media_version: 1,
                account_label: 5,
            }],
            more: false,
        })
            .into(),
    ));
    let live = to_control(relay_to_control::Kind::LiveRooms(wire::LiveRooms {
        conference_ids: vec![ConferenceId::new([2; 16]).to_wire()],
    }));

    let command = |action| {
        to_relay(control_to_relay::Kind::Command(
            (&Command {
                id: 7,
                conference: ConferenceId::new([2; 16]),
                fence: Fence {
                    era: 1,
                    placement: 2,
                },
                boot: BootId([9; 16]),
                action,
            })
                .into(),
        ))
    };
    let (uplink, downlink) = (HopKey::new([1; 16]), HopKey::new([2; 16]));
    let open = command(Action::OpenMedia(OpenMedia::new(1, 1, uplink, downlink)));
    let mute = command(Action::SetMaySpeak {
        sender: 1,
        may_speak: false,
    });
    let leaves = command(Action::SetLeaves(vec![(1, granted)]));
    let retire = command(Action::RetireEpochs {
        generation: 0,
        epoch: 2,
    });
    let close = command(Action::CloseMedia { sender: 1 });
    let close_room = command(Action::CloseRoom);

    vec![
        ("register", stream(0, &[20, 1], &[&register])),
        ("requests", stream(0, &[3, 40], &[&hello, &login, &join])),
        ("email-grows", stream(0, &[], &[&grows])),
        ("create", stream(0, &[], &[&create, &role])),
        ("joined", stream(1, &[5, 100, 30], &[&joined])),
        ("errors", stream(1, &[9], &[&error, &busy, &account])),
        ("events", stream(2, &[60], &[&came, &left, &going])),
        ("moved", stream(2, &[], &[&moved])),
        (
            "relay",
            stream(3, &[8, 8, 8], &[&relay_hello, &live, &result]),
        ),
        ("open", stream(4, &[4], &[&open])),
        (
            "commands",
            stream(4, &[4, 70], &[&mute, &leaves, &retire, &close, &close_room]),
        ),
        ("register-alone", [&[0, 0], &register[4..]].concat()),
        ("joined-alone", [&[1, 0], &joined[4..]].concat()),
        ("too-large", stream(0, &[], &[&0xffff_u32.to_be_bytes()])),
    ]
}

fn stream(kind: u8, cuts: &[u8], messages: &[&[u8]]) -> Vec<u8> {
    [&[kind, cuts.len() as u8], cuts, &messages.concat()].concat()
}

fn framed(message: impl Message) -> Vec<u8> {
    framing::encode(&message).to_vec()
}

fn request(kind: request::Kind) -> Vec<u8> {
    framed(wire::Request { kind: Some(kind) })
}

fn response(kind: response::Kind) -> Vec<u8> {
    framed(wire::Response { kind: Some(kind) })
}

fn event(kind: event::Kind) -> Vec<u8> {
    framed(wire::Event {
        conference_id: ConferenceId::new([2; 16]).to_wire(),
        revision: 4,
        kind: Some(kind),
    })
}

fn to_control(kind: relay_to_control::Kind) -> Vec<u8> {
    framed(wire::RelayToControl { kind: Some(kind) })
}

fn to_relay(kind: control_to_relay::Kind) -> Vec<u8> {
    framed(wire::ControlToRelay { kind: Some(kind) })
}

fn participant(n: u16) -> Participant {
    Participant {
        sender: n,
        leaf: Some(GenerationLeaf {
            generation: 0,
            leaf: n.into(),
        }),
        join_id: JoinId::new([n as u8; 16]),
        account: AccountId::new([n as u8; 16]),
        username: ParticipantName::from_wire(&format!("user{n}")),
        role: Role::Member,
        muted: false,
        capabilities: Capabilities::from([Capability::Dred]),
    }
}

fn grant() -> MediaGrant {
    MediaGrant {
        addresses: ["192.0.2.1:9000", "[2001:db8::1]:9000"]
            .map(|address| address.parse().expect("an address"))
            .into(),
        connection_id: ConnectionId::new(1, 2, 3),
        uplink_key: HopKey::new([1; 16]),
        downlink_key: HopKey::new([2; 16]),
        era: 1,
        placement: 2,
    }
}

/// Steps of `frames`: what they are is in its `Room::play`.
fn rooms() -> Vec<(&'static str, Vec<u8>)> {
    /// Flags (a talkspurt), timestamp, length, Opus, padding.
    const VOICE: [u8; 12] = [0xa0, 0, 0, 0x03, 0xc0, 4, 0xf8, 0x55, 0xaa, 0x01, 0, 0];
    /// The same a frame later, with the one before once more.
    const REDUNDANT: [u8; 17] = [
        0x80, 0, 0, 0x07, 0x80, 4, 0xf8, 0x55, 0xaa, 0x02, 1, 8, 4, 0xf8, 0x55, 0xaa, 0x01,
    ];
    /// The next one, with an XOR of the two before and a random linear symbol of the one before.
    const REPAIR: [u8; 29] = [
        0x80, 0, 0, 0x0b, 0x40, 4, 0xf8, 0x55, 0xaa, 0x03, 2, 0, 3, 6, 0, 0, 0, 0, 0, 3, 3, 0, 1,
        5, 0x11, 0x22, 0x33, 0x44, 0x55,
    ];
    let seal =
        |member: u8, plaintext: &[u8]| [&[0, member, plaintext.len() as u8], plaintext].concat();
    let deliver = |frame: u8| vec![1, frame, 0x90];
    let mut talk = vec![1];
    for (n, plaintext) in [&VOICE[..], &REDUNDANT, &REPAIR].into_iter().enumerate() {
        talk.extend(seal(n as u8, plaintext));
        talk.extend(deliver(n as u8));
        talk.extend([7, 3]);
    }
    let again = [talk.clone(), deliver(0), deliver(1), vec![5, 1, 7, 7]].concat();
    let tampered = [
        seal(0, &VOICE),
        vec![2, 0, 0, 5, 1, 2, 0, 0, 9, 0],
        deliver(0),
    ]
    .concat();
    let rejoined = [
        seal(1, &VOICE),
        vec![4, 1],
        deliver(0),
        seal(1, &VOICE),
        deliver(1),
    ]
    .concat();
    let forged = [
        &[6, 0, 0, 4, 0, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4][..],
        &[3, 3, 0, 1, 2],
    ]
    .concat();
    vec![
        ("talk", talk),
        ("again", again),
        ("tampered", [vec![1], tampered].concat()),
        ("rejoined", [vec![1], rejoined].concat()),
        ("forged", [vec![1], forged].concat()),
    ]
}

/// Steps of `jitter`: what they are is in its `Steps::play`.
fn arrivals() -> Vec<(&'static str, Vec<u8>)> {
    let even = [0, 4, 4].repeat(60);
    let bursts = [0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4].repeat(12);
    let loss = [0, 4, 4, 13, 0x03, 0xc0, 0, 4, 4, 10, 8].repeat(20);
    let stall = [
        &[0, 4, 4].repeat(20)[..],
        &[14, 0x02, 0x00, 130, 1],
        &[0; 20],
        &[4; 60],
    ]
    .concat();
    let anew = [
        &[0, 4, 4].repeat(10)[..],
        &[13, 0x12, 0x34, 200],
        &[0, 4, 4].repeat(20),
    ]
    .concat();
    let back = [
        &[0, 4, 4].repeat(10)[..],
        &[14, 0, 9, 230, 0],
        &[0, 4, 4].repeat(20),
    ]
    .concat();
    let kinds = [15, 0x00, 15, 0x48, 1, 2, 3, 15, 0x80, 9, 4, 4, 12, 4, 4].repeat(10);
    let long = [8, 0, 0, 0, 3, 0xff, 0x46, 0, 11, 0x16, 0x80].repeat(8);
    let with = |mode: u8, steps: &[u8]| [&[mode, 0xff, 0xff, 0xf0, 0x00], steps].concat();
    vec![
        ("even", with(2, &even)),
        ("even-calm", with(1, &even)),
        ("bursts", with(0, &bursts)),
        ("bursts-calm", with(1, &bursts)),
        ("loss", with(3, &loss)),
        ("stall-calm", with(1, &stall)),
        ("anew", with(2, &anew)),
        ("back", with(2, &back)),
        ("kinds", with(2, &kinds)),
        ("long", with(2, &long)),
    ]
}

/// Steps of `orders`: what they are is in its `Play::step`.
fn orders() -> Vec<(&'static str, Vec<u8>)> {
    const COMMAND: u8 = 5;
    let open = |room: u8, sender: u8| vec![COMMAND, 0, sender, 40, room, 0, 0];
    let close = |room: u8, sender: u8| vec![COMMAND, 4, sender, room, 0, 0];
    let list = |room: u8, era: u8| vec![COMMAND, 7, 0, room, era, 0];
    let full: Vec<u8> = (0..20u8).flat_map(|n| open(n / 5, n % 5)).collect();
    let again = [open(1, 1), open(1, 1), close(1, 1), list(1, 0)].concat();
    let taken_over = [open(1, 1), list(1, 2), open(1, 2), list(1, 1)].concat();
    let set_leaf = |room: u8, sender: u8| vec![COMMAND, 0x86, sender, 0, 0, 2, 3, room, 0, 0];
    let retire = |room: u8, epoch: u8| vec![COMMAND, 0x87, 0, 0, epoch, room, 0, 0];
    let leaves = [
        open(1, 1),
        open(1, 2),
        set_leaf(1, 1),
        retire(1, 3),
        set_leaf(1, 2),
        retire(1, 0xf0),
        list(1, 0),
    ]
    .concat();
    let mut flaws = Vec::new();
    for flaw in 1..8u8 {
        flaws.extend([COMMAND, flaw << 3, 1, 40]);
        flaws.extend([3, 0, 0, 7, 1, 0, 0]);
    }
    let command = Command {
        id: 1,
        conference: ConferenceId::new([1; 16]),
        fence: Fence::default(),
        boot: BootId([9; 16]),
        action: Action::SetMaySpeak {
            sender: 1,
            may_speak: false,
        },
    };
    let kind = Some(control_to_relay::Kind::Command(wire::Command::from(
        &command,
    )));
    let message = framing::encode(&wire::ControlToRelay { kind });
    let (first, second) = message.split_at(9);
    let piece = |bytes: &[u8]| [&[0, bytes.len() as u8], bytes].concat();
    let bytes = [open(1, 1), piece(first), piece(second)].concat();
    vec![
        ("full", [&full[..], &[2, 61], &full].concat()),
        ("again", again),
        ("taken-over", taken_over),
        ("leaves", leaves),
        ("flaws", flaws),
        ("bytes", bytes),
        (
            "relinked",
            [&full[..], &[4, 1, 2, 0xff, 0xff], &full].concat(),
        ),
    ]
}

/// Steps of `relay_core`: what they are is in its `Play::step`.
fn calls() -> Vec<(&'static str, Vec<u8>)> {
    const TURN: u8 = 3;
    let open = |room: u8, sender: u8| vec![7, room, sender, 2];
    let prove = |client: u8| vec![TURN, 5, client, 1, TURN, 6, client, 0, TURN];
    let speak = |client: u8| vec![0, client, 0x90, 10];
    let meet = [
        open(0, 0),
        open(0, 1),
        open(0, 2),
        prove(0),
        prove(1),
        prove(2),
    ]
    .concat();
    let talk = [speak(0), speak(1), vec![TURN], speak(2), vec![TURN]].concat();
    let tick = [12, 20, 0];
    let call = [&meet[..], &talk, &tick, &talk, &tick, &talk].concat();
    let window = [&meet[..], &[14, 10], &talk, &tick, &talk].concat();
    let blocked = [
        &meet[..],
        &[13, 1, 200],
        &talk,
        &[13, 255, 200, TURN],
        &talk,
    ]
    .concat();
    let refused = [&meet[..], &[13, 255, 1], &talk, &[13, 255, 200], &talk].concat();
    let moved = [&meet[..], &[5, 0x40, 2, TURN, 6, 0, 0, TURN], &talk].concat();
    let commands = [
        &meet[..],
        &[8, 10, 0, 1],
        &talk,
        &[8, 2, 0, 1, 8, 0, 0, 0],
        &talk,
        &[8, 5, 0, 0],
        &talk,
    ]
    .concat();
    // A new leaf for one, then that leaf for another, who sends in an epoch before it too.
    let leaves = [
        &meet[..],
        &[8, 30, 0, 0, 255, 3],
        &talk,
        &[8, 30, 0, 1, 0, 2],
        &talk,
        &[15, 1, 1, 0, 255, 0, TURN],
        &[8, 15, 0, 0, 1],
        &talk,
    ]
    .concat();
    let replaced = [&call[..], &open(0, 0), &talk, &prove(3), &speak(3), &[TURN]].concat();
    let bad = [
        &call[..],
        &[9, 7, 0, 9, 7, 200, 10, 7, 0, 9, 1, TURN, 11, 3, 1, 2, 3],
    ]
    .concat();
    let misbehaved = [
        &call[..],
        &[15, 1, 2, 60, 15, 1, 1, 5, 15, 2, 0, TURN],
        &talk,
    ]
    .concat();
    let tenth = [12, 100, 0, TURN];
    let minute = tenth.repeat(350);
    let silent = [&meet[..], &minute, &talk].concat();
    let mut forged = meet.clone();
    for round in 0..35 {
        forged.extend(tenth.repeat(10));
        // One answers, one only sends, one is silent.
        forged.extend([6, 0, 0, 5, 1, round]);
    }
    forged.extend(&talk);
    let raw = [
        &meet[..],
        &[15, 1, 5, 5, 3, 1, 2, 3, 15, 0, 5, 2, 12],
        &[0; 12],
        &talk,
    ]
    .concat();
    let late = [&call[..], &[12, 40, 4, TURN, 12, 2, 5], &meet, &talk].concat();
    let mut crowd = Vec::new();
    for client in 0..6 {
        crowd.extend([open(1, client), prove(client)].concat());
    }
    for round in 0..4 {
        for client in 0..6 {
            crowd.extend([0, client, 0x80 + 10 * client + round, 5]);
        }
        crowd.extend([TURN, 12, 200, 0]);
    }
    vec![
        ("call", call),
        ("window", window),
        ("blocked", blocked),
        ("refused", refused),
        ("moved", moved),
        ("commands", commands),
        ("leaves", leaves),
        ("replaced", replaced),
        ("bad", bad),
        ("misbehaved", misbehaved),
        ("late", late),
        ("silent", silent),
        ("forged", forged),
        ("raw", raw),
        ("crowd", crowd),
    ]
}

/// Steps of `call`: what they are is in its `Call::play`.
fn client_calls() -> Vec<(&'static str, Vec<u8>)> {
    let last_counter = [2, 1, 0, 5, b'h', b'e', b'l', b'l', b'o', 0x90];
    let limit = [2, 2, 2, 1, b'x', 0x90];
    let payload = |timestamp: [u8; 4], opus: &[u8]| {
        let mut step = vec![3, 0, 7];
        step.extend(timestamp);
        step.extend([1, 8, 0, opus.len() as u8]);
        step.extend(opus);
        step.extend([0, 0x90]);
        step
    };
    let voice = payload([0, 0, 3, 0xc0], &[0xf8, 0xff, 0xfe]);
    let far = payload([0xff, 0xff, 0xff, 0xff], &[0xf8, 0xff, 0xfe]);
    let left = [7, 2, 2, 2, 1, 0, 2, 1];
    let last_revision = [7, 3, 3, 3, 1, 0, 0, 0, 0];
    vec![
        ("talk", vec![0, 1, 6, 0]),
        (
            "last-counter",
            [&[0][..], &last_counter, &limit, &[0]].concat(),
        ),
        (
            "payloads",
            [&voice[..], &far, &[10, 0, 200], &voice].concat(),
        ),
        (
            "relay",
            vec![
                4, 3, 0, 1, 0x80, 3, 1, 2, 3, 0, 2, 0, 0, 5, 0, 0, 0, 4, 1, 2, 3, 4, 5, 1, 0, 0, 2,
                1, 1,
            ],
        ),
        ("room", [&left[..], &last_revision, &[0]].concat()),
        (
            "rejoin",
            vec![8, 0, 0, 2, 1, 1, 1, 2, 2, 2, 1, 0, 9, 9, 0, 5, 0],
        ),
        ("media", vec![9, 0, 0, 9, 0, 9, 1, 9, 2, 9, 3, 10, 1, 0]),
        (
            "speak",
            vec![11, 0x3f, 0, 0, 0, 0, 11, 0x7f, 0xc0, 0, 0, 1, 10, 4, 0],
        ),
    ]
}
