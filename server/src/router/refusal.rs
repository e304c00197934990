//! Why the router does not map the ports.

use std::net::Ipv4Addr;

/// Why the router does not map the ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this machine has no IPv4 network")]
    NoNetwork,
    #[error("it answers neither PCP, NAT-PMP nor UPnP")]
    Silent,
    #[error("asked by {way}: {said}")]
    Refused { way: String, said: String },
    #[error("its own address, {0}, is not a public one: another NAT is before it")]
    Behind(Ipv4Addr),
}

impl Refusal {
    /// False if mappings are of no use any more.
    pub(super) fn may_pass(&self) -> bool {
        !matches!(self, Self::Behind(_))
    }
}
