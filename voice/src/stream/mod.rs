//! The stream of one speaker: packets in, exactly as many samples out as the output asks for.

mod glide;
mod stretch;

use std::time::{Duration, Instant};

use crate::codec::{CONCEAL_UNIT, CodecError, Decoder, MAX_PACKET_SAMPLES};
use glide::{Glide, HALF};

use crate::jitter::{Correction, JitterBuffer, JitterStats, Next};

/// Concealment is as loud as libopus makes it for this long ...
const FULL_CONCEALMENT: usize = 100 * crate::SAMPLES_PER_MS;
/// ... and silent after this long: what goes on longer is a guess that annoys.
const LONGEST_CONCEALMENT: usize = 200 * crate::SAMPLES_PER_MS;
/// How long a voice takes to come back after concealment or silence, in samples (5 ms).
const FADE_IN: usize = 240;
/// Length of the crossfade over skipped time, in samples (5 ms).
const SPLICE: usize = 2 * CONCEAL_UNIT;

/// A removal is content with this much audio to choose from, in samples (30 ms, as NetEq).
const ENOUGH_TO_STRETCH: usize = 30 * crate::SAMPLES_PER_MS;

/// Likeness of the pieces that time stretching puts together: when there is time to wait for a good place, and the
/// worst accepted. In between, it falls while a correction waits, so that delay drains from any sound.
const GOOD_LIKENESS: f32 = 0.85;
const WORST_LIKENESS: f32 = 0.2;
/// How long a correction waits until anything will do, in samples (1.5 s).
const CORRECTION_PATIENCE: usize = 72_000;

/// Counts of a speaker so far. "Played" samples are those handed out that are not silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamStats {
    /// Primary packets pushed, whatever became of them.
    pub received: u64,
    /// Redundant copies pushed.
    pub redundant_received: u64,
    /// Primary packets that had come before.
    pub duplicate: u64,
    /// Primary packets that came after their time.
    pub late: u64,
    /// Frames that were not there when they were to be played, late ones included.
    pub lost: u64,
    /// Frames that a redundant copy stood in for.
    pub recovered: u64,
    /// Frames thrown away because too many waited, as after a stall.
    pub skipped: u64,
    /// Times that the speaker's timestamps started anew.
    pub restarts: u64,
    /// Packets whose framing is not Opus, or that libopus refused.
    pub decode_errors: u64,
    /// Frames concealed; parts of frames are added up.
    pub concealed_frames: u64,
    /// Samples concealed. Those at the start of a pause do not count.
    pub concealed_samples: u64,
    /// Frames decoded.
    pub decoded_frames: u64,
    /// Samples played, concealed ones included.
    pub played_samples: u64,
    /// Samples of silence handed out.
    pub silent_samples: u64,
    /// Samples removed to shorten the delay.
    pub accelerated_samples: u64,
    /// Samples inserted to lengthen the delay.
    pub expanded_samples: u64,
    /// Delay to hold over the fastest packet's.
    pub target_delay: Duration,
    /// Delay held over the fastest packet's; 0 in a pause.
    pub current_delay: Duration,
}

/// The result of a pull: `voice` samples of the speaker, then silence up to the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pulled {
    /// Media timestamp of the first sample; `None` if all is silence. Inside stretched audio it is right to within the
    /// stretch.
    pub timestamp: Option<u32>,
    /// Samples that are not silence.
    pub voice: usize,
    /// Samples newly concealed for this pull.
    pub concealed: usize,
}

/// Jitter buffer, decoder, concealment and time stretching of one speaker.
pub struct SpeakerStream {
    buffer: JitterBuffer,
    decoder: Decoder,
    /// Decoded and not yet handed out; less than a frame and a pull.
    queue: Vec<f32>,
    glide: Glide,
    scratch: Vec<f32>,
    /// Concealed in a row, for the fade.
    concealed_run: usize,
    /// Loudness that the next frame starts from.
    gain: f32,
    correction_waits: usize,
    stats: StreamStats,
}

impl SpeakerStream {
    /// A stream that is silent until something is pushed. For lost frames that redundancy brings back it waits `longest_wait`
    /// at most.
    pub fn new(longest_wait: Duration) -> Result<Self, CodecError> {
        Ok(Self {
            buffer: JitterBuffer::new(longest_wait),
            decoder: Decoder::new()?,
            queue: Vec::with_capacity(2 * MAX_PACKET_SAMPLES),
            glide: Glide::new(),
            scratch: vec![0.0; MAX_PACKET_SAMPLES],
            concealed_run: 0,
            gain: 0.0,
            correction_waits: 0,
            stats: StreamStats::default(),
        })
    }

    /// Takes a packet: `timestamp` of its first sample (48 kHz, wraps), `talkspurt` for the first after a pause.
    pub fn push(&mut self, arrival: Instant, timestamp: u32, packet: &[u8], talkspurt: bool) {
        self.buffer.insert(arrival, timestamp, packet, talkspurt);
    }

    /// Tells that the packet pushed last has redundancy, by which lost frames come back up to `reach` samples later.
    pub fn protected(&mut self, arrival: Instant, reach: u32) {
        self.buffer.protected(arrival, reach);
    }

    /// Takes a lost frame that redundancy brought back, with its own timestamp. Push the packet that brought it first.
    pub fn push_redundant(&mut self, timestamp: u32, packet: &[u8]) {
        self.buffer.insert_redundant(timestamp, packet);
    }

    /// Tells that no more will come for now, as when a relay forwards only the loudest: the gap is not loss.
    pub fn pause(&mut self) {
        self.buffer.pause();
    }

    /// Fills `out`, of any length (10 ms is usual), with what is to be heard at `now`. It never fails: silence is what
    /// there is when there is nothing else.
    pub fn pull(&mut self, now: Instant, out: &mut [f32]) -> Pulled {
        self.buffer.begin_pull(now, out.len());
        let mut concealed = 0;
        while self.queue.len() < out.len() {
            match self.refill() {
                Refill::Decoded => {}
                Refill::Concealed(samples) => concealed += samples,
                Refill::Nothing => break,
            }
        }
        let voice = self.queue.len().min(out.len());
        let timestamp = (voice > 0).then(|| self.buffer.timestamp(self.queue.len() + HALF));
        let (heard, silence) = out.split_at_mut(voice);
        heard.copy_from_slice(&self.queue[..voice]);
        silence.fill(0.0);
        self.queue.drain(..voice);
        self.stats.played_samples += voice as u64;
        self.stats.silent_samples += silence.len() as u64;
        Pulled {
            timestamp,
            voice,
            concealed,
        }
    }

    /// Counts so far, and the present delays.
    pub fn stats(&self) -> StreamStats {
        let JitterStats {
            received,
            redundant_received,
            duplicate,
            late,
            malformed,
            lost,
            recovered,
            skipped,
            restarts,
            concealed_samples,
            concealed_frames,
            target_delay,
            current_delay,
        } = self.buffer.stats(self.queue.len() + HALF);
        StreamStats {
            received,
            redundant_received,
            duplicate,
            late,
            lost,
            recovered,
            skipped,
            restarts,
            decode_errors: self.stats.decode_errors + malformed,
            concealed_samples,
            concealed_frames,
            target_delay,
            current_delay,
            ..self.stats
        }
    }

    /// Packets that wait to be decoded.
    pub fn waiting(&self) -> usize {
        self.buffer.waiting()
    }

    fn refill(&mut self) -> Refill {
        match self.buffer.next(self.queue.len()) {
            Next::Frame(frame) => {
                if frame.restarted {
                    // It cannot fail for a valid decoder; and if it did, the next frame would still decode.
                    let _ = self.decoder.reset();
                }
                let (samples, correction, skipped) =
                    (frame.samples, frame.correction, frame.skipped);
                let splice = skipped.then(|| {
                    let mut before = [0.0; SPLICE];
                    conceal(&mut self.decoder, &mut before);
                    before
                });
                let decoded = self
                    .decoder
                    .decode(frame.packet, &mut self.scratch[..samples]);
                self.append(decoded, samples, splice.as_ref());
                self.correct(correction);
                Refill::Decoded
            }
            Next::Conceal(samples) => {
                self.append_concealed(samples);
                Refill::Concealed(samples)
            }
            Next::FadeOut(samples) => {
                let start = self.queue.len();
                self.append_concealed(samples);
                for (n, sample) in self.queue[start..].iter_mut().enumerate() {
                    *sample *= 1.0 - n as f32 / samples as f32;
                }
                self.fall_silent();
                Refill::Concealed(samples)
            }
            Next::Silence => {
                self.fall_silent();
                Refill::Nothing
            }
        }
    }

    /// Queues what was decoded to the scratch, or conceals it when libopus refused.
    fn append(
        &mut self,
        decoded: Result<usize, CodecError>,
        samples: usize,
        splice: Option<&[f32; SPLICE]>,
    ) {
        if decoded != Ok(samples) {
            self.stats.decode_errors += 1;
            self.buffer.undecodable(samples);
            self.append_concealed(samples);
            return;
        }
        self.stats.decoded_frames += 1;
        self.concealed_run = 0;
        let fresh = &mut self.scratch[..samples];
        if self.gain < 1.0 {
            let from = self.gain;
            for (n, sample) in fresh.iter_mut().take(FADE_IN).enumerate() {
                *sample *= from + (1.0 - from) * n as f32 / FADE_IN as f32;
            }
            self.gain = 1.0;
        }
        if let Some(before) = splice {
            for (n, (sample, before)) in fresh.iter_mut().zip(before).enumerate() {
                *sample = before + (*sample - before) * n as f32 / SPLICE as f32;
            }
        }
        self.glide.push(fresh, &mut self.queue);
    }

    fn fall_silent(&mut self) {
        self.gain = 0.0;
        self.glide.reset();
    }

    fn append_concealed(&mut self, samples: usize) {
        // libopus conceals in multiples of 2.5 ms; what is more than asked for is not used.
        let whole = samples
            .next_multiple_of(CONCEAL_UNIT)
            .min(MAX_PACKET_SAMPLES);
        conceal(&mut self.decoder, &mut self.scratch[..whole]);
        let fading = (LONGEST_CONCEALMENT - FULL_CONCEALMENT) as f32;
        let concealed = &mut self.scratch[..samples.min(whole)];
        for sample in concealed.iter_mut() {
            let left = LONGEST_CONCEALMENT.saturating_sub(self.concealed_run) as f32;
            self.gain = self.gain.min(left / fading);
            *sample *= self.gain;
            self.concealed_run += 1;
        }
        self.glide.push(concealed, &mut self.queue);
    }

    /// Shortens or lengthens what is queued.
    fn correct(&mut self, correction: Correction) {
        let waited = self.correction_waits.min(CORRECTION_PATIENCE) as f32;
        let eased =
            GOOD_LIKENESS - (GOOD_LIKENESS - WORST_LIKENESS) * waited / CORRECTION_PATIENCE as f32;
        let corrected = match correction {
            Correction::None => {
                self.correction_waits = 0;
                return;
            }
            // What has begun goes on: it leads to where packets are in time.
            Correction::Glide { .. } | Correction::Accelerate { urgent: false, .. }
                if self.glide.is_gliding() =>
            {
                return;
            }
            Correction::Glide { excess } => {
                self.glide.begin(excess);
                let (removed, inserted) = (excess.max(0), (-excess).max(0));
                self.stats.accelerated_samples += removed as u64;
                self.stats.expanded_samples += inserted as u64;
                -excess
            }
            Correction::Accelerate { at_most, urgent } => {
                self.decode_ahead();
                let likeness = match urgent {
                    true => eased.min(0.5),
                    false => eased,
                };
                let removed = stretch::accelerate(&mut self.queue, at_most, likeness);
                self.stats.accelerated_samples += removed as u64;
                -(removed as i64)
            }
            Correction::Expand { about } => {
                let inserted = stretch::expand(&mut self.queue, about, eased);
                self.stats.expanded_samples += inserted as u64;
                inserted as i64
            }
        };
        if corrected == 0 {
            self.correction_waits += self.queue.len();
        } else {
            self.correction_waits = 0;
        }
        self.buffer.corrected(corrected);
    }

    /// Decodes one more frame if it is there already: a removal needs more than a short frame to choose from.
    fn decode_ahead(&mut self) {
        if self.queue.len() >= ENOUGH_TO_STRETCH {
            return;
        }
        if let Some((packet, samples)) = self.buffer.next_contiguous() {
            let decoded = self.decoder.decode(packet, &mut self.scratch[..samples]);
            self.append(decoded, samples, None);
        }
    }
}

enum Refill {
    Decoded,
    Concealed(usize),
    Nothing,
}

fn conceal(decoder: &mut Decoder, out: &mut [f32]) {
    if decoder.conceal(out).is_err() {
        out.fill(0.0);
    }
}
