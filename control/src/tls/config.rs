//! TLS settings. Clients and the cluster share one endpoint and are distinguished by ALPN (RFC 7301).

use std::sync::Arc;

use confab_protocol::{cluster, control};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;

use super::TlsError;
use super::authority::{Authority, Identity};
use super::certificates::Certificates;

/// TLS of the endpoint: version 1.3 only, no early data, X25519MLKEM768 preferred. Relays present a certificate of the cluster
/// CA, clients none.
pub fn server_config(certificates: &Certificates) -> Result<QuicServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificates.authority().certificate().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificates.resolver());
    config.alpn_protocols = vec![control::ALPN.to_vec(), cluster::ALPN.to_vec()];
    Ok(config.try_into()?)
}

/// TLS of this node as a client of other nodes: its own certificate, and only servers of the cluster CA are accepted.
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
