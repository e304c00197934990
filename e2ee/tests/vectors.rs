//! `protocol/vectors/frame.json` says how a frame is sealed from the room's secret on, for other implementations.
//!
//! After a change: `CONFAB_WRITE_VECTORS=1 cargo test -p confab-e2ee --test vectors`, and look at the difference.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use confab_e2ee::{FrameCipher, RoomKeys};
use confab_protocol::control::{JoinId, RoomSecret};
use data_encoding::HEXLOWER as HEX;
use serde_json::json;

#[test]
fn frames_from_the_rooms_secret_on() {
    let secret: [u8; 32] = std::array::from_fn(|n| n as u8);
    let join: [u8; 16] = std::array::from_fn(|n| 0xa0 + n as u8);
    let leaf = 5;
    let keys = RoomKeys::new(RoomSecret::new(secret), leaf, JoinId::new(join));
    let mut cipher = FrameCipher::new(keys);
    let frames: Vec<_> = ["first", "second", "third"]
        .iter()
        .enumerate()
        .map(|(counter, plaintext)| {
            let mut sframe = Vec::new();
            cipher.seal(plaintext.as_bytes(), &mut sframe).unwrap();
            json!({
                "counter": counter,
                "plaintext": HEX.encode(plaintext.as_bytes()),
                "sframe": HEX.encode(&sframe),
            })
        })
        .collect();
    let vectors = json!({
        "room_secret": HEX.encode(&secret),
        "join_id": HEX.encode(&join),
        "leaf": leaf,
        "frames": frames,
    });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors/frame.json");
    let text = format!("{vectors:#}\n");
    if std::env::var_os("CONFAB_WRITE_VECTORS").is_some() {
        std::fs::write(file, text).unwrap();
        return;
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), text);
}
