//! Rate limits of a session.

use std::time::{Duration, Instant};

use confab_protocol::media::MAX_DATAGRAM;

/// The rates and bursts that a session may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimits {
    /// Packets a second.
    pub packets_per_second: u32,
    /// Packets of a burst.
    pub packet_burst: u32,
    /// Bytes of UDP payload a second.
    pub bytes_per_second: u32,
}

impl Default for RateLimits {
    /// Enough for frames of 10 ms and keep-alives, or for 128 kbit/s of Opus with its redundancy: 120 packets and
    /// 320 kbit/s a second.
    fn default() -> Self {
        Self {
            packets_per_second: 120,
            packet_burst: 40,
            bytes_per_second: 40_000,
        }
    }
}

impl RateLimits {
    /// Bytes of a burst: as many packets as a burst has, each of the mean size (bytes a second / packets a second); at least
    /// one largest datagram.
    pub fn byte_burst(&self) -> u64 {
        let burst = u64::from(self.bytes_per_second) * u64::from(self.packet_burst);
        (burst / u64::from(self.packets_per_second)).max(MAX_DATAGRAM as u64)
    }
}

/// Two token buckets that fill with time: packets and bytes.
#[derive(Clone, Debug)]
pub(super) struct RateLimit {
    // In units of 1/65536, so that a millisecond's worth does not round to nothing.
    packets: u64,
    bytes: u64,
    filled: Instant,
}

const UNIT: u64 = 1 << 16;

impl RateLimit {
    /// Full buckets.
    pub(super) fn new(now: Instant, limits: &RateLimits) -> Self {
        Self {
            packets: u64::from(limits.packet_burst) * UNIT,
            bytes: limits.byte_burst() * UNIT,
            filled: now,
        }
    }

    /// Fills the buckets for the time since the last call. Returns that time in microseconds, an hour at most.
    pub(super) fn fill(&mut self, now: Instant, limits: &RateLimits) -> u32 {
        // A clock that is set back fills nothing; one that is set forward fills as one second does.
        let passed = now.saturating_duration_since(self.filled).min(MAX_PASSED);
        let passed = passed.as_micros() as u32;
        if passed == 0 {
            return 0;
        }
        self.filled = now;
        let made_up = u64::from(passed.min(MAX_FILL.as_micros() as u32));
        let more = |rate: u32| made_up.saturating_mul(u64::from(rate) * UNIT) / 1_000_000;
        let packets = self.packets + more(limits.packets_per_second);
        self.packets = packets.min(u64::from(limits.packet_burst) * UNIT);
        let bytes = self.bytes + more(limits.bytes_per_second);
        self.bytes = bytes.min(limits.byte_burst() * UNIT);
        passed
    }

    /// Takes one packet of `bytes`, if both buckets hold it.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let cost = bytes as u64 * UNIT;
        if self.packets < UNIT || self.bytes < cost {
            return false;
        }
        self.packets -= UNIT;
        self.bytes -= cost;
        true
    }
}

/// The longest time that `fill` returns.
const MAX_PASSED: Duration = Duration::from_secs(3600);

/// The longest time that buckets are filled for at once.
const MAX_FILL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RateLimits = RateLimits {
        packets_per_second: 120,
        packet_burst: 40,
        bytes_per_second: 40_000,
    };

    fn take(limit: &mut RateLimit, now: Instant, bytes: usize, limits: &RateLimits) -> bool {
        limit.fill(now, limits);
        limit.take(bytes)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start, &LIMITS);
        let burst = (0..100)
            .filter(|_| take(&mut limit, start, 100, &LIMITS))
            .count();
        assert_eq!(burst, LIMITS.packet_burst as usize);
        let passed = (1..=10_000)
            .filter(|ms| take(&mut limit, start + Duration::from_millis(*ms), 100, &LIMITS))
            .count();
        let expected = 10 * LIMITS.packets_per_second as usize;
        assert!(passed.abs_diff(expected) <= 2, "{passed}");
    }

    #[test]
    fn large_packets_meet_the_byte_limit_first() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start, &LIMITS);
        let mut bytes = 0;
        for ms in 0..10_000 {
            if take(&mut limit, start + Duration::from_millis(ms), 1200, &LIMITS) {
                bytes += 1200;
            }
        }
        let expected = 10 * u64::from(LIMITS.bytes_per_second) + LIMITS.byte_burst();
        assert!(expected.abs_diff(bytes) <= 2400, "{bytes}");
    }

    #[test]
    fn a_clock_that_is_set_back_or_forward_changes_no_more_than_a_burst() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut limit = RateLimit::new(start, &LIMITS);
        assert!(take(
            &mut limit,
            start - Duration::from_secs(50),
            10,
            &LIMITS
        ));
        let later = start + Duration::from_secs(1_000_000);
        let burst = (0..1000)
            .filter(|_| take(&mut limit, later, 10, &LIMITS))
            .count();
        assert_eq!(burst, LIMITS.packet_burst as usize);
    }

    #[test]
    fn the_largest_datagram_passes_under_any_limit() {
        let start = Instant::now();
        let narrow = RateLimits {
            packets_per_second: 1000,
            packet_burst: 1,
            bytes_per_second: 1000,
        };
        let mut limit = RateLimit::new(start, &narrow);
        assert!(take(&mut limit, start, MAX_DATAGRAM, &narrow));
        let wide = RateLimits {
            packets_per_second: u32::MAX,
            packet_burst: u32::MAX,
            bytes_per_second: u32::MAX,
        };
        let mut limit = RateLimit::new(start, &wide);
        let later = start + Duration::from_secs(1 << 40);
        assert!(take(&mut limit, later, 1200, &wide));
    }
}
