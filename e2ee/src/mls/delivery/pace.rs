//! How far the commits of a group lie apart: never closer than [`BATCH_INTERVAL`]. Who comes also waits until what commits send is
//! within the budget of a member and that of the room. Who has gone is not waited for: it has the keys until the commit.

use std::time::{Duration, Instant};

/// Commits are at least this far apart: what changes meanwhile is committed together.
pub const BATCH_INTERVAL: Duration = Duration::from_millis(150);

/// Commits to one member, in bytes: so many at once, and then so many a second (256 kbit/s).
const MEMBER: Budget = Budget {
    burst: 512 * 1024,
    per_second: 32_000,
};

/// Commits, Welcomes and trees to all members of a room, in bytes: so many at once, and as many a second.
const ROOM: Budget = Budget {
    burst: 20_000_000,
    per_second: 20_000_000,
};

struct Budget {
    burst: u64,
    per_second: u64,
}

impl Budget {
    fn time_for(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes.saturating_mul(1_000_000_000 / self.per_second))
    }

    /// When more may be sent, if what was sent is paid off at `paid`; `None` before the clock began.
    fn allows_at(&self, paid: Instant) -> Option<Instant> {
        paid.checked_sub(self.time_for(self.burst))
    }
}

/// When the next commit may be made.
#[derive(Debug)]
pub(super) struct Pace {
    removes: Instant,
    /// When what was sent to a member, and to the room, is paid off.
    member_paid: Instant,
    room_paid: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            removes: now,
            member_paid: now,
            room_paid: now,
        }
    }

    /// When the next commit may be made that removes somebody, or that adds.
    pub(super) fn next_commit_at(&self, removes: bool) -> Instant {
        if removes {
            return self.removes;
        }
        let allowed = [
            MEMBER.allows_at(self.member_paid),
            ROOM.allows_at(self.room_paid),
        ];
        allowed
            .into_iter()
            .flatten()
            .fold(self.removes, Instant::max)
    }

    /// A commit was accepted: each of so many members is sent these bytes, and the joiners together these.
    pub(super) fn committed(&mut self, now: Instant, each: usize, members: usize, joiners: usize) {
        let (each, members, joiners) = (each as u64, members as u64, joiners as u64);
        let all = each.saturating_mul(members).saturating_add(joiners);
        self.member_paid = self.member_paid.max(now) + MEMBER.time_for(each);
        self.room_paid = self.room_paid.max(now) + ROOM.time_for(all);
        self.removes = now + BATCH_INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Commits as fast as allowed for so many seconds; gives their number.
    fn commits(each: usize, members: usize, joiners: usize, seconds: u32) -> u64 {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut count = 0;
        while pace.next_commit_at(false) < start + seconds * SECOND {
            pace.committed(pace.next_commit_at(false), each, members, joiners);
            count += 1;
        }
        count
    }

    #[test]
    fn a_burst_of_joins_in_a_room_of_a_hundred_is_committed_at_the_shortest_interval() {
        assert_eq!(commits(19_000, 100, 13_000, 2), 14);
    }

    #[test]
    fn lasting_churn_stays_within_a_members_budget() {
        let sent = commits(19_000, 10, 0, 60) * 19_000;
        assert!(
            sent <= MEMBER.burst + 60 * MEMBER.per_second + 19_000,
            "{sent}"
        );
        assert!(sent >= 60 * MEMBER.per_second, "{sent}");
    }

    #[test]
    fn large_trees_stay_within_the_rooms_budget() {
        let all = 3_000 * 1_000 + 2_600_000 * 10;
        let sent = commits(3_000, 1_000, 2_600_000 * 10, 10) * all;
        assert!(sent <= ROOM.burst + 10 * ROOM.per_second + all, "{sent}");
    }

    #[test]
    fn a_quiet_time_pays_off_what_was_sent() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.committed(start, 1024 * 1024, 1, 0);
        assert!(pace.next_commit_at(false) > start + 10 * SECOND);
        assert_eq!(pace.next_commit_at(true), start + BATCH_INTERVAL);
        let later = start + 60 * SECOND;
        pace.committed(later, 1000, 1, 0);
        assert_eq!(pace.next_commit_at(false), later + BATCH_INTERVAL);
    }
}
