//! Mixes by this machine's clock become what speakers play by theirs.
//!
//! Between the call and the device some sound waits, so that neither has to be on time to the millisecond. How long it
//! waits is measured at each callback and held at a target: the resampler runs a little faster or slower, as much as the
//! two clocks differ, so nothing is ever cut out or put in while both go on. The target follows what is needed: it rises
//! when the device found too little, and falls while all was always there earlier than was needed. Where mixes keep the device's
//! pace (`phase`), a mix's length less is needed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use confab_voice::SAMPLE_RATE;

use super::drift::Drift;
use super::phase::Phase;
use super::pipe::{PlaybackMark, is_stale};
use crate::audio::resample::Resampler;
use crate::audio::{MIX, MIX_TIME};

/// Time by which the call may be late at first, at least and at most, before the device finds too little.
const CUSHION: Duration = Duration::from_millis(6);
const LEAST_CUSHION: Duration = Duration::from_micros(2500);
const MOST_CUSHION: Duration = Duration::from_millis(60);

/// The target delay grows by the missing time, within these, where that happens again within so long: a machine that stands
/// still once a minute is not worth delay all the time.
const WIDEN_BY: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(10));
const AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// Shortages closer together than this are one.
const ONE_SHORTAGE: Duration = Duration::from_millis(100);

/// The target delay shrinks when all was there `SPARE` before it was needed at all times of the last `CALM` seconds: each second by 1/`NARROW_BY`
/// of the excess, within `NARROWEST_BY`. Nobody hears sound that is faster by 650 parts of a million.
const CALM: usize = 10;
const SPARE: Duration = Duration::from_micros(2500);
const NARROW_BY: u32 = 10;
const NARROWEST_BY: (Duration, Duration) = (Duration::from_micros(100), Duration::from_micros(650));

/// The shortest wait within this time is the one that counts: a callback may be late, never early.
const WINDOW: Duration = Duration::from_secs(1);

/// What is done about a wait that is not the target, by the second: 1 ms changes the speed by 50 ppm. Beyond the second
/// value, in seconds, it is eight times as much: that is the end of a stall, or a clock that is not known yet.
const GAIN: f64 = 0.05;
const FAR: f64 = 0.003;
const FAR_GAIN: f64 = 0.4;

/// Clocks differ by this share at most; real ones by a tenth of it.
const MOST_DRIFT: f64 = 0.0025;

/// The speed differs by this share at most: a twelfth of a semitone.
const MOST_SPEED: f64 = 0.005;

/// Where mixes keep the device's pace, they cover what a callback takes and so much more, in seconds.
const MORE: f64 = 0.0005;

/// Queued time beyond the target plus this is dropped at once.
const MOST_EXCESS: Duration = Duration::from_millis(40);

/// The way from the call to one stream of the speakers.
#[derive(Debug)]
pub struct Feed {
    resampler: Resampler,
    rate: f64,
    /// Mixes that may not be played yet.
    queued: VecDeque<Queued>,
    /// Samples given to the device so far.
    given: u64,
    last_call: Option<PlaybackMark>,
    /// The device has begun to get sound; what it found missing before is no shortage.
    primed: bool,
    target_delay: TargetDelay,
    drift: Drift,
    /// Share by which the device's clock is too fast.
    fast: f64,
    /// Share by which the resampler is faster than the clocks say: what is missing to the target.
    nudge: f64,
    phase: Phase,
    window: Option<Window>,
    /// How long sound waits, in seconds, by the last window.
    waits: Option<f64>,
    short: Duration,
    skip: u64,
}

/// A mix as it was given to the device.
#[derive(Debug, Clone, Copy)]
struct Queued {
    /// Its first sample's number.
    first: u64,
    samples: u64,
    /// When it was to be mixed, how long it lasts by this machine's clock, and when it was there.
    at: Instant,
    lasts: Duration,
    there: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    ends: Instant,
    least: f64,
    /// How long after a mix that callback came, in seconds.
    since_mix: f64,
}

impl Feed {
    /// For a stream of `rate` frames a second.
    pub fn new(rate: u32) -> Self {
        Self {
            resampler: Resampler::adjustable(SAMPLE_RATE, rate),
            rate: f64::from(rate.max(1)),
            queued: VecDeque::new(),
            given: 0,
            last_call: None,
            primed: false,
            target_delay: TargetDelay::new(),
            drift: Drift::new(rate),
            fast: 0.0,
            nudge: 0.0,
            phase: Phase::new(),
            window: None,
            waits: None,
            short: Duration::ZERO,
            skip: 0,
        }
    }

    /// A callback of the device.
    pub fn called(&mut self, mark: &PlaybackMark) {
        self.drift.add(mark.at, mark.frames);
        let before = self.last_call.replace(*mark);
        let length = self.time_of(mark.frames as f64);
        if before.is_some_and(|before| is_stale(mark.at, before.at, length)) {
            // It stood still, and what waited is gone.
            self.primed = false;
        }
        if !self.primed {
            return;
        }
        let missing = mark.frames.saturating_sub(mark.queued);
        if missing > 0 {
            let missing = self.time_of(missing as f64);
            self.short += missing;
            self.target_delay.short(mark.at, missing);
        } else if let Some(spare) = self.spare_at(mark) {
            self.target_delay.spare(spare);
        }
        if let Some(wait) = self.wait_at(mark) {
            self.measure(mark.at, wait);
        }
    }

    /// Converts a mix of 48 kHz samples, due at `at`, for the device; appends to `out`.
    ///
    /// False when the device does not ask for anything or has no `room` for so many samples: it is not to be heard.
    pub fn mix(
        &mut self,
        now: Instant,
        at: Instant,
        mix: &[f32; MIX],
        room: usize,
        out: &mut Vec<f32>,
    ) -> bool {
        // A mix, and what an unprimed device gets before it.
        let most = self.rate * (MIX_TIME * 2 + MOST_CUSHION).as_secs_f64();
        let call = match self.last_call {
            Some(call) if self.is_asked(now) => call,
            _ => {
                self.primed = false;
                return false;
            }
        };
        if room < most as usize + call.frames {
            self.primed = false;
            return false;
        }
        if !std::mem::replace(&mut self.primed, true) {
            self.prime(now, at, &call, out);
        }
        let before = out.len();
        // Mixes that keep the device's pace are as long as it says.
        let clocks = match self.phase.is_held() {
            true => 0.0,
            false => -self.fast,
        };
        let speed = (clocks + self.nudge).clamp(-MOST_SPEED, MOST_SPEED);
        self.resampler.set_speed(speed);
        self.resampler.push(mix, out);
        self.queue(at, now, (out.len() - before) as u64, MIX_TIME);
        self.phase.mixed();
        true
    }

    /// True when the device asks for sound.
    pub fn is_asked(&self, now: Instant) -> bool {
        self.last_call
            .is_some_and(|call| !is_stale(now, call.at, self.time_of(call.frames as f64)))
    }

    /// Samples that are to be skipped, once.
    pub fn take_skip(&mut self) -> u64 {
        std::mem::take(&mut self.skip)
    }

    /// Seconds by which further mixes are to come later, earlier where that is less than none, so that each is just in time.
    pub fn take_shift(&mut self) -> f64 {
        self.phase.take_shift()
    }

    /// How long sound waits for the device, from its mix to the callback that takes it.
    pub fn waits(&self) -> Option<Duration> {
        self.waits
            .map(|waits| Duration::from_secs_f64(waits.max(0.0)))
    }

    /// How much too fast the device's clock is, in parts of a million.
    pub fn drift(&self) -> Option<f64> {
        self.drift.ppm()
    }

    /// Sound that was missing when the device asked for it.
    pub fn short(&self) -> Duration {
        self.short
    }

    /// Silence before the first mix, so that it waits as long as it should.
    fn prime(&mut self, now: Instant, at: Instant, call: &PlaybackMark, out: &mut Vec<f32>) {
        self.queued.clear();
        self.window = None;
        let next = (call.at + self.time_of(call.frames as f64)).max(now);
        let waits = next.saturating_duration_since(at).as_secs_f64();
        let missing = (self.target(call.frames) - waits).max(0.0);
        let silence = (missing * self.rate) as usize;
        out.resize(out.len() + silence, 0.0);
        let lasts = Duration::from_secs_f64(missing);
        let before = at.checked_sub(lasts).unwrap_or(at);
        self.queue(before, now, silence as u64, lasts);
    }

    fn queue(&mut self, at: Instant, there: Instant, samples: u64, lasts: Duration) {
        self.queued.push_back(Queued {
            first: self.given,
            samples,
            at,
            lasts,
            there,
        });
        self.given += samples;
    }

    /// How long the next sample has waited at a callback, in seconds.
    fn wait_at(&mut self, mark: &PlaybackMark) -> Option<f64> {
        while self
            .queued
            .get(1)
            .is_some_and(|next| next.first <= mark.index)
        {
            self.queued.pop_front();
        }
        let front = self.queued.front()?;
        let into = mark.index.checked_sub(front.first)? as f64 / front.samples.max(1) as f64;
        Some(since(mark.at, front.at) - front.lasts.as_secs_f64() * into)
    }

    /// How long before a callback all that it takes was there.
    fn spare_at(&self, mark: &PlaybackMark) -> Option<Duration> {
        let last = (mark.index + mark.frames as u64).checked_sub(1)?;
        let has = |one: &&Queued| (one.first..one.first + one.samples).contains(&last);
        let there = self.queued.iter().find(has)?.there;
        Some(mark.at.saturating_duration_since(there))
    }

    fn measure(&mut self, at: Instant, wait: f64) {
        let since_mix = self.queued.back().map_or(0.0, |last| since(at, last.at));
        let window = self.window.get_or_insert(Window {
            ends: at + WINDOW,
            least: wait,
            since_mix,
        });
        if wait < window.least {
            (window.least, window.since_mix) = (wait, since_mix);
        }
        if at < window.ends {
            return;
        }
        let Window {
            least, since_mix, ..
        } = *window;
        self.window = None;
        self.target_delay.second();
        let frames = self.last_call.map_or(0, |call| call.frames);
        let length = frames as f64 / self.rate;
        let lead = self.target_delay.size.as_secs_f64();
        if let Some(ppm) = self.drift.ppm() {
            self.fast = (ppm * 1e-6).clamp(-MOST_DRIFT, MOST_DRIFT);
        }
        self.phase.second(length, since_mix, lead, self.fast);
        if self.waits.replace(least).is_none() {
            self.target_delay.begin(least - length);
        }
        let excess = least - self.target(frames);
        if excess > MOST_EXCESS.as_secs_f64() {
            self.skip = (excess * self.rate) as u64;
        } else {
            let near = excess.clamp(-FAR, FAR);
            self.nudge = GAIN * near + FAR_GAIN * (excess - near);
        }
    }

    /// How long sound is to wait, in seconds, when a callback takes `frames`.
    fn target(&self, frames: usize) -> f64 {
        let least = frames as f64 / self.rate + self.target_delay.size.as_secs_f64();
        match self.phase.is_held() {
            true => least - MIX_TIME.as_secs_f64() + MORE,
            false => least,
        }
    }

    fn time_of(&self, frames: f64) -> Duration {
        Duration::from_secs_f64(frames / self.rate)
    }
}

/// Seconds from `before` to `at`; less than none where it is later.
fn since(at: Instant, before: Instant) -> f64 {
    let early = before.saturating_duration_since(at).as_secs_f64();
    at.saturating_duration_since(before).as_secs_f64() - early
}

/// How long before the device asks for it sound should be there.
#[derive(Debug, Clone)]
struct TargetDelay {
    size: Duration,
    last_short: Option<Instant>,
    /// The least that was spare in this second, and in each of the last ones: how long before it was needed sound was there.
    least: Option<Duration>,
    leasts: VecDeque<Duration>,
}

impl TargetDelay {
    fn new() -> Self {
        Self {
            size: CUSHION,
            last_short: None,
            least: None,
            leasts: VecDeque::new(),
        }
    }

    /// Starts with the queued time, in seconds.
    fn begin(&mut self, size: f64) {
        let size = Duration::try_from_secs_f64(size).unwrap_or_default();
        self.size = size.clamp(LEAST_CUSHION, CUSHION * 2);
    }

    fn short(&mut self, at: Instant, missing: Duration) {
        self.least = Some(Duration::ZERO);
        let since = self
            .last_short
            .replace(at)
            .map(|last| at.saturating_duration_since(last));
        if since.is_some_and(|since| (ONE_SHORTAGE..AGAIN_WITHIN).contains(&since)) {
            let by = missing.clamp(WIDEN_BY.0, WIDEN_BY.1);
            self.size = (self.size + by).min(MOST_CUSHION);
        }
    }

    fn spare(&mut self, spare: Duration) {
        let least = self.least.get_or_insert(spare);
        *least = spare.min(*least);
    }

    /// A second has passed.
    fn second(&mut self) {
        self.leasts.extend(self.least.take());
        if self.leasts.len() < CALM {
            return;
        }
        let least = self.leasts.iter().min().copied().unwrap_or_default();
        self.leasts.pop_front();
        if let Some(more) = least.checked_sub(SPARE) {
            let by = (more / NARROW_BY).clamp(NARROWEST_BY.0, NARROWEST_BY.1);
            self.size = self.size.saturating_sub(by).max(LEAST_CUSHION);
        }
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
