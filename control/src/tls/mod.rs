//! Certificates and the TLS of the one endpoint.
//!
//! * [`authority`]: the cluster CA and what it signs; [`certificate`]: the names and dates in certificates;
//! * [`certificates`]: the certificate for each connection, which can be read again;
//! * [`config`]: settings of the endpoint;
//! * [`files`]: keys on disk, for nobody else's eyes.

pub mod authority;
pub mod certificate;
pub mod certificates;
pub mod config;
pub mod files;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    /// A file does not hold what belongs there.
    #[error("{path} is not {expected}: restore it from a backup, or name another file")]
    Content {
        path: std::path::PathBuf,
        /// What belongs there.
        expected: &'static str,
    },
    /// A file is not there, and what it belongs to is.
    #[error(
        "{path} is missing beside {beside}: restore it from a backup, or remove {beside} as well to begin a new cluster"
    )]
    Lost {
        path: std::path::PathBuf,
        beside: &'static str,
    },
    /// The CA's key is kept elsewhere.
    #[error(
        "ca.key is not in the data folder: run this where the cluster's authority is kept, or give that folder with --data-dir"
    )]
    NoCaKey,
    /// A certificate that is needed where the CA's key is not.
    #[error(
        "{path} cannot be used: {why}. Make another with `confab-control node-identity` (for commands: `operator-identity`) where ca.key is kept, and copy it here"
    )]
    Unfit {
        path: std::path::PathBuf,
        why: &'static str,
    },
    /// A name that no certificate can hold.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    BadName(String),
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Signing(#[from] rcgen::Error),
    /// rustls does not take what it was given.
    #[error("TLS could not be set up: {0}")]
    Rustls(#[from] rustls::Error),
    /// The verifier of relays could not be built.
    #[error("the verifier of relays could not be set up: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// QUIC asks for a cipher suite that is not there.
    #[error("TLS lacks what QUIC needs: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}
