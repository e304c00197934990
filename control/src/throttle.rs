//! Token buckets: a burst, then a rate.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::mutex::lock;
use crate::source::Source;

/// Maximum number of buckets of a [`Throttle`]; each takes about 40 bytes.
const MAX_BUCKETS: usize = 65_536;
/// Time between two purges of full buckets.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The capacity of a bucket and its refill rate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    pub burst: f64,
    /// Tokens refilled per second.
    pub per_second: f64,
}

impl Rate {
    /// The rate multiplied by `times`.
    fn times(self, times: u32) -> Self {
        Self {
            burst: self.burst * f64::from(times),
            per_second: self.per_second * f64::from(times),
        }
    }
}

/// One token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: Rate,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            tokens: rate.burst,
            filled: now,
        }
    }

    /// Takes a token, or returns the time until one is available.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.take_many(now, 1.0)
    }

    /// Takes so many tokens, or returns the time until they are available. More than the burst never are.
    pub fn take_many(&mut self, now: Instant, tokens: f64) -> Result<(), Duration> {
        self.fill(now);
        if self.tokens >= tokens {
            self.tokens -= tokens;
            return Ok(());
        }
        // Rounded up to whole milliseconds, the unit on the wire, and never zero.
        let wait = ((tokens - self.tokens) / self.rate.per_second * 1000.0).ceil() / 1000.0;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX))
    }

    fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.rate.burst);
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate.per_second).min(self.rate.burst);
        self.filled = self.filled.max(now);
    }

    /// True if the bucket is full.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= self.rate.burst
    }
}

/// A bucket for each key, limited in number.
///
/// When there is no room for a new bucket, full ones are removed; if there are none, any bucket is removed. An attacker that can
/// fill the table with its own keys has unlimited buckets anyway.
pub struct Throttle {
    rate: Rate,
    /// Keyed, so that an attacker cannot choose keys that collide.
    hasher: RandomState,
    table: Mutex<Table>,
}

struct Table {
    buckets: HashMap<u64, Bucket>,
    swept: Option<Instant>,
}

impl Throttle {
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            hasher: RandomState::new(),
            table: Mutex::new(Table {
                buckets: HashMap::new(),
                swept: None,
            }),
        }
    }

    /// Takes a token of the key's bucket, or returns the time until one is available.
    pub fn take(&self, key: impl Hash, now: Instant) -> Result<(), Duration> {
        self.take_from(key, self.rate, now)
    }

    /// Takes a token from the buckets of the source and of the networks around it, or from none, so that many sources of one
    /// network do not have as many limits.
    pub fn take_for_source(&self, source: Source, now: Instant) -> Result<(), Duration> {
        let mut taken = Vec::new();
        for (network, times) in source.networks() {
            if let Err(wait) = self.take_from(network, self.rate.times(times), now) {
                taken
                    .into_iter()
                    .for_each(|network| self.give_back(network));
                return Err(wait);
            }
            taken.push(network);
        }
        Ok(())
    }

    fn take_from(&self, key: impl Hash, rate: Rate, now: Instant) -> Result<(), Duration> {
        let key = self.hasher.hash_one(key);
        let mut table = lock(&self.table);
        if table.buckets.len() >= MAX_BUCKETS && !table.buckets.contains_key(&key) {
            table.make_room(now);
        }
        let fresh = || Bucket::new(rate, now);
        table.buckets.entry(key).or_insert_with(fresh).take(now)
    }

    /// Returns a token to the key's bucket.
    pub fn give_back(&self, key: impl Hash) {
        let key = self.hasher.hash_one(key);
        let mut table = lock(&self.table);
        if let Some(bucket) = table.buckets.get_mut(&key) {
            bucket.give_back();
        }
    }
}

impl Table {
    fn make_room(&mut self, now: Instant) {
        let is_due = |swept| now.saturating_duration_since(swept) >= SWEEP_INTERVAL;
        if self.swept.is_none_or(is_due) {
            self.swept = Some(now);
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        if self.buckets.len() >= MAX_BUCKETS
            && let Some(any) = self.buckets.keys().next().copied()
        {
            self.buckets.remove(&any);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3.0,
        per_second: 2.0,
    };

    #[test]
    fn a_burst_passes_and_then_the_rate_applies() {
        let start = Instant::now();
        let mut bucket = Bucket::new(RATE, start);
        let passed = (0..10).filter(|_| bucket.take(start).is_ok()).count();
        assert_eq!(passed, 3);
        assert_eq!(bucket.take(start), Err(Duration::from_millis(500)));
        let later = start + Duration::from_secs(1);
        let passed = (0..10).filter(|_| bucket.take(later).is_ok()).count();
        assert_eq!(passed, 2);
    }

    #[test]
    fn the_sources_of_a_network_share_its_limit() {
        let throttle = Throttle::new(RATE);
        let start = Instant::now();
        let passed = |third: u16| {
            let sources = (0..40u16).map(|last| {
                let prefix = [0x2001, 0xdb8, third, last, 0, 0, 0, 1];
                Source::from(std::net::IpAddr::from(prefix))
            });
            sources
                .flat_map(|source| [source; 5])
                .filter(|source| throttle.take_for_source(*source, start).is_ok())
                .count()
        };
        // Forty /64s within one /56, with three tokens each: the /56 has six.
        assert_eq!(passed(1), 6);
        assert_eq!(passed(1), 0);
        assert_eq!(passed(2), 6);
        let v4 = Source::from(std::net::IpAddr::from([192, 0, 2, 1]));
        let passed = (0..9).filter(|_| throttle.take_for_source(v4, start).is_ok());
        assert_eq!(passed.count(), 3);
    }

    #[test]
    fn keys_have_buckets_of_their_own_and_memory_is_bounded() {
        let throttle = Throttle::new(RATE);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(throttle.take("ann", start), Ok(()));
        }
        assert!(throttle.take("ann", start).is_err());
        assert_eq!(throttle.take("bob", start), Ok(()));
        throttle.give_back("ann");
        assert_eq!(throttle.take("ann", start), Ok(()));
        for key in 0..2 * MAX_BUCKETS {
            assert_eq!(throttle.take(key, start), Ok(()));
        }
        assert!(throttle.table.lock().unwrap().buckets.len() <= MAX_BUCKETS);
    }
}
