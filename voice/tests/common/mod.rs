//! Calls on virtual time: a voice, an encoder, a network with seeded faults, a listener's device.

#![allow(dead_code, reason = "each test binary uses some of it")]

use std::time::{Duration, Instant};

use confab_voice::{Encoder, EncoderConfig, FrameDuration, Pulled, SpeakerStream, StreamStats};

/// Samples of one device period (10 ms).
pub(crate) const PERIOD: usize = 480;

/// SplitMix64: the same numbers on each machine and with each version of any crate.
#[derive(Clone)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

/// Something like speech: harmonics of a gliding pitch, in syllables, with a little noise.
pub(crate) fn speech(seconds: f64) -> Vec<f32> {
    let mut random = Random(7);
    let mut phase = 0.0_f64;
    (0..(seconds * 48_000.0) as usize)
        .map(|n| {
            let t = n as f64 / 48_000.0;
            let pitch = 130.0 + 30.0 * (t * 2.1).sin() + 10.0 * (t * 7.3).sin();
            phase += std::f64::consts::TAU * pitch / 48_000.0;
            let syllable = 0.55 - 0.45 * (t * std::f64::consts::TAU * 3.7).cos();
            let voice: f64 = (1..12)
                .map(|k| (phase * f64::from(k)).sin() / f64::from(k))
                .sum();
            (0.25 * syllable * voice + 0.002 * (random.unit() - 0.5)) as f32
        })
        .collect()
}

/// A tone that glides and swells: what a codec keeps the shape of.
pub(crate) fn tone(seconds: f64) -> Vec<f32> {
    let mut phase = 0.0_f64;
    (0..(seconds * 48_000.0) as usize)
        .map(|n| {
            let t = n as f64 / 48_000.0;
            phase += std::f64::consts::TAU * (500.0 + 150.0 * (t * 1.7).sin()) / 48_000.0;
            (0.3 * (1.0 + 0.5 * (t * 9.0).sin()) * phase.sin()) as f32
        })
        .collect()
}

/// Loss, delay and reordering of the network. Times are in ms, of the virtual clock.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) seed: u64,
    pub(crate) delay: f64,
    /// Each packet is delayed by up to this much more, uniformly: so packets overtake each other.
    pub(crate) jitter: f64,
    /// The jitter holds in this span only.
    pub(crate) jitter_from_to: (f64, f64),
    /// Gilbert-Elliott: probability of becoming bad, of becoming good, both at each packet. Bad loses all.
    pub(crate) loss: Option<(f64, f64)>,
    pub(crate) duplicates: f64,
    /// Packets sent in this span arrive together at its end.
    pub(crate) stall: Option<(f64, f64)>,
    /// The sender's clock is faster by this much.
    pub(crate) drift_ppm: f64,
    /// Each packet carries a copy of the frame so many frames before.
    pub(crate) redundancy: Option<usize>,
    /// Samples for which the listener asks at once.
    pub(crate) pull: usize,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            seed: 1,
            delay: 10.0,
            jitter: 0.0,
            jitter_from_to: (0.0, f64::INFINITY),
            loss: None,
            duplicates: 0.0,
            stall: None,
            drift_ppm: 0.0,
            redundancy: None,
            pull: 240,
        }
    }
}

/// A frame in the network; times in seconds.
struct Flight {
    arrival: f64,
    frame: usize,
}

impl Network {
    /// When which frames arrive, in order of arrival; `sent(frame)` in seconds.
    fn carry(&self, frames: usize, sent: impl Fn(usize) -> f64) -> Vec<Flight> {
        let mut random = Random(self.seed);
        let mut bad = false;
        let mut flights = Vec::new();
        for frame in 0..frames {
            let at = sent(frame);
            if let Some((to_bad, to_good)) = self.loss {
                bad = random.chance(if bad { 1.0 - to_good } else { to_bad });
            }
            let copies = 1 + usize::from(random.chance(self.duplicates));
            for _ in 0..copies {
                let jittery = (self.jitter_from_to.0..self.jitter_from_to.1).contains(&(at * 1e3));
                let jitter = random.unit() * if jittery { self.jitter } else { 0.0 };
                let held = match self.stall {
                    Some((from, to)) if (from..to).contains(&(at * 1e3)) => to / 1e3,
                    _ => at,
                };
                if !bad {
                    flights.push(Flight {
                        arrival: held + (self.delay + jitter) / 1e3,
                        frame,
                    });
                }
            }
        }
        flights.sort_by(|a, b| a.arrival.total_cmp(&b.arrival));
        flights
    }
}

/// A frame as it was encoded.
#[derive(Clone)]
pub(crate) struct Encoded {
    pub(crate) timestamp: u32,
    pub(crate) talkspurt: bool,
    pub(crate) packet: Vec<u8>,
}

/// Encodes all of `pcm`.
pub(crate) fn encode(pcm: &[f32], frame: FrameDuration, first_timestamp: u32) -> Vec<Encoded> {
    let mut encoder = Encoder::new(EncoderConfig {
        frame,
        complexity: 5,
        ..EncoderConfig::default()
    })
    .expect("the settings are in their ranges");
    pcm.chunks_exact(frame.samples())
        .enumerate()
        .map(|(n, chunk)| Encoded {
            timestamp: first_timestamp.wrapping_add((n * frame.samples()) as u32),
            talkspurt: n == 0,
            packet: encoder
                .encode(chunk)
                .expect("the chunk is a frame")
                .to_vec(),
        })
        .collect()
}

/// A pull of the listener.
#[derive(Clone, Copy)]
pub(crate) struct Heard {
    /// Virtual time, seconds.
    pub(crate) at: f64,
    pub(crate) pulled: Pulled,
    /// From the microphone's sample to its being handed out, in ms; no codec delay, no device queue.
    pub(crate) mouth_to_ear: Option<f64>,
    pub(crate) stats: StreamStats,
}

/// A call that is over.
pub(crate) struct Call {
    pub(crate) pcm: Vec<f32>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) stats: StreamStats,
}

impl Call {
    /// Sends `frames` (of `frame` length each) over the network to a fresh stream.
    pub(crate) fn run(frames: &[Encoded], frame: FrameDuration, network: &Network) -> Self {
        let mut stream = SpeakerStream::new(Duration::from_millis(200)).expect("there is memory");
        let start = Instant::now();
        // Captured by a clock that runs `drift_ppm` fast; sent once complete.
        let rate = 48_000.0 * (1.0 + network.drift_ppm * 1e-6);
        let first = frames[0].timestamp;
        let captured = |timestamp: u32| f64::from(timestamp.wrapping_sub(first)) / rate;
        let flights = network.carry(frames.len(), |n| {
            captured(frames[n].timestamp) + frame.samples() as f64 / rate
        });
        let last = flights.last().map_or(0.0, |flight| flight.arrival);
        let mut flights = flights.into_iter().peekable();
        let mut call = Self {
            pcm: Vec::new(),
            heard: Vec::new(),
            stats: StreamStats::default(),
        };
        let mut out = vec![0.0; network.pull];
        // The device's phase is no one's business: 3.3 ms.
        for pull in 0.. {
            let at = 0.0033 + f64::from(pull) * network.pull as f64 / 48_000.0;
            if at > last {
                break;
            }
            while let Some(flight) = flights.next_if(|flight| flight.arrival <= at) {
                let arrival = start + Duration::from_secs_f64(flight.arrival);
                let sent = &frames[flight.frame];
                stream.push(arrival, sent.timestamp, &sent.packet, sent.talkspurt);
                if let Some(copy) = network
                    .redundancy
                    .and_then(|age| flight.frame.checked_sub(age))
                {
                    let reach = sent.timestamp.wrapping_sub(frames[copy].timestamp);
                    stream.protected(arrival, reach);
                    stream.push_redundant(frames[copy].timestamp, &frames[copy].packet);
                }
            }
            let pulled = stream.pull(start + Duration::from_secs_f64(at), &mut out);
            call.pcm.extend_from_slice(&out);
            call.heard.push(Heard {
                at,
                pulled,
                mouth_to_ear: pulled.timestamp.map(|ts| (at - captured(ts)) * 1e3),
                stats: stream.stats(),
            });
        }
        call.stats = stream.stats();
        call
    }

    /// Pulls between two times, in seconds.
    pub(crate) fn between(&self, from: f64, to: f64) -> impl Iterator<Item = &Heard> {
        self.heard
            .iter()
            .filter(move |heard| (from..to).contains(&heard.at))
    }

    /// Mouth to ear in ms, quantile `q` of the pulls between two times.
    pub(crate) fn delay_quantile(&self, from: f64, to: f64, q: f64) -> f64 {
        let mut delays: Vec<f64> = self
            .between(from, to)
            .filter_map(|h| h.mouth_to_ear)
            .collect();
        delays.sort_by(f64::total_cmp);
        delays[((delays.len() - 1) as f64 * q) as usize]
    }

    /// Frames concealed between two times, in seconds.
    pub(crate) fn concealed(&self, from: f64, to: f64) -> f64 {
        self.between(from, to)
            .map(|h| h.pulled.concealed as f64)
            .sum::<f64>()
            / 960.0
    }
}

/// A speech call over `network` with 20 ms frames.
pub(crate) fn speech_call(seconds: f64, network: &Network) -> Call {
    let frames = encode(&speech(seconds), FrameDuration::Ms20, 0xffff_0000);
    Call::run(&frames, FrameDuration::Ms20, network)
}

/// Best normalised correlation of `b` against `a` over lags up to `most` samples, and the lag.
pub(crate) fn best_correlation(a: &[f32], b: &[f32], most: usize) -> (f64, usize) {
    (0..most)
        .map(|lag| {
            let (mut ab, mut aa, mut bb) = (0.0, 1e-9, 1e-9);
            for (&x, &y) in a.iter().zip(&b[lag..]).step_by(3) {
                let (x, y) = (f64::from(x), f64::from(y));
                ab += x * y;
                aa += x * x;
                bb += y * y;
            }
            (ab / f64::sqrt(aa * bb), lag)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .expect("there is a lag")
}
