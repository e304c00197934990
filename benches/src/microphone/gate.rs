//! How much of what is said is cut off with `--talk voice`, and how much noise is sent: by a client's talker, whose frames are
//! opened.

use std::time::{Duration, Instant};

use confab::engine::talker::Talker;
use confab_e2ee::{BaseKey, FixedKeys, FrameCipher};
use confab_protocol::media::KeyId;
use confab_protocol::media::payload::{AGE_UNIT, Block, FramePayload};
use confab_voice::{AdaptationConfig, BLOCK, Spurts, TalkMode, level_dbov};

use super::judge::{MICROPHONE, processed};
use super::sounds::{self, Noise};
use crate::RATE;
use crate::figures::{Figure, Goal};

/// Samples of a frame.
const FRAME: usize = 960;
/// The processing gives what it heard so much later, in frames: rounded up.
const LATE: usize = 1;
/// A frame is speech if it is at most so much quieter than speech is, in dB: the margin of ITU-T P.56.
const SPEECH_RANGE_DB: f32 = 15.9;
/// Noise is measured after this, and lasts so long, in seconds.
const LEARNT_SECONDS: usize = 5;
const NOISE_SECONDS: usize = 60;
/// A fan in a quiet room, and in a loud one, in dB under full scale.
const LEVELS: [f32; 2] = [50.0, 30.0];

const TALKER: KeyId = KeyId::new(1, 0, 0);

pub(super) fn figures(clips: &[Vec<f32>]) -> Vec<Figure> {
    // Two seconds of silence before each, as between people who talk.
    let pause = vec![0.0; 2 * RATE as usize];
    let speech: Vec<f32> = clips
        .iter()
        .flat_map(|clip| [&pause[..], clip].concat())
        .collect();
    let noisy = sounds::with_noise(&speech, Noise::Fan, 15.0);
    let clipped = clipped_percent(&speech, &speech);
    let clipped_in_noise = clipped_percent(&speech, &noisy);
    let noises = [Noise::Fan, Noise::Hiss, Noise::Keys];
    let all = noises
        .iter()
        .flat_map(|noise| LEVELS.map(|level| (*noise, level)));
    let worst = all.map(|(noise, level)| false_percent(noise, level));
    let worst = worst.fold(0.0, f64::max);
    vec![
        Figure::new(
            "voice.vad_clipped_percent",
            clipped,
            "% of speech",
            Goal::AtMost(1.0),
        ),
        Figure::new(
            "voice.vad_clipped_percent.fan15",
            clipped_in_noise,
            "% of speech",
            Goal::None,
        ),
        Figure::new(
            "voice.vad_false_percent",
            worst,
            "% of noise",
            Goal::AtMost(2.0),
        ),
    ]
}

/// The part of the frames of `speech` that is not sent when the microphone hears `heard`.
fn clipped_percent(speech: &[f32], heard: &[f32]) -> f64 {
    let spoken = sounds::spoken_dbov(speech);
    let is_sent = sent(&processed(MICROPHONE, heard));
    let is_speech = |frame: &[f32]| level_dbov(frame) < spoken + SPEECH_RANGE_DB;
    let frames = speech.chunks_exact(FRAME).enumerate();
    let spoken = frames.filter(|(_, frame)| is_speech(frame)).map(|(n, _)| n);
    let (mut all, mut clipped) = (0, 0);
    for frame in spoken {
        all += 1;
        // Heard in this frame and in the next one, for it comes a little later.
        let here = (frame..=frame + LATE).all(|n| is_sent.get(n).copied().unwrap_or(true));
        clipped += usize::from(!here);
    }
    clipped as f64 / all.max(1) as f64 * 100.0
}

/// The part of the frames of a noise that is sent.
fn false_percent(noise: Noise, dbov: f32) -> f64 {
    let noise = sounds::alone(noise, dbov, NOISE_SECONDS * RATE as usize);
    let is_sent = sent(&processed(MICROPHONE, &noise));
    let later = &is_sent[LEARNT_SECONDS * RATE as usize / FRAME..];
    later.iter().filter(|sent| **sent).count() as f64 / later.len() as f64 * 100.0
}

/// Which frames reach the listeners, by themselves or as copies beside others.
fn sent(samples: &[f32]) -> Vec<bool> {
    let spurts = Spurts::new(TalkMode::Voice, false);
    let mut talker =
        Talker::new(AdaptationConfig::default(), 0, spurts).expect("the codec can be had");
    let key = || BaseKey::new([5; BaseKey::LEN]);
    let mut seals = FrameCipher::new(FixedKeys::new(TALKER, key()));
    let mut keys = FixedKeys::new(KeyId::new(2, 0, 0), key());
    keys.set(TALKER, key());
    let mut opens = FrameCipher::new(keys);
    let mut is_sent = vec![false; samples.len() / FRAME];
    let mut now = Instant::now();
    for block in samples.chunks_exact(BLOCK) {
        now += Duration::from_millis(10);
        let sealed = talker.capture(now, block, &mut seals).expect("it encodes");
        let Some(sealed) = sealed else {
            continue;
        };
        let mut plaintext = Vec::new();
        opens
            .open(&sealed.sframe, &mut plaintext)
            .expect("it was sealed under this key");
        let payload = FramePayload::parse(&plaintext).expect("a talker's payload");
        let copies = payload.blocks.iter().filter_map(|block| match block {
            Block::Copy { age, .. } => Some(u32::from(*age) * AGE_UNIT),
            _ => None,
        });
        for before in copies.chain([0]) {
            let frame = payload.timestamp.wrapping_sub(before) as usize / FRAME;
            if let Some(is_sent) = is_sent.get_mut(frame) {
                *is_sent = true;
            }
        }
    }
    is_sent
}
