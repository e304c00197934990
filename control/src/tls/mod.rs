//! Certificates and TLS settings.
//!
//! * [`authority`]: the cluster CA and the certificates that it signs; [`certificate`]: names and dates of certificates;
//! * [`certificates`]: the node's certificates, which can be reloaded;
//! * [`config`]: TLS settings of the endpoint;
//! * [`files`]: reads and writes key files, readable by their owner only.

pub mod authority;
pub mod certificate;
pub mod certificates;
pub mod config;
pub mod files;

use confab_console::file_remedy;

/// Says whether the folder is missing or the file in it.
fn missing(path: &std::path::Path) -> String {
    let folder = path.parent().filter(|folder| !folder.exists());
    match folder {
        Some(folder) => format!(
            "there is no folder {}: give the node's data folder with --data-dir",
            folder.display()
        ),
        None => format!(
            "there is no {}: give the node's data folder with --data-dir, if that is what is wrong",
            path.display()
        ),
    }
}

/// Errors of certificates and of TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {source}{}", file_remedy(source).map_or_else(String::new, |remedy| format!("; {remedy}")))]
    File {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    /// A file is not there.
    #[error("{}", missing(path))]
    Missing { path: std::path::PathBuf },
    /// The CA's key and certificate do not belong together.
    #[error("{key} does not belong to {certificate}: restore both from the same backup")]
    OtherKey {
        key: std::path::PathBuf,
        certificate: std::path::PathBuf,
    },
    /// A file has unexpected content.
    #[error("{path} is not {expected}: restore it from a backup, or name another file")]
    Content {
        path: std::path::PathBuf,
        /// The expected content.
        expected: &'static str,
    },
    /// A file is missing, while another file that needs it exists.
    #[error(
        "{path} is missing beside {beside}: restore it from a backup, or remove {beside} as well to begin a new cluster"
    )]
    Lost {
        path: std::path::PathBuf,
        beside: &'static str,
    },
    /// The CA's key is not in the folder.
    #[error(
        "ca.key is not in the data folder: run this on the machine that has it, or give its folder with --data-dir"
    )]
    NoCaKey,
    /// A certificate is missing or invalid and cannot be renewed without the CA's key.
    #[error(
        "{path} cannot be used: {why}. Make another with `confab-control node-identity` (for commands: `operator-identity`) where ca.key is kept, and copy it here"
    )]
    Unfit {
        path: std::path::PathBuf,
        why: &'static str,
    },
    #[error(
        "--public-name {0:?} is neither a DNS name nor an IP address: give the name alone, as voice.example.org"
    )]
    BadName(String),
    /// The certificate and the key that were given do not belong together.
    #[error(
        "{key} is not the key of {certificate}: give the two that were made together, with --certificate and --key"
    )]
    KeyOfAnother {
        certificate: std::path::PathBuf,
        key: std::path::PathBuf,
    },
    #[error("cannot create a certificate: {0}")]
    Signing(#[from] rcgen::Error),
    /// rustls rejects the settings.
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("cannot set up the verification of relays' certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The TLS provider lacks the cipher suite that QUIC requires.
    #[error("the TLS provider lacks a cipher suite for QUIC: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}
