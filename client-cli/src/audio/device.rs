//! Microphone and speakers.
//!
//! A device's stream may not leave its thread on every platform, so each has one, which sleeps while the device works.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use confab_voice::SAMPLE_RATE;
use cpal::traits::{DeviceTrait as _, HostTrait as _, StreamTrait as _};
use cpal::{
    BufferSize, FromSample, SampleFormat, SizedSample, StreamConfig, SupportedStreamConfig,
};
use tokio::sync::{Notify, mpsc};

use super::resample::Resampler;
use super::{AudioError, BLOCK, Block};

/// Blocks of the microphone that wait: 200 ms. More are dropped, oldest news last.
const WAITING_BLOCKS: usize = 20;

/// The microphone at work, until dropped.
#[derive(Debug)]
pub struct Microphone {
    /// Its blocks, as they come.
    pub blocks: mpsc::Receiver<Block>,
    _keep: Sender<()>,
}

/// The speakers at work, until dropped.
#[derive(Debug)]
pub struct Speakers {
    queue: Arc<Queue>,
    _keep: Sender<()>,
}

#[derive(Debug, Default)]
struct Queue {
    samples: Mutex<VecDeque<f32>>,
    /// Samples that the device takes at once.
    period: AtomicUsize,
    hungry: Notify,
}

/// Starts the microphone; `problems` hears of it when it breaks later.
pub fn microphone(problems: mpsc::UnboundedSender<String>) -> Result<Microphone, AudioError> {
    let (to, blocks) = mpsc::channel(WAITING_BLOCKS);
    let keep = run(move || {
        let host = cpal::default_host();
        let device = host
            .default_input_device()
            .ok_or("there is no microphone")?;
        let supported = device
            .default_input_config()
            .map_err(|error| error.to_string())?;
        let capture = Capture::new(&supported, to);
        match supported.sample_format() {
            SampleFormat::F32 => listen::<f32>(&device, &supported, capture, problems),
            SampleFormat::I32 => listen::<i32>(&device, &supported, capture, problems),
            SampleFormat::I16 => listen::<i16>(&device, &supported, capture, problems),
            SampleFormat::U16 => listen::<u16>(&device, &supported, capture, problems),
            SampleFormat::U8 => listen::<u8>(&device, &supported, capture, problems),
            other => Err(format!(
                "the microphone gives samples of an unknown form ({other})"
            )),
        }
    });
    let keep = keep.map_err(|reason| AudioError::device("microphone", &reason, "--in"))?;
    Ok(Microphone {
        blocks,
        _keep: keep,
    })
}

/// Starts the speakers; `problems` hears of it when they break later.
pub fn speakers(problems: mpsc::UnboundedSender<String>) -> Result<Speakers, AudioError> {
    let queue = Arc::new(Queue {
        period: AtomicUsize::new(BLOCK),
        ..Queue::default()
    });
    let playback_queue = queue.clone();
    let keep = run(move || {
        let host = cpal::default_host();
        let device = host
            .default_output_device()
            .ok_or("there are no speakers")?;
        let supported = device
            .default_output_config()
            .map_err(|error| error.to_string())?;
        let playback = Playback::new(&supported, playback_queue);
        match supported.sample_format() {
            SampleFormat::F32 => play::<f32>(&device, &supported, playback, problems),
            SampleFormat::I32 => play::<i32>(&device, &supported, playback, problems),
            SampleFormat::I16 => play::<i16>(&device, &supported, playback, problems),
            SampleFormat::U16 => play::<u16>(&device, &supported, playback, problems),
            SampleFormat::U8 => play::<u8>(&device, &supported, playback, problems),
            other => Err(format!(
                "the speakers take samples of an unknown form ({other})"
            )),
        }
    });
    let keep = keep.map_err(|reason| AudioError::device("speakers", &reason, "--out"))?;
    Ok(Speakers { queue, _keep: keep })
}

impl Speakers {
    /// Waits until the device wants more.
    pub async fn hungry(&self) {
        self.queue.hungry.notified().await;
    }

    /// Blocks to play now: as many as the device takes at once, and one queued.
    pub fn wanted(&self) -> usize {
        let target = self.queue.period.load(Ordering::Relaxed) + BLOCK;
        let queued = lock(&self.queue.samples).len();
        target.saturating_sub(queued).div_ceil(BLOCK)
    }

    /// Queues a block.
    pub fn push(&self, block: &Block) {
        lock(&self.queue.samples).extend(block);
    }
}

impl AudioError {
    fn device(what: &'static str, reason: &str, flag: &'static str) -> Self {
        let reason = reason.trim_end_matches('.').to_owned();
        Self::Device { what, reason, flag }
    }
}

/// Runs `start` on a thread of its own, keeps what it gives until the sender is dropped.
fn run<S: 'static>(
    start: impl FnOnce() -> Result<S, String> + Send + 'static,
) -> Result<Sender<()>, String> {
    let (keep, kept) = channel::<()>();
    let (started_to, started) = channel();
    let body = move || {
        let (stream, result) = match start() {
            Ok(stream) => (Some(stream), Ok(())),
            Err(reason) => (None, Err(reason)),
        };
        let works = result.is_ok() && started_to.send(result.clone()).is_ok();
        if works {
            // Ends with an error when the sender is dropped: that is the sign to stop.
            let _ = kept.recv();
        } else if let Err(reason) = result {
            let _ = started_to.send(Err(reason));
        }
        drop(stream);
    };
    thread::Builder::new()
        .name("audio device".into())
        .spawn(body)
        .map_err(|error| error.to_string())?;
    started
        .recv()
        .unwrap_or_else(|_| Err("its thread ended".into()))?;
    Ok(keep)
}

/// Device samples to blocks.
struct Capture {
    channels: usize,
    resampler: Resampler,
    mono: Vec<f32>,
    ready: Vec<f32>,
    to: mpsc::Sender<Block>,
}

impl Capture {
    fn new(supported: &SupportedStreamConfig, to: mpsc::Sender<Block>) -> Self {
        Self {
            channels: usize::from(supported.channels().max(1)),
            resampler: Resampler::new(supported.sample_rate(), SAMPLE_RATE),
            mono: Vec::new(),
            ready: Vec::new(),
            to,
        }
    }

    fn take<T: SizedSample>(&mut self, samples: &[T])
    where
        f32: FromSample<T>,
    {
        self.mono.clear();
        let gain = 1.0 / self.channels as f32;
        let frames = samples.chunks_exact(self.channels);
        self.mono.extend(
            frames.map(|frame| frame.iter().map(|s| s.to_sample::<f32>()).sum::<f32>() * gain),
        );
        self.resampler.push(&self.mono, &mut self.ready);
        while let Some(block) = self.ready.first_chunk::<BLOCK>() {
            // A program that was stopped for a while hears nothing of what was said meanwhile.
            let _ = self.to.try_send(*block);
            self.ready.drain(..BLOCK);
        }
    }
}

/// Blocks to device samples.
struct Playback {
    channels: usize,
    resampler: Resampler,
    ready: Vec<f32>,
    queue: Arc<Queue>,
}

impl Playback {
    fn new(supported: &SupportedStreamConfig, queue: Arc<Queue>) -> Self {
        Self {
            channels: usize::from(supported.channels().max(1)),
            resampler: Resampler::new(SAMPLE_RATE, supported.sample_rate()),
            ready: Vec::new(),
            queue,
        }
    }

    fn give<T: SizedSample + FromSample<f32>>(&mut self, out: &mut [T]) {
        let frames = out.len() / self.channels;
        let mut taken = 0;
        while self.ready.len() < frames {
            let mut block = [0.0; BLOCK];
            {
                let mut samples = lock(&self.queue.samples);
                let there = samples.len().min(BLOCK);
                for (slot, sample) in block.iter_mut().zip(samples.drain(..there)) {
                    *slot = sample;
                }
            }
            taken += BLOCK;
            self.resampler.push(&block, &mut self.ready);
        }
        for (frame, sample) in out
            .chunks_mut(self.channels)
            .zip(self.ready.drain(..frames))
        {
            frame.fill(T::from_sample(sample));
        }
        self.queue.period.store(taken.max(BLOCK), Ordering::Relaxed);
        self.queue.hungry.notify_one();
    }
}

fn listen<T: SizedSample + 'static>(
    device: &cpal::Device,
    supported: &SupportedStreamConfig,
    mut capture: Capture,
    problems: mpsc::UnboundedSender<String>,
) -> Result<cpal::Stream, String>
where
    f32: FromSample<T>,
{
    let stream = device.build_input_stream(
        config(supported),
        move |samples: &[T], _: &_| capture.take(samples),
        move |error: cpal::Error| drop(problems.send(format!("the microphone: {error}"))),
        None,
    );
    start(stream)
}

fn play<T: SizedSample + FromSample<f32> + 'static>(
    device: &cpal::Device,
    supported: &SupportedStreamConfig,
    mut playback: Playback,
    problems: mpsc::UnboundedSender<String>,
) -> Result<cpal::Stream, String> {
    let stream = device.build_output_stream(
        config(supported),
        move |samples: &mut [T], _: &_| playback.give(samples),
        move |error: cpal::Error| drop(problems.send(format!("the speakers: {error}"))),
        None,
    );
    start(stream)
}

fn start(stream: Result<cpal::Stream, cpal::Error>) -> Result<cpal::Stream, String> {
    let stream = stream.map_err(|error| error.to_string())?;
    stream.play().map_err(|error| error.to_string())?;
    Ok(stream)
}

/// Periods of 10 ms, where the device can.
fn config(supported: &SupportedStreamConfig) -> StreamConfig {
    let mut config = supported.config();
    let period = supported.sample_rate() / 100;
    if let cpal::SupportedBufferSize::Range { min, max } = supported.buffer_size()
        && (*min..=*max).contains(&period)
    {
        config.buffer_size = BufferSize::Fixed(period);
    }
    config
}

/// A panic elsewhere leaves samples behind that are as good as any.
fn lock(samples: &Mutex<VecDeque<f32>>) -> std::sync::MutexGuard<'_, VecDeque<f32>> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}
