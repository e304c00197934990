//! A measurement of a crowd and its relay.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Shape;
use super::cpu::{Shares, Usage};
use super::crowd::{Counts, Crowd};
use super::metrics::{self, RelayMetrics};
use super::ramp::LATE;
use super::times::Counted;

/// A measurement. Shares are of 1; times are in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Measured {
    pub rooms: u32,
    pub people: u64,
    /// For how long it was measured.
    pub seconds: f64,
    /// Frames that speakers sent in a second.
    pub frames_in_per_second: f64,
    /// Frames that arrived in a second.
    pub frames_out_per_second: f64,
    /// Datagrams in which they did.
    pub datagrams_out_per_second: f64,
    /// Frames of a datagram.
    pub frames_per_datagram: f64,
    /// Frames that should have arrived.
    pub frames_expected: u64,
    pub frames_arrived: u64,
    /// Share of the expected frames that were lost, without those that the load missed.
    pub loss: f64,
    /// Datagrams whose hop tag was checked.
    pub tags_checked: u64,
    /// Datagrams with a wrong tag.
    pub bad_tags: u64,
    /// Median time in the relay; nothing when its metrics are not known.
    pub relay_p50_us: Option<f64>,
    /// 99th percentile of it.
    pub relay_p99_us: Option<f64>,
    /// Cores that the relay used.
    pub relay_cores: Option<f64>,
    /// Cores for which the relay's threads waited, while something else ran there.
    pub relay_waited_cores: Option<f64>,
    /// Datagrams dropped at the relay's receive buffers.
    pub relay_kernel_drops: Option<u64>,
    /// Datagrams and frames that the relay dropped.
    pub relay_drops: Option<u64>,
    /// Median time from speaking to arrival.
    pub heard_p50_us: f64,
    /// 99th percentile of it.
    pub heard_p99_us: f64,
    /// Share of the due frames that the load spoke.
    pub spoken: f64,
    /// Share of the frames that the load spoke too late.
    pub late: f64,
    /// 99th percentile of how late.
    pub late_p99_us: f64,
    /// Share of the expected frames that were dropped at the load's own receive buffers.
    pub missed: f64,
}

/// Where the relay's own figures come from, as far as they can be had.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sources {
    pub metrics: Option<SocketAddr>,
    /// Its process, when it runs here.
    pub pid: Option<u32>,
}

/// The growing quantities at a moment.
pub struct Moment {
    at: Instant,
    counts: Counts,
    heard: Counted,
    late: Counted,
    told: Option<RelayMetrics>,
    usage: Option<Usage>,
}

impl Moment {
    pub async fn now(crowd: &Crowd, sources: &Sources) -> io::Result<Self> {
        let told = match sources.metrics {
            Some(address) => Some(metrics::read(address).await?),
            None => None,
        };
        Ok(Self {
            usage: sources.pid.map(Usage::now).transpose()?,
            told,
            heard: crowd.heard().counted(),
            late: crowd.late().counted(),
            counts: crowd.counts(),
            at: Instant::now(),
        })
    }

    /// Now, but nothing was sent or heard before: the crowd's first frames count as well.
    pub async fn start(crowd: &Crowd, sources: &Sources) -> io::Result<Self> {
        let now = Self::now(crowd, sources).await?;
        Ok(Self {
            counts: Counts::default(),
            ..now
        })
    }

    /// The same, but for another time than that at which it was taken.
    pub fn at(self, at: Instant) -> Self {
        Self { at, ..self }
    }

    /// The counts since `before`.
    pub fn since(&self, before: &Self, shape: Shape) -> Measured {
        let counts = self.counts.since(before.counts);
        let seconds = (self.at - before.at).as_secs_f64();
        let expected = counts.frames_sent * (u64::from(shape.members) - 1);
        let share = |part: f64| part / expected.max(1) as f64;
        let frames_per_datagram = counts.frames as f64 / counts.datagrams.max(1) as f64;
        let missed = share(counts.missed as f64 * frames_per_datagram.max(1.0));
        // Frames that were under way at the first moment may make it more than all.
        let lost = share(expected.saturating_sub(counts.frames) as f64);
        let due = shape.frames_in_per_second() as f64 * seconds;
        let (heard, late) = (
            self.heard.since(&before.heard),
            self.late.since(&before.late),
        );
        let us = |times: &Counted, share| {
            times
                .quantile(share)
                .map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        let told = self.told.as_ref().zip(before.told.as_ref());
        let relay_us = |share| {
            told.map(|(now, then)| {
                now.latencies
                    .quantile_since(&then.latencies, share)
                    .as_secs_f64()
                    * 1e6
            })
        };
        let grown = |name| told.map(|(now, then)| now.grown(then, name));
        let usage = self.usage.as_ref().zip(before.usage.as_ref());
        let shares = usage.map(|(now, then)| now.since(then));
        let cores = |part: fn(&Shares) -> Duration| {
            let part = shares.as_ref().map(part)?;
            Some(part.as_secs_f64() / seconds)
        };
        Measured {
            rooms: shape.rooms,
            people: shape.people(),
            seconds,
            frames_in_per_second: counts.frames_sent as f64 / seconds,
            frames_out_per_second: counts.frames as f64 / seconds,
            datagrams_out_per_second: counts.datagrams as f64 / seconds,
            frames_per_datagram,
            frames_expected: expected,
            frames_arrived: counts.frames,
            loss: (lost - missed).max(0.0),
            tags_checked: counts.checked,
            bad_tags: counts.bad,
            relay_p50_us: relay_us(0.5),
            relay_p99_us: relay_us(0.99),
            relay_cores: cores(|shares| shares.used)
                .or_else(|| grown("busy_ns").map(|ns| ns as f64 / 1e9 / seconds)),
            relay_waited_cores: cores(|shares| shares.waited),
            relay_kernel_drops: grown("kernel_drops"),
            relay_drops: grown("drops"),
            heard_p50_us: us(&heard, 0.5),
            heard_p99_us: us(&heard, 0.99),
            spoken: if due > 0.0 {
                counts.frames_sent as f64 / due
            } else {
                1.0
            },
            late: late.share_above(LATE),
            late_p99_us: us(&late, 0.99),
            missed,
        }
    }
}

impl Measured {
    /// Measures for `time` in rooms of this shape.
    pub async fn over(
        time: Duration,
        crowd: &Crowd,
        sources: &Sources,
        shape: Shape,
    ) -> io::Result<Self> {
        let before = Moment::now(crowd, sources).await?;
        tokio::time::sleep(time).await;
        Ok(Moment::now(crowd, sources).await?.since(&before, shape))
    }

    /// The 99th percentile that is held against the limit: the relay's own where it is known, or else the listeners'.
    pub fn latency_us(&self) -> f64 {
        self.relay_p99_us.unwrap_or(self.heard_p99_us)
    }

    /// Share of the time in which the relay could have run, but had to wait for a core.
    pub fn relay_waited(&self) -> f64 {
        let (Some(used), Some(waited)) = (self.relay_cores, self.relay_waited_cores) else {
            return 0.0;
        };
        waited / (used + waited).max(f64::MIN_POSITIVE)
    }

    /// Names of the columns of [`row`](Self::row).
    pub fn head() -> String {
        format!(
            "{:>6} {:>7} {:>10} {:>10} {:>10} {:>5} {:>7} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>8} {:>8}",
            "rooms",
            "people",
            "frames in",
            "frames out",
            "datagrams",
            "fr/dg",
            "lost %",
            "p50 us",
            "p99 us",
            "heard50",
            "heard99",
            "cores",
            "waited",
            "drops",
            "late99",
        )
    }

    /// The measurement as a row for a person; rates are of a second.
    pub fn row(&self) -> String {
        let or_dash = |value: Option<f64>, digits| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let drops = self.relay_kernel_drops.zip(self.relay_drops);
        format!(
            "{:>6} {:>7} {:>10.0} {:>10.0} {:>10.0} {:>5.2} {:>7.3} {:>8} {:>8} {:>8.0} {:>8.0} {:>6} {:>6} {:>8} {:>8.0}",
            self.rooms,
            self.people,
            self.frames_in_per_second,
            self.frames_out_per_second,
            self.datagrams_out_per_second,
            self.frames_per_datagram,
            self.loss * 100.0,
            or_dash(self.relay_p50_us, 0),
            or_dash(self.relay_p99_us, 0),
            self.heard_p50_us,
            self.heard_p99_us,
            or_dash(self.relay_cores, 2),
            or_dash(self.relay_waited_cores, 2),
            or_dash(drops.map(|(kernel, own)| (kernel + own) as f64), 0),
            self.late_p99_us,
        )
    }
}
