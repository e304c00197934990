//! Every datagram and payload comes out as it went in, and no bytes make a parser panic.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use confab_protocol::media::downlink::{
    self, ByeReason, Downlink, DownlinkBody, MAX_RECORDS_LEN, Pong, Record,
};
use confab_protocol::media::payload::{Block, FramePayload, MAX_AGE, MAX_BLOCKS};
use confab_protocol::media::uplink::{MAX_SFRAME, MIN_SFRAME, Uplink, UplinkBody};
use confab_protocol::media::{
    AudioLevel, ConnectionId, HopKey, Loss, LossReport, MAX_DATAGRAM, MediaError,
    PACKET_NUMBER_LIMIT, ReceptionCounts, RecordDigest,
};
use proptest::prelude::*;

const KEY: HopKey = HopKey::new(*b"0123456789abcdef");

#[derive(Debug, Clone)]
enum Body {
    Audio(u8, Vec<u8>),
    KeepAlive([u8; 8]),
    PathResponse([u8; 8]),
    Bye,
    Reception(ReceptionCounts),
}

impl Body {
    fn borrow(&self) -> UplinkBody<'_> {
        match self {
            Self::Audio(level, sframe) => UplinkBody::Audio {
                level: AudioLevel::from_byte(*level),
                sframe,
            },
            Self::KeepAlive(echo) => UplinkBody::KeepAlive { echo: *echo },
            Self::PathResponse(challenge) => UplinkBody::PathResponse {
                challenge: *challenge,
            },
            Self::Bye => UplinkBody::Bye,
            Self::Reception(counts) => UplinkBody::Reception(*counts),
        }
    }
}

fn bodies() -> impl Strategy<Value = Body> {
    prop_oneof![
        (
            any::<u8>(),
            prop::collection::vec(any::<u8>(), MIN_SFRAME..=MAX_SFRAME)
        )
            .prop_map(|(level, sframe)| Body::Audio(level, sframe)),
        any::<[u8; 8]>().prop_map(Body::KeepAlive),
        any::<[u8; 8]>().prop_map(Body::PathResponse),
        Just(Body::Bye),
        any::<(u32, u32, u16)>().prop_map(|(highest, received, runs)| {
            Body::Reception(ReceptionCounts {
                highest,
                received,
                runs,
            })
        }),
    ]
}

/// Sender, level and SFrame of each record.
fn records() -> impl Strategy<Value = Vec<(u16, u8, Vec<u8>)>> {
    let record = (
        any::<u16>(),
        any::<u8>(),
        prop::collection::vec(any::<u8>(), 0..120),
    );
    prop::collection::vec(record, 1..9)
}

fn audio_datagram(number: u32, records: &[(u16, u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut digests = Vec::new();
    for (sender, level, sframe) in records {
        let level = AudioLevel::from_byte(*level);
        let start = bytes.len();
        bytes.extend_from_slice(&Record::header(*sender, level, sframe.len()).unwrap());
        bytes.extend_from_slice(sframe);
        digests.push(RecordDigest::of(&bytes[start..]));
    }
    let head = downlink::audio_header(records.len() as u8, number, &KEY, &digests);
    [&head[..], &bytes].concat()
}

proptest! {
    #[test]
    fn an_uplink_datagram_comes_out_as_it_went_in(
        id: u64, number in 0..PACKET_NUMBER_LIMIT, body in bodies()
    ) {
        let id = ConnectionId::from_bytes(id.to_be_bytes());
        let mut out = Vec::new();
        body.borrow().encode(id, number, &KEY, &mut out).unwrap();
        prop_assert!(out.len() <= MAX_DATAGRAM);
        let uplink = Uplink::parse(&out).unwrap();
        prop_assert_eq!(uplink.connection_id, id);
        prop_assert_eq!(uplink.packet_number, number);
        prop_assert_eq!(uplink.body, body.borrow());
        prop_assert!(uplink.is_authentic(&KEY));
        prop_assert!(!uplink.is_authentic(&HopKey::new([0; 16])));
    }

    #[test]
    fn a_flipped_bit_of_an_uplink_datagram_shows(
        body in bodies(), at: prop::sample::Index, bit in 0u8..8
    ) {
        let mut out = Vec::new();
        body.borrow().encode(ConnectionId::new(1, 2, 3), 4, &KEY, &mut out).unwrap();
        let at = at.index(out.len());
        out[at] ^= 1 << bit;
        if let Ok(uplink) = Uplink::parse(&out) {
            prop_assert!(!uplink.is_authentic(&KEY));
        }
    }

    #[test]
    fn an_audio_bundle_comes_out_as_it_went_in(
        number in 0..PACKET_NUMBER_LIMIT, records in records()
    ) {
        let datagram = audio_datagram(number, &records);
        let downlink = Downlink::parse(&datagram).unwrap();
        prop_assert_eq!(downlink.packet_number, number);
        prop_assert!(downlink.is_authentic(&KEY));
        let DownlinkBody::Audio(parsed) = downlink.body else { panic!("audio") };
        let parsed: Vec<_> = parsed
            .iter()
            .map(|r| (r.sender, r.level.to_byte(), r.sframe.to_vec()))
            .collect();
        prop_assert_eq!(parsed, records);
    }

    #[test]
    fn a_flipped_bit_of_a_downlink_datagram_shows(
        records in records(), at: prop::sample::Index, bit in 0u8..8
    ) {
        let mut datagram = audio_datagram(7, &records);
        let at = at.index(datagram.len());
        datagram[at] ^= 1 << bit;
        if let Ok(downlink) = Downlink::parse(&datagram) {
            prop_assert!(!downlink.is_authentic(&KEY));
        }
    }

    #[test]
    fn what_is_not_audio_comes_out_as_it_went_in(
        number in 0..PACKET_NUMBER_LIMIT, echo: [u8; 8], highest: u32, received: u32
    ) {
        let pong = Pong { echo, highest, received };
        let datagram = pong.encode(number, &KEY);
        let downlink = Downlink::parse(&datagram).unwrap();
        prop_assert!(downlink.is_authentic(&KEY));
        prop_assert!(matches!(downlink.body, DownlinkBody::Pong(parsed) if parsed == pong));

        let datagram = downlink::path_challenge(echo, number, &KEY);
        let downlink = Downlink::parse(&datagram).unwrap();
        prop_assert!(downlink.is_authentic(&KEY));
        prop_assert!(matches!(downlink.body, DownlinkBody::PathChallenge(bytes) if bytes == echo));

        let loss = |at: usize| Loss { fraction: echo[at], burst: echo[at + 1] };
        let report = LossReport { uplink: loss(0), receivers: loss(2) };
        let datagram = report.encode(number, &KEY);
        let downlink = Downlink::parse(&datagram).unwrap();
        prop_assert!(downlink.is_authentic(&KEY));
        prop_assert!(matches!(downlink.body, DownlinkBody::Loss(parsed) if parsed == report));

        for reason in [ByeReason::Closed, ByeReason::Replaced, ByeReason::Draining] {
            let datagram = downlink::bye(reason, number, &KEY);
            let downlink = Downlink::parse(&datagram).unwrap();
            prop_assert!(downlink.is_authentic(&KEY));
            prop_assert!(matches!(downlink.body, DownlinkBody::Bye(parsed) if parsed == reason));
        }
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..1300)) {
        let _ = Uplink::parse(&bytes).map(|uplink| uplink.is_authentic(&KEY));
        let _ = Downlink::parse(&bytes).map(|downlink| downlink.is_authentic(&KEY));
        let _ = FramePayload::parse(&bytes);
    }

    /// Bytes that begin as a datagram should get further into the parsers than any bytes do.
    #[test]
    fn no_bytes_after_a_good_beginning_make_a_parser_panic(
        kind in prop::sample::select(vec![1u8, 2, 3, 4, 5, 0x11, 0x12, 0x13, 0x14, 0x15]),
        count in 0u8..5,
        rest in prop::collection::vec(0u8..20, 0..200),
    ) {
        let bytes = [&[kind, count, 0][..], &rest].concat();
        let _ = Uplink::parse(&bytes).map(|uplink| uplink.is_authentic(&KEY));
        let _ = Downlink::parse(&bytes).map(|downlink| downlink.is_authentic(&KEY));
    }

    #[test]
    fn a_payload_comes_out_as_it_went_in_with_any_padding(
        timestamp: u32, talkspurt: bool, comfort: bool, dred_version in 0u8..8,
        blocks in prop::collection::vec(block(), 0..=MAX_BLOCKS),
        opus in prop::collection::vec(any::<u8>(), 1..=1275),
        padding in 0usize..100,
    ) {
        let blocks = blocks.iter().map(BlockOf::borrow).collect();
        let payload = FramePayload { timestamp, talkspurt, comfort, dred_version, opus: &opus, blocks };
        let mut out = Vec::new();
        payload.encode(&mut out).unwrap();
        if payload.blocks.is_empty() {
            prop_assert_eq!(out.len(), FramePayload::size_without_blocks(opus.len()));
        }
        let mut padded = Vec::new();
        payload.encode_to_size(out.len() + padding, &mut padded).unwrap();
        prop_assert_eq!(padded.len(), out.len() + padding);
        let too_small = payload.encode_to_size(out.len() - 1, &mut padded);
        prop_assert_eq!(too_small, Err(MediaError::TooLong { got: out.len(), limit: out.len() - 1 }));
        prop_assert_eq!(padded.len(), out.len() + padding, "nothing is left behind");
        prop_assert_eq!(FramePayload::parse(&out), Ok(payload.clone()));
        prop_assert_eq!(FramePayload::parse(&padded), Ok(payload));
    }

    /// A cut payload is refused, unless the cut is between two blocks: then it has the blocks before the cut.
    #[test]
    fn a_cut_payload_is_refused_or_has_its_first_blocks(
        blocks in prop::collection::vec(block(), 0..4),
        opus in prop::collection::vec(any::<u8>(), 1..100),
    ) {
        let blocks: Vec<_> = blocks.iter().map(BlockOf::borrow).collect();
        let with = |count: usize| FramePayload {
            timestamp: 7, talkspurt: false, comfort: false, dred_version: 0, opus: &opus, blocks: blocks[..count].to_vec(),
        };
        let mut out = Vec::new();
        with(blocks.len()).encode(&mut out).unwrap();
        let ends: Vec<usize> = (0..=blocks.len()).map(|count| {
            let mut shorter = Vec::new();
            with(count).encode(&mut shorter).unwrap();
            shorter.len()
        }).collect();
        for cut in 0..out.len() {
            let parsed = FramePayload::parse(&out[..cut]);
            match ends.iter().position(|end| *end == cut) {
                Some(count) => prop_assert_eq!(parsed, Ok(with(count))),
                None => prop_assert!(parsed.is_err(), "cut to {}", cut),
            }
        }
    }

    /// A plaintext has one form: what parses is what encoding gives back.
    #[test]
    fn what_parses_as_a_payload_encodes_to_the_same(
        flags in prop::sample::select(vec![0x80u8, 0xa0, 0xc4, 0xfc]),
        rest in prop::collection::vec(0u8..10, 4..40),
    ) {
        let bytes = [&[flags][..], &rest].concat();
        if let Ok(payload) = FramePayload::parse(&bytes) {
            let mut out = Vec::new();
            payload.encode_to_size(bytes.len(), &mut out).unwrap();
            prop_assert_eq!(out, bytes);
        }
    }
}

/// A block with bytes of its own.
#[derive(Clone, Debug)]
enum BlockOf {
    Copy(u8, Vec<u8>),
    Xor(u16, Vec<u8>),
    RandomLinear(u16, Vec<u8>),
}

impl BlockOf {
    fn borrow(&self) -> Block<'_> {
        match self {
            Self::Copy(age, opus) => Block::Copy { age: *age, opus },
            Self::Xor(mask, symbol) => Block::Xor {
                mask: *mask,
                symbol,
            },
            Self::RandomLinear(mask, symbol) => Block::RandomLinear {
                mask: *mask,
                symbol,
            },
        }
    }
}

fn block() -> impl Strategy<Value = BlockOf> {
    let bytes = |least| prop::collection::vec(any::<u8>(), least..200);
    prop_oneof![
        (1..=MAX_AGE, bytes(1)).prop_map(|(age, opus)| BlockOf::Copy(age, opus)),
        (1u16.., bytes(3)).prop_map(|(mask, symbol)| BlockOf::Xor(mask, symbol)),
        (1u16.., bytes(3)).prop_map(|(mask, symbol)| BlockOf::RandomLinear(mask, symbol)),
    ]
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing_behind() {
    let id = ConnectionId::new(0, 0, 0);
    let long = vec![0; MAX_SFRAME + 1];
    let audio = |sframe| UplinkBody::Audio {
        level: AudioLevel::SILENCE,
        sframe,
    };
    let mut out = Vec::new();
    for (body, number) in [
        (audio(&long), 0),
        (audio(&[]), 0),
        (audio(&[0; MIN_SFRAME - 1]), 0),
        (UplinkBody::Bye, PACKET_NUMBER_LIMIT),
    ] {
        assert!(body.encode(id, number, &KEY, &mut out).is_err());
        assert!(out.is_empty());
    }
    assert!(Record::header(0, AudioLevel::SILENCE, MAX_RECORDS_LEN).is_err());

    let good = FramePayload {
        timestamp: 0,
        talkspurt: false,
        comfort: false,
        dred_version: 0,
        opus: &[1],
        blocks: vec![],
    };
    let copy = |age, opus| Block::Copy { age, opus };
    let with = |block| FramePayload {
        blocks: vec![block],
        ..good.clone()
    };
    let long = [0; 1278];
    for bad in [
        FramePayload {
            opus: &[],
            ..good.clone()
        },
        FramePayload {
            opus: &long[..1276],
            ..good.clone()
        },
        FramePayload {
            dred_version: 8,
            ..good.clone()
        },
        FramePayload {
            blocks: vec![copy(8, &[1]); MAX_BLOCKS + 1],
            ..good.clone()
        },
        with(copy(0, &[1])),
        with(copy(MAX_AGE + 1, &[1])),
        with(copy(8, &[])),
        with(Block::Xor {
            mask: 0,
            symbol: &[0, 1, 2],
        }),
        with(Block::RandomLinear {
            mask: 1,
            symbol: &[0, 1],
        }),
        with(Block::RandomLinear {
            mask: 1,
            symbol: &long,
        }),
    ] {
        assert!(bad.encode(&mut out).is_err());
        assert!(out.is_empty());
    }
}

#[test]
fn an_empty_record_says_that_a_speaker_is_no_longer_forwarded() {
    let datagram = audio_datagram(1, &[(3, 0, vec![]), (4, 0, vec![1])]);
    let DownlinkBody::Audio(records) = Downlink::parse(&datagram).unwrap().body else {
        panic!("audio")
    };
    let records: Vec<_> = records.iter().collect();
    assert_eq!((records[0].sender, records[0].sframe), (3, &[][..]));
    assert_eq!((records[1].sender, records[1].sframe), (4, &[1][..]));
}

#[test]
fn counts_that_do_not_match_the_records_are_refused() {
    for count in [0, 1, 3] {
        let mut datagram = audio_datagram(1, &[(3, 0, vec![9; 9]), (4, 0, vec![9; 9])]);
        datagram[1] = count;
        assert!(matches!(
            Downlink::parse(&datagram),
            Err(MediaError::BadLength | MediaError::OutOfRange | MediaError::Truncated { .. })
        ));
    }
}

#[test]
fn levels_go_in_steps_of_six_decibels() {
    for (minus_dbov, expected) in [
        (0.0, 0),
        (2.9, 0),
        (3.1, 6),
        (40.0, 42),
        (500.0, 126),
        (-5.0, 0),
        (f32::NAN, 0),
    ] {
        let level = AudioLevel::new(true, minus_dbov);
        assert_eq!((level.minus_dbov(), level.is_voice()), (expected, true));
    }
    assert!(!AudioLevel::SILENCE.is_voice());
}
