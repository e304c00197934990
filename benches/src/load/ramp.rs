//! How many rooms the next measurement has, and when it is enough. Decides, and does nothing else.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::step::Measured;

/// A frame that is spoken so much later than it is due is late.
pub const LATE: Duration = Duration::from_millis(5);
/// Share of frames that may be late.
const MAX_LATE: f64 = 0.01;
/// Share of the due frames that have to be spoken.
const MIN_SPOKEN: f64 = 0.98;
/// Share of the frames that may be lost in the load's own receive buffers.
const MAX_MISSED: f64 = 0.001;
/// Share of the time in which the relay could have run, but something else ran on its cores. More excuses it.
const MAX_WAITED: f64 = 0.15;

/// The limits of a good step.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Share of the frames that may be lost.
    pub loss: f64,
    /// Limit of the 99th percentile of the latency.
    pub latency: Duration,
}

/// The limit that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Too many frames were lost.
    Loss,
    /// Frames took too long.
    Latency,
    /// Datagrams came with wrong tags.
    BadTags,
    /// The relay did not even tell its metrics any more.
    Silence,
    /// New sessions got no answer in time.
    NoAnswer,
}

/// The resource that the measurement itself lacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strain {
    /// Time to speak when it was due.
    Speaking,
    /// Time to read what arrived.
    Reading,
    /// A relay that has its cores for itself.
    Neighbours,
}

/// How a measurement was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepVerdict {
    Good,
    /// Over a limit, by the relay's doing.
    Over(Limit),
    /// Says nothing about the relay.
    Strained(Strain),
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Measure with so many rooms.
    Grow(u32),
    /// Measure the same once more: a shared machine may have been busy with something else.
    Again,
    Done(End),
}

/// Why it is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The relay is over a limit.
    Knee(Limit),
    /// The measurement says no more about the relay.
    Strained(Strain),
    /// There were to be no more rooms.
    MaxRooms,
}

/// A ramp under way.
#[derive(Debug)]
pub struct Ramp {
    growth: f64,
    max_rooms: u32,
    limits: Limits,
    good: Option<Measured>,
    is_doubtful: bool,
}

impl Limits {
    /// Holds a measurement against the limits. The load's own failure is looked for first: what it did not say or did not
    /// read, the relay can't have lost.
    pub fn judge(&self, measured: &Measured) -> StepVerdict {
        if measured.bad_tags > 0 {
            return StepVerdict::Over(Limit::BadTags);
        }
        if measured.late > MAX_LATE || measured.spoken < MIN_SPOKEN {
            return StepVerdict::Strained(Strain::Speaking);
        }
        if measured.missed > MAX_MISSED {
            return StepVerdict::Strained(Strain::Reading);
        }
        let limit = if measured.loss > self.loss {
            Limit::Loss
        } else if measured.latency_us() > self.latency.as_secs_f64() * 1e6 {
            Limit::Latency
        } else {
            return StepVerdict::Good;
        };
        if measured.relay_waited() > MAX_WAITED {
            return StepVerdict::Strained(Strain::Neighbours);
        }
        StepVerdict::Over(limit)
    }
}

impl Ramp {
    /// Each step has `growth` times the rooms of the one before, one more at least, up to `max_rooms`.
    pub fn new(growth: f64, max_rooms: u32, limits: Limits) -> Self {
        Self {
            growth,
            max_rooms,
            limits,
            good: None,
            is_doubtful: false,
        }
    }

    /// Takes a measurement and decides.
    pub fn next(&mut self, measured: &Measured) -> Next {
        let end = match self.limits.judge(measured) {
            StepVerdict::Good => {
                self.is_doubtful = false;
                self.good = Some(measured.clone());
                if measured.rooms >= self.max_rooms {
                    return Next::Done(End::MaxRooms);
                }
                let grown = (f64::from(measured.rooms) * self.growth).round() as u32;
                return Next::Grow(grown.clamp(measured.rooms + 1, self.max_rooms));
            }
            // One wrong tag is one too many.
            StepVerdict::Over(Limit::BadTags) => return Next::Done(End::Knee(Limit::BadTags)),
            StepVerdict::Over(limit) => End::Knee(limit),
            StepVerdict::Strained(strain) => End::Strained(strain),
        };
        if !self.is_doubtful {
            self.is_doubtful = true;
            return Next::Again;
        }
        Next::Done(end)
    }

    /// The last measurement that was good.
    pub fn last_good(&self) -> Option<&Measured> {
        self.good.as_ref()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "too many frames were lost",
            Self::Latency => "frames took too long",
            Self::BadTags => "datagrams came with wrong hop tags",
            Self::Silence => "the relay has no time even to tell its metrics",
            Self::NoAnswer => "new sessions got no answer",
        })
    }
}

impl fmt::Display for Strain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Speaking => {
                "the load generator is at its limit, not the relay: it speaks too late; give it more cores, or run it \
                 on another machine"
            }
            Self::Reading => {
                "the load generator is at its limit, not the relay: it reads too slowly; give it more cores or \
                 --sockets, or run it on another machine"
            }
            Self::Neighbours => {
                "something else runs on the relay's cores, or it has more workers than cores: the relay had to wait \
                 for them, and what it holds can't be told"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        loss: 0.005,
        latency: Duration::from_millis(20),
    };

    fn good(rooms: u32) -> Measured {
        Measured {
            rooms,
            spoken: 1.0,
            ..Measured::default()
        }
    }

    fn lossy(rooms: u32) -> Measured {
        Measured {
            loss: 0.02,
            ..good(rooms)
        }
    }

    #[test]
    fn good_steps_grow_until_there_are_enough_rooms() {
        let mut ramp = Ramp::new(1.25, 30, LIMITS);
        assert_eq!(ramp.next(&good(1)), Next::Grow(2));
        assert_eq!(ramp.next(&good(20)), Next::Grow(25));
        assert_eq!(ramp.next(&good(25)), Next::Grow(30));
        assert_eq!(ramp.next(&good(30)), Next::Done(End::MaxRooms));
        assert_eq!(ramp.last_good().map(|good| good.rooms), Some(30));
    }

    #[test]
    fn a_step_over_a_limit_is_measured_twice_before_it_is_the_knee() {
        let mut ramp = Ramp::new(2.0, 1000, LIMITS);
        assert_eq!(ramp.next(&good(10)), Next::Grow(20));
        assert_eq!(ramp.next(&lossy(20)), Next::Again);
        assert_eq!(ramp.next(&lossy(20)), Next::Done(End::Knee(Limit::Loss)));
        assert_eq!(ramp.last_good().map(|good| good.rooms), Some(10));
    }

    #[test]
    fn a_step_that_was_bad_only_once_goes_on() {
        let mut ramp = Ramp::new(2.0, 1000, LIMITS);
        assert_eq!(ramp.next(&lossy(20)), Next::Again);
        assert_eq!(ramp.next(&good(20)), Next::Grow(40));
        assert_eq!(
            ramp.next(&lossy(40)),
            Next::Again,
            "each step has its second chance"
        );
    }

    #[test]
    fn the_slowest_frames_count_by_the_relays_word_when_it_is_known() {
        let slow = Measured {
            heard_p99_us: 30_000.0,
            ..good(1)
        };
        assert_eq!(LIMITS.judge(&slow), StepVerdict::Over(Limit::Latency));
        let relay_is_quick = Measured {
            relay_p99_us: Some(300.0),
            ..slow
        };
        assert_eq!(LIMITS.judge(&relay_is_quick), StepVerdict::Good);
        let relay_is_slow = Measured {
            relay_p99_us: Some(20_001.0),
            ..good(1)
        };
        assert_eq!(
            LIMITS.judge(&relay_is_slow),
            StepVerdict::Over(Limit::Latency)
        );
    }

    #[test]
    fn a_load_that_is_at_its_limit_does_not_blame_the_relay() {
        let deaf = Measured {
            missed: 0.01,
            ..lossy(10)
        };
        let late = Measured {
            late: 0.05,
            ..lossy(10)
        };
        let silent = Measured {
            spoken: 0.9,
            ..good(10)
        };
        let crowded = Measured {
            relay_cores: Some(0.6),
            relay_waited_cores: Some(0.3),
            ..lossy(10)
        };
        for (measured, strain) in [
            (crowded, Strain::Neighbours),
            (deaf, Strain::Reading),
            (late, Strain::Speaking),
            (silent, Strain::Speaking),
        ] {
            let mut ramp = Ramp::new(2.0, 1000, LIMITS);
            assert_eq!(ramp.next(&measured), Next::Again);
            assert_eq!(ramp.next(&measured), Next::Done(End::Strained(strain)));
            assert!(ramp.last_good().is_none());
        }
    }

    #[test]
    fn a_good_step_on_shared_cores_is_good() {
        let crowded = Measured {
            relay_cores: Some(0.6),
            relay_waited_cores: Some(0.3),
            ..good(10)
        };
        assert_eq!(LIMITS.judge(&crowded), StepVerdict::Good);
    }

    #[test]
    fn a_wrong_tag_ends_it_at_once() {
        let mut ramp = Ramp::new(2.0, 1000, LIMITS);
        let forged = Measured {
            bad_tags: 1,
            ..good(10)
        };
        assert_eq!(ramp.next(&forged), Next::Done(End::Knee(Limit::BadTags)));
    }
}
