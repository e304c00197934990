//! TLS 1.3 of the one endpoint: clients and the cluster share it, told apart by ALPN (RFC 7301).

use std::path::PathBuf;
use std::sync::Arc;

use confab_protocol::control::CLUSTER_SERVER_NAME;
use confab_protocol::{cluster, control};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::authority::{Authority, Identity};

/// A certificate of the operator's own, shown to clients.
#[derive(Clone, Debug)]
pub struct OwnCertificate {
    /// PEM file: the chain, the server's certificate first.
    pub certificate: PathBuf,
    /// PEM file: its key.
    pub key: PathBuf,
}

/// The endpoint's TLS: only version 1.3, no early data, X25519MLKEM768 preferred; a relay shows a certificate of the
/// cluster CA, a client none.
pub fn server_config(
    authority: &Authority,
    cluster_identity: Identity,
    own: Option<&OwnCertificate>,
) -> Result<QuicServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let resolver = Resolver {
        cluster: Arc::new(certified(cluster_identity, &provider)?),
        own: match own {
            None => None,
            Some(own) => Some(Arc::new(certified(read_own(own)?, &provider)?)),
        },
    };
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![control::ALPN.to_vec(), cluster::ALPN.to_vec()];
    Ok(config.try_into()?)
}

/// What this node uses where it connects to another: its own certificate, and no server but one of the cluster CA.
pub fn node_client_config(
    authority: &Authority,
    identity: Identity,
) -> Result<quinn::ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(identity.chain, identity.key)?;
    config.alpn_protocols = vec![cluster::ALPN.to_vec()];
    Ok(quinn::ClientConfig::new(Arc::new(
        QuicClientConfig::try_from(config)?,
    )))
}

/// Whoever asks for the cluster's name, or speaks the cluster's protocol, gets the cluster's certificate.
#[derive(Debug)]
struct Resolver {
    cluster: Arc<CertifiedKey>,
    own: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_client = hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|protocol| protocol == control::ALPN));
        let asks_for_cluster = hello.server_name() == Some(CLUSTER_SERVER_NAME);
        let own = self.own.as_ref().filter(|_| is_client && !asks_for_cluster);
        Some(own.unwrap_or(&self.cluster).clone())
    }
}

fn certified(identity: Identity, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    Ok(CertifiedKey::from_der(
        identity.chain,
        identity.key,
        provider,
    )?)
}

fn read_own(own: &OwnCertificate) -> Result<Identity, TlsError> {
    let not_certificate = || TlsError::Content {
        path: own.certificate.clone(),
        expected: "a certificate chain in PEM",
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&own.certificate)
        .and_then(Iterator::collect)
        .map_err(|_| not_certificate())?;
    if chain.is_empty() {
        return Err(not_certificate());
    }
    let key = PrivateKeyDer::from_pem_file(&own.key).map_err(|_| TlsError::Content {
        path: own.key.clone(),
        expected: "a private key in PEM",
    })?;
    Ok(Identity { chain, key })
}
