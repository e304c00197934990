//! Words of messages about identities.

use confab_protocol::dates::Moment;
use rustls::pki_types::UnixTime;

/// A time of the TLS library, for messages.
pub(crate) fn moment(time: UnixTime) -> Moment {
    Moment::from_unix_seconds(time.as_secs())
}

/// Advice on how to get an identity.
pub(crate) const MAKE_ONE: &str = "make a new one with `confab-control relay-identity`";
