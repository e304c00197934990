//! The files in `vectors/` say what this code does, for implementations in other languages to be held against.
//!
//! After a change to the wire: `CONFAB_WRITE_VECTORS=1 cargo test -p confab-protocol --test vectors`, and look at the
//! difference.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use confab_protocol::control::framing;
use confab_protocol::media::downlink::{self, ByeReason, Downlink, Pong, Record};
use confab_protocol::media::payload::{Block, FramePayload};
use confab_protocol::media::uplink::{Uplink, UplinkBody};
use confab_protocol::media::{
    AudioLevel, ConnectionId, HopKey, KeyId, Loss, LossReport, ReceptionCounts, RecordDigest,
    ReplayWindow, SframeHeader,
};
use confab_protocol::wire;
use data_encoding::HEXLOWER as HEX;
use serde_json::{Value, json};

const KEY: [u8; 16] = *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f";

/// Compares with the file, or writes it.
fn check(name: &str, vectors: &Value) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name);
    let text = format!("{vectors:#}\n");
    if std::env::var_os("CONFAB_WRITE_VECTORS").is_some() {
        fs::write(file, text).unwrap();
        return;
    }
    assert_eq!(
        fs::read_to_string(file).unwrap(),
        text,
        "{name} is not what this code does"
    );
}

#[test]
fn hop_tags() {
    let key = HopKey::new(KEY);
    let message: Vec<u8> = (0..15).collect();
    // The example of the SipHash paper, appendix A.
    assert_eq!(HEX.encode(&key.tag(&message)), "a129ca6149be45e5");
    let tags: Vec<_> = [0, 1, 7, 8, 15, 64, 200]
        .into_iter()
        .map(|len: u8| {
            let message: Vec<u8> = (0..len).collect();
            json!({"message": HEX.encode(&message), "tag": HEX.encode(&key.tag(&message))})
        })
        .collect();
    let records: Vec<_> = [&b""[..], b"\0\0\0\x01\0", b"\0\x03\0\x02\x92abc"]
        .iter()
        .map(|record| {
            let digest = RecordDigest::of(record);
            json!({"record": HEX.encode(record), "digest": HEX.encode(digest.as_bytes())})
        })
        .collect();
    check(
        "hop_tag.json",
        &json!({
            "about": "tag = SipHash-2-4(key, message) as a big-endian integer; digest = first 16 bytes of BLAKE3(record)",
            "key": HEX.encode(&KEY),
            "tags": tags,
            "digests": records,
        }),
    );
}

#[test]
fn uplink_datagrams() {
    let key = HopKey::new(KEY);
    let id = ConnectionId::new(3, 0x01_0203, 0xdead_beef);
    let datagram = |number, body: UplinkBody<'_>| {
        let mut out = Vec::new();
        body.encode(id, number, &key, &mut out).unwrap();
        assert!(Uplink::parse(&out).unwrap().is_authentic(&key));
        HEX.encode(&out)
    };
    let sframe = *b"\x18\x01sealed and its tag";
    let level = AudioLevel::new(true, 24.0);
    let reception = ReceptionCounts {
        highest: 1000,
        received: 981,
        runs: 7,
    };
    let valid = json!([
        {"type": "audio", "packet_number": 1, "level": level.to_byte(), "sframe": HEX.encode(&sframe),
         "datagram": datagram(1, UplinkBody::Audio { level, sframe: &sframe })},
        {"type": "keep_alive", "packet_number": 2, "echo": HEX.encode(b"echo1234"),
         "datagram": datagram(2, UplinkBody::KeepAlive { echo: *b"echo1234" })},
        {"type": "path_response", "packet_number": 3, "challenge": HEX.encode(b"prove it"),
         "datagram": datagram(3, UplinkBody::PathResponse { challenge: *b"prove it" })},
        {"type": "bye", "packet_number": 0x7fff_ffffu32, "datagram": datagram(0x7fff_ffff, UplinkBody::Bye)},
        {"type": "reception", "packet_number": 4, "highest": 1000, "received": 981, "runs": 7,
         "datagram": datagram(4, UplinkBody::Reception(reception))},
    ]);
    // A later version may add to any body but audio's.
    let longer: Vec<_> = [
        (2, &b"echo1234"[..], b"and more"),
        (3, b"prove it", b"and more"),
        (4, b"", b"and more"),
        (5, b"highrecvrs", b"and more"),
    ]
    .into_iter()
    .map(|(kind, body, added)| {
        let number = 9u32;
        let mut bytes = vec![kind];
        for part in [&id.to_bytes()[..], &number.to_be_bytes(), body, added] {
            bytes.extend_from_slice(part);
        }
        let tag = key.tag(&bytes);
        bytes.extend_from_slice(&tag);
        assert!(Uplink::parse(&bytes).unwrap().is_authentic(&key));
        json!({"type": kind, "packet_number": number, "body": HEX.encode(body), "added": HEX.encode(added),
               "datagram": HEX.encode(&bytes)})
    })
    .collect();
    let audio_of = |len: usize| {
        let mut bytes = vec![1];
        for part in [
            &id.to_bytes()[..],
            &5u32.to_be_bytes(),
            &[level.to_byte()],
            &vec![0; len],
        ] {
            bytes.extend_from_slice(part);
        }
        let tag = key.tag(&bytes);
        bytes.extend_from_slice(&tag);
        bytes
    };
    assert!(Uplink::parse(&audio_of(17)).is_ok());
    let good = HEX
        .decode(valid[1]["datagram"].as_str().unwrap().as_bytes())
        .unwrap();
    let with = |at: usize, byte: u8| {
        let mut bent = good.clone();
        bent[at] = byte;
        bent
    };
    let invalid: Vec<_> = [
        ("empty", vec![]),
        ("shorter than header and tag", good[..20].to_vec()),
        ("an unknown type", with(0, 0x3f)),
        ("a count of 8 bytes where 10 are needed", with(0, 0x05)),
        ("a downlink type", with(0, 0x11)),
        ("packet number of 2^31", with(9, 0x80)),
        ("an echo of 7 bytes", [&good[..20], &good[21..]].concat()),
        ("an SFrame shorter than a header and a tag", audio_of(16)),
        ("1201 bytes", vec![1; 1201]),
    ]
    .into_iter()
    .map(|(why, bytes)| {
        assert!(Uplink::parse(&bytes).is_err(), "{why}");
        json!({"why": why, "datagram": HEX.encode(&bytes)})
    })
    .collect();
    let forged = with(13, good[13] ^ 1);
    assert!(!Uplink::parse(&forged).unwrap().is_authentic(&key));
    check(
        "uplink.json",
        &json!({
            "key": HEX.encode(&KEY),
            "connection_id": HEX.encode(&id.to_bytes()),
            "valid": valid,
            "of_a_later_version": longer,
            "invalid": invalid,
            "wrong_tag": [HEX.encode(&forged)],
        }),
    );
}

#[test]
fn downlink_datagrams() {
    let key = HopKey::new(KEY);
    let level = AudioLevel::new(true, 30.0);
    let audio = |number, frames: &[(u16, &[u8])]| {
        let mut records = Vec::new();
        let mut digests = Vec::new();
        for (sender, sframe) in frames {
            let start = records.len();
            records.extend_from_slice(&Record::header(*sender, level, sframe.len()).unwrap());
            records.extend_from_slice(sframe);
            digests.push(RecordDigest::of(&records[start..]));
        }
        let head = downlink::audio_header(frames.len() as u8, number, &key, &digests);
        let datagram = [&head[..], &records].concat();
        assert!(Downlink::parse(&datagram).unwrap().is_authentic(&key));
        let frames: Vec<_> = frames
            .iter()
            .map(|(sender, sframe)| json!({"sender": sender, "level": level.to_byte(), "sframe": HEX.encode(sframe)}))
            .collect();
        json!({"type": "audio", "packet_number": number, "records": frames, "datagram": HEX.encode(&datagram)})
    };
    let pong = Pong {
        echo: *b"echo1234",
        highest: 77,
        received: 70,
    };
    let loss = LossReport {
        uplink: Loss {
            fraction: 26,
            burst: 6,
        },
        receivers: Loss {
            fraction: 51,
            burst: 12,
        },
    };
    let valid = json!([
        audio(0, &[(1, b"one frame")]),
        audio(1, &[(1, b"one"), (0xffff, b"another"), (7, b"")]),
        {"type": "pong", "packet_number": 2, "echo": HEX.encode(&pong.echo), "highest": 77, "received": 70,
         "datagram": HEX.encode(&pong.encode(2, &key))},
        {"type": "path_challenge", "packet_number": 3, "challenge": HEX.encode(b"prove it"),
         "datagram": HEX.encode(&downlink::path_challenge(*b"prove it", 3, &key))},
        {"type": "bye", "packet_number": 4, "reason": 1,
         "datagram": HEX.encode(&downlink::bye(ByeReason::Closed, 4, &key))},
        {"type": "loss", "packet_number": 6, "uplink": [26, 6], "receivers": [51, 12],
         "datagram": HEX.encode(&loss.encode(6, &key))},
    ]);
    let longer: Vec<_> = [
        (
            "a count",
            0x12,
            1,
            [&pong.echo[..], &77u32.to_be_bytes(), &70u32.to_be_bytes()].concat(),
        ),
        (
            "more behind a pong",
            0x12,
            0,
            [&pong.echo[..], &[0; 8], b"more"].concat(),
        ),
        (
            "more behind a challenge",
            0x13,
            0,
            b"prove it, please".to_vec(),
        ),
        (
            "a reason for bye that stands for 1",
            0x14,
            0,
            vec![200, 1, 2],
        ),
        ("more behind a loss report", 0x15, 0, b"lossmore".to_vec()),
    ]
    .into_iter()
    .map(|(what, kind, count, body)| {
        let head = [kind, count, 0, 0, 0, 5];
        let tag = key.tag(&[&head[..], &body].concat());
        let datagram = [&head[..], &tag, &body].concat();
        assert!(
            Downlink::parse(&datagram).unwrap().is_authentic(&key),
            "{what}"
        );
        json!({"what": what, "datagram": HEX.encode(&datagram)})
    })
    .collect();
    let bundle = HEX
        .decode(valid[1]["datagram"].as_str().unwrap().as_bytes())
        .unwrap();
    let with = |at: usize, byte: u8| {
        let mut bent = bundle.clone();
        bent[at] = byte;
        bent
    };
    let invalid: Vec<_> = [
        ("no record", with(1, 0)),
        ("fewer records than it says", with(1, 4)),
        ("more records than it says", with(1, 2)),
        ("a record longer than the datagram", with(14, 0xff)),
        ("an unknown type", with(0, 0x3f)),
        ("cut", bundle[..bundle.len() - 1].to_vec()),
    ]
    .into_iter()
    .map(|(why, bytes)| {
        assert!(Downlink::parse(&bytes).is_err(), "{why}");
        json!({"why": why, "datagram": HEX.encode(&bytes)})
    })
    .collect();
    let forged = with(20, bundle[20] ^ 1);
    assert!(!Downlink::parse(&forged).unwrap().is_authentic(&key));
    check(
        "downlink.json",
        &json!({
            "key": HEX.encode(&KEY),
            "valid": valid,
            "of_a_later_version": longer,
            "invalid": invalid,
            "wrong_tag": [HEX.encode(&forged)],
        }),
    );
}

#[test]
fn sframe_headers() {
    let valid: Vec<_> = [
        (0u32, 0u8, 0u8, 0u64),
        (0, 0, 7, 7),
        (0, 0, 8, 8),
        (1, 0, 0, 255),
        (5, 3, 200, 65_536),
        (u32::MAX, 3, 255, u64::MAX),
    ]
    .into_iter()
    .map(|(leaf, generation, epoch, counter)| {
        let key_id = KeyId::new(leaf, generation, epoch);
        let mut out = [0; SframeHeader::MAX_LEN];
        let len = SframeHeader { key_id, counter }.write(&mut out);
        json!({
            "leaf": leaf, "generation": generation, "epoch": epoch, "counter": counter.to_string(),
            "kid": key_id.to_u64().to_string(), "header": HEX.encode(&out[..len]),
        })
    })
    .collect();
    let invalid = ["", "80", "8007", "0807", "9000ff", "f8ffffffffffffffff"];
    for header in invalid {
        let bytes = HEX.decode(header.as_bytes()).unwrap();
        assert!(SframeHeader::parse(&bytes).is_err(), "{header}");
    }
    check(
        "sframe_header.json",
        &json!({
            "about": "RFC 9605 §4.3; kid = leaf·1024 + generation·256 + epoch; the shortest form is the only one",
            "valid": valid,
            "invalid": invalid,
        }),
    );
}

#[test]
fn frame_payloads() {
    let copy = |age, opus| Block::Copy { age, opus };
    let payload = |timestamp, opus, blocks| FramePayload {
        timestamp,
        talkspurt: false,
        comfort: false,
        dred_version: 0,
        opus,
        blocks,
    };
    let valid: Vec<_> = [
        (
            FramePayload {
                talkspurt: true,
                ..payload(0, b"\x78opus", vec![])
            },
            0,
        ),
        (payload(960, b"now", vec![copy(8, b"before")]), 8),
        (
            FramePayload {
                dred_version: 5,
                ..payload(
                    u32::MAX,
                    &[9; 64],
                    vec![copy(8, &[1; 63]), copy(16, &[2; 64]), copy(128, &[3; 300])],
                )
            },
            1,
        ),
        (
            FramePayload {
                comfort: true,
                ..payload(1, b"x", vec![])
            },
            200,
        ),
        (
            payload(
                4800,
                b"now",
                vec![
                    Block::Xor {
                        mask: 0b11,
                        symbol: b"\0\x03abc",
                    },
                    Block::RandomLinear {
                        mask: 0x8001,
                        symbol: b"\x17\x2asymbol",
                    },
                    copy(24, b"one"),
                ],
            ),
            0,
        ),
        (payload(6, b"most blocks", vec![copy(8, b"a"); 7]), 3),
    ]
    .into_iter()
    .map(|(payload, padding)| {
        let mut out = Vec::new();
        payload.encode(&mut out).unwrap();
        let size = out.len() + padding;
        out.clear();
        payload.encode_to_size(size, &mut out).unwrap();
        assert_eq!(FramePayload::parse(&out).as_ref(), Ok(&payload));
        let blocks: Vec<_> = payload
            .blocks
            .iter()
            .map(|block| match block {
                Block::Copy { age, opus } => {
                    json!({"kind": "copy", "age": age, "opus": HEX.encode(opus)})
                }
                Block::Xor { mask, symbol } => {
                    json!({"kind": "xor", "mask": mask, "symbol": HEX.encode(symbol)})
                }
                Block::RandomLinear { mask, symbol } => {
                    json!({"kind": "random_linear", "mask": mask, "symbol": HEX.encode(symbol)})
                }
            })
            .collect();
        json!({
            "timestamp": payload.timestamp, "talkspurt": payload.talkspurt, "comfort": payload.comfort,
            "dred_version": payload.dred_version, "opus": HEX.encode(payload.opus), "blocks": blocks,
            "padding": padding, "payload": HEX.encode(&out),
        })
    })
    .collect();
    let eight = format!("800000000001ff{}", "010801ff".repeat(8));
    let invalid: Vec<_> = [
        ("no Opus packet", "8000000000"),
        ("an empty Opus packet", "800000000000"),
        ("an Opus packet that is cut", "800000000003ffff"),
        ("an Opus packet of 1276 bytes", "800000000044fcff"),
        ("no critical flag: another layout", "000000000001ff"),
        ("critical flag 0, of a later version", "810000000001ff"),
        ("critical flag 1, of a later version", "820000000001ff"),
        (
            "a length in two bytes that one would hold",
            "80000000004001ff",
        ),
        ("a length in four bytes", "800000000080000001ff"),
        ("padding that is not zeros", "800000000001ff000001"),
        ("an unknown kind of block", "800000000001ff040801ff"),
        ("a copy of age 0", "800000000001ff010001ff"),
        ("a copy of more than 320 ms", "800000000001ff018101ff"),
        ("an empty copy", "800000000001ff010800"),
        ("a copy that is cut", "800000000001ff010805ff"),
        ("an XOR of nothing", "800000000001ff02000003000141"),
        (
            "a random linear symbol of nothing",
            "800000000001ff03000003000141",
        ),
        ("a symbol of 2 bytes", "800000000001ff020001020001"),
        ("eight blocks", &eight),
    ]
    .into_iter()
    .map(|(why, payload)| {
        let bytes = HEX.decode(payload.as_bytes()).unwrap();
        assert!(FramePayload::parse(&bytes).is_err(), "{why}");
        json!({"why": why, "payload": payload})
    })
    .collect();
    check("payload.json", &json!({"valid": valid, "invalid": invalid}));
}

#[test]
fn replay_windows() {
    let numbers = [
        5u64, 5, 4, 0, 1029, 6, 5, 1029, 1028, 2500, 1477, 1476, 1475, 5000, 3976, 3977,
    ];
    let mut window = ReplayWindow::new();
    let verdicts: Vec<_> = numbers
        .iter()
        .map(|number| {
            let verdict = match window.commit(*number) {
                Ok(()) => "passes".to_owned(),
                Err(error) => error.to_string(),
            };
            json!({"number": number, "verdict": verdict})
        })
        .collect();
    check(
        "replay.json",
        &json!({"window": 1024, "in_order": verdicts}),
    );
}

#[test]
fn requests_in_a_stream() {
    let hello = wire::Request {
        kind: Some(wire::request::Kind::Hello(wire::Hello {
            min_version: 1,
            max_version: 1,
            agent: "example/1.0".to_owned(),
        })),
    };
    let join = wire::Request {
        kind: Some(wire::request::Kind::JoinRoom(wire::JoinRoom {
            slug: "friday-night".to_owned(),
            min_media_version: 1,
            max_media_version: 1,
            capabilities: vec![1],
            ..Default::default()
        })),
    };
    check(
        "requests.json",
        &json!([
            {"request": "hello", "min_version": 1, "max_version": 1, "agent": "example/1.0",
             "stream": HEX.encode(&framing::encode(&hello))},
            {"request": "join_room", "slug": "friday-night", "min_media_version": 1, "max_media_version": 1,
             "capabilities": [1], "stream": HEX.encode(&framing::encode(&join))},
        ]),
    );
}
