//! The content of an identity's files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use confab_protocol::cluster;
use confab_protocol::dates::Moment;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::error::IdentityError;
use super::refusal::{CertificateRefusal, RecordingVerifier};
use super::validity::ValidityError;

/// An identity that ends within this time is logged.
const ENDS_SOON: Duration = Duration::from_secs(30 * 86_400);

/// A relay's certificate and key, and what checks the certificates of control nodes.
pub(super) struct Credentials {
    tls: rustls::ClientConfig,
    servers: Arc<WebPkiServerVerifier>,
    own: Arc<dyn ClientCertVerifier>,
    certificate: CertificateDer<'static>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Credentials {
    /// Reads relay.crt, relay.key and ca.crt from a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, IdentityError> {
        let chain_file = folder.join("relay.crt");
        let chain = read_certificates(&chain_file)?;
        let Some(certificate) = chain.first().cloned() else {
            return Err(IdentityError::File {
                file: chain_file.display().to_string(),
                error: "there is no certificate in it".to_owned(),
            });
        };
        let key_file = folder.join("relay.key");
        let key = PrivateKeyDer::from_pem_file(&key_file).map_err(file_error(&key_file))?;
        let authorities = read_certificates(&folder.join("ca.crt"))?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone())?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let servers =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()?;
        let own =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()?;
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        tls.alpn_protocols = vec![cluster::ALPN.to_vec()];
        Ok(Self {
            tls,
            servers,
            own,
            certificate,
            authorities,
        })
    }

    /// The error of the certificate's validity period at `now`, if there is one.
    pub(super) fn validity_error(&self, now: UnixTime) -> Option<ValidityError> {
        let verified = self
            .own
            .verify_client_cert(&self.certificate, &self.authorities, now);
        match verified.map(|_| ()) {
            Err(rustls::Error::InvalidCertificate(error)) => ValidityError::from_error(&error),
            _ => None,
        }
    }

    /// The end of the validity period, if it is within [`ENDS_SOON`].
    pub(super) fn ends_soon(&self, now: UnixTime) -> Option<Moment> {
        let soon = now.as_secs().saturating_add(ENDS_SOON.as_secs());
        match self.validity_error(UnixTime::since_unix_epoch(Duration::from_secs(soon))) {
            Some(ValidityError::Expired { ended, .. }) => Some(ended),
            _ => None,
        }
    }

    /// TLS configuration of a new link. The reason of a refusal of the control node's certificate is written into `refusal`.
    pub(super) fn client(
        &self,
        refusal: &Arc<CertificateRefusal>,
    ) -> Result<QuicClientConfig, NoInitialCipherSuite> {
        let mut tls = self.tls.clone();
        let verifier = RecordingVerifier {
            servers: Arc::clone(&self.servers),
            refusal: Arc::clone(refusal),
        };
        tls.dangerous().set_certificate_verifier(Arc::new(verifier));
        QuicClientConfig::try_from(tls)
    }
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(file_error(file))
}

fn file_error(file: &Path) -> impl FnOnce(rustls::pki_types::pem::Error) -> IdentityError {
    let file = file.display().to_string();
    move |error| IdentityError::File {
        file,
        error: match error {
            rustls::pki_types::pem::Error::Io(error) => error.to_string(),
            error => format!("{error:?}"),
        },
    }
}
