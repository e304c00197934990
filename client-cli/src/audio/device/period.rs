//! How long a device's period is to be: wider after repeated xruns, narrower again when it was calm.
//!
//! A device has two periods of buffer, so a period is the time by which the program may be late. It is also delay that
//! everybody hears, so it is narrowed again; each time that this was too early, the next try waits twice as long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The first period, and the shortest.
pub const NARROWEST: Duration = Duration::from_millis(10);

/// The most that is asked for.
pub const WIDEST: Duration = Duration::from_millis(40);

/// So many xruns ...
const XRUNS: usize = 3;

/// ... within this time make the period wider.
const WITHIN: Duration = Duration::from_secs(10);

/// Xruns closer together than this are one: a stalled machine causes several in a row.
const ONE_EVENT: Duration = Duration::from_millis(200);

/// Time without an xrun after which the period is narrowed, at first and at most.
const CALM: Duration = Duration::from_secs(60);
const LONGEST_CALM: Duration = Duration::from_secs(16 * 60);

/// A change of the period that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// At once: what is heard has gaps anyway.
    Widen(Duration),
    /// When nobody speaks: the stream is opened anew, which takes a moment.
    Narrow(Duration),
}

/// Decides on the period of one device.
#[derive(Debug, Clone)]
pub struct PeriodPolicy {
    period: Duration,
    /// The longest period that this device accepted.
    widest: Duration,
    xruns: VecDeque<Instant>,
    /// Since when it has been calm: the last xrun or change.
    calm_since: Instant,
    calm_needed: Duration,
    /// The period was narrowed and there was no calm since that would have proved it right.
    on_trial: bool,
}

impl PeriodPolicy {
    /// Begins with the narrowest period.
    pub fn new(now: Instant) -> Self {
        Self {
            period: NARROWEST,
            widest: WIDEST,
            xruns: VecDeque::new(),
            calm_since: now,
            calm_needed: CALM,
            on_trial: false,
        }
    }

    /// The period to request.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// An xrun was seen.
    pub fn xrun(&mut self, now: Instant) {
        self.calm_since = now;
        let same = |last: &Instant| now.saturating_duration_since(*last) < ONE_EVENT;
        if self.xruns.back().is_some_and(same) {
            return;
        }
        self.xruns.push_back(now);
    }

    /// The change that is due, if one is. It is due until [`changed`](Self::changed).
    pub fn due(&mut self, now: Instant) -> Option<Change> {
        let old = |at: &Instant| now.saturating_duration_since(*at) > WITHIN;
        while self.xruns.front().is_some_and(old) {
            self.xruns.pop_front();
        }
        let calm = now.saturating_duration_since(self.calm_since) >= self.calm_needed;
        if self.xruns.len() >= XRUNS && self.period < self.widest {
            return Some(Change::Widen((self.period * 2).min(self.widest)));
        }
        if calm && std::mem::take(&mut self.on_trial) {
            self.calm_needed = CALM;
        }
        (calm && self.period > NARROWEST).then(|| Change::Narrow((self.period / 2).max(NARROWEST)))
    }

    /// The device is opened with the period of this change.
    pub fn changed(&mut self, change: Change, now: Instant) {
        match change {
            Change::Widen(period) => {
                if std::mem::take(&mut self.on_trial) {
                    self.calm_needed = (self.calm_needed * 2).min(LONGEST_CALM);
                }
                self.period = period;
            }
            Change::Narrow(period) => {
                self.on_trial = true;
                self.period = period;
            }
        }
        self.xruns.clear();
        self.calm_since = now;
    }

    /// The device does not take the period: back to `period`, which it took.
    pub fn refused(&mut self, period: Duration) {
        self.widest = period.max(NARROWEST);
        self.period = self.widest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(policy: &mut PeriodPolicy, at: Instant) -> Option<Change> {
        let change = policy.due(at);
        if let Some(change) = change {
            policy.changed(change, at);
        }
        change
    }

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn one_stall_changes_nothing_and_repeated_xruns_widen_up_to_a_bound() {
        let start = Instant::now();
        let mut policy = PeriodPolicy::new(start);
        (0..10).for_each(|n| policy.xrun(start + s(0.01) * n));
        assert_eq!(run(&mut policy, start + s(0.1)), None, "one event");
        let mut widened = Vec::new();
        for n in 1..40 {
            let now = start + s(f64::from(n));
            policy.xrun(now);
            widened.extend(run(&mut policy, now));
        }
        let ms = Duration::from_millis;
        assert_eq!(widened, [Change::Widen(ms(20)), Change::Widen(ms(40))]);
        assert_eq!(policy.period(), WIDEST);
    }

    #[test]
    fn xruns_six_seconds_apart_never_widen_the_period() {
        let start = Instant::now();
        let mut policy = PeriodPolicy::new(start);
        for n in 0..100 {
            policy.xrun(start + s(6.0) * n);
            assert_eq!(run(&mut policy, start + s(6.0) * n), None);
        }
    }

    #[test]
    fn calm_narrows_and_a_relapse_makes_the_next_try_wait_twice_as_long() {
        let start = Instant::now();
        let mut policy = PeriodPolicy::new(start);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..7 {
            // Xruns as long as the period is narrow.
            while policy.period() == NARROWEST {
                now += s(1.0);
                policy.xrun(now);
                run(&mut policy, now);
            }
            let wide_since = now;
            while policy.period() > NARROWEST {
                now += s(1.0);
                run(&mut policy, now);
            }
            waits.push(now.duration_since(wide_since).as_secs());
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 960, 960]);
        // Once it stays calm after a narrowing, the next trouble is new trouble.
        run(&mut policy, now + s(960.0));
        now += s(960.0);
        while policy.period() == NARROWEST {
            now += s(1.0);
            policy.xrun(now);
            run(&mut policy, now);
        }
        assert_eq!(run(&mut policy, now + s(59.0)), None);
        assert!(matches!(
            run(&mut policy, now + s(60.0)),
            Some(Change::Narrow(_))
        ));
    }

    #[test]
    fn a_period_that_a_device_refuses_is_not_asked_for_again() {
        let start = Instant::now();
        let mut policy = PeriodPolicy::new(start);
        let mut now = start;
        while policy.period() == NARROWEST {
            now += s(1.0);
            policy.xrun(now);
            run(&mut policy, now);
        }
        policy.refused(NARROWEST);
        for _ in 0..100 {
            now += s(1.0);
            policy.xrun(now);
            assert_eq!(run(&mut policy, now), None);
        }
    }
}
