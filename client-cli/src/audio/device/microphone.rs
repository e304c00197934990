//! The microphone of a call, whichever device it is at the moment.

use std::time::{Duration, Instant};

use super::drift::Drift;
use super::intake::{Captured, Intake};
use super::keeper::{Notice, OpenError};
use super::line::{Backend, Line};
use super::pipe::CaptureTap;
use super::quiet::Quiet;
use super::slot::StreamId;
use super::stats::{DeviceStats, MicrophoneStats};
use super::wakeup::WakeReceiver;
use super::wanted::Wanted;

/// A microphone that is kept open.
pub struct Microphone<B: Backend<Tap = CaptureTap>> {
    line: Line<B>,
    wake_receiver: WakeReceiver,
    /// The stream that is read.
    read: Option<StreamId>,
    intake: Option<Intake>,
    drift: Option<Drift>,
    quiet: Quiet,
    samples: Vec<f32>,
}

impl<B: Backend<Tap = CaptureTap>> Microphone<B> {
    /// Nothing is open yet: [`update`](Self::update) opens it. The backend's streams wake `wake_receiver`.
    pub fn new(backend: B, wake_receiver: WakeReceiver, now: Instant) -> Self {
        Self {
            line: Line::new(backend, now),
            wake_receiver,
            read: None,
            intake: None,
            drift: None,
            quiet: Quiet::new(now),
            samples: Vec::new(),
        }
    }

    pub fn line(&mut self) -> &mut Line<B> {
        &mut self.line
    }

    /// From now on what it hears is wanted, but nothing that was heard before `since`.
    pub fn listen(&mut self, since: Instant) {
        self.intake = Some(Intake::new(since));
        self.read = None;
    }

    /// Waits until there may be something for [`update`](Self::update).
    pub async fn woken(&self) {
        self.wake_receiver.woken().await;
    }

    /// Opens and closes devices, and takes captured samples. Has to be called after each [`woken`](Self::woken), and every
    /// 100 ms at least.
    pub fn update(&mut self, now: Instant) {
        self.line.update(now, self.quiet.is_quiet(now));
        let Some(intake) = &mut self.intake else {
            return;
        };
        if self.read != self.line.used() {
            self.read = self.line.used();
            self.drift = self.line.device().map(|device| Drift::new(device.rate));
            if let Some(device) = self.line.device() {
                intake.begin(device.rate);
            }
            if let Some(tap) = self.line.stream() {
                tap.listen();
            }
        }
        if let Some(tap) = self.line.stream() {
            while let Some(mark) = tap.take(&mut self.samples) {
                if let Some(drift) = &mut self.drift {
                    drift.add(mark.at, mark.kept + mark.lost);
                }
                self.quiet.add(mark.at, &self.samples);
                intake.take(now, &mark, &self.samples);
                self.samples.clear();
            }
        }
        intake.poll(now);
    }

    /// The next item for the engine.
    pub fn poll_captured(&mut self) -> Option<Captured> {
        self.intake.as_mut()?.poll_captured()
    }

    /// From now on another device is wanted.
    pub fn want(&mut self, now: Instant, wanted: Wanted) {
        self.line.want(now, wanted);
    }

    /// The next notice.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.line.poll_notice()
    }

    /// Why there is no microphone, once none could be opened.
    pub fn failure(&self) -> Option<OpenError> {
        self.line.failure()
    }

    /// Counts since the call began.
    pub fn stats(&self, now: Instant) -> MicrophoneStats {
        let dropped = self.intake.as_ref().map_or(Duration::ZERO, Intake::dropped);
        MicrophoneStats {
            device: DeviceStats::of(&self.line, now, self.drift.as_ref().and_then(Drift::ppm)),
            dropped_ms: dropped.as_millis() as u64,
        }
    }
}
