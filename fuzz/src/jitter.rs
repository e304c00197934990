//! A speaker's stream between any arrivals and any clock: every pull is filled, what waits is bounded, and after any
//! such past a calm network is played with little delay again.

use std::time::{Duration, Instant};

use confab_voice::jitter::{Correction, Next};
use confab_voice::{JitterBuffer, Pulled, SpeakerStream};

use crate::script::Script;

/// Samples of 10 ms.
const BLOCK: usize = 480;
/// Samples, and timestamp ticks, of a frame of 20 ms.
const FRAME: u32 = 960;
const MAX_WAITING: usize = 64;
/// No target is longer.
const MAX_TARGET: Duration = Duration::from_millis(400);
/// One packet's duration at most, and what libopus is asked to conceal at a time.
const MAX_PACKET: usize = 5760;
/// Longest period that time stretching takes out or puts in.
const MAX_STRETCH: usize = 768;
/// Calm time after which delay has to be short again, in frames: 20 s.
const CALM_FRAMES: u32 = 1000;
const CALM_DELAY: Duration = Duration::from_millis(60);

/// CELT, mono, 20 ms, one frame of a few bytes.
const CALM_PACKET: [u8; 4] = [0xf8, 0x55, 0xaa, 0x01];

/// Reads steps for a stream (or, by its first byte, for the buffer alone), and whether calm follows.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    match script.byte() % 4 {
        0 => Steps::new(&mut script).play(&mut Bare::default()),
        1 => {
            let mut buffer = Bare::default();
            let mut steps = Steps::new(&mut script);
            steps.play(&mut buffer);
            steps.calm(&mut buffer);
        }
        _ => Steps::new(&mut script).play(&mut Stream::new()),
    }
}

/// What takes packets and gives samples.
trait Playing {
    fn push(&mut self, at: Instant, timestamp: u32, packet: &[u8], talkspurt: bool);
    fn push_redundant(&mut self, at: Instant, timestamp: u32, packet: &[u8]);
    fn pause(&mut self);
    fn pull(&mut self, now: Instant, samples: usize);
    fn waiting(&self) -> usize;
    /// Target and present delay.
    fn delays(&self) -> (Duration, Duration);
}

struct Steps<'a, 's> {
    script: &'a mut Script<'s>,
    now: Instant,
    timestamp: u32,
}

impl<'a, 's> Steps<'a, 's> {
    fn new(script: &'a mut Script<'s>) -> Self {
        let timestamp = script.u32();
        Self {
            script,
            now: Instant::now() + Duration::from_secs(1 << 20),
            timestamp,
        }
    }

    fn play(&mut self, playing: &mut impl Playing) {
        while let Some(step) = self.script.step() {
            match step % 16 {
                // What usually happens, in one byte.
                0..4 => {
                    self.timestamp = self.timestamp.wrapping_add(FRAME);
                    playing.push(self.now, self.timestamp, &CALM_PACKET, step & 16 != 0);
                }
                4..8 => self.pull(playing, BLOCK),
                8 => {
                    let at = self.timestamp();
                    playing.push(self.now, at, self.script.block(), step & 16 != 0);
                }
                9 => {
                    let at = self.timestamp();
                    playing.push_redundant(self.now, at, self.script.block());
                }
                10 => {
                    let age = u32::from(self.script.byte()) * 120;
                    let at = self.timestamp.wrapping_sub(age);
                    playing.push_redundant(self.now, at, &CALM_PACKET);
                }
                11 => {
                    let samples = usize::from(self.script.u16() % 6000);
                    self.pull(playing, samples);
                }
                12 => playing.pause(),
                13 => self.timestamp = self.timestamp(),
                14 => self.step_clock(),
                _ => {
                    let packet = packet(self.script);
                    self.timestamp = self.timestamp.wrapping_add(FRAME);
                    playing.push(self.now, self.timestamp, &packet, step & 16 != 0);
                }
            }
            assert!(playing.waiting() <= MAX_WAITING);
            let (target, _) = playing.delays();
            assert!(target <= MAX_TARGET, "{target:?}");
        }
    }

    /// A steady speaker on a calm network, pulled from evenly.
    fn calm(&mut self, playing: &mut impl Playing) {
        self.now += Duration::from_millis(700);
        for frame in 0..CALM_FRAMES {
            self.timestamp = self.timestamp.wrapping_add(FRAME);
            playing.push(self.now, self.timestamp, &CALM_PACKET, frame == 0);
            self.pull(playing, BLOCK);
            self.pull(playing, BLOCK);
        }
        let (target, delay) = playing.delays();
        assert!(target <= CALM_DELAY, "{target:?} is the target in calm");
        assert!(delay <= CALM_DELAY, "{delay:?} is held in calm");
        assert!(playing.waiting() <= 3);
    }

    /// A pull and the time that it plays.
    fn pull(&mut self, playing: &mut impl Playing, samples: usize) {
        playing.pull(self.now, samples);
        self.now += Duration::from_micros(samples as u64 * 125 / 6);
    }

    fn timestamp(&mut self) -> u32 {
        let by = self.script.u16();
        match self.script.byte() {
            0..128 => self.timestamp.wrapping_add_signed(i32::from(by as i16)),
            128..192 => self
                .timestamp
                .wrapping_add_signed(i32::from(by as i16) * 480),
            _ => u32::from(by) << 16,
        }
    }

    fn step_clock(&mut self) {
        let by = u64::from(self.script.u16());
        let step = match self.script.byte() {
            0..128 => Duration::from_micros(by * 10),
            128..224 => Duration::from_millis(by),
            _ => Duration::from_secs(by),
        };
        let back = self.script.byte().is_multiple_of(4);
        let moved = if back {
            self.now.checked_sub(step)
        } else {
            self.now.checked_add(step)
        };
        self.now = moved.unwrap_or(self.now);
    }
}

/// A packet whose framing is right: any configuration, one frame.
fn packet(script: &mut Script<'_>) -> Vec<u8> {
    let mut packet = vec![script.byte() & 0xfc];
    packet.extend_from_slice(script.take(usize::from(packet[0] >> 2)));
    packet
}

/// The whole stream, with libopus.
struct Stream(SpeakerStream);

impl Stream {
    fn new() -> Self {
        Self(SpeakerStream::new(Duration::from_millis(200)).expect("libopus makes a decoder"))
    }
}

impl Playing for Stream {
    fn push(&mut self, at: Instant, timestamp: u32, packet: &[u8], talkspurt: bool) {
        self.0.push(at, timestamp, packet, talkspurt);
    }

    fn push_redundant(&mut self, at: Instant, timestamp: u32, packet: &[u8]) {
        self.0.protected(at, timestamp);
        self.0.push_redundant(timestamp, packet);
    }

    fn pause(&mut self) {
        self.0.pause();
    }

    fn pull(&mut self, now: Instant, samples: usize) {
        let mut out = vec![f32::NAN; samples];
        let Pulled {
            timestamp, voice, ..
        } = self.0.pull(now, &mut out);
        assert!(voice <= samples);
        assert_eq!(timestamp.is_some(), voice > 0);
        assert!(out.iter().all(|sample| sample.is_finite()));
        assert!(out[voice..].iter().all(|sample| *sample == 0.0));
    }

    fn waiting(&self) -> usize {
        self.0.waiting()
    }

    fn delays(&self) -> (Duration, Duration) {
        let stats = self.0.stats();
        (stats.target_delay, stats.current_delay)
    }
}

/// The buffer alone: samples are counted instead of decoded, and every correction can be made. Many times as fast.
struct Bare {
    buffer: JitterBuffer,
    queued: usize,
}

impl Default for Bare {
    fn default() -> Self {
        Self {
            buffer: JitterBuffer::new(Duration::from_millis(200)),
            queued: 0,
        }
    }
}

impl Bare {
    fn correct(&mut self, correction: Correction) {
        let corrected = match correction {
            Correction::None => 0,
            // All at once: what is queued is not heard.
            Correction::Glide { excess } => -excess.min(self.queued as i64),
            Correction::Accelerate { at_most, .. } => {
                -(at_most.min(MAX_STRETCH).min(self.queued) as i64)
            }
            Correction::Expand { about } => about.min(MAX_STRETCH) as i64,
        };
        self.queued = self.queued.saturating_add_signed(corrected as isize);
        self.buffer.corrected(corrected);
    }
}

impl Playing for Bare {
    fn push(&mut self, at: Instant, timestamp: u32, packet: &[u8], talkspurt: bool) {
        self.buffer.insert(at, timestamp, packet, talkspurt);
    }

    fn push_redundant(&mut self, at: Instant, timestamp: u32, packet: &[u8]) {
        self.buffer.protected(at, timestamp);
        self.buffer.insert_redundant(timestamp, packet);
    }

    fn pause(&mut self) {
        self.buffer.pause();
    }

    fn pull(&mut self, now: Instant, samples: usize) {
        self.buffer.begin_pull(now, samples);
        while self.queued < samples {
            match self.buffer.next(self.queued) {
                Next::Frame(frame) => {
                    assert!((1..=MAX_PACKET).contains(&frame.samples));
                    let correction = frame.correction;
                    self.queued += frame.samples;
                    self.correct(correction);
                }
                Next::Conceal(samples) | Next::FadeOut(samples) => {
                    assert!((1..=MAX_PACKET).contains(&samples));
                    self.queued += samples;
                }
                Next::Silence => break,
            }
        }
        self.queued = self.queued.saturating_sub(samples);
    }

    fn waiting(&self) -> usize {
        self.buffer.waiting()
    }

    fn delays(&self) -> (Duration, Duration) {
        let stats = self.buffer.stats(self.queued);
        (stats.target_delay, stats.current_delay)
    }
}
