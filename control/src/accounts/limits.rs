//! Throttling of everything that checks a password, by account and by source, before a hash is computed.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use confab_protocol::control::{ErrorCode, Refusal};

use crate::throttle::{Rate, Throttle};

/// Wrong passwords for one name from one source: five at once, then three a minute.
const NAME_AT_SOURCE: Rate = Rate {
    burst: 5.0,
    per_second: 0.05,
};
/// Wrong passwords for one name from anywhere. Larger, so that one stranger cannot lock somebody out.
const NAME: Rate = Rate {
    burst: 50.0,
    per_second: 0.05,
};

/// How many passwords one source may have checked.
#[derive(Clone, Copy, Debug)]
pub struct LoginLimits {
    /// At once.
    pub burst: u32,
    /// In a second, from then on.
    pub per_second: f64,
}

/// Where a request comes from: an IPv4 address, or the /64 of an IPv6 one, for that is what one household has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source([u8; 8]);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        let mut prefix = [0; 8];
        match address.to_canonical() {
            IpAddr::V4(v4) => prefix[4..].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => prefix.copy_from_slice(&v6.octets()[..8]),
        }
        Self(prefix)
    }
}

pub(super) struct Limiter {
    sources: Throttle,
    names_at_source: Throttle,
    names: Throttle,
}

impl Limiter {
    pub(super) fn new(limits: LoginLimits) -> Self {
        Self {
            sources: Throttle::new(Rate {
                burst: limits.burst.into(),
                per_second: limits.per_second,
            }),
            names_at_source: Throttle::new(NAME_AT_SOURCE),
            names: Throttle::new(NAME),
        }
    }

    /// To be asked before a password is hashed for `source`.
    pub(super) fn admit_source(&self, source: Source) -> Result<(), Refusal> {
        self.sources
            .take(source, Instant::now())
            .map_err(|wait| throttled("too many sign-ins from your network", wait))
    }

    /// To be asked before a password for `name` is checked; give it back when the password was right.
    pub(super) fn admit_name(&self, name: &str, source: Source) -> Result<(), Refusal> {
        const WHAT: &str = "too many wrong passwords for this account";
        let now = Instant::now();
        self.names_at_source
            .take((name, source), now)
            .map_err(|wait| throttled(WHAT, wait))?;
        self.names
            .take(name, now)
            .inspect_err(|_| self.names_at_source.give_back((name, source)))
            .map_err(|wait| throttled(WHAT, wait))
    }

    pub(super) fn was_right(&self, name: &str, source: Source) {
        self.names_at_source.give_back((name, source));
        self.names.give_back(name);
    }
}

fn throttled(what: &str, wait: Duration) -> Refusal {
    let seconds = wait.as_secs() + 1;
    Refusal::new(
        ErrorCode::Throttled,
        format!("{what}; try again in {seconds} s"),
    )
    .after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_source_is_its_64() {
        let source = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert!(source("2001:db8:1:2::1") == source("2001:db8:1:2:ffff::9"));
        assert!(source("2001:db8:1:2::1") != source("2001:db8:1:3::1"));
        assert!(source("::ffff:192.0.2.1") == source("192.0.2.1"));
        assert!(source("192.0.2.1") != source("192.0.2.2"));
    }

    #[test]
    fn one_source_is_stopped_soon_and_does_not_lock_the_name_for_others() {
        let limiter = Limiter::new(LoginLimits {
            burst: 1000,
            per_second: 1.0,
        });
        let source = |last: u8| Source::from(IpAddr::from([192, 0, 2, last]));
        let passed = (0..10)
            .filter(|_| limiter.admit_name("ann", source(1)).is_ok())
            .count();
        assert_eq!(passed, 5);
        assert!(limiter.admit_name("ann", source(2)).is_ok());
        limiter.was_right("ann", source(1));
        assert!(limiter.admit_name("ann", source(1)).is_ok());
        let passed = (3..=200)
            .filter(|last| limiter.admit_name("ann", source(*last)).is_ok())
            .count();
        assert!(passed < 50, "{passed} guesses from many sources");
    }
}
