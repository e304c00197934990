//! The cipher suites of MLS that Confab uses.

use openmls::prelude::Ciphersuite;

/// A cipher suite of MLS, by its number in IANA's registry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Suite {
    /// 0x004F: ML-KEM-768 with X25519, AES-128-GCM, SHA-256, Ed25519. Recorded traffic stays closed to a quantum computer;
    /// signatures do not.
    PostQuantum,
    /// 0x0001: X25519, AES-128-GCM, SHA-256, Ed25519. For groups whose commits would be too large otherwise.
    Classical,
}

impl Suite {
    /// Both suites, the preferred one first.
    pub const ALL: [Self; 2] = [Self::PostQuantum, Self::Classical];

    /// The suite's number.
    pub const fn number(self) -> u16 {
        match self {
            Self::PostQuantum => 0x004f,
            Self::Classical => 0x0001,
        }
    }

    /// The suite of a number; `None` for a suite that Confab does not use.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.number() == number)
    }

    pub(crate) const fn ciphersuite(self) -> Ciphersuite {
        match self {
            Self::PostQuantum => Ciphersuite::MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519,
            Self::Classical => Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519,
        }
    }
}
