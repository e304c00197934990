//! How much a session may send.

use std::time::{Duration, Instant};

/// Packets a second that a session may send over a longer time: 10 ms frames, and keep-alives.
pub const PACKETS_PER_SECOND: u32 = 120;
/// Packets that may come at once.
pub const PACKET_BURST: u32 = 40;
/// Bytes of UDP payload a second: 320 kbit/s.
pub const BYTES_PER_SECOND: u32 = 40_000;
/// Bytes that may come at once: the packet burst at the mean size of a packet under both limits.
pub const BYTE_BURST: u32 = BYTES_PER_SECOND / PACKETS_PER_SECOND * PACKET_BURST;

/// Two token buckets that fill with time: packets and bytes.
#[derive(Clone, Debug)]
pub struct RateLimit {
    // In units of 1/65536, so that a millisecond's worth does not round to nothing.
    packets: u64,
    bytes: u64,
    filled: Instant,
}

const UNIT: u64 = 1 << 16;

impl RateLimit {
    /// Full buckets.
    pub fn new(now: Instant) -> Self {
        Self {
            packets: u64::from(PACKET_BURST) * UNIT,
            bytes: u64::from(BYTE_BURST) * UNIT,
            filled: now,
        }
    }

    /// Takes one packet of `bytes`, if both buckets hold it.
    pub fn take(&mut self, now: Instant, bytes: usize) -> bool {
        self.fill(now);
        let cost = bytes as u64 * UNIT;
        if self.packets < UNIT || self.bytes < cost {
            return false;
        }
        self.packets -= UNIT;
        self.bytes -= cost;
        true
    }

    fn fill(&mut self, now: Instant) {
        // A clock that goes back fills nothing; one that leaps ahead fills to the brim.
        let elapsed = now
            .saturating_duration_since(self.filled)
            .min(Duration::from_secs(1))
            .as_micros() as u64;
        if elapsed == 0 {
            return;
        }
        self.filled = now;
        let more = |rate: u32| elapsed * u64::from(rate) * UNIT / 1_000_000;
        self.packets =
            (self.packets + more(PACKETS_PER_SECOND)).min(u64::from(PACKET_BURST) * UNIT);
        self.bytes = (self.bytes + more(BYTES_PER_SECOND)).min(u64::from(BYTE_BURST) * UNIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start);
        let burst = (0..100).filter(|_| limit.take(start, 100)).count();
        assert_eq!(burst, PACKET_BURST as usize);
        let passed = (1..=10_000)
            .filter(|ms| limit.take(start + Duration::from_millis(*ms), 100))
            .count();
        let expected = 10 * PACKETS_PER_SECOND as usize;
        assert!(passed.abs_diff(expected) <= 2, "{passed}");
    }

    #[test]
    fn large_packets_meet_the_byte_limit_first() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start);
        let mut bytes = 0;
        for ms in 0..10_000 {
            if limit.take(start + Duration::from_millis(ms), 1200) {
                bytes += 1200;
            }
        }
        let expected = 10 * BYTES_PER_SECOND + BYTE_BURST;
        assert!((bytes as u32).abs_diff(expected) <= 2400, "{bytes}");
    }

    #[test]
    fn a_clock_that_goes_back_or_leaps_does_no_harm() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut limit = RateLimit::new(start);
        assert!(limit.take(start - Duration::from_secs(50), 10));
        let later = start + Duration::from_secs(1_000_000);
        let burst = (0..1000).filter(|_| limit.take(later, 10)).count();
        assert_eq!(burst, PACKET_BURST as usize);
    }
}
