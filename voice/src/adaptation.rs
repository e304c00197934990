//! The sender's answer to the network: how its frames are protected, how long they are and how many bits they take.
//!
//! Receivers count what they lose, and the sender is told twice a second. Little loss is left to concealment, which hides it.
//! Against more, a [`Profile`] is chosen: its rate follows the loss, and how far its blocks reach back follows the bursts and
//! the delay that the person bears. What is spent on blocks is taken from the voice, so that all stays under one bit rate.
//! Loss beside a round trip that has grown is a full queue, which more bits would only fill further: then frames get longer,
//! which saves headers, and after that the bit rate falls.

use std::collections::VecDeque;
use std::time::Duration;

use crate::codec::{Bandwidth, EncoderConfig, FrameDuration};
use crate::redundancy::Profile;

/// Reports of which the mean is taken: 5 s.
const REPORTS: usize = 10;
/// The last few of them, for loss that has just begun, and the part of their mean that counts.
const LATEST: usize = 3;
const LATEST_PART: f32 = 0.6;

/// Below this loss nothing is protected.
const NEGLIGIBLE: f32 = 0.01;
/// Losses from which moderate and severe loss begin.
const MODERATE: f32 = 0.07;
const SEVERE: f32 = 0.14;
/// From this bit rate on half of the bits may go to blocks without harm to the voice.
const RICH: u32 = 40_000;

/// A profile is kept while loss and bursts are this much off those that ask for it, as a part.
const HYSTERESIS: f32 = 0.15;
/// Runs of lost frames of this mean length or more are bursts.
const BURSTS: f32 = 1.7;

/// Where frames are protected, a voice of fewer bits a second than this is encoded up to 8 kHz only: what is left of them
/// goes to what makes speech clear.
const WIDE_BELOW: u32 = 28_000;

/// A full queue: this loss, and a round trip so much over the shortest.
const CONGESTED_LOSS: f32 = 0.05;
const CONGESTED_RTT: Duration = Duration::from_millis(100);
/// Reports in a row after which a full queue is believed (2 s), and after which it is over (10 s).
const CONGESTED_AFTER: u32 = 4;
const RELAXED_AFTER: u32 = 20;
/// The part of the bit rate that is left then.
const CONGESTED_RATE_PERCENT: u32 = 60;
/// The shortest round trip is that of so many reports (2 min), at least.
const RTT_REPORTS: u32 = 240;

/// Loss on one way, as its receivers count it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct PathLoss {
    /// The part of the frames that is lost, 0 to 1.
    pub part: f32,
    /// Mean length of a run of lost frames; 0 without loss.
    pub burst: f32,
}

/// What the person, or a bench, allows.
#[derive(Clone, Copy, Debug)]
pub struct AdaptationConfig {
    /// How voice is encoded while nothing is lost. Its bit rate is that of voice and blocks together.
    pub encoder: EncoderConfig,
    /// The longest time for which receivers wait for blocks.
    pub max_delay: Duration,
    /// Always this profile, whatever is lost.
    pub fixed: Option<&'static Profile>,
}

impl Default for AdaptationConfig {
    fn default() -> Self {
        Self {
            encoder: EncoderConfig::default(),
            max_delay: Duration::from_millis(200),
            fixed: None,
        }
    }
}

/// How frames are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Which blocks go beside which frames.
    pub profile: &'static Profile,
    /// Length of each frame.
    pub frame: FrameDuration,
    /// Bits a second for the voice itself.
    pub bitrate: u32,
    /// Its bandwidth.
    pub bandwidth: Bandwidth,
}

/// Decides how frames are sent.
#[derive(Debug)]
pub struct Adaptation {
    config: AdaptationConfig,
    /// The newest first.
    reports: VecDeque<Reported>,
    profile: &'static Profile,
    congestion: Congestion,
}

/// Of one report: the part that was lost, and runs of loss per frame sent.
#[derive(Clone, Copy, Debug)]
struct Reported {
    lost: f32,
    runs: f32,
}

impl Adaptation {
    /// Nothing is known of the network.
    pub fn new(config: AdaptationConfig) -> Self {
        Self {
            profile: config.fixed.unwrap_or(Profile::OFF),
            config,
            reports: VecDeque::new(),
            congestion: Congestion::default(),
        }
    }

    /// Takes a report of the way to the relay, the way from there to the others, and the round trip to the relay.
    pub fn report(&mut self, uplink: PathLoss, receivers: PathLoss, rtt: Option<Duration>) {
        self.reports.truncate(REPORTS - 1);
        self.reports.push_front(Reported::of(uplink, receivers));
        let PathLoss { part, burst } = self.loss();
        self.congestion.report(part, rtt);
        if self.config.fixed.is_some() {
            return;
        }
        let (frame, total) = (self.frame(), self.total());
        let micros = frame.samples() as u128 * 1_000_000 / u128::from(crate::SAMPLE_RATE);
        let reach = self.config.max_delay.as_micros() / micros;
        let reach = u32::try_from(reach).unwrap_or(u32::MAX);
        let choose = |part, burst| {
            let chosen = choose(PathLoss { part, burst }, reach, total);
            // Blocks of a voice that nobody understands help nobody.
            match chosen.leaves_enough(total, frame) {
                true => chosen,
                false => Profile::OFF,
            }
        };
        let (less, more) = (1.0 - HYSTERESIS, 1.0 + HYSTERESIS);
        let near = [(less, less), (less, more), (more, less), (more, more)];
        let is_near =
            |(of_part, of_burst)| choose(part * of_part, burst * of_burst) == self.profile;
        if !near.into_iter().any(is_near) {
            self.profile = choose(part, burst);
        }
    }

    /// The loss of the last seconds, both ways together.
    pub fn loss(&self) -> PathLoss {
        let mean = |count: usize| {
            let reports = self.reports.iter().take(count);
            let count = count.min(self.reports.len()).max(1) as f32;
            let (lost, runs) = reports.fold((0.0, 0.0), |(lost, runs), one| {
                (lost + one.lost, runs + one.runs)
            });
            (lost / count, runs / count)
        };
        let (lost, runs) = mean(REPORTS);
        let (latest, _) = mean(LATEST);
        PathLoss {
            part: lost.max(latest * LATEST_PART),
            burst: if runs > 0.0 { lost / runs } else { 0.0 },
        }
    }

    /// How frames are to be sent now.
    pub fn plan(&self) -> Plan {
        let frame = self.frame();
        let bitrate = self.profile.voice_bitrate(self.total(), frame);
        let is_tight = self.profile != Profile::OFF && bitrate < WIDE_BELOW;
        Plan {
            profile: self.profile,
            frame,
            bitrate,
            bandwidth: match is_tight {
                true => Bandwidth::Wide,
                false => self.config.encoder.bandwidth,
            },
        }
    }

    fn frame(&self) -> FrameDuration {
        match self.congestion.level {
            0 => self.config.encoder.frame,
            _ => self.config.encoder.frame.max(FrameDuration::Ms40),
        }
    }

    /// Bits a second for voice and blocks together.
    fn total(&self) -> u32 {
        match self.congestion.level {
            0 | 1 => self.config.encoder.bitrate,
            _ => self.config.encoder.bitrate * CONGESTED_RATE_PERCENT / 100,
        }
    }
}

impl Reported {
    fn of(uplink: PathLoss, receivers: PathLoss) -> Self {
        let runs = |loss: PathLoss| loss.part / loss.burst.max(1.0);
        Self {
            lost: 1.0 - (1.0 - uplink.part) * (1.0 - receivers.part),
            runs: runs(uplink) + (1.0 - uplink.part) * runs(receivers),
        }
    }
}

/// The profile for a loss. `reach`: frames for which receivers wait; `bitrate`: for voice and blocks together.
///
/// The bounds are where the next profile gets better by PESQ at 25 and at 50 kbit/s (`docs/voice.md`). Profiles for one reach
/// mostly have that reach, so that the listeners' delay stays when the loss changes.
fn choose(loss: PathLoss, reach: u32, bitrate: u32) -> &'static Profile {
    let is_rich = bitrate >= RICH;
    let is_bursty = loss.burst >= BURSTS;
    if loss.part < NEGLIGIBLE {
        return Profile::OFF;
    }
    match reach {
        0 => Profile::OFF,
        1 => Profile::COPY_1,
        2 => Profile::XOR_2_HALF,
        3..10 => match loss.part {
            _ if is_bursty => Profile::COPY_3,
            ..SEVERE if is_rich => Profile::XOR_13,
            _ if is_rich => Profile::XOR_13_12,
            ..MODERATE => Profile::XOR_3_THIRD,
            ..SEVERE => Profile::RLC_3,
            _ => Profile::XOR_13,
        },
        10.. => match loss.part {
            _ if is_bursty && is_rich => Profile::COPY_10_XOR,
            _ if is_bursty => Profile::COPY_10,
            ..SEVERE if is_rich => Profile::RLC_7,
            _ if is_rich => Profile::RLC_10,
            ..MODERATE => Profile::RLC_10_THIRD,
            ..SEVERE => Profile::RLC_10_HALF,
            _ => Profile::RLC_10,
        },
    }
}

/// Whether the path's queue is full.
#[derive(Debug, Default)]
struct Congestion {
    /// 0: no; 1: longer frames; 2: fewer bits too.
    level: u8,
    /// Reports in a row that say so, and that say no.
    full: u32,
    calm: u32,
    /// Shortest round trips: of the present reports and of those before.
    shortest: [Option<Duration>; 2],
    counted: u32,
}

impl Congestion {
    fn report(&mut self, lost: f32, rtt: Option<Duration>) {
        if self.counted == RTT_REPORTS {
            self.counted = 0;
            self.shortest = [None, self.shortest[0]];
        }
        self.counted += 1;
        self.shortest[0] = self.shortest[0].into_iter().chain(rtt).min();
        let shortest = self.shortest.into_iter().flatten().min();
        let waits = rtt.zip(shortest).map(|(rtt, shortest)| rtt - shortest);
        if lost > CONGESTED_LOSS && waits >= Some(CONGESTED_RTT) {
            (self.full, self.calm) = (self.full + 1, 0);
        } else {
            (self.full, self.calm) = (0, self.calm + 1);
        }
        if self.full >= CONGESTED_AFTER {
            self.full = 0;
            self.level = (self.level + 1).min(2);
        }
        if self.calm >= RELAXED_AFTER {
            self.calm = 0;
            self.level = self.level.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(30));

    fn lossy(part: f32, burst: f32) -> PathLoss {
        PathLoss { part, burst }
    }

    fn report(adaptation: &mut Adaptation, loss: PathLoss, rtt: Option<Duration>, times: usize) {
        (0..times).for_each(|_| adaptation.report(PathLoss::default(), loss, rtt));
    }

    #[test]
    fn without_loss_all_bits_are_the_voices() {
        let mut adaptation = Adaptation::new(AdaptationConfig::default());
        report(&mut adaptation, PathLoss::default(), RTT, 20);
        let plan = adaptation.plan();
        assert_eq!((plan.profile, plan.bitrate), (Profile::OFF, 24_000));
    }

    #[test]
    fn loss_on_both_ways_adds_up() {
        let mut adaptation = Adaptation::new(AdaptationConfig::default());
        for _ in 0..REPORTS {
            adaptation.report(lossy(0.1, 1.0), lossy(0.2, 4.0), RTT);
        }
        let loss = adaptation.loss();
        assert!((loss.part - 0.28).abs() < 1e-3);
        assert!((loss.burst - 0.28 / 0.145).abs() < 1e-2);
    }

    #[test]
    fn loss_that_begins_is_answered_within_two_seconds_and_forgotten_within_six() {
        let mut adaptation = Adaptation::new(AdaptationConfig::default());
        report(&mut adaptation, PathLoss::default(), RTT, 20);
        report(&mut adaptation, lossy(0.2, 1.2), RTT, 4);
        let plan = adaptation.plan();
        assert_ne!(plan.profile, Profile::OFF);
        assert!(plan.bitrate < 24_000);
        report(&mut adaptation, PathLoss::default(), RTT, 12);
        assert_eq!(adaptation.plan().profile, Profile::OFF);
    }

    #[test]
    fn a_loss_between_two_profiles_does_not_go_to_and_fro() {
        let mut adaptation = Adaptation::new(AdaptationConfig::default());
        let mut changes = 0;
        report(&mut adaptation, lossy(0.07, 1.0), RTT, 20);
        for n in 0..100 {
            let before = adaptation.plan().profile;
            let part = if n % 2 == 0 { 0.04 } else { 0.1 };
            report(&mut adaptation, lossy(part, 1.0), RTT, 1);
            changes += u32::from(adaptation.plan().profile != before);
        }
        assert_eq!(changes, 0);
    }

    #[test]
    fn a_full_queue_gets_longer_frames_first_and_fewer_bits_then() {
        let mut adaptation = Adaptation::new(AdaptationConfig::default());
        report(&mut adaptation, PathLoss::default(), RTT, 20);
        let full = Some(Duration::from_millis(180));
        report(&mut adaptation, lossy(0.1, 1.0), full, 12);
        let plan = adaptation.plan();
        assert_eq!(plan.frame, FrameDuration::Ms40);
        let before = plan.profile.voice_bitrate(24_000, plan.frame);
        assert!(plan.bitrate < before * 7 / 10);
        report(&mut adaptation, PathLoss::default(), RTT, 40);
        let plan = adaptation.plan();
        assert_eq!((plan.frame, plan.bitrate), (FrameDuration::Ms20, 24_000));
    }

    #[test]
    fn loss_without_a_longer_round_trip_is_no_full_queue() {
        let mut adaptation = Adaptation::new(AdaptationConfig::default());
        report(&mut adaptation, lossy(0.2, 1.0), RTT, 60);
        assert_eq!(adaptation.plan().frame, FrameDuration::Ms20);
    }

    #[test]
    fn nothing_is_protected_where_too_little_would_be_left_for_the_voice() {
        for (bitrate, is_protected) in [(6000, false), (10_000, false), (16_000, true)] {
            let mut config = AdaptationConfig::default();
            config.encoder.bitrate = bitrate;
            let mut adaptation = Adaptation::new(config);
            report(&mut adaptation, lossy(0.2, 1.0), RTT, 20);
            let plan = adaptation.plan();
            assert_eq!(plan.profile.protects(), is_protected, "{bitrate}");
            assert!(plan.bitrate <= bitrate);
        }
    }

    #[test]
    fn voice_and_blocks_stay_under_the_bit_rate() {
        for profile in Profile::ALL {
            for frame in [
                FrameDuration::Ms10,
                FrameDuration::Ms20,
                FrameDuration::Ms40,
            ] {
                for total in [16_000, 24_000, 25_000, 50_000, 128_000] {
                    let voice = profile.voice_bitrate(total, frame);
                    let packet = voice as usize * frame.samples() / 8 / 48_000;
                    let blocks: usize = (0..12).map(|turn| profile.codes(turn).len()).sum();
                    let bytes = 12 * packet + blocks * (packet + 2);
                    let bits = bytes * 8 * 48_000 / (12 * frame.samples());
                    assert!(
                        !profile.leaves_enough(total, frame) || bits <= total as usize,
                        "{} {total}: {bits}",
                        profile.name
                    );
                }
            }
        }
    }
}
