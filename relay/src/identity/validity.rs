//! The validity period of an identity.

use confab_protocol::dates::Moment;
use rustls::CertificateError;

use super::advice::{MAKE_ONE, moment};

/// The validity period of a relay's identity has ended, or has not begun, by this machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValidityError {
    /// The period has ended.
    Expired {
        /// By this machine's clock.
        now: Moment,
        /// The end of the period.
        ended: Moment,
    },
    /// The period has not begun, so the clock is wrong.
    NotYet {
        /// By this machine's clock.
        now: Moment,
        /// The begin of the period.
        begins: Moment,
    },
}

impl ValidityError {
    pub(super) fn from_error(error: &CertificateError) -> Option<Self> {
        match error {
            CertificateError::ExpiredContext { time, not_after } => Some(Self::Expired {
                now: moment(*time),
                ended: moment(*not_after),
            }),
            CertificateError::NotValidYetContext { time, not_before } => Some(Self::NotYet {
                now: moment(*time),
                begins: moment(*not_before),
            }),
            _ => None,
        }
    }
}

impl std::fmt::Display for ValidityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Expired { now, ended } => write!(
                f,
                "the relay's identity expired on {ended}, {} ago: {MAKE_ONE}. Or this machine's clock, which says {now}, \
                 is fast by so much: then set it",
                ended.until(*now)
            ),
            Self::NotYet { now, begins } => write!(
                f,
                "this machine's clock says {now} and is slow by {} at least: the relay's identity was made after \
                 {begins}. Set the clock",
                now.until(*begins)
            ),
        }
    }
}
