//! Frames that a participant may not send.

use std::time::Duration;

use confab_e2ee::{FixedKeys, FrameCipher};
use confab_protocol::media::{KeyId, SframeHeader};
use tokio::time::Instant;

use super::hostile::Hostile;
use super::scene::{ROOM, Scene};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_cannot_speak_as_another() {
    let mut scene = Scene::with_silent_ann().await;
    let mut eve = Hostile::join(&scene.stage.fleet, "eve", ROOM).await;
    // Her own voice is heard: what follows differs by the leaf alone.
    let own = eve.key_of(eve.leaf_of("eve"));
    eve.speak(own, SECOND, true).await;
    scene.ben_hears("eve", 25).await;
    let as_ann = eve.key_of(eve.leaf_of("ann"));
    eve.speak(as_ann, 2 * SECOND, true).await;
    let nobody = eve.key_of(77);
    eve.speak(nobody, SECOND, true).await;
    assert_eq!(scene.heard_by_ben("ann").await, 0);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kicked_participant_neither_hears_nor_speaks() {
    let mut scene = Scene::new().await;
    let mut eve = Hostile::join(&scene.stage.fleet, "eve", ROOM).await;
    let own = eve.key_of(eve.leaf_of("eve"));
    eve.speak(own.clone(), SECOND, true).await;
    scene.ben_hears("eve", 25).await;
    assert!(eve.audio > 25, "{} datagrams", eve.audio);
    scene
        .stage
        .ok("ann", &["conference", "kick", ROOM, "eve"])
        .await;
    // What was on its way when the relay obeyed.
    eve.take_part(SECOND / 2).await;
    let (heard, told) = (eve.audio, eve.messages);
    let spoken = scene.heard_by_ben("eve").await;
    let from = Instant::now();
    eve.speak(own, 2 * SECOND, true).await;
    assert_eq!(eve.audio, heard, "she is sent nothing more");
    assert_eq!(eve.messages, told, "nor told of the next epochs");
    assert_eq!(scene.heard_by_ben("eve").await, spoken);
    scene.ann_was_heard_since(from);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_any_form_stop_nobodys_voice() {
    let mut scene = Scene::new().await;
    let mut eve = Hostile::join(&scene.stage.fleet, "eve", ROOM).await;
    scene.ben_hears("ann", 25).await;
    let from = Instant::now();
    let (key_id, key) = eve.key_of(eve.leaf_of("eve"));
    let mut cipher = FrameCipher::new(FixedKeys::new(key_id, key));
    for round in 0..50u8 {
        let mut sframe = Vec::new();
        // Plaintexts that are no payload, sealed in order.
        let plaintext: Vec<u8> = (0..round).map(|n| n.wrapping_mul(37) ^ 0x80).collect();
        cipher.seal(&plaintext, &mut sframe).unwrap();
        eve.send_frame(&sframe).await;
        // The same again, cut off, and with another bit.
        eve.send_frame(&sframe).await;
        eve.send_frame(&sframe[..sframe.len() - 1]).await;
        let last = sframe.len() - 1;
        sframe[last] ^= 1;
        eve.send_frame(&sframe).await;
        // Counters and key ids at their limits.
        for counter in [u64::MAX, u64::MAX >> 1, 1 << 32] {
            for leaf in [0, 1, u32::MAX >> 1] {
                let key_id = KeyId::new(leaf, key_id.generation, round);
                let mut head = [0; SframeHeader::MAX_LEN];
                let len = SframeHeader { key_id, counter }.write(&mut head);
                eve.send_frame(&[&head[..len], &[round; 40]].concat()).await;
            }
        }
        eve.take_part(Duration::from_millis(40)).await;
    }
    scene.ann_was_heard_since(from);
    scene.end().await;
}
