//! Datagrams of both directions and SFrame headers: what is parsed is encoded to the same bytes, and only what was
//! tagged with the key is authentic.

use confab_protocol::media::downlink::{
    Downlink, DownlinkBody, HEADER_LEN, Record, audio_header, bye, path_challenge,
};
use confab_protocol::media::uplink::{Uplink, UplinkBody};
use confab_protocol::media::{
    AudioLevel, HopKey, KeyId, MAX_DATAGRAM, RecordDigest, SframeHeader, TAG_LEN,
};

const KEY: HopKey = HopKey::new([0x5a; 16]);
const OTHER_KEY: HopKey = HopKey::new([0xa5; 16]);

/// Takes a datagram, or an SFrame header.
pub fn run(data: &[u8]) {
    uplink(data);
    downlink(data);
    sframe_header(data);
}

fn uplink(data: &[u8]) {
    let Ok(parsed) = Uplink::parse(data) else {
        return;
    };
    assert!(data.len() <= MAX_DATAGRAM);
    let mut encoded = vec![0xee];
    parsed
        .body
        .encode(
            parsed.connection_id,
            parsed.packet_number,
            &KEY,
            &mut encoded,
        )
        .expect("what was parsed can be encoded");
    let encoded = &encoded[1..];
    let (signed, tag) = data.split_at(data.len() - TAG_LEN);
    let known = &encoded[..encoded.len() - TAG_LEN];
    if let UplinkBody::Audio { .. } = parsed.body {
        assert_eq!(known, signed);
    } else {
        // A later version may have added to it.
        assert!(signed.starts_with(known));
    }
    assert_eq!(parsed.is_authentic(&KEY), KEY.tag(signed) == tag);

    let again = Uplink::parse(encoded).expect("what was encoded can be parsed");
    assert_eq!(again.body, parsed.body);
    assert!(again.is_authentic(&KEY));
    assert!(!again.is_authentic(&OTHER_KEY));
    let changed = change_a_bit(encoded);
    assert!(!Uplink::parse(&changed).is_ok_and(|changed| changed.is_authentic(&KEY)));
}

fn downlink(data: &[u8]) {
    let Ok(parsed) = Downlink::parse(data) else {
        return;
    };
    assert!(data.len() <= MAX_DATAGRAM);
    let encoded = encode(&parsed);
    let (head, body) = (&data[..6], &data[HEADER_LEN..]);
    let known = &encoded[HEADER_LEN..];
    assert_eq!((encoded[0], &encoded[2..6]), (data[0], &data[2..6]));
    match parsed.body {
        DownlinkBody::Audio(_) => {
            assert_eq!(encoded[1], data[1]);
            assert_eq!(known, body);
            assert_eq!(parsed.is_authentic(&KEY), encoded == data);
        }
        // A later version may have added to it, and have other reasons.
        DownlinkBody::Bye(_) => assert!(body.len() >= known.len()),
        DownlinkBody::Pong(_) | DownlinkBody::PathChallenge(_) | DownlinkBody::Loss(_) => {
            assert!(body.starts_with(known));
        }
    }
    if !matches!(parsed.body, DownlinkBody::Audio(_)) {
        let tag = KEY.tag(&[head, body].concat());
        assert_eq!(parsed.is_authentic(&KEY), tag == data[6..HEADER_LEN]);
    }

    let again = Downlink::parse(&encoded).expect("what was encoded can be parsed");
    assert_eq!(again.packet_number, parsed.packet_number);
    assert!(again.is_authentic(&KEY));
    assert!(!again.is_authentic(&OTHER_KEY));
    let changed = change_a_bit(&encoded);
    assert!(!Downlink::parse(&changed).is_ok_and(|changed| changed.is_authentic(&KEY)));
}

fn encode(parsed: &Downlink<'_>) -> Vec<u8> {
    let number = parsed.packet_number;
    match parsed.body {
        DownlinkBody::Audio(records) => {
            let records: Vec<Vec<u8>> = records.iter().map(encode_record).collect();
            let digests: Vec<_> = records.iter().map(|r| RecordDigest::of(r)).collect();
            let count = u8::try_from(records.len()).expect("a byte counts the records");
            let mut out = audio_header(count, number, &KEY, &digests).to_vec();
            out.extend(records.concat());
            out
        }
        DownlinkBody::Pong(pong) => pong.encode(number, &KEY).to_vec(),
        DownlinkBody::PathChallenge(bytes) => path_challenge(bytes, number, &KEY).to_vec(),
        DownlinkBody::Loss(report) => report.encode(number, &KEY).to_vec(),
        DownlinkBody::Bye(reason) => bye(reason, number, &KEY).to_vec(),
    }
}

fn encode_record(record: Record<'_>) -> Vec<u8> {
    assert_eq!(AudioLevel::from_byte(record.level.to_byte()), record.level);
    let header = Record::header(record.sender, record.level, record.sframe.len())
        .expect("a record that came in a datagram fits into one");
    [&header[..], record.sframe].concat()
}

fn sframe_header(data: &[u8]) {
    let Ok((header, len)) = SframeHeader::parse(data) else {
        return;
    };
    let mut out = [0xee; SframeHeader::MAX_LEN];
    let written = header.write(&mut out);
    assert_eq!(out[..written], data[..len]);
    assert_eq!(KeyId::from_u64(header.key_id.to_u64()), Ok(header.key_id));
}

/// Which bit is the bytes' own affair, so that the same input does the same again.
fn change_a_bit(bytes: &[u8]) -> Vec<u8> {
    let sum: usize = bytes.iter().map(|byte| usize::from(*byte)).sum();
    let mut changed = bytes.to_vec();
    changed[sum % bytes.len()] ^= 1 << (sum % 8);
    changed
}
