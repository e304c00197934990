//! The costs of sealing and opening a frame, and its length on the wire.

use std::hint::black_box;
use std::time::Instant;

use confab_e2ee::{BaseKey, FixedKeys, FrameCipher};
use confab_protocol::media::{KeyId, SFRAME_TAG_LEN, TAG_LEN};

use crate::figures::{Figure, Goal, median};

/// Bytes of a frame.
const FRAME: usize = 60;
/// Frames of one measurement, and measurements.
const FRAMES: usize = 20_000;
const TIMES: usize = 11;

/// Bytes of a datagram from a client before its SFrame: type, connection id, packet number, level.
const UPLINK_HEADER: usize = 14;
/// Bytes of a record from a relay before its SFrame: length, sender, level.
const RECORD_HEADER: usize = 5;

fn cipher(own: KeyId, others: &[KeyId]) -> FrameCipher<FixedKeys> {
    let key = || BaseKey::new([7; BaseKey::LEN]);
    let mut keys = FixedKeys::new(own, key());
    for other in others {
        keys.set(*other, key());
    }
    FrameCipher::new(keys)
}

/// Nanoseconds a frame, and bytes beside it on the wire.
pub fn figures() -> Vec<Figure> {
    let (ann, ben) = (KeyId::new(3, 1, 7), KeyId::new(4, 1, 7));
    let plaintext = [0x5a; FRAME];
    let (mut sealing, mut opening) = (Vec::new(), Vec::new());
    let mut length = 0;
    for _ in 0..TIMES {
        let mut sender = cipher(ann, &[ben]);
        let mut receiver = cipher(ben, &[ann]);
        let mut frames: Vec<Vec<u8>> = (0..FRAMES).map(|_| Vec::with_capacity(128)).collect();
        let began = Instant::now();
        for frame in &mut frames {
            let sealed = sender.seal(black_box(&plaintext), frame);
            debug_assert!(sealed.is_ok());
        }
        sealing.push(nanoseconds(began));
        let mut out = Vec::with_capacity(128);
        let began = Instant::now();
        for frame in &frames {
            out.clear();
            let opened = receiver.open(black_box(frame), &mut out);
            debug_assert!(opened.is_ok());
        }
        opening.push(nanoseconds(began));
        length = frames.last().map_or(0, Vec::len);
    }
    let beside = (length - FRAME) as f64;
    vec![
        Figure::new("e2ee.seal_ns", median(sealing), "ns", Goal::AtMost(250.0)),
        Figure::new("e2ee.open_ns", median(opening), "ns", Goal::AtMost(250.0)),
        Figure::new(
            "e2ee.sframe_bytes",
            beside,
            "bytes",
            Goal::AtMost((SFRAME_TAG_LEN + 8) as f64),
        ),
        Figure::new(
            "e2ee.overhead_bytes.up",
            beside + (UPLINK_HEADER + TAG_LEN) as f64,
            "bytes",
            Goal::None,
        ),
        Figure::new(
            "e2ee.overhead_bytes.down",
            beside + RECORD_HEADER as f64,
            "bytes",
            Goal::None,
        ),
    ]
}

fn nanoseconds(since: Instant) -> f64 {
    since.elapsed().as_nanos() as f64 / FRAMES as f64
}
