//! The audio of a call, by the real clock: from the input to the engine, and from the engine to the speakers and the
//! recordings.

use std::time::{Duration, Instant};

use super::event::CallEvent;
use super::pace::Pace;
use super::plan::Plan;
use super::sound::{Input, Sound};
use crate::audio::device::Side;
use crate::audio::device::intake::Captured;
use crate::audio::device::stats::DevicesStats;
use crate::audio::device::wanted::Wanted;
use crate::audio::recorder::{Played, Recorder, RecorderEvent, Speaker};
use crate::audio::source::{Next, Source};
use crate::audio::{BLOCK, BLOCK_TIME, Block, MIX, MIX_TIME};
use crate::engine::Engine;
use crate::output::Output;

/// Time that recordings get at the end. Samples that are not written by then are lost and reported.
const RECORDER_TIMEOUT: Duration = Duration::from_secs(5);

/// The sound of an input that has none.
const SILENCE: Block = [0.0; BLOCK];

/// The inputs and outputs of a call.
pub(super) struct CallAudio {
    sound: Sound,
    recorder: Option<Recorder>,
    output: Output,
    /// `None` when the input is no source, or has ended.
    capture: Option<Pace>,
    capture_started: bool,
    playout: Pace,
    recording_failed: bool,
    /// True when a recording to standard output found no reader.
    lost_reader: bool,
}

impl CallAudio {
    /// Begins to listen as planned.
    pub(super) fn new(
        mut sound: Sound,
        recorder: Option<Recorder>,
        output: Output,
        plan: &Plan,
    ) -> Self {
        sound.devices.listen(plan.input_at());
        for name in std::mem::take(&mut sound.awaited) {
            let message = format!("{name} is not open yet; waiting for it");
            output.print(&CallEvent::Warning { message });
        }
        let start = plan.start();
        Self {
            capture: matches!(sound.input, Input::Paced(_))
                .then(|| Pace::new(plan.input_at(), BLOCK_TIME)),
            capture_started: false,
            // The first is played at once: it has the first 5 ms.
            playout: Pace::new(start.checked_sub(MIX_TIME).unwrap_or(start), MIX_TIME),
            recording_failed: false,
            lost_reader: false,
            sound,
            recorder,
            output,
        }
    }

    /// Waits until a device has samples.
    pub(super) async fn woken(&self) {
        self.sound.devices.woken().await;
    }

    /// When [`exchange`](Self::exchange) is due.
    pub(super) fn next_deadline(&self) -> Instant {
        let playout = self.playout.next();
        let capture = self.capture.as_ref().map(Pace::next);
        capture.map_or(playout, |capture| capture.min(playout))
    }

    /// Gives captured blocks to the engine, and plays the blocks that are due.
    pub(super) fn exchange(&mut self, now: Instant, engine: &mut Engine, plan: &mut Plan) {
        self.take_from_devices(now, engine, plan);
        self.take_from_source(now, engine, plan);
        self.play(now, engine);
        self.print_recorder_events(plan);
    }

    /// Counts of the devices.
    pub(super) fn stats(&self, now: Instant) -> DevicesStats {
        self.sound.devices.stats(now)
    }

    /// True if the call has a device on this side.
    pub(super) fn has_device(&self, side: Side) -> bool {
        self.sound.devices.has(side)
    }

    /// The wanted microphone and speakers.
    pub(super) fn wanted(&self) -> [Wanted; 2] {
        self.sound.devices.wanted()
    }

    /// From now on another device is wanted.
    pub(super) fn want(&mut self, now: Instant, side: Side, wanted: Wanted) {
        self.sound.devices.want(now, side, wanted);
    }

    /// True when a recording to standard output found no reader.
    pub(super) fn lost_reader(&self) -> bool {
        self.lost_reader
    }

    /// True when a recording has failed.
    pub(super) fn recording_failed(&self) -> bool {
        self.recording_failed
    }

    /// Closes the devices, in a bounded time.
    pub(super) async fn close_devices(&mut self) {
        self.sound.devices.close().await;
    }

    /// Ends the recordings, within 5 s.
    pub(super) async fn finish_recordings(&mut self, plan: &Plan) {
        if let Some(recorder) = &mut self.recorder {
            recorder.finish(RECORDER_TIMEOUT).await;
        }
        self.print_recorder_events(plan);
        self.recorder = None;
    }

    /// Takes from a source what a microphone would have captured by now.
    fn take_from_source(&mut self, now: Instant, engine: &mut Engine, plan: &mut Plan) {
        let (Some(pace), Input::Paced(source)) = (&mut self.capture, &mut self.sound.input) else {
            return;
        };
        let due = pace.take(now);
        if due.skipped > 0 {
            // A microphone that nobody listened to for so long has lost it too.
            engine.interrupt();
        }
        let mut end_of_block = due.first_end;
        for block in 0..due.skipped + due.blocks {
            match source.next_block() {
                Next::Block(samples) => {
                    if !std::mem::replace(&mut self.capture_started, true) {
                        print_capture_started(self.output, plan, end_of_block);
                    }
                    if block < due.skipped {
                        continue;
                    }
                    engine.capture(end_of_block, &samples[..]);
                }
                Next::Starved if self.sound.hide_pauses => engine.capture(end_of_block, &SILENCE),
                Next::Starved => engine.pause(end_of_block),
                Next::Ended(problem) => {
                    if self.sound.hide_pauses {
                        *source = Source::Silence;
                    } else {
                        self.capture = None;
                    }
                    engine.pause(end_of_block);
                    plan.input_ended(now);
                    return self.output.print(&CallEvent::InputEnded { problem });
                }
            }
            end_of_block += BLOCK_TIME;
        }
    }

    /// Takes captured blocks of the microphone, and reports changes of the devices.
    fn take_from_devices(&mut self, now: Instant, engine: &mut Engine, plan: &Plan) {
        self.sound.devices.update(now);
        while let Some(captured) = self.sound.devices.captured() {
            match captured {
                Captured::Block(block, end) => {
                    if !std::mem::replace(&mut self.capture_started, true) {
                        print_capture_started(self.output, plan, end);
                    }
                    engine.capture(end, &block[..]);
                }
                Captured::Interrupted => engine.interrupt(),
            }
        }
        while let Some((side, notice)) = self.sound.devices.poll_notice() {
            self.output.print(&CallEvent::device(side, notice));
        }
    }

    /// Mixes and plays what is due.
    fn play(&mut self, now: Instant, engine: &mut Engine) {
        let due = self.playout.take(now);
        if let Some(recorder) = &mut self.recorder {
            recorder.skip(due.skipped);
        }
        let mut at = due.first_end;
        for _ in 0..due.blocks {
            self.play_mix(now, at, engine);
            at += MIX_TIME;
        }
        // A recording is as long as the call lasted, whatever the device's clock says.
        if self.recorder.is_none() {
            self.playout.shift(self.sound.devices.take_shift());
        }
    }

    fn play_mix(&mut self, now: Instant, at: Instant, engine: &mut Engine) {
        let mut mix = Box::new([0.0; MIX]);
        let mut speakers = Vec::new();
        let recorder = self.recorder.as_ref();
        let record = recorder.is_some_and(Recorder::wants_speakers);
        let heard = self.sound.devices.play(now);
        engine.play(at, &mut mix[..], heard, |participant, samples| {
            if let (true, Ok(block)) = (record, samples.try_into()) {
                let speaker = Speaker {
                    account: participant.username.file_stem().to_string(),
                    label: participant.sender,
                };
                speakers.push((speaker, block));
            }
        });
        self.sound.devices.push(now, at, &mix);
        if let Some(recorder) = &mut self.recorder {
            recorder.record(Played { mix, speakers });
        }
    }

    fn print_recorder_events(&mut self, plan: &Plan) {
        while let Some(event) = self.recorder.as_mut().and_then(Recorder::poll_event) {
            self.print_recorder_event(event, plan);
        }
    }

    fn print_recorder_event(&mut self, event: RecorderEvent, plan: &Plan) {
        match event {
            RecorderEvent::Started(file) => {
                let unix_ns = plan.unix_ns(plan.start());
                self.output.print(&CallEvent::RecordingStarted {
                    unix_ns,
                    file: file.display().to_string(),
                });
            }
            RecorderEvent::Failed(error) => {
                self.recording_failed = true;
                self.output.print(&CallEvent::Warning {
                    message: error.to_string(),
                });
            }
            RecorderEvent::Limited(limit) => self.output.print(&CallEvent::Warning {
                message: limit.to_string(),
            }),
            RecorderEvent::NoReader => self.lost_reader = true,
        }
    }
}

fn print_capture_started(output: Output, plan: &Plan, end_of_block: Instant) {
    let start = end_of_block.checked_sub(BLOCK_TIME).unwrap_or(end_of_block);
    let unix_ns = plan.unix_ns(start);
    output.print(&CallEvent::CaptureStarted { unix_ns });
}
