//! Makes blocks of captured samples: only fresh ones, and none from before the call.
//!
//! After a stall of this program or of the machine a device may hand over, in one go, seconds that it kept. Spoken late,
//! they would sit in the jitter buffers of everybody else as delay. So sound is dropped, the oldest first, where it is
//! old, where it comes faster than it lasts, and for a moment after each longer gap, until its pace is seen to be right.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use confab_voice::SAMPLE_RATE;

use super::pipe::CaptureMark;
use crate::audio::resample::Resampler;
use crate::audio::{BLOCK, Block};

/// Sound that waited longer than this for the call is too old.
const FRESH_FOR: Duration = Duration::from_millis(100);

/// Callbacks that are further apart than this and two of their own length have a gap between them.
const GAP: Duration = Duration::from_millis(100);

/// Sound is spoken again once it came at its own pace for this long.
const SETTLE: Duration = Duration::from_millis(30);

/// So much more than that may come meanwhile, besides two callbacks: a device's buffer and some jitter.
const SETTLE_SLACK: Duration = Duration::from_millis(10);

/// Without a callback for so long, and two of their length, one's own voice pauses.
const PAUSE_AFTER: Duration = Duration::from_millis(60);

/// How much faster than the clock a microphone may be, as a share.
const FASTEST: f64 = 0.02;

/// Something for the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Captured {
    /// A block that ended at this time.
    Block(Box<Block>, Instant),
    /// Nothing comes for now, or something was left out before the next block. What was not sent yet is too old.
    Interrupted,
}

/// Blocks of one microphone, whichever stream they come by.
#[derive(Debug)]
pub struct Intake {
    /// Samples captured before this time are dropped.
    since: Instant,
    rate: f64,
    resampler: Resampler,
    /// The last callback's time and length.
    last: Option<(Instant, Duration)>,
    settling: Option<Settling>,
    pace: Pace,
    ready: Vec<f32>,
    out: VecDeque<Captured>,
    paused: bool,
    dropped: Duration,
}

/// The moment after a gap.
#[derive(Debug, Clone, Copy)]
struct Settling {
    until: Instant,
    /// The measurement so far.
    came: Duration,
}

/// Sound that may still come at once: a microphone that hands over more than lasts has too much.
#[derive(Debug, Clone, Copy)]
struct Pace {
    at: Option<Instant>,
    seconds: f64,
}

impl Intake {
    /// Nothing heard before `since` is ever given out.
    pub fn new(since: Instant) -> Self {
        Self {
            since,
            rate: f64::from(SAMPLE_RATE),
            resampler: Resampler::new(SAMPLE_RATE, SAMPLE_RATE),
            last: None,
            settling: None,
            pace: Pace::new(),
            ready: Vec::new(),
            out: VecDeque::new(),
            paused: true,
            dropped: Duration::ZERO,
        }
    }

    /// Sound comes from a stream of `rate` frames a second from now on.
    pub fn begin(&mut self, rate: u32) {
        self.interrupt();
        self.rate = f64::from(rate.max(1));
        self.resampler = Resampler::new(rate, SAMPLE_RATE);
        self.last = None;
        self.clear();
    }

    /// Takes a callback's samples, one channel.
    pub fn take(&mut self, now: Instant, mark: &CaptureMark, samples: &[f32]) {
        let frames = mark.kept + mark.lost;
        let length = self.time_of(frames);
        let fresh = self.judge(now, mark, length);
        self.last = Some((mark.at, length));
        if !fresh || mark.lost > 0 {
            self.dropped += length;
            return self.interrupt();
        }
        let early = self.frames_before(mark, frames).min(samples.len());
        let samples = &samples[early..];
        if samples.is_empty() {
            return;
        }
        self.paused = false;
        self.resampler.push(samples, &mut self.ready);
        while let Some(block) = self.ready.first_chunk::<BLOCK>() {
            self.out
                .push_back(Captured::Block(Box::new(*block), mark.at));
            self.ready.drain(..BLOCK);
        }
    }

    /// To be called now and then: a microphone that stands still says nothing by itself.
    pub fn poll(&mut self, now: Instant) {
        if let Some((at, length)) = self.last
            && now.saturating_duration_since(at) > PAUSE_AFTER + 2 * length
        {
            self.interrupt();
        }
    }

    /// The next item for the engine.
    pub fn poll_captured(&mut self) -> Option<Captured> {
        self.out.pop_front()
    }

    /// Sound that was dropped because it was too old or came too fast.
    pub fn dropped(&self) -> Duration {
        self.dropped
    }

    /// True when a callback's sound may be spoken.
    fn judge(&mut self, now: Instant, mark: &CaptureMark, length: Duration) -> bool {
        let is_gap = |(at, before): (Instant, Duration)| {
            mark.at.saturating_duration_since(at) > GAP + 2 * length.max(before)
        };
        if self.last.is_none_or(is_gap) {
            self.settling = Some(Settling {
                until: mark.at + SETTLE,
                came: Duration::ZERO,
            });
        }
        let in_pace = self.pace.take(mark.at, length);
        if let Some(settling) = &mut self.settling {
            if mark.at < settling.until {
                settling.came += length;
                return false;
            }
            let burst = settling.came > SETTLE + SETTLE_SLACK + 2 * length;
            settling.until = mark.at + SETTLE;
            settling.came = length;
            if burst {
                return false;
            }
            self.settling = None;
        }
        in_pace && now.saturating_duration_since(mark.at) <= FRESH_FOR
    }

    /// Frames of a callback that were heard before the call.
    fn frames_before(&self, mark: &CaptureMark, frames: usize) -> usize {
        // A device may say that its sound is younger than it can be.
        let age = mark.age.max(self.time_of(frames));
        let from = mark.at.checked_sub(age).unwrap_or(mark.at);
        let early = self.since.saturating_duration_since(from);
        (early.as_secs_f64() * self.rate).ceil() as usize
    }

    fn interrupt(&mut self) {
        if !std::mem::replace(&mut self.paused, true) {
            self.out.push_back(Captured::Interrupted);
            self.clear();
        }
    }

    /// The filter keeps some samples back. As many are put before the first ones, so that a callback of a block's length
    /// fills a block and does not leave the most of one waiting.
    fn clear(&mut self) {
        self.ready.clear();
        let kept = self.resampler.delay() as f64 * f64::from(SAMPLE_RATE) / self.rate;
        let spare = if kept > 0.0 {
            kept.ceil() as usize + 1
        } else {
            0
        };
        self.ready.resize(spare, 0.0);
    }

    fn time_of(&self, frames: usize) -> Duration {
        Duration::from_secs_f64(frames as f64 / self.rate)
    }
}

impl Pace {
    fn new() -> Self {
        Self {
            at: None,
            seconds: FRESH_FOR.as_secs_f64(),
        }
    }

    /// True when a callback at `at` does not bring more than there can be.
    fn take(&mut self, at: Instant, length: Duration) -> bool {
        let passed = self.at.replace(at).map_or(Duration::ZERO, |before| {
            at.saturating_duration_since(before)
        });
        let most = FRESH_FOR.max(2 * length).as_secs_f64();
        self.seconds = (self.seconds + passed.as_secs_f64() * (1.0 + FASTEST)).min(most);
        let length = length.as_secs_f64();
        let enough = self.seconds >= length;
        if enough {
            self.seconds -= length;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    const MS: Duration = Duration::from_millis(1);

    /// A microphone whose samples say when they were heard: 1/1000 for each millisecond since the start.
    struct Card {
        start: Instant,
        intake: Intake,
        rate: usize,
    }

    impl Card {
        fn new(rate: u32, since_ms: u32) -> Self {
            let start = Instant::now();
            let mut intake = Intake::new(start + MS * since_ms);
            intake.begin(rate);
            Self {
                start,
                intake,
                rate: rate as usize,
            }
        }

        /// A callback at `at_ms`, taken at `now_ms`, with the 10 ms that were heard from `from_ms` on.
        fn call(&mut self, now_ms: u32, at_ms: u32, from_ms: u32) {
            let frames = self.rate / 100;
            let samples: Vec<f32> = (0..frames)
                .map(|n| (from_ms as f32 + n as f32 * 10.0 / frames as f32) / 1e6)
                .collect();
            let mark = CaptureMark {
                at: self.start + MS * at_ms,
                age: MS * at_ms.saturating_sub(from_ms),
                kept: frames,
                lost: 0,
            };
            self.intake.take(self.start + MS * now_ms, &mark, &samples);
        }

        /// The output: each block's first sample as the millisecond of its capture, `None` for a pause.
        fn given(&mut self) -> Vec<Option<u32>> {
            std::iter::from_fn(|| self.intake.poll_captured())
                .map(|captured| match captured {
                    Captured::Block(block, _) => Some((block[0] * 1e6).round() as u32),
                    Captured::Interrupted => None,
                })
                .collect()
        }
    }

    #[test]
    fn a_steady_microphone_is_given_out_block_by_block_after_a_moment() {
        let mut card = Card::new(48_000, 0);
        for n in 0..20 {
            card.call(n * 10 + 11, n * 10 + 10, n * 10);
        }
        let given = card.given();
        assert_eq!(given.len(), 17);
        assert_eq!(given, (3..20).map(|n| Some(n * 10)).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_from_before_the_call_is_given_out() {
        for since in [0, 3, 40, 95, 500] {
            let mut card = Card::new(48_000, since);
            for n in 0..100 {
                card.call(n * 10 + 11, n * 10 + 10, n * 10);
            }
            let given = card.given();
            assert!(
                given.iter().flatten().all(|heard| *heard >= since),
                "{since}"
            );
            assert!(given.len() >= 100 - since as usize / 10 - 5);
        }
    }

    #[test]
    fn samples_buffered_by_the_device_during_a_stall_are_dropped() {
        // The program stood still for 3 s just before and just after the call began.
        for since in [990, 1010, 3995] {
            let mut card = Card::new(48_000, since);
            for n in 0..100 {
                card.call(n * 10 + 11, n * 10 + 10, n * 10);
            }
            // Everything that was missed comes within 20 ms.
            for n in 100..400 {
                let at = 4000 + (n - 100) / 15;
                card.call(at, at, n * 10);
            }
            for n in 403..450 {
                card.call(n * 10 + 11, n * 10 + 10, n * 10);
            }
            let given = card.given();
            let late: Vec<_> = given
                .iter()
                .flatten()
                .filter(|h| (1000..3900).contains(*h))
                .collect();
            assert!(late.is_empty(), "{late:?}");
            assert!(
                given.iter().flatten().all(|heard| *heard >= since),
                "{since}"
            );
            assert!(given.iter().flatten().any(|heard| *heard == 4400));
        }
    }

    #[test]
    fn a_call_that_stood_still_gets_only_what_is_fresh() {
        let mut card = Card::new(48_000, 0);
        for n in 0..100 {
            card.call(n * 10 + 11, n * 10 + 10, n * 10);
        }
        card.given();
        // The audio thread ran on for half a second, and the call takes it all at once.
        for n in 100..150 {
            card.call(1500, n * 10 + 10, n * 10);
        }
        let given = card.given();
        assert_eq!(given[0], None, "{given:?}");
        let heard: Vec<u32> = given.iter().flatten().copied().collect();
        assert!(heard.iter().all(|heard| *heard >= 1390), "{heard:?}");
        assert_eq!(heard.len(), 11);
    }

    #[test]
    fn a_gap_is_told_once_and_at_the_time_at_which_it_is_noticed() {
        let mut card = Card::new(48_000, 0);
        for n in 0..10 {
            card.call(n * 10 + 11, n * 10 + 10, n * 10);
        }
        card.given();
        for now in 100..700 {
            card.intake.poll(card.start + MS * now);
        }
        for n in 70..80 {
            card.call(n * 10 + 11, n * 10 + 10, n * 10);
        }
        let given = card.given();
        assert_eq!(given.iter().filter(|one| one.is_none()).count(), 1);
        assert_eq!(given[0], None);
        assert!(
            given[1].is_some_and(|heard| (730..750).contains(&heard)),
            "{given:?}"
        );
    }

    #[test]
    fn a_device_without_a_pace_gives_no_more_than_lasts() {
        let mut card = Card::new(48_000, 0);
        for n in 0..100 {
            card.call(n * 10 + 11, n * 10 + 10, n * 10);
        }
        card.given();
        // Ten times as fast, without a gap.
        for n in 1000..3000 {
            card.call(n + 1, n, n * 10);
        }
        let given = card.given();
        let blocks = given.iter().flatten().count();
        assert!(blocks <= 215, "{blocks} blocks in 2 s");
    }

    #[test]
    fn each_callback_fills_a_block_at_other_rates_too() {
        for rate in [44_100, 16_000, 8_000, 96_000] {
            let mut card = Card::new(rate, 0);
            for n in 0..1000 {
                card.call(n * 10 + 11, n * 10 + 10, n * 10);
                let blocks = card.given().len();
                assert_eq!(blocks, usize::from(n >= 3), "{rate}, callback {n}");
            }
        }
    }

    #[test]
    fn blocks_add_up_whatever_the_callbacks_are_like() {
        for seed in 0..20 {
            let mut random = StdRng::seed_from_u64(seed);
            let start = Instant::now();
            let mut intake = Intake::new(start);
            intake.begin(48_000);
            let (mut frames, mut blocks, mut pauses) = (0, 0, 0);
            while frames < 48_000 * 30 {
                let piece = random.random_range(32..4000);
                frames += piece;
                let jitter = random.random_range(0..20);
                let at = start + Duration::from_secs_f64(frames as f64 / 48_000.0) + MS * jitter;
                let mark = CaptureMark {
                    at,
                    age: Duration::ZERO,
                    kept: piece,
                    lost: 0,
                };
                intake.take(at, &mark, &vec![0.1; piece]);
                while let Some(captured) = intake.poll_captured() {
                    match captured {
                        Captured::Block(..) => blocks += 1,
                        Captured::Interrupted => pauses += 1,
                    }
                }
            }
            assert_eq!(pauses, 0, "seed {seed}");
            let missing = frames / 480 - blocks;
            assert!(missing <= 30, "seed {seed}: {missing} blocks are missing");
        }
    }
}
