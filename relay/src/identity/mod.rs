//! Identity of a relay: its certificate, its key, and the cluster authority.
//!
//! * `credentials`: the content of the files;
//! * [`ValidityError`]: the certificate is not valid now, by this machine's clock;
//! * `refusal`: the reason for which a control node's certificate was refused.

mod advice;
mod credentials;
mod error;
mod refusal;
#[cfg(test)]
pub(crate) mod tests;
mod validity;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig};
use rustls::pki_types::UnixTime;

pub(crate) use advice::{MAKE_ONE, moment};
use credentials::Credentials;
pub(crate) use error::IdentityError;
pub(crate) use refusal::CertificateRefusal;
pub(crate) use validity::ValidityError;

/// Time limit for reading the files again.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The identity for new links.
pub struct Identity {
    folder: PathBuf,
    credentials: ArcSwap<Credentials>,
}

impl Identity {
    /// Reads relay.crt, relay.key and ca.crt from a folder, whatever the validity period of the certificate is.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        Ok(Self {
            folder: folder.to_owned(),
            credentials: ArcSwap::from_pointee(Credentials::read(folder)?),
        })
    }

    /// Reads the files again for new links; existing links are not affected. The result is logged. After an error, and if
    /// the new identity has expired, the old one stays.
    pub async fn reload(&self) {
        let folder = self.folder.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let credentials = Credentials::read(&folder)?;
            check_time(&credentials, UnixTime::now())?;
            Ok::<_, IdentityError>(credentials)
        });
        match tokio::time::timeout(RELOAD_TIMEOUT, reading).await {
            Ok(Ok(Ok(credentials))) => {
                self.credentials.store(Arc::new(credentials));
                tracing::info!("identity read again; new links use it");
            }
            Ok(Ok(Err(error))) => {
                tracing::warn!("cannot read the identity again: {error}; the old one stays in use");
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    "cannot read the identity again: its folder does not answer; the old one stays in use"
                );
            }
        }
    }

    /// Refuses an identity that has expired, and logs one that ends soon. An identity that is not valid yet is logged only:
    /// a clock may be set late after a boot.
    pub fn check_time(&self, now: UnixTime) -> Result<(), IdentityError> {
        check_time(&self.credentials.load(), now)
    }

    /// The error of the certificate's validity period at `now`, if there is one.
    pub fn validity_error(&self, now: UnixTime) -> Option<ValidityError> {
        self.credentials.load().validity_error(now)
    }

    /// TLS configuration of a new link. The reason of a refusal of the control node's certificate is written into `refusal`.
    pub(crate) fn client(
        &self,
        refusal: &Arc<CertificateRefusal>,
    ) -> Result<QuicClientConfig, NoInitialCipherSuite> {
        self.credentials.load().client(refusal)
    }
}

fn check_time(credentials: &Credentials, now: UnixTime) -> Result<(), IdentityError> {
    match credentials.validity_error(now) {
        Some(validity_error @ ValidityError::Expired { .. }) => {
            return Err(IdentityError::Expired(validity_error));
        }
        Some(validity_error @ ValidityError::NotYet { .. }) => tracing::warn!("{validity_error}"),
        None => {
            if let Some(end) = credentials.ends_soon(now) {
                tracing::warn!("the relay's identity ends on {end}: {MAKE_ONE} before");
            }
        }
    }
    Ok(())
}
