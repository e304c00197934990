use std::f64::consts::TAU;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

/// Speakers with a clock of their own, and a call that feeds them, both late by chance.
struct Rig {
    feed: Feed,
    random: StdRng,
    start: Instant,
    rate: f64,
    period: usize,
    ring: VecDeque<f32>,
    taken: u64,
    /// When the next mix is due, in seconds.
    next_mix: f64,
    /// The mixes keep the device's pace.
    follows: bool,
    /// When the next callback is due, in seconds, and by how much it and the next block are late.
    next_call: f64,
    lateness: (f64, f64),
    phase: f64,
    out: Vec<f32>,
    /// The longest and the shortest wait that the feed saw after so many seconds.
    waits: (f64, f64),
    settled: f64,
    /// How late the call and the callbacks may be, in seconds.
    late: (f64, f64),
}

impl Rig {
    fn new(seed: u64, rate: u32, ppm: f64, period: usize) -> Self {
        Self {
            feed: Feed::new(rate),
            random: StdRng::seed_from_u64(seed),
            start: Instant::now(),
            rate: f64::from(rate) * (1.0 + ppm * 1e-6),
            period,
            ring: VecDeque::new(),
            taken: 0,
            next_mix: 0.0,
            follows: true,
            next_call: 0.0,
            lateness: (0.0, 0.0),
            phase: 0.0,
            out: Vec::new(),
            waits: (0.0, 1.0),
            settled: f64::INFINITY,
            late: (0.002, 0.004),
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    /// Runs up to this second, without the device in between `pause`.
    fn run(&mut self, to: f64, pause: Option<(f64, f64)>) {
        loop {
            let mix_due = self.next_mix;
            let mix_at = mix_due + self.lateness.0;
            let call_at = self.next_call + self.lateness.1;
            if mix_at.min(call_at) > to {
                return;
            }
            if mix_at <= call_at {
                self.give(mix_due, mix_at);
                self.next_mix += MIX_TIME.as_secs_f64();
                if self.follows {
                    self.next_mix += self.feed.take_shift();
                }
                self.lateness.0 = self.random.random_range(0.0..self.late.0);
            } else {
                let stands = pause.is_some_and(|(from, to)| (from..to).contains(&call_at));
                if !stands {
                    self.call(call_at);
                }
                self.next_call += self.period as f64 / self.rate;
                self.lateness.1 = self.random.random_range(0.0..self.late.1);
            }
        }
    }

    fn give(&mut self, due: f64, now: f64) {
        let mix = std::array::from_fn(|_| {
            self.phase = (self.phase + 440.0 / 48_000.0).fract();
            (self.phase * TAU).sin() as f32 * 0.5
        });
        let mut samples = Vec::new();
        if self
            .feed
            .mix(self.at(now), self.at(due), &mix, 24_000, &mut samples)
        {
            self.ring.extend(samples);
        }
        let skip = (self.feed.take_skip() as usize).min(self.ring.len());
        self.ring.drain(..skip);
        self.taken += skip as u64;
        if let Some(waits) = self.feed.waits().filter(|_| now > self.settled) {
            let waits = waits.as_secs_f64();
            self.waits = (self.waits.0.max(waits), self.waits.1.min(waits));
        }
    }

    fn call(&mut self, now: f64) {
        let mark = PlaybackMark {
            at: self.at(now),
            index: self.taken,
            queued: self.ring.len(),
            frames: self.period,
        };
        let there = self.ring.len().min(self.period);
        self.taken += there as u64;
        self.out.extend(self.ring.drain(..there));
        self.out.resize(self.out.len() + self.period - there, 0.0);
        self.feed.called(&mark);
    }

    /// How far what was played is from a sine, at worst. Clears it.
    fn roughness(&mut self) -> f64 {
        let omega = TAU * 440.0 / self.rate;
        let worst = self.out.windows(3).fold(0.0_f64, |worst, w| {
            let bent = f64::from(w[0]) + f64::from(w[2]) - 2.0 * f64::from(w[1]);
            worst.max((bent + omega * omega * f64::from(w[1])).abs())
        });
        self.out.clear();
        worst
    }
}

#[test]
fn clocks_that_differ_by_1500_ppm_neither_add_delay_nor_lose_sound() {
    for (seed, ppm, minutes) in [(1, 1500.0, 6), (2, -1500.0, 3)] {
        let mut rig = Rig::new(seed, 48_000, ppm, 480);
        rig.run(30.0, None);
        let before = rig.feed.short();
        rig.settled = 30.0;
        rig.out.clear();
        for minute in 0..minutes {
            rig.run(90.0 + f64::from(minute) * 60.0, None);
            let rough = rig.roughness();
            assert!(rough < 2e-4, "{ppm} ppm, minute {minute}: {rough}");
        }
        assert_eq!(rig.feed.short(), before, "{ppm} ppm");
        let (most, least) = rig.waits;
        assert!(
            least > 0.007 && most < 0.018,
            "{ppm} ppm: {least} to {most}"
        );
        // Once it has narrowed to what is needed, it stays there.
        rig.waits = (0.0, 1.0);
        rig.run(330.0 + f64::from(minutes) * 60.0, None);
        assert!(
            rig.waits.0 - rig.waits.1 < 0.005,
            "{ppm} ppm: {:?}",
            rig.waits
        );
    }
}

#[test]
fn where_mixes_keep_the_devices_pace_sound_waits_a_mix_less() {
    for (seed, ppm) in [(11, 0.0), (12, 200.0), (13, -1500.0), (14, 1500.0)] {
        let waits = [true, false].map(|follows| {
            let mut rig = Rig::new(seed, 48_000, ppm, 480);
            rig.follows = follows;
            rig.run(240.0, None);
            let before = rig.feed.short();
            rig.settled = 240.0;
            rig.run(400.0, None);
            assert_eq!(rig.feed.short(), before, "{ppm} ppm, {follows}");
            rig.waits.0
        });
        let [following, apart] = waits;
        assert!(following < 0.011, "{ppm} ppm: {following}");
        assert!(following < apart - 0.002, "{ppm} ppm: {waits:?}");
    }
}

#[test]
fn every_rate_and_period_is_fed_without_a_gap() {
    for (seed, (rate, period)) in [
        (8_000, 80),
        (16_000, 512),
        (44_100, 441),
        (44_100, 4096),
        (48_000, 64),
        (96_000, 1024),
        (192_000, 8192),
    ]
    .into_iter()
    .enumerate()
    {
        let mut rig = Rig::new(seed as u64, rate, 100.0, period);
        rig.run(10.0, None);
        let before = rig.feed.short();
        rig.out.clear();
        rig.run(40.0, None);
        assert_eq!(rig.feed.short(), before, "{rate} Hz, period {period}");
        let rough = rig.roughness();
        let bent = (TAU * 440.0 / f64::from(rate)).powi(2);
        assert!(
            rough < bent * 0.02 + 1e-4,
            "{rate} Hz, period {period}: {rough}"
        );
    }
}

#[test]
fn what_is_needed_is_found_and_no_more() {
    // On a calm machine the wait falls below what it begins with.
    let mut rig = Rig::new(1, 48_000, 0.0, 480);
    rig.run(120.0, None);
    let calm = rig.feed.waits().unwrap();
    assert!(calm < Duration::from_millis(19), "{calm:?}");
    assert_eq!(rig.feed.short(), Duration::ZERO);
    // On one that is late by up to 30 ms it rises until nothing is missing any more.
    rig.late = (0.03, 0.004);
    rig.run(240.0, None);
    let before = rig.feed.short();
    assert!(before > Duration::ZERO);
    rig.run(300.0, None);
    assert!(rig.feed.short() - before < Duration::from_millis(20));
    let busy = rig.feed.waits().unwrap();
    assert!(
        (Duration::from_millis(25)..Duration::from_millis(60)).contains(&busy),
        "{busy:?}"
    );
}

#[test]
fn after_a_stall_of_the_device_sound_waits_as_long_as_before() {
    let mut rig = Rig::new(3, 48_000, 50.0, 480);
    rig.run(20.0, None);
    let before = rig.feed.waits().unwrap();
    rig.run(30.0, Some((21.0, 24.0)));
    let after = rig.feed.waits().unwrap();
    assert!(
        after.abs_diff(before) < Duration::from_millis(6),
        "{before:?}, {after:?}"
    );
    // What was mixed while it stood still was not given to it.
    let given = rig.ring.len();
    assert!(given < 48 * 40, "{given}");
}

#[test]
fn too_much_sound_is_skipped_at_once() {
    let mut rig = Rig::new(4, 48_000, 0.0, 480);
    rig.run(60.0, None);
    let before = rig.feed.waits().unwrap();
    // The device left out a tenth of a second, which waits now.
    rig.run(60.3, Some((60.0, 60.1)));
    assert!(rig.ring.len() > 4800);
    rig.run(63.5, None);
    let waits = rig.feed.waits().unwrap();
    assert!(
        waits.abs_diff(before) < Duration::from_millis(2),
        "{waits:?}"
    );
    assert!(rig.ring.len() < 1000);
}

#[test]
fn nothing_is_given_to_a_device_that_asks_for_nothing() {
    let mut feed = Feed::new(48_000);
    let start = Instant::now();
    let mut out = Vec::new();
    assert!(!feed.mix(start, start, &[0.1; MIX], 24_000, &mut out));
    feed.called(&PlaybackMark {
        at: start,
        index: 0,
        queued: 0,
        frames: 480,
    });
    assert!(feed.mix(start, start, &[0.1; MIX], 24_000, &mut out));
    let later = start + Duration::from_millis(200);
    out.clear();
    assert!(!feed.mix(later, later, &[0.1; MIX], 24_000, &mut out));
    assert!(out.is_empty());
}

#[test]
fn a_machine_that_stands_still_now_and_then_gets_no_more_delay() {
    let mut rig = Rig::new(6, 48_000, 20.0, 480);
    rig.run(60.0, None);
    let before = rig.feed.waits().unwrap();
    // The call is late by 25 ms every 20 s.
    for n in 0..15 {
        rig.lateness.0 = 0.025;
        rig.run(80.0 + 20.0 * f64::from(n), None);
    }
    let after = rig.feed.waits().unwrap();
    assert!(rig.feed.short() > Duration::from_millis(50));
    assert!(
        after < before + Duration::from_millis(3),
        "{before:?}, {after:?}"
    );
    // Late again and again for a while, it gets more, and gives it back within two minutes.
    rig.late.0 = 0.035;
    rig.run(420.0, None);
    let busy = rig.feed.waits().unwrap();
    assert!(busy > after + Duration::from_millis(10), "{busy:?}");
    rig.late.0 = 0.002;
    rig.run(540.0, None);
    let calm = rig.feed.waits().unwrap();
    assert!(calm < after + Duration::from_millis(5), "{calm:?}");
}
