//! SFrame against the vectors of RFC 9605, appendix C.3, for cipher suite 0x0004.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use confab_e2ee::BaseKey;
use confab_e2ee::sframe::SframeKey;
use confab_protocol::media::{KeyId, SframeHeader};
use data_encoding::HEXLOWER as HEX;

const COUNTER: u64 = 0x4567;
const METADATA: &[u8] = b"IETF SFrame WG";
const PLAINTEXT: &[u8] = b"draft-ietf-sframe-enc";
const CIPHERTEXT: &str =
    "9901234567b7412c2513a1b66dbb48841bbaf17f598751176ad847681a69c6d0b091c07018ce4adb34eb";

fn key() -> SframeKey {
    let base_key: [u8; 16] = std::array::from_fn(|n| n as u8);
    let key_id = KeyId::from_u64(0x123).unwrap();
    SframeKey::derive(&BaseKey::new(base_key), key_id)
}

#[test]
fn a_frame_is_sealed_as_in_the_rfc() {
    let mut out = Vec::new();
    key().seal(COUNTER, METADATA, PLAINTEXT, &mut out);
    assert_eq!(HEX.encode(&out), CIPHERTEXT);
}

#[test]
fn the_rfc_9605_test_frame_opens() {
    let sframe = HEX.decode(CIPHERTEXT.as_bytes()).unwrap();
    let (header, len) = SframeHeader::parse(&sframe).unwrap();
    assert_eq!((header.key_id.to_u64(), header.counter), (0x123, COUNTER));
    let mut out = Vec::new();
    key()
        .open(header, len, METADATA, &sframe, &mut out)
        .unwrap();
    assert_eq!(out, PLAINTEXT);
    assert!(key().open(header, len, b"", &sframe, &mut out).is_err());
}
