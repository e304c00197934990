//! Speech over networks that lose, judged by PESQ and PLCMOS, and by ViSQOL where nothing is lost: recordings go through a client's
//! engine, a relay's core and another client's engine, on virtual time.
//!
//! * `conditions`: what is measured, and what is asked for;
//! * [`network`]: which datagrams arrive, and when;
//! * [`call`]: the call; `others`: what other programs make of the same;
//! * [`picture`]: the curves.

pub mod call;
mod conditions;
pub mod network;
mod others;
pub mod picture;
mod relay;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use confab_voice::ProcessingConfig;

use crate::RATE;
use crate::align::align;
use crate::figures::{Figure, Goal};
use crate::score::{self, ScoreError};
use crate::speech::{self, SpeechError};
use call::{Heard, Setup};
use conditions::{Condition, LIMITS, LOSSES, conditions};
use network::Delay;
use others::Other;
use picture::Curve;

/// Speech before this time is not judged: the sender has to hear of the loss first. The same in samples.
const ADAPTED: Duration = Duration::from_secs(5);
const UNJUDGED: usize = ADAPTED.as_secs() as usize * RATE as usize;
/// Shortest judged part of a clip, in seconds.
const JUDGED_SECONDS: usize = 30;
/// Samples of the call by which the delay without loss is measured.
const CALM: usize = 10 * RATE as usize;
/// A stall's delay is over once no more than this is left of it, in milliseconds.
const DRAINED_MS: f32 = 20.0;
/// Calls that are simulated at a time.
const THREADS: usize = 2;

/// Bytes of a payload beside its Opus packet, and of a block beside its symbol.
const PAYLOAD_HEADER: usize = 6;
const BLOCK_HEADER: usize = 4;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum ClarityError {
    #[error(transparent)]
    Speech(#[from] SpeechError),
    #[error(transparent)]
    Score(#[from] ScoreError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Codec(#[from] confab_voice::CodecError),
    #[error(
        "there is no profile {0}; there are: {1}; or one of your own, such as -/x3 for an XOR of the two before beside each second frame"
    )]
    Profile(String, String),
}

/// A choice among the measurements.
#[derive(Debug, Clone)]
pub struct Options {
    /// These profiles instead of the adaptation.
    pub profiles: Vec<String>,
    /// Only conditions whose name has this in it.
    pub only: Option<String>,
    /// How many seeds of each condition.
    pub seeds: u64,
}

impl Options {
    /// True if this is to be measured besides the conditions.
    pub fn is_wanted(&self, what: &str) -> bool {
        self.profiles.is_empty() && self.only.as_ref().is_none_or(|only| only == what)
    }
}

/// The values of one call.
struct Measured {
    pesq: f64,
    plcmos: f64,
    kbps: f64,
    payload_kbps: f64,
    delay_ms: f64,
    concealed: f64,
}

/// Measures by the interpreter `python`, which has the package `pesq`. `progress` is told what goes on.
pub fn figures(
    python: &Path,
    options: &Options,
    progress: impl Fn(&str) + Sync,
) -> Result<Vec<Figure>, ClarityError> {
    let clips = clips()?;
    let conditions = conditions(options)?;
    let seeds = options.seeds.max(1);
    let idle_ms = delay_ms(&call::speak(&clips[0][..CALM], &Setup::calm()));
    let measured: Mutex<Vec<Vec<Measured>>> =
        Mutex::new(conditions.iter().map(|_| Vec::new()).collect());
    let failed = Mutex::new(None);
    let next = AtomicUsize::new(0);
    let jobs = conditions.len() * seeds as usize;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    if job >= jobs {
                        return;
                    }
                    let (index, seed) = (job / seeds as usize, (job % seeds as usize) as u64);
                    let condition = &conditions[index];
                    let clip = &clips[seed as usize % clips.len()];
                    match measure(python, clip, condition, seed, idle_ms) {
                        Ok(one) => lock(&measured)[index].push(one),
                        Err(error) => *lock(&failed) = Some(error),
                    }
                    if seed + 1 == seeds {
                        progress(&format!("{} of {jobs} calls: {}", job + 1, condition.name));
                    }
                }
            });
        }
    });
    if let Some(error) = lock(&failed).take() {
        return Err(error);
    }
    let measured = lock(&measured);
    let figures = conditions
        .iter()
        .zip(measured.iter())
        .flat_map(|(condition, measured)| {
            let figure = |what: &str, value: fn(&Measured) -> f64, unit, goal| {
                let name = format!("voice.{what}.{}", condition.name);
                Figure::new(&name, mean(measured.iter().map(value)), unit, goal)
            };
            // The last frames of a spurt have no symbol behind them: a hundredth is in the rounding.
            let rate = f64::from(condition.voice.encoder.bitrate) / 1000.0;
            let rate = Goal::AtMost(rate * 1.01);
            // A frame is decoded when a mix is made: half a millisecond of the idle call's delay is chance.
            let delay = Goal::AtMost(condition.voice.max_delay.as_secs_f64() * 1000.0 + 0.5);
            [
                figure("pesq", |one| one.pesq, "PESQ-WB", condition.pesq),
                figure("plcmos", |one| one.plcmos, "PLCMOS", condition.plcmos),
                figure("bitrate_kbps", |one| one.kbps, "kbit/s", rate),
                figure("payload_kbps", |one| one.payload_kbps, "kbit/s", Goal::None),
                figure("added_delay_ms", |one| one.delay_ms, "ms", delay),
                figure(
                    "concealed",
                    |one| one.concealed,
                    "of the frames",
                    Goal::None,
                ),
            ]
        });
    let mut figures: Vec<Figure> = figures.collect();
    if options.is_wanted("others") {
        figures.extend(others(python, &clips, seeds, &progress)?);
    }
    if options.is_wanted("calm") {
        figures.extend(delays(&clips[0]));
        figures.push(processor(&clips[0]));
        figures.push(brilliance(python)?);
    }
    Ok(figures)
}

/// PESQ over random loss, for a picture.
pub fn curves(figures: &[Figure]) -> Vec<Curve> {
    let names = [
        ("libopus alone", "25k.libopus_alone"),
        ("libopus, in-band FEC", "25k.libopus_fec"),
        ("deep concealment", "25k_60ms.off"),
    ];
    let limits = LIMITS.iter().map(|limit| (limit.name, limit.name));
    let curve = |(name, suffix): (&str, &str)| {
        let points = [("clean", 0.0), ("r5", 5.0), ("r10", 10.0), ("r20", 20.0)];
        let points = points.iter().filter_map(|(loss, percent)| {
            let name = format!("voice.pesq.{loss}_{suffix}");
            let figure = figures.iter().find(|figure| figure.name == name)?;
            Some((*percent, figure.value))
        });
        (name.replace('_', ", "), points.collect())
    };
    names.into_iter().chain(limits).map(curve).collect()
}

/// Processor time of a client with a microphone, which speaks and hears four others. Echo cancellation is off.
fn processor(clip: &[f32]) -> Figure {
    let setup = Setup {
        processing: ProcessingConfig {
            high_pass: true,
            suppress_noise: true,
            ..ProcessingConfig::default()
        },
        others: 3,
        ..Setup::calm()
    };
    let heard = call::speak(clip, &setup);
    let seconds = clip.len() as f64 / f64::from(RATE);
    let ms = heard.processor.as_secs_f64() * 1000.0 / seconds;
    Figure::new("voice.cpu_ms_per_s", ms, "ms/s", Goal::AtMost(60.0))
}

/// Figures of other programs under the losses, at 25 kbit/s.
fn others(
    python: &Path,
    clips: &[Vec<f32>],
    seeds: u64,
    progress: impl Fn(&str),
) -> Result<Vec<Figure>, ClarityError> {
    let bitrate = LIMITS[0].bitrate;
    let mut figures = Vec::new();
    for other in Other::ALL {
        for (loss_name, loss) in LOSSES {
            let scratch = tempfile::tempdir()?;
            let mut pairs = Vec::new();
            for seed in 0..seeds {
                let clip = &clips[seed as usize % clips.len()];
                let heard = others::speak(clip, other, bitrate, loss, seed + 1)?;
                let (said, heard) = (&clip[UNJUDGED..heard.len()], &heard[UNJUDGED..]);
                let name = seed.to_string();
                pairs.extend(score::write_pair(scratch.path(), &name, said, heard)?);
            }
            let heard: Vec<_> = pairs.iter().skip(1).step_by(2).cloned().collect();
            let pesq = mean(score::pesq(python, &pairs)?.into_iter());
            let plcmos = mean(score::plcmos(python, &heard)?.into_iter());
            let name = |what: &str| format!("voice.{what}.{loss_name}_25k.{}", other.name());
            figures.push(Figure::new(&name("pesq"), pesq, "PESQ-WB", Goal::None));
            figures.push(Figure::new(&name("plcmos"), plcmos, "PLCMOS", Goal::None));
        }
        progress(other.name());
    }
    Ok(figures)
}

/// ViSQOL of a voice up to 20 kHz where nothing is lost: the other models hear nothing above 8 kHz.
fn brilliance(python: &Path) -> Result<Figure, ClarityError> {
    let said = speech::fullband()?;
    let mut setup = Setup::calm();
    setup.voice.encoder.bitrate = LIMITS[0].bitrate;
    let heard = call::speak(&said, &setup);
    let (said, heard) = aligned(&said, &heard.samples);
    let scratch = tempfile::tempdir()?;
    let pair = ["said.wav", "heard.wav"].map(|name| scratch.path().join(name));
    speech::write_wav(&pair[0], said)?;
    speech::write_wav(&pair[1], heard)?;
    let visqol = mean(score::visqol(python, &pair)?.into_iter());
    let name = "voice.visqol_audio.clean_25k";
    Ok(Figure::new(name, visqol, "ViSQOL", Goal::AtLeast(4.0)))
}

/// How long is waited on networks that lose nothing.
fn delays(clip: &[f32]) -> Vec<Figure> {
    let setup = |delay| Setup {
        delay,
        ..Setup::calm()
    };
    let wifi = call::speak(clip, &setup(Delay::Wifi));
    let mut held: Vec<f64> = wifi
        .delay_ms
        .iter()
        .map(|(_, delay)| f64::from(*delay))
        .collect();
    held.sort_by(f64::total_cmp);
    let p50 = held.get(held.len() / 2).copied().unwrap_or(f64::INFINITY);
    let late = wifi.late as f64 / wifi.frames_received.max(1) as f64 * 100.0;
    let (at, length) = (Duration::from_secs(10), Duration::from_millis(500));
    let stalled = call::speak(clip, &setup(Delay::Stall { at, length }));
    // What is held in the second before the stall, and what is at most 20 ms more.
    let before = stalled.delay_ms.iter().filter(|(when, _)| *when < at);
    let before = before.map(|(_, delay)| *delay).fold(0.0, f32::max);
    let is_long = |(when, delay): &&(Duration, f32)| *when > at && *delay > before + DRAINED_MS;
    let last = stalled
        .delay_ms
        .iter()
        .filter(is_long)
        .map(|(when, _)| *when)
        .next_back();
    let drain = last.map_or(0.0, |last| last.saturating_sub(at + length).as_secs_f64());
    vec![
        Figure::new("voice.buffer_ms.p50", p50, "ms", Goal::AtMost(50.0)),
        Figure::new("voice.late_percent", late, "%", Goal::AtMost(1.0)),
        Figure::new("voice.drain_s", drain, "s", Goal::AtMost(3.0)),
    ]
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1);
    values.sum::<f64>() / count as f64
}

/// Recordings joined to clips that are long enough.
fn clips() -> Result<Vec<Vec<f32>>, ClarityError> {
    let least = UNJUDGED + JUDGED_SECONDS * RATE as usize;
    let mut clips = vec![Vec::new()];
    for recording in speech::wideband()? {
        if clips
            .last()
            .is_some_and(|clip: &Vec<f32>| clip.len() >= least)
        {
            clips.push(Vec::new());
        }
        if let Some(clip) = clips.last_mut() {
            clip.extend(recording);
        }
    }
    if clips.len() > 1 && clips.last().is_some_and(|clip| clip.len() < least) {
        clips.pop();
    }
    Ok(clips)
}

fn measure(
    python: &Path,
    clip: &[f32],
    condition: &Condition,
    seed: u64,
    idle_ms: f64,
) -> Result<Measured, ClarityError> {
    let setup = Setup {
        voice: condition.voice,
        loss: condition.loss,
        seed: seed + 1,
        ..Setup::calm()
    };
    let heard = call::speak(clip, &setup);
    let scratch = tempfile::tempdir()?;
    let (said, samples) = aligned(&clip[UNJUDGED..], &heard.samples[UNJUDGED..]);
    let pair = score::write_pair(scratch.path(), "call", said, samples)?;
    let (kbps, payload_kbps) = rates(&heard);
    Ok(Measured {
        pesq: mean(score::pesq(python, &pair)?.into_iter()),
        plcmos: mean(score::plcmos(python, &pair[1..])?.into_iter()),
        kbps,
        payload_kbps,
        delay_ms: delay_ms(&heard) - idle_ms,
        concealed: heard.concealed as f64 / heard.sent.len().max(1) as f64,
    })
}

/// Two recordings that begin and end together: the speech, and the listener's sound without its delay. PESQ finds delays by itself, but where a recording begins in the
/// middle of a word that costs up to 0.15.
fn aligned<'a>(said: &'a [f32], heard: &'a [f32]) -> (&'a [f32], &'a [f32]) {
    let late = align(said, heard, 0).map_or(0.0, |found| found.delay * f64::from(RATE));
    let heard = &heard[(late as usize).min(heard.len())..];
    let judged = heard.len().min(said.len());
    (&said[..judged], &heard[..judged])
}

/// The mean delay that the jitter buffer held over the fastest packet's, in milliseconds.
fn delay_ms(heard: &Heard) -> f64 {
    let delays = heard.delay_ms.iter().filter(|(at, _)| *at >= ADAPTED);
    let delays: Vec<f64> = delays.map(|(_, delay)| f64::from(*delay)).collect();
    mean(delays.into_iter())
}

/// Kilobits a second of voice and symbols, and of whole payloads, while the speaker spoke.
fn rates(heard: &Heard) -> (f64, f64) {
    let sent: Vec<_> = heard
        .sent
        .iter()
        .filter(|(at, ..)| *at >= ADAPTED)
        .collect();
    let seconds = sent.len() as f64 * 0.02;
    let payload: usize = sent.iter().map(|(_, payload, _)| payload).sum();
    let voice = |&&(_, payload, opus): &&(Duration, usize, usize)| {
        let blocks = payload.saturating_sub(PAYLOAD_HEADER + opus);
        let count = blocks.div_ceil(opus + BLOCK_HEADER + 4);
        opus + blocks - count * BLOCK_HEADER
    };
    let voice: usize = sent.iter().map(voice).sum();
    let kbps = |bytes: usize| bytes as f64 * 8.0 / 1000.0 / seconds;
    (kbps(voice), kbps(payload))
}
