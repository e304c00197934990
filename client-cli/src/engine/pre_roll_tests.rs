//! The begins of words, from a talker whose gate opens late to a listener.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use confab_e2ee::{BaseKey, FixedKeys, FrameCipher};
use confab_protocol::control::JoinId;
use confab_protocol::media::KeyId;
use confab_voice::{AdaptationConfig, EncoderConfig, FrameDuration, Spurts, TalkMode, level_dbov};

use super::speakers::Speakers;
use super::talker::Talker;
use super::testing::participant;

const BLOCK: usize = 480;
const BLOCK_TIME: Duration = Duration::from_millis(10);
/// The way from the talker to the listener.
const DELAY_BLOCKS: usize = 3;
const TALKER: KeyId = KeyId::new(1, 0, 0);

fn cipher(own: KeyId) -> FrameCipher<FixedKeys> {
    let mut keys = FixedKeys::new(own, BaseKey::new([5; BaseKey::LEN]));
    keys.set(TALKER, BaseKey::new([5; BaseKey::LEN]));
    FrameCipher::new(keys)
}

/// A word: 80 ms that do not open the gate, and then 600 ms that do; 2 s of silence around it. By blocks, as an amplitude.
fn amplitude(block: usize) -> f32 {
    match block % 300 {
        100..108 => 0.02,
        108..168 => 0.2,
        _ => 0.0,
    }
}

/// What the listener hears, block by block, in dB under full scale, and its delay in ms. `loses_first`: the first packet of each
/// word.
fn heard(frame: FrameDuration, loses_first: bool) -> Vec<(f32, f32)> {
    let config = AdaptationConfig {
        encoder: EncoderConfig {
            frame,
            ..EncoderConfig::default()
        },
        ..AdaptationConfig::default()
    };
    let spurts = Spurts::new(TalkMode::Threshold(25.0), false);
    let mut talker = Talker::new(config, 0, spurts).unwrap();
    let (mut seals, mut opens) = (cipher(TALKER), cipher(KeyId::new(2, 0, 0)));
    let mut speakers = Speakers::new(Duration::from_millis(200));
    let join: JoinId = participant(1).join_id;
    speakers.set(participant(1));
    let (mut way, mut pauses) = (VecDeque::new(), true);
    let mut now = Instant::now();
    let mut out = Vec::new();
    for block in 0..900 {
        now += BLOCK_TIME;
        let pcm: Vec<f32> = (0..BLOCK)
            .map(|n| {
                let phase = (block * BLOCK + n) as f32 * 0.06;
                amplitude(block) * (phase.sin() + 0.4 * (2.0 * phase).sin())
            })
            .collect();
        let sealed = talker.capture(now, &pcm, &mut seals).unwrap();
        if block % 300 == 99 {
            pauses = true;
        }
        if let Some(sealed) = sealed {
            let is_first = std::mem::replace(&mut pauses, false);
            if !(is_first && loses_first) {
                way.push_back((block + DELAY_BLOCKS, sealed));
            }
        }
        while let Some((_, sealed)) = way.pop_front_if(|(due, _)| *due <= block) {
            let mut plaintext = Vec::new();
            opens.open(&sealed.sframe, &mut plaintext).unwrap();
            speakers.push(now, join, sealed.level, &plaintext).unwrap();
        }
        let mut mix = [0.0; BLOCK];
        speakers.play(now, &mut mix, true, |_, _| {});
        let delay = speakers.stats().first().map_or(0.0, |one| one.delay_ms);
        out.push((level_dbov(&mix), delay));
    }
    out
}

/// The blocks of each word that are heard, softly and loudly.
fn words(heard: &[(f32, f32)]) -> Vec<(usize, usize)> {
    let word = |blocks: &[(f32, f32)]| {
        let between = |least: f32, most: f32| {
            let inside = |level: &&(f32, f32)| (least..most).contains(&level.0);
            blocks.iter().filter(inside).count()
        };
        (between(25.0, 45.0), between(0.0, 25.0))
    };
    heard.chunks(300).map(word).collect()
}

#[test]
fn a_word_is_heard_from_its_begin_and_the_delay_is_gone_in_half_a_second() {
    for frame in [
        FrameDuration::Ms10,
        FrameDuration::Ms20,
        FrameDuration::Ms40,
    ] {
        let heard = heard(frame, false);
        for (soft, loud) in words(&heard) {
            // Some of it is played faster.
            assert!(soft >= 4, "{frame:?}: the begin is missing: {soft} blocks");
            assert!((48..=66).contains(&loud), "{frame:?}: {loud} blocks");
        }
        for word in heard.chunks(300) {
            let begin = word.iter().position(|(level, _)| *level < 45.0).unwrap();
            let steady = word[begin + 50].1;
            let end = word[begin + 58].1;
            assert!(
                (steady - end).abs() <= 10.0,
                "{frame:?}: {steady} ms, then {end} ms"
            );
            assert!(steady < 60.0, "{frame:?}: {steady} ms");
        }
    }
}

#[test]
fn without_its_first_packet_a_word_begins_with_the_second() {
    let heard = heard(FrameDuration::Ms20, true);
    for (_, loud) in words(&heard) {
        assert!(loud >= 50, "{loud} blocks");
    }
}
