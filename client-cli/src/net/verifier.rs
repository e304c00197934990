//! Whether the server is the one it should be.
//!
//! A Confab server shows its own certificate and, behind it, the authority that signed it. Without a public name there
//! is nobody to vouch for that authority, so it is pinned at first sight, as `ssh` does with host keys. What is pinned is
//! the authority: any node it signs is the same server. A signature that does not verify is never accepted.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use confab_protocol::control::CLUSTER_SERVER_NAME;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Server;

/// What has to vouch for the server.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Authorities from a file.
    Authorities(Arc<RootCertStore>),
    /// The authority with this fingerprint.
    Pinned {
        /// Which.
        pin: Fingerprint,
        /// Who says so, for the person.
        source: PinSource,
    },
    /// A public authority, or else whoever is there now.
    FirstSight,
}

/// Where a pin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// The command line.
    Flag,
    /// The file of servers seen before.
    KnownServers(PathBuf),
}

/// SHA-256 of a certificate's DER form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint looks like sha256: and 64 hexadecimal digits")]
pub struct BadFingerprint;

/// Why a server is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The file of authorities cannot be read.
    #[error("cannot read the certificates in {path}: {reason}")]
    NoSuchFile {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file of authorities holds none.
    #[error("{path} holds no certificate in PEM form")]
    NotCertificates {
        /// Which file.
        path: PathBuf,
    },
    /// Another authority than the pinned one.
    #[error(
        "the server's authority is {got}, not {expected} as {source_text}: somebody may be in between. {advice}"
    )]
    WrongPin {
        /// The pin.
        expected: Fingerprint,
        /// What came.
        got: Fingerprint,
        /// Who set the pin.
        source_text: String,
        /// What to do.
        advice: String,
    },
    /// The chain does not hold.
    #[error(
        "the server's certificate does not hold: {0}; check --server, or give its authority with --ca FILE"
    )]
    Untrusted(String),
}

/// How a server came to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// By an authority or a pin that was known before.
    Known,
    /// Seen for the first time: to be pinned.
    FirstSight(Fingerprint),
}

impl Trust {
    /// Authorities from a PEM file.
    pub fn from_pem_file(path: &Path) -> Result<Self, TrustError> {
        let pem = fs::read(path).map_err(|error| TrustError::NoSuchFile {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let not_certificates = || TrustError::NotCertificates {
            path: path.to_owned(),
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|_| not_certificates())?;
            roots.add(certificate).map_err(|_| not_certificates())?;
        }
        if roots.is_empty() {
            return Err(not_certificates());
        }
        Ok(Self::Authorities(Arc::new(roots)))
    }

    /// Names to ask the server for, in turn, until one leads to a certificate that is trusted.
    ///
    /// The cluster's name leads to the certificate that the cluster CA signed, whatever public ones the server has.
    pub fn server_names(&self, server: &Server) -> Vec<String> {
        let cluster = CLUSTER_SERVER_NAME.to_owned();
        match (self, server.ip()) {
            (_, Some(_)) => vec![cluster],
            (Self::FirstSight, None) => vec![server.host.clone()],
            (Self::Authorities(_) | Self::Pinned { .. }, None) => {
                vec![cluster, server.host.clone()]
            }
        }
    }
}

impl Fingerprint {
    /// Of a certificate in DER form.
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let digits = text
            .strip_prefix("sha256:")
            .ok_or(BadFingerprint)?
            .replace(':', "");
        let bytes = HEXLOWER_PERMISSIVE
            .decode(digits.as_bytes())
            .map_err(|_| BadFingerprint)?;
        bytes.try_into().map(Self).map_err(|_| BadFingerprint)
    }
}

/// Judges a server's certificate for rustls, and remembers how and why.
#[derive(Debug)]
pub struct ServerVerifier {
    trust: Trust,
    host: Option<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
    judgement: Mutex<Option<Result<Verdict, TrustError>>>,
}

impl ServerVerifier {
    /// A verifier for one connection to `server`.
    pub fn new(trust: Trust, server: &Server, provider: Arc<CryptoProvider>) -> Self {
        Self {
            trust,
            host: ServerName::try_from(server.host.clone()).ok(),
            provider,
            judgement: Mutex::new(None),
        }
    }

    /// What became of the certificate, once it was seen.
    pub fn judgement(&self) -> Option<Result<Verdict, TrustError>> {
        self.judgement
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verdict, TrustError> {
        let chain = Chain {
            verifier: self,
            leaf,
            rest,
            now,
        };
        let last = rest.last().unwrap_or(leaf);
        let got = Fingerprint::of(last);
        match &self.trust {
            Trust::Authorities(roots) => chain.holds(roots.clone(), true).map(|()| Verdict::Known),
            Trust::Pinned { pin, source } if got != *pin => Err(wrong_pin(*pin, got, source)),
            Trust::Pinned { .. } => chain.holds(only(last)?, true).map(|()| Verdict::Known),
            Trust::FirstSight => {
                let public = system_roots();
                if !public.is_empty() && chain.holds(Arc::new(public), false).is_ok() {
                    return Ok(Verdict::Known);
                }
                chain
                    .holds(only(last)?, true)
                    .map(|()| Verdict::FirstSight(got))
            }
        }
    }
}

/// A chain of certificates under judgement.
struct Chain<'a> {
    verifier: &'a ServerVerifier,
    leaf: &'a CertificateDer<'a>,
    rest: &'a [CertificateDer<'a>],
    now: UnixTime,
}

impl Chain<'_> {
    /// True under `roots`, for the server's host or, where `cluster` allows it, for the cluster's name.
    fn holds(&self, roots: Arc<RootCertStore>, cluster: bool) -> Result<(), TrustError> {
        let untrusted = |error: &dyn fmt::Display| TrustError::Untrusted(error.to_string());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots, self.verifier.provider.clone())
                .build()
                .map_err(|error| untrusted(&error))?;
        let cluster_name =
            ServerName::try_from(CLUSTER_SERVER_NAME).map_err(|error| untrusted(&error))?;
        let names = cluster
            .then_some(&cluster_name)
            .into_iter()
            .chain(&self.verifier.host);
        let mut refused = TrustError::Untrusted("it is for no name that was asked for".into());
        for name in names {
            match verifier.verify_server_cert(self.leaf, self.rest, name, &[], self.now) {
                Ok(_) => return Ok(()),
                Err(error) => refused = untrusted(&error),
            }
        }
        Err(refused)
    }
}

fn wrong_pin(expected: Fingerprint, got: Fingerprint, source: &PinSource) -> TrustError {
    let (source_text, advice) = match source {
        PinSource::Flag => (
            "--fingerprint says".to_owned(),
            "Ask the server's operator for the right fingerprint".to_owned(),
        ),
        PinSource::KnownServers(path) => (
            "when it was first seen".to_owned(),
            format!(
                "If the operator confirms the new one, delete the server's line in {}",
                path.display()
            ),
        ),
    };
    TrustError::WrongPin {
        expected,
        got,
        source_text,
        advice,
    }
}

fn only(authority: &CertificateDer<'_>) -> Result<Arc<RootCertStore>, TrustError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.clone().into_owned())
        .map_err(|error| TrustError::Untrusted(error.to_string()))?;
    Ok(Arc::new(roots))
}

/// What cannot be loaded is left out: a chain that needs it does not verify.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judgement = self.judge(end_entity, intermediates, now);
        let answer = match &judgement {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(_) => Err(rustls::CertificateError::ApplicationVerificationFailure.into()),
        };
        *self
            .judgement
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(judgement);
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use std::time::Duration;

    struct Authority {
        der: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().clone();
        Authority {
            der,
            issuer: Issuer::new(params, key),
        }
    }

    fn leaf(authority: &Authority, name: &str) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params
            .signed_by(&key, &authority.issuer)
            .unwrap()
            .der()
            .clone()
    }

    fn judge(
        trust: Trust,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
    ) -> Result<Verdict, TrustError> {
        let server: Server = "talk.example.org".parse().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_795_000_000));
        ServerVerifier::new(trust, &server, provider).judge(leaf, rest, now)
    }

    fn pinned(authority: &Authority) -> Trust {
        Trust::Pinned {
            pin: Fingerprint::of(&authority.der),
            source: PinSource::Flag,
        }
    }

    #[test]
    fn first_sight_gives_the_authoritys_fingerprint() {
        let ca = authority();
        let chain = [ca.der.clone()];
        for name in [CLUSTER_SERVER_NAME, "talk.example.org"] {
            let verdict = judge(Trust::FirstSight, &leaf(&ca, name), &chain);
            assert_eq!(verdict, Ok(Verdict::FirstSight(Fingerprint::of(&ca.der))));
        }
    }

    #[test]
    fn a_chain_that_its_own_authority_did_not_sign_is_refused_at_first_sight_too() {
        let (ca, other) = (authority(), authority());
        let verdict = judge(
            Trust::FirstSight,
            &leaf(&other, CLUSTER_SERVER_NAME),
            std::slice::from_ref(&ca.der),
        );
        assert!(
            matches!(verdict, Err(TrustError::Untrusted(_))),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_pin_holds_for_every_node_of_the_authority_and_no_other() {
        let (ca, other) = (authority(), authority());
        let node = leaf(&ca, CLUSTER_SERVER_NAME);
        assert_eq!(
            judge(pinned(&ca), &node, std::slice::from_ref(&ca.der)),
            Ok(Verdict::Known)
        );
        let verdict = judge(
            pinned(&ca),
            &leaf(&other, CLUSTER_SERVER_NAME),
            std::slice::from_ref(&other.der),
        );
        assert!(
            matches!(verdict, Err(TrustError::WrongPin { .. })),
            "{verdict:?}"
        );
        // The pinned authority is shown, but it did not sign the leaf.
        let verdict = judge(
            pinned(&ca),
            &leaf(&other, CLUSTER_SERVER_NAME),
            std::slice::from_ref(&ca.der),
        );
        assert!(
            matches!(verdict, Err(TrustError::Untrusted(_))),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_certificate_for_another_name_is_refused() {
        let ca = authority();
        let verdict = judge(
            pinned(&ca),
            &leaf(&ca, "other.example.org"),
            std::slice::from_ref(&ca.der),
        );
        assert!(
            matches!(verdict, Err(TrustError::Untrusted(_))),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_file_of_authorities_is_read_and_a_file_of_something_else_is_not() {
        let ca = authority();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let body = data_encoding::BASE64.encode(&ca.der);
        fs::write(
            &path,
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"),
        )
        .unwrap();
        let trust = Trust::from_pem_file(&path).unwrap();
        let node = leaf(&ca, CLUSTER_SERVER_NAME);
        assert_eq!(judge(trust, &node, &[]), Ok(Verdict::Known));
        fs::write(&path, "nothing").unwrap();
        assert!(matches!(
            Trust::from_pem_file(&path),
            Err(TrustError::NotCertificates { .. })
        ));
        let missing = Trust::from_pem_file(&dir.path().join("none"));
        assert!(matches!(missing, Err(TrustError::NoSuchFile { .. })));
    }

    #[test]
    fn a_fingerprint_reads_as_it_is_written() {
        let print = Fingerprint::of(b"x");
        assert_eq!(print.to_string().parse(), Ok(print));
        assert_eq!(
            print
                .to_string()
                .to_uppercase()
                .replace("SHA256", "sha256")
                .parse(),
            Ok(print)
        );
        assert_eq!("sha256:00".parse::<Fingerprint>(), Err(BadFingerprint));
    }
}
