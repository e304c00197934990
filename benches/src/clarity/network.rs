//! Networks: which datagrams arrive, and when. Seeded, so that each run is the same.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Which datagrams are lost.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Loss {
    None,
    /// Each by itself with this probability.
    Random(f64),
    /// Gilbert's model: in runs with a mean length, all in all this part of them.
    Bursts {
        part: f64,
        mean: f64,
    },
}

impl Loss {
    /// The part of the datagrams that is lost, 0 to 1.
    pub fn part(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Random(part) | Self::Bursts { part, .. } => part,
        }
    }
}

/// How long datagrams are on their way.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Delay {
    /// All equally long.
    Steady,
    /// Wi-Fi: jitter of some milliseconds, and now and then a stall whose datagrams come all at once.
    Wifi,
    /// One stall of this length, at this time.
    Stall { at: Duration, length: Duration },
}

/// Time on the way without jitter.
const BASE: Duration = Duration::from_millis(20);

/// Wi-Fi: mean of the exponential jitter, mean time between two stalls, and shortest and longest stall.
const WIFI_JITTER_MS: f64 = 2.0;
const WIFI_STALLS_EVERY_S: f64 = 4.0;
const WIFI_STALL_MS: (f64, f64) = (20.0, 60.0);

/// One direction of a path.
pub struct Way {
    loss: Loss,
    delay: Delay,
    random: StdRng,
    is_bad: bool,
    /// The end of the present stall, and the begin of the next.
    stalled_until: Duration,
    next_stall: Duration,
    /// When the last datagram arrived: none overtakes another.
    last: Duration,
}

impl Way {
    pub fn new(loss: Loss, delay: Delay, seed: u64) -> Self {
        Self {
            loss,
            delay,
            random: StdRng::seed_from_u64(seed),
            is_bad: false,
            stalled_until: Duration::ZERO,
            next_stall: Duration::ZERO,
            last: Duration::ZERO,
        }
    }

    /// When a datagram arrives that is sent at `at`; `None` if it is lost. Times count from the begin of the call.
    pub fn arrival(&mut self, at: Duration) -> Option<Duration> {
        if self.loses() {
            return None;
        }
        let mut arrival = at + BASE;
        match self.delay {
            Delay::Steady => {}
            Delay::Wifi => {
                arrival += Duration::from_secs_f64(self.exponential(WIFI_JITTER_MS / 1000.0));
                if at >= self.next_stall {
                    let length = self.random.random_range(WIFI_STALL_MS.0..WIFI_STALL_MS.1);
                    self.stalled_until = at + Duration::from_secs_f64(length / 1000.0);
                    self.next_stall =
                        at + Duration::from_secs_f64(self.exponential(WIFI_STALLS_EVERY_S));
                }
                arrival = arrival.max(self.stalled_until + BASE);
            }
            Delay::Stall { at: begin, length } => {
                if (begin..begin + length).contains(&at) {
                    arrival = begin + length + BASE;
                }
            }
        }
        self.last = self.last.max(arrival);
        Some(self.last)
    }

    fn loses(&mut self) -> bool {
        match self.loss {
            Loss::None => false,
            Loss::Random(part) => self.random.random_bool(part),
            Loss::Bursts { part, mean } => {
                let turns = match self.is_bad {
                    true => 1.0 / mean,
                    false => part / (mean * (1.0 - part)),
                };
                if self.random.random_bool(turns) {
                    self.is_bad = !self.is_bad;
                }
                self.is_bad
            }
        }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.random.random::<f64>()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(loss: Loss) -> (f64, f64) {
        let mut way = Way::new(loss, Delay::Steady, 1);
        let at = |n: u64| Duration::from_millis(20 * n);
        let arrived: Vec<bool> = (0..100_000).map(|n| way.arrival(at(n)).is_some()).collect();
        let lost = arrived.iter().filter(|arrived| !**arrived).count();
        let runs = arrived
            .windows(2)
            .filter(|pair| pair[0] && !pair[1])
            .count();
        (lost as f64 / 100_000.0, lost as f64 / runs.max(1) as f64)
    }

    #[test]
    fn as_much_is_lost_as_is_asked_for_in_runs_of_the_length_asked_for() {
        assert_eq!(lost(Loss::None), (0.0, 0.0));
        let (part, run) = lost(Loss::Random(0.1));
        assert!((part - 0.1).abs() < 0.005 && (run - 1.11).abs() < 0.05);
        let (part, run) = lost(Loss::Bursts {
            part: 0.2,
            mean: 5.0,
        });
        assert!((part - 0.2).abs() < 0.01 && (run - 5.0).abs() < 0.3);
    }

    #[test]
    fn nothing_overtakes() {
        let mut way = Way::new(Loss::None, Delay::Wifi, 2);
        let mut last = Duration::ZERO;
        for n in 0..10_000 {
            let arrival = way
                .arrival(Duration::from_millis(20 * n))
                .expect("nothing is lost");
            assert!(arrival >= last);
            last = arrival;
        }
    }
}
