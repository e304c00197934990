//! Rate limits of password checks, applied before a hash is computed, by source and by account.
//!
//! There are two kinds of limits. Limits of *checks* bound the cost, right or wrong: per source for unknown devices, per known
//! device, and per account for signed-in clients. Limits of *wrong passwords* bound guessing at one account; a right password
//! gives its token back. A username and an e-mail address of one account share these limits; a name without an account has its
//! own. Known devices and signed-in clients have separate limits, so that attempts from elsewhere do not lock them out.

use std::time::{Duration, Instant};

use confab_protocol::control::AccountId;

use super::codes::Purpose;
use super::cookie::KnownDevice;
use super::errors::{PasswordLimit, Throttled};
use crate::domain::AccountName;
use crate::metrics::connections::{Limit, Refusals};
use crate::source::Source;
use crate::store::AccountRecord;
use crate::throttle::{Rate, Throttle};

/// Wrong passwords for one account from one source, from one device, or from signed-in clients: a burst of five, then three a
/// minute.
const WRONG_PASSWORDS: Rate = Rate {
    burst: 5.0,
    per_second: 0.05,
};
/// Wrong passwords for one account from all sources. Larger, so that one source cannot lock the account for others.
const WRONG_PASSWORDS_FROM_ANYWHERE: Rate = Rate {
    burst: 50.0,
    per_second: 0.05,
};
/// Password checks from one device, or from signed-in clients of one account, right or wrong.
const CHECKS: Rate = Rate {
    burst: 10.0,
    per_second: 0.2,
};

/// Letters of one purpose to the holder of one account, and to one address.
const MAILS_OF_ACCOUNT: Rate = Rate {
    burst: 3.0,
    per_second: 1.0 / 600.0,
};
/// Letters that one source has sent to holders of any accounts.
const MAILS_OF_SOURCE: Rate = Rate {
    burst: 20.0,
    per_second: 1.0 / 60.0,
};

/// Limit of password checks from one source.
#[derive(Clone, Copy, Debug)]
pub struct LoginLimits {
    pub burst: u32,
    /// Checks per second after the burst.
    pub per_second: f64,
}

/// The origin of a password attempt, and the account. Hashed as the key of its limit.
#[derive(Clone, Copy, Debug)]
pub(super) enum PasswordAttempt<'a> {
    /// An unknown device.
    Unknown(AttemptTarget<'a>, Source),
    /// A device that has signed in to the account before.
    Device(KnownDevice),
    /// A signed-in client of the account.
    SignedIn(AccountId),
}

/// The account whose password is checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum AttemptTarget<'a> {
    Account(AccountId),
    /// A name without an account.
    Name(&'a str),
}

impl<'a> AttemptTarget<'a> {
    /// The account, or the name that none was found under.
    pub(super) fn of(account: Option<&AccountRecord>, name: Option<&'a AccountName>) -> Self {
        match account {
            Some(account) => Self::Account(account.id),
            None => Self::Name(name.map_or("", AccountName::as_str)),
        }
    }
}

/// Letters that share a limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Letters {
    /// The first ones to an address that an account was just given.
    First,
    /// Letters with a code that was asked for.
    Asked(Purpose),
}

pub(super) struct Limiter {
    hashes_of_source: Throttle,
    checks_of_account: Throttle,
    checks_of_device: Throttle,
    wrong_passwords: Throttle,
    wrong_passwords_from_anywhere: Throttle,
    wrong_codes: Throttle,
    mails_of_account: Throttle,
    mails_of_source: Throttle,
    refusals: Refusals,
}

impl Limiter {
    pub(super) fn new(limits: LoginLimits, refusals: Refusals) -> Self {
        Self {
            hashes_of_source: Throttle::new(Rate {
                burst: limits.burst.into(),
                per_second: limits.per_second,
            }),
            checks_of_account: Throttle::new(CHECKS),
            checks_of_device: Throttle::new(CHECKS),
            wrong_passwords: Throttle::new(WRONG_PASSWORDS),
            wrong_passwords_from_anywhere: Throttle::new(WRONG_PASSWORDS_FROM_ANYWHERE),
            wrong_codes: Throttle::new(WRONG_PASSWORDS),
            mails_of_account: Throttle::new(MAILS_OF_ACCOUNT),
            mails_of_source: Throttle::new(MAILS_OF_SOURCE),
            refusals,
        }
    }

    /// Takes a token of the source's limit. Called before any lookup for an unknown device.
    pub(super) fn admit_source(&self, source: Source) -> Result<(), Throttled> {
        let taken = self
            .hashes_of_source
            .take_for_source(source, Instant::now());
        taken.map_err(|wait| {
            self.refusals.count(Limit::SignInsOfSource);
            throttled(PasswordLimit::Source, wait)
        })
    }

    /// Takes a token of the limit of letters that a source has sent. Called before one is sent, or would be if there were such an account.
    pub(super) fn admit_mail_of(&self, source: Source) -> Result<(), Throttled> {
        let taken = self.mails_of_source.take_for_source(source, Instant::now());
        taken.map_err(|wait| self.too_many_mails(wait))
    }

    /// Takes a token of the limit of these letters to an account, to an address, or to who was named so.
    pub(super) fn admit_mail_to(
        &self,
        letters: Letters,
        target: AttemptTarget<'_>,
    ) -> Result<(), Throttled> {
        let taken = self
            .mails_of_account
            .take((letters, target), Instant::now());
        taken.map_err(|wait| self.too_many_mails(wait))
    }

    fn too_many_mails(&self, wait: Duration) -> Throttled {
        self.refusals.count(Limit::Mails);
        throttled(PasswordLimit::Mails, wait)
    }

    /// Takes a token of the limit of wrong codes. Give it back if the code was right.
    pub(super) fn admit_code(
        &self,
        target: AttemptTarget<'_>,
        source: Source,
    ) -> Result<(), Throttled> {
        let taken = self.wrong_codes.take((target, source), Instant::now());
        taken.map_err(|wait| {
            self.refusals.count(Limit::PasswordsOfAccount);
            throttled(PasswordLimit::WrongCodes, wait)
        })
    }

    pub(super) fn give_back_code(&self, target: AttemptTarget<'_>, source: Source) {
        self.wrong_codes.give_back((target, source));
    }

    /// Takes a token of a known device's limit.
    pub(super) fn admit_device(&self, device: KnownDevice) -> Result<(), Throttled> {
        let taken = self.checks_of_device.take(device, Instant::now());
        taken.map_err(|wait| {
            self.refusals.count(Limit::SignInsOfDevice);
            throttled(PasswordLimit::Device, wait)
        })
    }

    /// Takes a token of the account's limit. Called before a password check for a signed-in client.
    pub(super) fn admit_signed_in(&self, account: AccountId) -> Result<(), Throttled> {
        let taken = self.checks_of_account.take(account, Instant::now());
        taken.map_err(|wait| {
            self.refusals.count(Limit::PasswordsOfAccount);
            throttled(PasswordLimit::Account, wait)
        })
    }

    /// Takes a token of the limit of wrong passwords. Give it back if the password was right or was not checked.
    pub(super) fn admit(&self, attempt: PasswordAttempt<'_>) -> Result<(), Throttled> {
        self.take(attempt, Instant::now()).map_err(|wait| {
            self.refusals.count(Limit::PasswordsOfAccount);
            throttled(PasswordLimit::WrongPasswords, wait)
        })
    }

    fn take(&self, attempt: PasswordAttempt<'_>, now: Instant) -> Result<(), Duration> {
        match attempt {
            PasswordAttempt::Unknown(target, source) => {
                self.wrong_passwords.take((target, source), now)?;
                self.wrong_passwords_from_anywhere
                    .take(target, now)
                    .inspect_err(|_| self.wrong_passwords.give_back((target, source)))
            }
            PasswordAttempt::Device(device) => self.wrong_passwords.take(device, now),
            PasswordAttempt::SignedIn(account) => self.wrong_passwords.take(account, now),
        }
    }

    pub(super) fn give_back(&self, attempt: PasswordAttempt<'_>) {
        match attempt {
            PasswordAttempt::Unknown(target, source) => {
                self.wrong_passwords.give_back((target, source));
                self.wrong_passwords_from_anywhere.give_back(target);
            }
            PasswordAttempt::Device(device) => self.wrong_passwords.give_back(device),
            PasswordAttempt::SignedIn(account) => self.wrong_passwords.give_back(account),
        }
    }
}

fn throttled(limit: PasswordLimit, wait: Duration) -> Throttled {
    Throttled { limit, wait }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::accounts::cookie::CookieKey;

    const ANN: AccountId = AccountId::new([1; 16]);

    fn limiter() -> Limiter {
        let limits = LoginLimits {
            burst: 10,
            per_second: 1.0,
        };
        Limiter::new(limits, Refusals::default())
    }

    fn source(last: u8) -> Source {
        Source::from(IpAddr::from([192, 0, 2, last]))
    }

    fn passed(mut attempt: impl FnMut() -> Result<(), Throttled>) -> usize {
        (0..20).filter(|_| attempt().is_ok()).count()
    }

    #[test]
    fn wrong_passwords_of_one_source_do_not_lock_the_account_for_others() {
        let limiter = limiter();
        let at = |last| PasswordAttempt::Unknown(AttemptTarget::Account(ANN), source(last));
        assert_eq!(passed(|| limiter.admit(at(1))), 5);
        assert!(limiter.admit(at(2)).is_ok());
        limiter.give_back(at(1));
        assert!(limiter.admit(at(1)).is_ok());
        let passed = (3..=200).filter(|last| limiter.admit(at(*last)).is_ok());
        let passed = passed.count();
        assert!(passed < 50, "{passed} guesses from many sources");
    }

    #[test]
    fn unknown_names_are_throttled_like_accounts() {
        let limiter = limiter();
        let name = |name| PasswordAttempt::Unknown(AttemptTarget::Name(name), source(1));
        assert_eq!(passed(|| limiter.admit(name("nobody"))), 5);
        assert_eq!(passed(|| limiter.admit(name("no-one"))), 5);
    }

    #[test]
    fn letters_are_few_to_one_account_and_from_one_source() {
        let limiter = limiter();
        let target = AttemptTarget::Account(ANN);
        for letters in [Letters::First, Letters::Asked(Purpose::VerifyEmail)] {
            assert_eq!(passed(|| limiter.admit_mail_to(letters, target)), 3);
        }
        assert_eq!(passed(|| limiter.admit_mail_of(source(100))), 20);
        assert!(limiter.admit_mail_of(source(100)).is_err());
        assert!(limiter.admit_mail_of(source(101)).is_ok());
    }

    #[test]
    fn wrong_codes_are_throttled_apart_from_passwords() {
        let limiter = limiter();
        let target = AttemptTarget::Account(ANN);
        assert_eq!(passed(|| limiter.admit_code(target, source(1))), 5);
        assert!(limiter.admit_code(target, source(2)).is_ok());
        let password = PasswordAttempt::Unknown(target, source(1));
        assert!(limiter.admit(password).is_ok());
    }

    #[test]
    fn unknown_sources_lock_neither_a_known_device_nor_a_signed_in_client() {
        let limiter = limiter();
        for last in 1..=200 {
            passed(|| {
                limiter.admit(PasswordAttempt::Unknown(
                    AttemptTarget::Account(ANN),
                    source(last),
                ))
            });
        }
        assert_eq!(passed(|| limiter.admit_source(source(1))), 10);
        let key = CookieKey::new(&[7; 32]);
        let [laptop, phone] = [0; 2].map(|_| key.open(&key.create(ANN)).unwrap());
        assert_eq!(passed(|| limiter.admit_device(laptop)), 10);
        assert_eq!(passed(|| limiter.admit_device(phone)), 10);
        assert_eq!(passed(|| limiter.admit(PasswordAttempt::Device(laptop))), 5);
        assert_eq!(passed(|| limiter.admit(PasswordAttempt::Device(phone))), 5);
        assert_eq!(passed(|| limiter.admit(PasswordAttempt::SignedIn(ANN))), 5);
        assert_eq!(passed(|| limiter.admit_signed_in(ANN)), 10);
    }
}
