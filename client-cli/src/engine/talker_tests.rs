//! What the path sees of a voice.

use std::time::{Duration, Instant};

use confab_e2ee::{BaseKey, FixedKeys, FrameCipher};
use confab_protocol::media::{AudioLevel, FramePayload, KeyId, Loss, LossReport};
use confab_voice::{AdaptationConfig, EncoderConfig, FrameDuration, Spurts, TalkMode};
use proptest::prelude::*;

use super::talker::{SealedFrame, Talker};

/// Levels of what is said, in −dBov; none is near the middle between two steps of the level byte, and all are a voice however
/// long they last.
const LEVELS: [f32; 3] = [12.0, 18.5, 24.0];

/// Time of silence that does not end a spurt, in milliseconds.
const SHORT_SILENCE: usize = 200;

/// What is said in a frame. Two inputs with the same spurts differ in these.
#[derive(Clone, Copy, Debug)]
enum Sound {
    Noise,
    Tone(u16),
    Clicks,
    Silence,
}

/// A pause, and a spurt that begins and ends with a sound; both in frames.
#[derive(Clone, Debug)]
struct Spurt {
    pause: usize,
    inputs: [Vec<Sound>; 2],
}

fn sound() -> impl Strategy<Value = Sound> {
    prop_oneof![
        Just(Sound::Noise),
        (100u16..8000).prop_map(Sound::Tone),
        Just(Sound::Clicks),
        Just(Sound::Silence),
    ]
}

fn spurt() -> impl Strategy<Value = Spurt> {
    let inputs = |frames| {
        let input = move || prop::collection::vec(sound(), frames);
        (input(), input())
    };
    (0usize..60, (1usize..60).prop_flat_map(inputs)).prop_map(|(pause, (one, two))| Spurt {
        pause,
        inputs: [one, two],
    })
}

/// An input's frames, as samples. `which`: the first or the second.
fn samples(spurts: &[Spurt], which: usize, level_dbov: f32, frame: FrameDuration) -> Vec<Vec<f32>> {
    let length = frame.samples();
    let short = SHORT_SILENCE * 48 / length;
    let mut seed = which as u32;
    let mut out = Vec::new();
    for spurt in spurts {
        // What cannot be heard differs too.
        let background = [0.0, 0.0002][which];
        out.extend((0..spurt.pause).map(|_| {
            let sound = Sound::Noise;
            at_level(sound, background, length, &mut seed)
        }));
        let mut silent = 0;
        let last = spurt.inputs[which].len() - 1;
        for (n, sound) in spurt.inputs[which].iter().enumerate() {
            let is_silent = matches!(sound, Sound::Silence);
            silent = if is_silent { silent + 1 } else { 0 };
            let sound = match is_silent && (silent > short || n == 0 || n == last) {
                true => Sound::Noise,
                false => *sound,
            };
            if !matches!(sound, Sound::Silence) {
                silent = 0;
            }
            let amplitude = 10f32.powf(level_dbov / -20.0);
            out.push(at_level(sound, amplitude, length, &mut seed));
        }
    }
    out
}

/// A frame with this RMS amplitude.
fn at_level(sound: Sound, rms: f32, length: usize, seed: &mut u32) -> Vec<f32> {
    let raw: Vec<f32> = (0..length)
        .map(|n| match sound {
            Sound::Noise => {
                *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (*seed >> 8) as f32 / (1 << 23) as f32 - 1.0
            }
            Sound::Tone(hertz) => {
                (n as f32 * f32::from(hertz) / 48_000.0 * std::f32::consts::TAU).sin()
            }
            Sound::Clicks => f32::from(u8::from(n % 120 == 0)),
            Sound::Silence => 0.0,
        })
        .collect();
    let energy: f32 = raw.iter().map(|sample| sample * sample).sum();
    let gain = rms / (energy / length as f32).sqrt().max(1e-9);
    raw.iter().map(|sample| sample * gain).collect()
}

const TALKER: KeyId = KeyId::new(1, 0, 0);

const KEY: [u8; BaseKey::LEN] = [5; BaseKey::LEN];

fn cipher() -> FrameCipher<FixedKeys> {
    FrameCipher::new(FixedKeys::new(TALKER, BaseKey::new(KEY)))
}

/// What the path sees: of each frame that is sent, when, how long and at which level.
fn path(talker: &mut Talker, frames: &[Vec<f32>]) -> Vec<(Duration, usize, u8)> {
    let (mut cipher, start) = (cipher(), Instant::now());
    let mut now = start;
    let mut seen = Vec::new();
    for frame in frames {
        // In blocks, as a device gives them.
        for block in frame.chunks(480) {
            now += Duration::from_millis(10);
            let sealed = talker.capture(now, block, &mut cipher).unwrap();
            if let Some(SealedFrame { level, sframe, .. }) = sealed {
                seen.push((now - start, sframe.len(), level.to_byte()));
            }
        }
    }
    seen
}

fn talker(frame: FrameDuration, bitrate: u32, hide_pauses: bool) -> Talker {
    let config = AdaptationConfig {
        encoder: EncoderConfig {
            frame,
            bitrate,
            complexity: 0,
            ..EncoderConfig::default()
        },
        ..AdaptationConfig::default()
    };
    Talker::new(config, 0, Spurts::new(TalkMode::Open, hide_pauses)).unwrap()
}

/// Tells a talker of this loss for as long as it takes to be believed.
fn lose(talker: &mut Talker, fraction: u8, burst: u8) {
    let report = LossReport {
        uplink: Loss::default(),
        receivers: Loss { fraction, burst },
    };
    for _ in 0..10 {
        talker.take_loss(&report, None).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn two_inputs_with_equal_spurts_look_the_same_to_the_path(
        spurts in prop::collection::vec(spurt(), 1..5),
        frame in prop::sample::select(&[
            FrameDuration::Ms10, FrameDuration::Ms20, FrameDuration::Ms40, FrameDuration::Ms60,
        ][..]),
        bitrate in 6_000u32..128_000,
        level in prop::sample::select(&LEVELS[..]),
        loss in (0u8..100, 4u8..40),
    ) {
        let seen = [0, 1].map(|which| {
            let mut talker = talker(frame, bitrate, false);
            lose(&mut talker, loss.0, loss.1);
            path(&mut talker, &samples(&spurts, which, level, frame))
        });
        let said: usize = spurts.iter().map(|spurt| spurt.inputs[0].len()).sum();
        prop_assert!(seen[0].len() >= said, "no frame of a spurt is missing");
        prop_assert_eq!(&seen[0], &seen[1]);
    }

    #[test]
    fn with_hidden_pauses_any_two_inputs_look_the_same(
        spurts in prop::collection::vec(spurt(), 1..4),
        silence in 0usize..200,
    ) {
        let frame = FrameDuration::Ms20;
        let spoken = samples(&spurts, 0, 24.0, frame);
        let mut silent = vec![vec![0.0; frame.samples()]; spoken.len() + silence];
        let seen = path(&mut talker(frame, 24_000, true), &silent);
        silent.truncate(spoken.len());
        prop_assert_eq!(seen.len(), spoken.len() + silence);
        let said = path(&mut talker(frame, 24_000, true), &spoken);
        prop_assert_eq!(&said[..], &seen[..spoken.len()]);
    }
}

#[test]
fn after_a_pause_the_media_time_counts_it_and_a_talkspurt_begins() {
    let frame = FrameDuration::Ms20;
    let mut talker = talker(frame, 24_000, false);
    let (mut cipher, mut opener) = (cipher(), opener());
    let mut now = Instant::now();
    let mut payloads = Vec::new();
    for n in 0..150 {
        let rms = if (50..100).contains(&n) { 0.0 } else { 0.1 };
        let pcm = at_level(Sound::Tone(300), rms, frame.samples(), &mut 0);
        now += Duration::from_millis(20);
        if let Some(sealed) = talker.capture(now, &pcm, &mut cipher).unwrap() {
            let mut plaintext = Vec::new();
            opener.open(&sealed.sframe, &mut plaintext).unwrap();
            let payload = FramePayload::parse(&plaintext).unwrap();
            payloads.push((payload.timestamp, payload.talkspurt));
            assert_eq!(sealed.level.is_voice(), sealed.level != AudioLevel::SILENCE);
        }
    }
    let starts: Vec<_> = payloads
        .iter()
        .filter(|(_, talkspurt)| *talkspurt)
        .collect();
    assert_eq!(starts, [&(0, true), &(100 * 960, true)]);
    // The hang-over of 300 ms is sent.
    assert_eq!(payloads.len(), 100 + 14);
}

#[test]
fn under_loss_a_frame_brings_what_restores_earlier_ones_and_the_rate_stays() {
    let frame = FrameDuration::Ms20;
    let mut calm = talker(frame, 24_000, false);
    let mut lossy = talker(frame, 24_000, false);
    lose(&mut lossy, 50, 5);
    assert!(lossy.plan().bitrate < 24_000);
    let said: Vec<_> = (0..120)
        .map(|n| at_level(Sound::Tone(300 + n), 0.1, frame.samples(), &mut 0))
        .collect();
    let bytes = |talker: &mut Talker| -> usize {
        let seen = path(talker, &said);
        assert_eq!(seen.len(), said.len());
        seen.iter().map(|(_, length, _)| length).sum()
    };
    // Beside the bytes of the voice a block has a header of 5 bytes at most.
    let (calm, lossy) = (bytes(&mut calm), bytes(&mut lossy));
    assert!(lossy < calm + said.len() * 5, "{lossy} {calm}");
}

#[test]
fn nothing_that_was_said_while_muted_is_sent_after_it_wherever_frames_begin() {
    let block = Duration::from_millis(10);
    for frame in [
        FrameDuration::Ms10,
        FrameDuration::Ms20,
        FrameDuration::Ms60,
    ] {
        for blocks in 1..14 {
            let mut talker = talker(frame, 24_000, false);
            let (mut cipher, mut opener) = (cipher(), opener());
            let start = Instant::now();
            let mut now = start;
            talker.mute(now, true);
            let mut first = None;
            for n in 0..60 {
                if n == blocks {
                    talker.mute(now, false);
                }
                let pcm = at_level(Sound::Tone(300), 0.1, 480, &mut 0);
                now += block;
                if let Some(sealed) = talker.capture(now, &pcm, &mut cipher).unwrap() {
                    let mut plaintext = Vec::new();
                    opener.open(&sealed.sframe, &mut plaintext).unwrap();
                    let payload = FramePayload::parse(&plaintext).unwrap();
                    assert!(payload.blocks.is_empty());
                    first.get_or_insert(payload.timestamp);
                }
            }
            let first = Duration::from_millis(u64::from(first.unwrap()) / 48);
            let unmuted = block * blocks;
            assert!(
                first >= unmuted + Duration::from_millis(20),
                "{frame:?}: {first:?}"
            );
            assert!(
                first <= unmuted + Duration::from_millis(90),
                "{frame:?}: {first:?}"
            );
        }
    }
}

fn opener() -> FrameCipher<FixedKeys> {
    let own = BaseKey::new([6; BaseKey::LEN]);
    let mut keys = FixedKeys::new(KeyId::new(2, 0, 0), own);
    keys.set(TALKER, BaseKey::new(KEY));
    FrameCipher::new(keys)
}
