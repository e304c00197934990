//! The certificates of a node, which can be reloaded while it runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use confab_protocol::control;
use confab_protocol::control::CLUSTER_SERVER_NAME;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::authority::{Authority, Identity};
use super::certificate;
use super::config;
use super::files;
use crate::clock::Clock;
use crate::cluster::nodes::Nodes;
use crate::domain::NodeName;

/// Time limit of a reload.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A certificate from the operator, for clients.
#[derive(Clone, Debug)]
pub struct OwnCertificate {
    /// PEM file with the chain, the leaf certificate first.
    pub certificate: PathBuf,
    /// PEM file with the key.
    pub key: PathBuf,
}

/// The files and settings that the certificates are read from.
#[derive(Clone)]
pub struct Sources {
    /// The cluster CA, which signs the node's certificates.
    pub authority: Arc<Authority>,
    /// Folder with server.crt and server.key.
    pub data_dir: PathBuf,
    /// Additional names in the node's certificate.
    pub public_names: Vec<String>,
    /// A certificate from the operator, for clients.
    pub own: Option<OwnCertificate>,
    pub clock: Clock,
}

/// Certificates for incoming connections, and for connections to other nodes.
pub struct Certificates {
    sources: Sources,
    current: Arc<ArcSwap<ServerCertificates>>,
    /// Receives the new client configuration after a reload.
    nodes: Nodes,
}

impl Certificates {
    pub fn load(sources: Sources, nodes: Nodes) -> Result<Self, TlsError> {
        let current = sources.read()?;
        Ok(Self {
            sources,
            current: Arc::new(ArcSwap::from_pointee(current)),
            nodes,
        })
    }

    /// The resolver that selects the certificate for a connection.
    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(Resolver(self.current.clone()))
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.sources.authority
    }

    /// Reloads the certificates for new connections and renews the node's own if they expire soon. Open connections are not
    /// affected. Logs the result. On an error the old certificates stay.
    pub async fn reload(&self) {
        let (sources, name) = (self.sources.clone(), self.nodes.me().name.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let client = sources.client(&name)?;
            Ok::<_, TlsError>((sources.read()?, client))
        });
        match tokio::time::timeout(RELOAD_TIMEOUT, reading).await {
            Ok(Ok(Ok((current, client)))) => {
                let ends = current.ends();
                self.current.store(Arc::new(current));
                self.nodes.set_client_config(client);
                tracing::info!("certificates reloaded: {ends}");
            }
            Ok(Ok(Err(error))) => {
                tracing::warn!("cannot reload certificates, keeping the old ones: {error}");
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    "cannot reload certificates, keeping the old ones: reading the files timed out"
                );
            }
        }
    }
}

impl Sources {
    fn read(&self) -> Result<ServerCertificates, TlsError> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let cluster =
            self.authority
                .server_identity(&self.data_dir, &self.public_names, self.clock.now())?;
        let own = match &self.own {
            None => None,
            Some(own) => Some(Arc::new(own.read(&provider)?)),
        };
        Ok(ServerCertificates {
            cluster: Arc::new(certified(cluster, &provider)?),
            own,
        })
    }

    /// Client configuration of the node `name` for connections to other nodes.
    pub fn client(&self, name: &NodeName) -> Result<quinn::ClientConfig, TlsError> {
        let identity = self
            .authority
            .node_identity(&self.data_dir, name, self.clock.now())?;
        config::node_client_config(&self.authority, identity)
    }
}

/// Certificates for incoming connections.
#[derive(Debug)]
struct ServerCertificates {
    cluster: Arc<CertifiedKey>,
    own: Option<Arc<CertifiedKey>>,
}

impl ServerCertificates {
    /// The expiry dates, for the log.
    fn ends(&self) -> String {
        let end = |key: &CertifiedKey| {
            let end = key.cert.first().and_then(certificate::ends);
            end.map_or_else(|| "an unknown time".to_owned(), |end| end.to_string())
        };
        let cluster = format!("the cluster's is valid until {}", end(&self.cluster));
        match &self.own {
            None => cluster,
            Some(own) => format!("{cluster}, --certificate until {}", end(own)),
        }
    }
}

/// Selects the cluster's certificate for the cluster's name or ALPN, otherwise the operator's.
#[derive(Debug)]
struct Resolver(Arc<ArcSwap<ServerCertificates>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.load();
        let is_client = hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|protocol| protocol == control::ALPN));
        let asks_for_cluster = hello.server_name() == Some(CLUSTER_SERVER_NAME);
        let own = current
            .own
            .as_ref()
            .filter(|_| is_client && !asks_for_cluster);
        Some(own.unwrap_or(&current.cluster).clone())
    }
}

fn certified(identity: Identity, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    Ok(CertifiedKey::from_der(
        identity.chain,
        identity.key,
        provider,
    )?)
}

impl OwnCertificate {
    /// The two files, if they are there and belong together.
    ///
    /// # Errors
    ///
    /// Says which file is to blame.
    pub fn check(&self) -> Result<(), TlsError> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        self.read(&provider).map(drop)
    }

    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        certified(read_own(self)?, provider).map_err(|error| match error {
            TlsError::Rustls(rustls::Error::InconsistentKeys(_)) => TlsError::KeyOfAnother {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
            },
            error => error,
        })
    }
}

fn read_own(own: &OwnCertificate) -> Result<Identity, TlsError> {
    let not_certificate = || TlsError::Content {
        path: own.certificate.clone(),
        expected: "a certificate chain in PEM",
    };
    let pem = files::read_given(&own.certificate)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| not_certificate())?;
    if chain.is_empty() {
        return Err(not_certificate());
    }
    let pem = files::read_given(&own.key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Content {
        path: own.key.clone(),
        expected: "a private key in PEM",
    })?;
    Ok(Identity { chain, key })
}
