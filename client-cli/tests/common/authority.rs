//! Authorities and what they sign.

use std::sync::Arc;

use confab::net::Fingerprint;
use confab_protocol::control::CLUSTER_SERVER_NAME;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;

pub struct Authority {
    pub certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// The certificates of a server.
#[derive(Clone, Debug)]
pub struct Identity {
    /// To a client that asks for the cluster's name.
    pub cluster: Arc<CertifiedKey>,
    pub others: Arc<CertifiedKey>,
    /// The cluster's authority, as the welcome names it.
    pub authority: Fingerprint,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.certificate.der())
    }

    /// A server of this cluster.
    pub fn server(&self) -> Identity {
        let cluster = self.sign(CLUSTER_SERVER_NAME);
        Identity {
            others: cluster.clone(),
            cluster,
            authority: self.fingerprint(),
        }
    }

    /// A server of this cluster for which `public` vouches under `host`.
    pub fn public_server(&self, public: &Self, host: &str) -> Identity {
        Identity {
            others: public.sign(host),
            ..self.server()
        }
    }

    fn sign(&self, name: &str) -> Arc<CertifiedKey> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let chain = vec![leaf, self.certificate.der().clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Arc::new(CertifiedKey::from_der(chain, key, &provider).unwrap())
    }
}
