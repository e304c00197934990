//! Identity of a relay: its certificate, its key, and the cluster authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use confab_protocol::cluster;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A link without a sign of life for so long is lost.
const IDLE_TIMEOUT: Duration = Duration::from_millis(2500);
/// A sign of life is sent so often.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Time limit for reading the files again.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is missing or not what it should be.
    #[error(
        "cannot use {file} of the relay's identity: {error}; make one with `confab-control relay-identity`"
    )]
    File {
        /// Which.
        file: String,
        /// Why not.
        error: String,
    },
    /// The files do not go together.
    #[error("the relay's identity is no good: {0}; make one with `confab-control relay-identity`")]
    Tls(#[from] rustls::Error),
}

/// The identity for new links.
pub struct Identity {
    folder: PathBuf,
    client: ArcSwap<quinn::ClientConfig>,
}

impl Identity {
    /// Reads relay.crt, relay.key and ca.crt from a folder.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        Ok(Self {
            folder: folder.to_owned(),
            client: ArcSwap::from_pointee(read(folder)?),
        })
    }

    /// Client configuration for a new link.
    pub fn client(&self) -> quinn::ClientConfig {
        self.client.load().as_ref().clone()
    }

    /// Reads the files again for new links; existing links are not affected. The result is logged. After an error the old
    /// identity stays.
    pub async fn reload(&self) {
        let folder = self.folder.clone();
        let reading = tokio::task::spawn_blocking(move || read(&folder));
        match tokio::time::timeout(RELOAD_TIMEOUT, reading).await {
            Ok(Ok(Ok(client))) => {
                self.client.store(Arc::new(client));
                tracing::info!("the identity was read again; new links use it");
            }
            Ok(Ok(Err(error))) => {
                tracing::warn!("the identity was not read again, the old one stays: {error}");
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    "the identity was not read again, the old one stays: its folder does not answer"
                );
            }
        }
    }
}

fn read(folder: &Path) -> Result<quinn::ClientConfig, IdentityError> {
    let chain = read_certificates(&folder.join("relay.crt"))?;
    let key_file = folder.join("relay.key");
    let key = PrivateKeyDer::from_pem_file(&key_file).map_err(file_error(&key_file))?;
    let mut roots = RootCertStore::empty();
    for ca in read_certificates(&folder.join("ca.crt"))? {
        roots.add(ca)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    tls.alpn_protocols = vec![cluster::ALPN.to_vec()];
    let tls = QuicClientConfig::try_from(tls)
        .expect("the provider has the cipher suite that QUIC begins with");
    let mut transport = quinn::TransportConfig::default();
    let idle = quinn::IdleTimeout::try_from(IDLE_TIMEOUT).expect("2.5 s is a valid timeout");
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(KEEP_ALIVE));
    let mut client = quinn::ClientConfig::new(Arc::new(tls));
    client.transport_config(Arc::new(transport));
    Ok(client)
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
