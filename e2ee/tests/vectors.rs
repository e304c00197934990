//! `protocol/vectors/frame.json` says how a frame is sealed from the base key on, for other implementations.
//!
//! After a change: `CONFAB_WRITE_VECTORS=1 cargo test -p confab-e2ee --test vectors`, and look at the difference.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use confab_e2ee::{BaseKey, FixedKeys, FrameCipher};
use confab_protocol::media::KeyId;
use data_encoding::HEXLOWER as HEX;
use serde_json::json;

#[test]
fn frames_from_the_base_key_on() {
    let base_key: [u8; BaseKey::LEN] = std::array::from_fn(|n| n as u8);
    let key_id = KeyId::new(5, 2, 77);
    let mut cipher = FrameCipher::new(FixedKeys::new(key_id, BaseKey::new(base_key)));
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
        "base_key": HEX.encode(&base_key),
        "leaf": key_id.leaf,
        "generation": key_id.generation,
        "epoch": key_id.epoch,
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
