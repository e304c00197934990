//! Path validation: media goes to an address that has answered a challenge, and that goes on answering them.
//!
//! A packet says who sent it, but its source address may be forged or reflected. So media flows only to an address
//! from which a challenge came back (the method of RFC 9000 §8.2 and §9), and for no longer than 30 s after the last one
//! that did (the method of RFC 7675 §5.1). Packets prove nothing: a member can forge their source address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// A challenge that was not answered in this time gives way to one to another address.
pub(super) const CHALLENGE_LIFETIME: Duration = Duration::from_secs(1);

/// Time between two sendings of the same challenge to an address that is not proved.
pub(super) const CHALLENGE_INTERVAL: Duration = Duration::from_millis(100);

/// The same for a check: a challenge to the path that media takes.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// An answer counts within this time of the challenge: longer than any round trip.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Nothing is sent to a path that answered no challenge of this time. RFC 7675 §5.1 has 30 s; 1 s of it is the interval
/// of [`Path::check`].
pub(super) const PATH_TIMEOUT: Duration = Duration::from_secs(29);

/// The two addresses of a path: an answer has to leave by the address that was reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FourTuple {
    /// The other side's address.
    pub remote: SocketAddr,
    /// Index of the relay's own address, in the order in which it listens.
    pub local: u8,
}

impl FourTuple {
    /// The path of an empty buffer.
    pub const UNKNOWN: Self = Self {
        remote: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        local: 0,
    };
}

impl From<SocketAddr> for FourTuple {
    /// With the relay's first address.
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: 0 }
    }
}

/// A session's path, proved and to be proved.
#[derive(Debug, Default)]
pub(super) struct Path {
    proved: Option<Proved>,
    /// To an address that is not proved. Boxed, because most sessions have none.
    challenge: Option<Box<(FourTuple, Challenge)>>,
}

/// The path that media takes.
#[derive(Debug)]
struct Proved {
    path: FourTuple,
    /// When the challenge was made that was answered last. The answer may have been held back, so it proves nothing about
    /// later.
    at: Instant,
    check: Option<Challenge>,
}

#[derive(Debug)]
struct Challenge {
    bytes: [u8; 8],
    made: Instant,
    /// When it was sent last, in microseconds from then.
    sent_after: u32,
}

/// The action that a path needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PathAction {
    /// Nothing.
    None,
    /// Send these bytes as a challenge to an address that is not proved: a packet's source.
    Challenge([u8; 8]),
    /// Send these bytes as a challenge to the path that media takes.
    Check(FourTuple, [u8; 8]),
    /// The path that media took has not answered for [`PATH_TIMEOUT`]: send nothing until one is proved.
    Lost,
}

/// The result of a valid path response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proof {
    /// The client has received a challenge that was made at this time.
    pub at: Instant,
    /// True if media did not take this path before.
    pub is_new: bool,
}

impl Path {
    /// The path that media takes; `None` while none is proved.
    #[cfg(test)]
    fn validated(&self) -> Option<FourTuple> {
        self.proved.as_ref().map(|proved| proved.path)
    }

    /// An authentic packet came by `from`; `newest` says that its packet number is the session's highest so far.
    ///
    /// `fresh` draws the bytes of a new challenge.
    pub(super) fn on_packet(
        &mut self,
        now: Instant,
        from: FourTuple,
        newest: bool,
        fresh: impl FnOnce() -> [u8; 8],
    ) -> PathAction {
        // A packet that was delayed on an old path does not show the client's current address.
        if !newest {
            return PathAction::None;
        }
        if let Some(proved) = &mut self.proved
            && proved.path == from
        {
            self.challenge = None;
            return proved.check_again(now);
        }
        match self.challenge.as_deref_mut() {
            Some((path, open)) if *path == from && open.may_be_answered(now) => {
                match open.send_again(now, CHALLENGE_INTERVAL) {
                    Some(bytes) => PathAction::Challenge(bytes),
                    None => PathAction::None,
                }
            }
            Some((_, open)) if !open.is_older_than(now, CHALLENGE_LIFETIME) => PathAction::None,
            _ => {
                let bytes = fresh();
                self.challenge = Some(Box::new((from, Challenge::new(now, bytes))));
                PathAction::Challenge(bytes)
            }
        }
    }

    /// Asks the path that media takes whether it still answers, once its last answer is older than `after`. To be called
    /// every second.
    pub(super) fn check(
        &mut self,
        now: Instant,
        after: Duration,
        fresh: impl FnOnce() -> [u8; 8],
    ) -> PathAction {
        let Some(proved) = &mut self.proved else {
            return PathAction::None;
        };
        let age = now.saturating_duration_since(proved.at);
        if age >= PATH_TIMEOUT {
            self.proved = None;
            return PathAction::Lost;
        }
        if age < after {
            return PathAction::None;
        }
        let is_under_way = |open: &Challenge| open.may_be_answered(now);
        if proved.check.as_ref().is_some_and(is_under_way) {
            return proved.check_again(now);
        }
        let bytes = fresh();
        proved.check = Some(Challenge::new(now, bytes));
        PathAction::Check(proved.path, bytes)
    }

    /// A path response came by `from`. When it proves the path, media takes it from now on.
    pub(super) fn on_response(
        &mut self,
        now: Instant,
        from: FourTuple,
        bytes: [u8; 8],
    ) -> Option<Proof> {
        let answers = |open: &Challenge| open.bytes == bytes && open.may_be_answered(now);
        if let Some(proved) = &mut self.proved
            && proved.path == from
        {
            let answered = proved.check.take_if(|open| answers(open))?;
            proved.at = answered.made;
            return Some(Proof {
                at: answered.made,
                is_new: false,
            });
        }
        let is_this = |open: &mut Box<(FourTuple, Challenge)>| open.0 == from && answers(&open.1);
        let (path, answered) = *self.challenge.take_if(is_this)?;
        self.proved = Some(Proved {
            path,
            at: answered.made,
            check: None,
        });
        Some(Proof {
            at: answered.made,
            is_new: true,
        })
    }

    /// Adds the time in which the relay stood still, and sent no challenge, to the time that the path has for its answer.
    pub(super) fn extend_by_stall(&mut self, now: Instant, stall: Duration) {
        if let Some(proved) = &mut self.proved {
            proved.at = (proved.at + stall).min(now);
        }
    }
}

impl Proved {
    fn check_again(&mut self, now: Instant) -> PathAction {
        let open = self.check.as_mut().filter(|open| open.may_be_answered(now));
        match open.and_then(|open| open.send_again(now, CHECK_INTERVAL)) {
            Some(bytes) => PathAction::Check(self.path, bytes),
            None => PathAction::None,
        }
    }
}

impl Challenge {
    fn new(now: Instant, bytes: [u8; 8]) -> Self {
        Self {
            bytes,
            made: now,
            sent_after: 0,
        }
    }

    fn is_older_than(&self, now: Instant, time: Duration) -> bool {
        now.saturating_duration_since(self.made) >= time
    }

    fn may_be_answered(&self, now: Instant) -> bool {
        !self.is_older_than(now, ANSWER_TIMEOUT)
    }

    /// The bytes, when it is time to send them again.
    fn send_again(&mut self, now: Instant, interval: Duration) -> Option<[u8; 8]> {
        let since_made = now.saturating_duration_since(self.made);
        let sent_after = Duration::from_micros(self.sent_after.into());
        if since_made.saturating_sub(sent_after) < interval {
            return None;
        }
        self.sent_after = u32::try_from(since_made.as_micros()).unwrap_or(u32::MAX);
        Some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a path is asked whether it still answers.
    const CHECK_AFTER: Duration = Duration::from_secs(10);

    fn address(n: u16) -> FourTuple {
        SocketAddr::from(([127, 0, 0, 1], n)).into()
    }

    fn proved(n: u16, now: Instant) -> Path {
        let mut path = Path::default();
        path.on_packet(now, address(n), true, || [1; 8]);
        assert!(path.on_response(now, address(n), [1; 8]).is_some());
        path
    }

    fn never() -> [u8; 8] {
        panic!("no challenge is needed")
    }

    #[test]
    fn no_media_before_a_challenge_came_back_from_the_challenged_address() {
        let now = Instant::now();
        let mut path = Path::default();
        let action = path.on_packet(now, address(1), true, || [1; 8]);
        assert_eq!(action, PathAction::Challenge([1; 8]));
        assert_eq!(path.validated(), None);
        let mut answer = |from, bytes| path.on_response(now, address(from), bytes);
        assert_eq!(answer(2, [1; 8]), None, "from elsewhere");
        assert_eq!(answer(1, [2; 8]), None, "other bytes");
        let proof = Proof {
            at: now,
            is_new: true,
        };
        assert_eq!(answer(1, [1; 8]), Some(proof));
        assert_eq!(answer(1, [1; 8]), None, "answered twice");
        assert_eq!(path.validated(), Some(address(1)));
    }

    #[test]
    fn another_address_of_the_relay_is_another_path() {
        let now = Instant::now();
        let mut path = proved(1, now);
        let other = FourTuple {
            local: 1,
            ..address(1)
        };
        let action = path.on_packet(now, other, true, || [2; 8]);
        assert_eq!(action, PathAction::Challenge([2; 8]));
        assert_eq!(path.on_response(now, address(1), [2; 8]), None);
        assert!(path.on_response(now, other, [2; 8]).is_some());
        assert_eq!(path.validated(), Some(other));
    }

    #[test]
    fn media_stays_on_the_old_path_until_the_new_one_is_proved() {
        let now = Instant::now();
        let mut path = proved(1, now);
        let action = path.on_packet(now, address(2), true, || [2; 8]);
        assert_eq!(action, PathAction::Challenge([2; 8]));
        assert_eq!(path.validated(), Some(address(1)));
        assert!(path.on_response(now, address(2), [2; 8]).is_some());
        assert_eq!(path.validated(), Some(address(2)));
    }

    #[test]
    fn a_newer_packet_from_the_old_path_cancels_the_challenge() {
        let now = Instant::now();
        let mut path = proved(1, now);
        path.on_packet(now, address(2), true, || [2; 8]);
        path.on_packet(now, address(1), true, never);
        assert_eq!(path.on_response(now, address(2), [2; 8]), None);
        assert_eq!(path.validated(), Some(address(1)));
    }

    #[test]
    fn a_late_packet_moves_nothing() {
        let now = Instant::now();
        let mut path = proved(1, now);
        let action = path.on_packet(now, address(2), false, never);
        assert_eq!(action, PathAction::None);
    }

    #[test]
    fn one_challenge_is_outstanding_and_a_lost_one_is_sent_again() {
        let now = Instant::now();
        let mut path = proved(1, now);
        path.on_packet(now, address(2), true, || [2; 8]);
        let other = path.on_packet(now, address(3), true, never);
        assert_eq!(other, PathAction::None, "one at a time");
        let early = now + CHALLENGE_INTERVAL / 2;
        let again = path.on_packet(early, address(2), true, never);
        assert_eq!(again, PathAction::None, "not a challenge for each packet");
        let due = now + CHALLENGE_INTERVAL;
        let again = path.on_packet(due, address(2), true, never);
        assert_eq!(again, PathAction::Challenge([2; 8]));
        let late = now + CHALLENGE_LIFETIME;
        let other = path.on_packet(late, address(3), true, || [3; 8]);
        assert_eq!(other, PathAction::Challenge([3; 8]));
    }

    #[test]
    fn an_answer_counts_after_a_round_trip_of_seconds_and_not_much_later() {
        for (seconds, counts) in [(4, true), (5, false)] {
            let start = Instant::now();
            let mut path = proved(1, start);
            path.on_packet(start, address(2), true, || [2; 8]);
            for tenth in 1..seconds * 10 {
                let now = start + Duration::from_millis(100) * tenth;
                let again = path.on_packet(now, address(2), true, never);
                assert_eq!(again, PathAction::Challenge([2; 8]), "the same bytes");
            }
            let later = start + Duration::from_secs(seconds.into());
            let proof = path.on_response(later, address(2), [2; 8]);
            assert_eq!(proof.is_some(), counts, "after {seconds} s");
        }
    }

    #[test]
    fn a_path_that_answers_is_challenged_periodically_and_stays() {
        let mut now = Instant::now();
        let mut path = proved(1, now);
        for round in 0..100 {
            assert_eq!(path.check(now, CHECK_AFTER, never), PathAction::None);
            now += CHECK_AFTER;
            let asked = path.check(now, CHECK_AFTER, || [round; 8]);
            assert_eq!(asked, PathAction::Check(address(1), [round; 8]));
            let proof = path.on_response(now, address(1), [round; 8]);
            let expected = Proof {
                at: now,
                is_new: false,
            };
            assert_eq!(proof, Some(expected));
        }
    }

    /// Packets can be sent under anybody's address: only answers keep a path.
    #[test]
    fn a_path_that_does_not_answer_is_lost_after_30_s_whatever_packets_come() {
        let start = Instant::now();
        for from in [address(1), address(2)] {
            let mut path = proved(1, start);
            let mut asked = 0;
            for tenth in 0..290 {
                let now = start + Duration::from_millis(100) * tenth;
                let action = path.on_packet(now, from, true, || [2; 8]);
                asked += usize::from(matches!(action, PathAction::Check(..)));
                if tenth % 10 == 0 {
                    let action = path.check(now, CHECK_AFTER, || [3; 8]);
                    assert_ne!(action, PathAction::Lost);
                    asked += usize::from(matches!(action, PathAction::Check(..)));
                }
                assert_eq!(path.validated(), Some(address(1)));
            }
            assert!(asked >= 10, "{asked}");
            let action = path.check(start + PATH_TIMEOUT, CHECK_AFTER, never);
            assert_eq!(action, PathAction::Lost);
            assert_eq!(path.validated(), None);
        }
    }

    #[test]
    fn a_lost_path_is_proved_anew_like_any_other() {
        let start = Instant::now();
        let mut path = proved(1, start);
        let now = start + PATH_TIMEOUT;
        assert_eq!(path.check(now, CHECK_AFTER, never), PathAction::Lost);
        let action = path.on_packet(now, address(1), true, || [4; 8]);
        assert_eq!(action, PathAction::Challenge([4; 8]));
        let proof = path.on_response(now, address(1), [4; 8]);
        assert!(proof.is_some_and(|proof| proof.is_new));
        assert_eq!(path.validated(), Some(address(1)));
    }

    /// Whoever keeps an answer back and sends it when they are gone wins nothing.
    #[test]
    fn an_answer_counts_from_when_its_challenge_was_made() {
        let start = Instant::now();
        let mut path = proved(1, start);
        let asked = start + CHECK_AFTER;
        path.check(asked, CHECK_AFTER, || [2; 8]);
        let kept = asked + ANSWER_TIMEOUT - CHALLENGE_INTERVAL;
        let proof = path.on_response(kept, address(1), [2; 8]);
        assert_eq!(proof.map(|proof| proof.at), Some(asked));
        let action = path.check(asked + PATH_TIMEOUT, CHECK_AFTER, never);
        assert_eq!(action, PathAction::Lost);
    }

    #[test]
    fn a_client_that_moves_is_followed_while_its_old_path_is_asked() {
        let start = Instant::now();
        let mut path = proved(1, start);
        let now = start + CHECK_AFTER;
        path.check(now, CHECK_AFTER, || [2; 8]);
        let action = path.on_packet(now, address(2), true, || [3; 8]);
        assert_eq!(action, PathAction::Challenge([3; 8]));
        assert!(path.on_response(now, address(2), [3; 8]).is_some());
        assert_eq!(path.on_response(now, address(1), [2; 8]), None);
        assert_eq!(path.validated(), Some(address(2)));
    }

    #[test]
    fn a_stall_of_the_relay_extends_the_time_of_a_path() {
        let start = Instant::now();
        let mut path = proved(1, start);
        let stall = 10 * PATH_TIMEOUT;
        path.extend_by_stall(start + stall, stall);
        let action = path.check(start + stall + CHECK_AFTER, CHECK_AFTER, || [2; 8]);
        assert_eq!(action, PathAction::Check(address(1), [2; 8]));
    }
}
