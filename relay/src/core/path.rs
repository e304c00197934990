//! Where a session's media goes: to an address that has proved to receive (the method of RFC 9000 §8.2 and §9).
//!
//! A packet says who sent it, but its source address may be forged or reflected. So media flows only to an address
//! from which a challenge came back.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// A challenge that was not answered after this time makes room for one to another address.
pub const CHALLENGE_LIFETIME: Duration = Duration::from_secs(1);

/// Time between two sendings of the same challenge.
pub const CHALLENGE_INTERVAL: Duration = Duration::from_millis(100);

/// Both ends of a way through the network: what is answered has to leave by the address that was reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FourTuple {
    /// The other side's address.
    pub remote: SocketAddr,
    /// Which of the relay's own addresses, in the order in which it listens.
    pub local: u8,
}

impl FourTuple {
    /// Of what has not come from anywhere yet.
    pub const UNKNOWN: Self = Self {
        remote: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        local: 0,
    };
}

impl From<SocketAddr> for FourTuple {
    /// By the relay's first address.
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: 0 }
    }
}

/// A session's path, proved and to be proved.
#[derive(Debug, Default)]
pub struct Path {
    validated: Option<FourTuple>,
    challenge: Option<Challenge>,
}

#[derive(Debug)]
struct Challenge {
    path: FourTuple,
    bytes: [u8; 8],
    issued: Instant,
    sent: Instant,
}

/// What a packet's source address asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum PathAction {
    /// Nothing.
    None,
    /// Send these bytes as a challenge to the packet's source.
    Challenge([u8; 8]),
}

impl Path {
    /// The path that media takes; `None` until one is proved.
    pub fn validated(&self) -> Option<FourTuple> {
        self.validated
    }

    /// An authentic packet came by `from`; `newest` says that its packet number is the session's highest so far.
    ///
    /// `fresh` draws the bytes of a new challenge.
    pub fn on_packet(
        &mut self,
        now: Instant,
        from: FourTuple,
        newest: bool,
        fresh: impl FnOnce() -> [u8; 8],
    ) -> PathAction {
        // What was delayed on an old path says nothing about where the client is now.
        if !newest {
            return PathAction::None;
        }
        if self.validated == Some(from) {
            self.challenge = None;
            return PathAction::None;
        }
        match &mut self.challenge {
            Some(open) if now.saturating_duration_since(open.issued) < CHALLENGE_LIFETIME => {
                let due = now.saturating_duration_since(open.sent) >= CHALLENGE_INTERVAL;
                if open.path != from || !due {
                    return PathAction::None;
                }
                open.sent = now;
                PathAction::Challenge(open.bytes)
            }
            _ => {
                let bytes = fresh();
                self.challenge = Some(Challenge {
                    path: from,
                    bytes,
                    issued: now,
                    sent: now,
                });
                PathAction::Challenge(bytes)
            }
        }
    }

    /// A path response came by `from`. True when it proves the path: media takes it from now on.
    pub fn on_response(&mut self, from: FourTuple, bytes: [u8; 8]) -> bool {
        let answers = |open: &Challenge| open.path == from && open.bytes == bytes;
        if !self.challenge.as_ref().is_some_and(answers) {
            return false;
        }
        self.challenge = None;
        self.validated = Some(from);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u16) -> FourTuple {
        SocketAddr::from(([127, 0, 0, 1], n)).into()
    }

    fn proved(n: u16, now: Instant) -> Path {
        let mut path = Path::default();
        path.on_packet(now, address(n), true, || [1; 8]);
        assert!(path.on_response(address(n), [1; 8]));
        path
    }

    #[test]
    fn no_media_before_a_challenge_came_back_from_the_challenged_address() {
        let now = Instant::now();
        let mut path = Path::default();
        let action = path.on_packet(now, address(1), true, || [1; 8]);
        assert_eq!(action, PathAction::Challenge([1; 8]));
        assert_eq!(path.validated(), None);
        assert!(!path.on_response(address(2), [1; 8]), "from elsewhere");
        assert!(!path.on_response(address(1), [2; 8]), "other bytes");
        assert!(path.on_response(address(1), [1; 8]));
        assert_eq!(path.validated(), Some(address(1)));
        assert!(!path.on_response(address(1), [1; 8]), "answered twice");
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
        assert!(!path.on_response(address(1), [2; 8]));
        assert!(path.on_response(other, [2; 8]));
        assert_eq!(path.validated(), Some(other));
    }

    #[test]
    fn media_stays_on_the_old_path_until_the_new_one_is_proved() {
        let now = Instant::now();
        let mut path = proved(1, now);
        let action = path.on_packet(now, address(2), true, || [2; 8]);
        assert_eq!(action, PathAction::Challenge([2; 8]));
        assert_eq!(path.validated(), Some(address(1)));
        assert!(path.on_response(address(2), [2; 8]));
        assert_eq!(path.validated(), Some(address(2)));
    }

    #[test]
    fn a_newer_packet_from_the_old_path_cancels_the_challenge() {
        let now = Instant::now();
        let mut path = proved(1, now);
        path.on_packet(now, address(2), true, || [2; 8]);
        path.on_packet(now, address(1), true, || [3; 8]);
        assert!(!path.on_response(address(2), [2; 8]));
        assert_eq!(path.validated(), Some(address(1)));
    }

    #[test]
    fn a_late_packet_moves_nothing() {
        let now = Instant::now();
        let mut path = proved(1, now);
        let action = path.on_packet(now, address(2), false, || [2; 8]);
        assert_eq!(action, PathAction::None);
    }

    #[test]
    fn one_challenge_is_outstanding_and_a_lost_one_is_sent_again() {
        let now = Instant::now();
        let mut path = proved(1, now);
        path.on_packet(now, address(2), true, || [2; 8]);
        let other = path.on_packet(now, address(3), true, || [3; 8]);
        assert_eq!(other, PathAction::None, "one at a time");
        let early = now + CHALLENGE_INTERVAL / 2;
        let again = path.on_packet(early, address(2), true, || [4; 8]);
        assert_eq!(again, PathAction::None, "not a challenge for each packet");
        let due = now + CHALLENGE_INTERVAL;
        let again = path.on_packet(due, address(2), true, || [4; 8]);
        assert_eq!(again, PathAction::Challenge([2; 8]));
        let late = now + CHALLENGE_LIFETIME;
        let other = path.on_packet(late, address(3), true, || [3; 8]);
        assert_eq!(other, PathAction::Challenge([3; 8]));
    }
}
