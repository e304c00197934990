//! How long to wait before the next try: soon where a room changes its node, ever longer where nobody answers.
//!
//! Waits are random in part, so that a thousand clients that lost one server do not reach the next at the same moment.

use std::time::Duration;

use confab_protocol::control::ErrorCode;

use super::ApiError;

/// Wait before the first attempt after a connection was lost.
const FIRST: Duration = Duration::from_millis(100);

/// Longest wait between two attempts to connect.
const LONGEST: Duration = Duration::from_secs(3);

/// Longest time before a room that changes its node is asked for again, unless the server says another.
const ROOM_LONGEST: Duration = Duration::from_millis(300);

/// Longest time before a server that had no relay is asked again, unless it says another.
const RELAY_LONGEST: Duration = Duration::from_secs(1);

/// Largest random addition to a time that the server gives.
const SPREAD: Duration = Duration::from_millis(100);

/// Largest random addition to the time that a server gives when it sends all its clients away.
const AWAY_SPREAD: Duration = Duration::from_millis(500);

/// The waits between attempts to connect.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The wait before the next attempt: `least` at the least. `random` is 0.0 to 1.0.
    pub(super) fn wait(&mut self, least: Option<Duration>, random: f64) -> Duration {
        let own = self.next.mul_f64(0.5 + 0.5 * random);
        self.next = (self.next * 2).min(LONGEST);
        own.max(least.map_or(Duration::ZERO, |least| least + SPREAD.mul_f64(random)))
    }
}

/// The wait for a server that goes away and said when to come back.
pub(super) fn after_going_away(told: Duration, random: f64) -> Duration {
    told + AWAY_SPREAD.mul_f64(random)
}

/// The wait before a refused join is repeated at the same node; `None`: it is not repeated.
pub(super) fn for_the_room(error: &ApiError, random: f64) -> Option<Duration> {
    let ApiError::Refused(refusal) = error else {
        return None;
    };
    let longest = match refusal.code {
        ErrorCode::Busy => ROOM_LONGEST,
        ErrorCode::NoRelay => RELAY_LONGEST,
        _ => return None,
    };
    Some(match refusal.retry_after {
        Some(told) => told + SPREAD.mul_f64(random),
        None => longest.mul_f64(0.5 + 0.5 * random),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use confab_protocol::control::Refusal;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    const MS: Duration = Duration::from_millis(1);

    /// A thousand clients that lost their server at once: when each is back, and the most tries in a tenth of a second.
    ///
    /// The server is away for `away`, and takes `capacity` of them in a tenth of a second; the rest it does not answer,
    /// which a client takes for a refusal at once: the worst of cases.
    fn storm(away: Duration, capacity: usize, seed: u64) -> (Duration, usize) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut tries = BinaryHeap::new();
        let mut clients: Vec<_> = (0..1000).map(|_| Backoff::new()).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            tries.push(Reverse((client.wait(None, random.random()), n)));
        }
        let (mut slot, mut in_slot, mut taken, mut most) = (0, 0, 0, 0);
        let mut last = Duration::ZERO;
        while let Some(Reverse((at, n))) = tries.pop() {
            if at.as_millis() / 100 != slot {
                (slot, in_slot, taken) = (at.as_millis() / 100, 0, 0);
            }
            in_slot += 1;
            if at > Duration::from_secs(1) {
                most = most.max(in_slot);
            }
            if at >= away && taken < capacity {
                taken += 1;
                last = at;
            } else {
                let wait = clients[n].wait(None, random.random());
                tries.push(Reverse((at + wait, n)));
            }
        }
        (last, most)
    }

    #[test]
    fn a_thousand_clients_are_back_within_ten_seconds_and_do_not_melt_the_server() {
        for seed in 0..5 {
            // Back at once, and slow: thirty handshakes in a tenth of a second.
            let (last, _) = storm(Duration::ZERO, 30, seed);
            assert!(last < Duration::from_secs(10), "{last:?}");
            // Away for five seconds, as a restart takes.
            let (last, most) = storm(5000 * MS, 30, seed);
            assert!(last < Duration::from_secs(5 + 10), "{last:?}");
            assert!(most < 300, "{most} tries in a tenth of a second");
        }
    }

    #[test]
    fn a_room_that_changes_its_node_is_asked_for_soon_and_others_are_not() {
        let busy = ApiError::from(Refusal::new(ErrorCode::Busy, "wait"));
        for random in [0.0, 0.5, 1.0] {
            let wait = for_the_room(&busy, random).unwrap();
            assert!((100 * MS..=300 * MS).contains(&wait), "{wait:?}");
        }
        let told = ApiError::from(Refusal::new(ErrorCode::Busy, "wait").after(500 * MS));
        assert_eq!(for_the_room(&told, 0.0), Some(500 * MS));
        assert_eq!(for_the_room(&told, 1.0), Some(600 * MS));
        let banned = ApiError::from(Refusal::new(ErrorCode::Banned, "no"));
        assert_eq!(for_the_room(&banned, 0.5), None);
        assert_eq!(for_the_room(&ApiError::Timeout, 0.5), None);
    }

    #[test]
    fn a_time_that_the_server_says_is_kept() {
        let mut backoff = Backoff::new();
        assert!(backoff.wait(Some(2000 * MS), 0.3) >= 2000 * MS);
        assert_eq!(after_going_away(1000 * MS, 1.0), 1500 * MS);
    }
}
