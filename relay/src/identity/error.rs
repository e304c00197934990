//! Why there is no identity.

use super::advice::MAKE_ONE;
use super::validity::ValidityError;

/// The reason why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is missing or not what it should be.
    #[error("cannot use {file} of the relay's identity: {error}; {MAKE_ONE}")]
    File {
        /// Which.
        file: String,
        /// Why not.
        error: String,
    },
    /// The files do not go together.
    #[error("cannot use relay.crt and relay.key of the relay's identity: {0}; {MAKE_ONE}")]
    Tls(#[from] rustls::Error),
    /// It cannot check the certificates of control nodes.
    #[error("cannot use ca.crt of the relay's identity: {0}; {MAKE_ONE}")]
    Authority(#[from] rustls::client::VerifierBuilderError),
    /// Its certificate has expired.
    #[error("{0}")]
    Expired(ValidityError),
}
