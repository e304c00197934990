//! Verifies the certificates that a server shows. A signature that does not verify is never
//! accepted.

use std::sync::{Arc, Mutex, PoisonError};

use confab_protocol::control::CLUSTER_SERVER_NAME;
use confab_protocol::dates::Moment;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::trust::{Proof, ServerVerdict, TrustError};
use super::{Fingerprint, Server};

/// Verifies a server's certificates for rustls, and keeps the result.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    proof: Proof,
    server: String,
    host: Option<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
    judgement: Mutex<Option<Result<ServerVerdict, TrustError>>>,
}

impl ServerVerifier {
    /// A verifier for one connection to `server`.
    pub(super) fn new(proof: Proof, server: &Server, provider: Arc<CryptoProvider>) -> Self {
        Self {
            proof,
            server: server.to_string(),
            host: ServerName::try_from(server.host.clone()).ok(),
            provider,
            judgement: Mutex::new(None),
        }
    }

    /// The result of the check, once certificates were received.
    pub(super) fn judgement(&self) -> Option<Result<ServerVerdict, TrustError>> {
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
    ) -> Result<ServerVerdict, TrustError> {
        let cluster = ServerName::try_from(CLUSTER_SERVER_NAME).ok();
        let host = self.host.as_ref();
        let holds = |roots, names: [Option<&ServerName<'_>>; 2]| {
            let names = names.into_iter().flatten();
            holds(roots, &self.provider, (leaf, rest), names, now)
        };
        let last = rest.last().unwrap_or(leaf);
        let got = Fingerprint::of(last);
        let server = || self.server.clone();
        let judged = match &self.proof {
            Proof::Public(roots) => {
                return match holds(roots.clone(), [host, None]) {
                    Ok(()) => Ok(ServerVerdict::Trusted),
                    Err(CertificateFault::Date(date)) => Err(date.at(server())),
                    Err(CertificateFault::Other(reason)) => Err(TrustError::NotPublic {
                        server: server(),
                        got,
                        reason,
                    }),
                };
            }
            Proof::Pin(pin, source) if got != *pin => {
                return Err(TrustError::WrongPin {
                    server: server(),
                    expected: *pin,
                    got,
                    said_by: source.to_string(),
                });
            }
            Proof::Authorities(roots) => {
                holds(roots.clone(), [cluster.as_ref(), host]).map(|()| ServerVerdict::Trusted)
            }
            Proof::Pin(..) => only(last)
                .and_then(|roots| holds(roots, [cluster.as_ref(), host]))
                .map(|()| ServerVerdict::Trusted),
            Proof::Any => only(last)
                .and_then(|roots| holds(roots, [cluster.as_ref(), None]))
                .map(|()| ServerVerdict::Unproved(got)),
        };
        judged.map_err(|flaw| match flaw {
            CertificateFault::Date(date) => date.at(server()),
            CertificateFault::Other(reason) => TrustError::Untrusted {
                server: server(),
                reason,
            },
        })
    }
}

/// Why a chain of certificates is refused.
enum CertificateFault {
    /// The certificate is not valid now, by this machine's clock. No other fault was found.
    Date(WrongDate),
    /// Any other fault, as text.
    Other(String),
}

/// A certificate that is not valid now.
enum WrongDate {
    NotYet { now: Moment, from: Moment },
    NoLonger { now: Moment, until: Moment },
}

impl WrongDate {
    /// The fault as the error of a connection to `server`.
    fn at(self, server: String) -> TrustError {
        match self {
            Self::NotYet { now, from } => TrustError::NotYetValid {
                server,
                from: from.to_string(),
                now: now.minute(),
                ahead: now.until(from),
            },
            Self::NoLonger { now, until } => TrustError::Expired {
                server,
                until: until.to_string(),
                now: now.minute(),
                since: until.until(now),
            },
        }
    }
}

impl From<rustls::Error> for CertificateFault {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                time,
                not_before,
            }) => Self::Date(WrongDate::NotYet {
                now: moment(time),
                from: moment(not_before),
            }),
            rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                time,
                not_after,
            }) => Self::Date(WrongDate::NoLonger {
                now: moment(time),
                until: moment(not_after),
            }),
            error => Self::Other(error.to_string()),
        }
    }
}

fn moment(time: UnixTime) -> Moment {
    Moment::from_unix_seconds(time.as_secs())
}

/// Verifies the chain under `roots` for one of the names; the error is that of the last name.
fn holds<'a>(
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    (leaf, rest): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    names: impl Iterator<Item = &'a ServerName<'a>>,
    now: UnixTime,
) -> Result<(), CertificateFault> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| CertificateFault::Other(error.to_string()))?;
    let mut refused = CertificateFault::Other("it is for no name that was asked for".to_owned());
    for name in names {
        match verifier.verify_server_cert(leaf, rest, name, &[], now) {
            Ok(_) => return Ok(()),
            Err(error) => refused = error.into(),
        }
    }
    Err(refused)
}

fn only(authority: &CertificateDer<'_>) -> Result<Arc<RootCertStore>, CertificateFault> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned())?;
    Ok(Arc::new(roots))
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
            Err(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
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
    use super::super::trust::PinSource;
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
        proof: Proof,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
    ) -> Result<ServerVerdict, TrustError> {
        judge_at("talk.example.org", proof, leaf, rest)
    }

    fn judge_at(
        server: &str,
        proof: Proof,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
    ) -> Result<ServerVerdict, TrustError> {
        let server: Server = server.parse().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_795_000_000));
        ServerVerifier::new(proof, &server, provider).judge(leaf, rest, now)
    }

    fn pinned(authority: &Authority) -> Proof {
        Proof::Pin(Fingerprint::of(&authority.der), PinSource::Flag)
    }

    fn roots(authority: &Authority) -> Arc<RootCertStore> {
        only(&authority.der).ok().unwrap()
    }

    fn ends_in(authority: &Authority) -> &[CertificateDer<'static>] {
        std::slice::from_ref(&authority.der)
    }

    #[test]
    fn examining_a_server_returns_its_authoritys_fingerprint_and_trusts_nothing() {
        let (ca, other) = (authority(), authority());
        let node = leaf(&ca, CLUSTER_SERVER_NAME);
        let seen = judge(Proof::Any, &node, ends_in(&ca));
        assert_eq!(seen, Ok(ServerVerdict::Unproved(Fingerprint::of(&ca.der))));
        // A chain that its own authority did not sign is none.
        let seen = judge(Proof::Any, &node, ends_in(&other));
        assert!(
            matches!(seen, Err(TrustError::Untrusted { .. })),
            "{seen:?}"
        );
        // One of some name is not the cluster's.
        let seen = judge(Proof::Any, &leaf(&ca, "talk.example.org"), ends_in(&ca));
        assert!(
            matches!(seen, Err(TrustError::Untrusted { .. })),
            "{seen:?}"
        );
    }

    #[test]
    fn a_pin_holds_for_every_node_of_the_authority_and_no_other() {
        let (ca, other) = (authority(), authority());
        let node = leaf(&ca, CLUSTER_SERVER_NAME);
        let verdict = judge(pinned(&ca), &node, ends_in(&ca));
        assert_eq!(verdict, Ok(ServerVerdict::Trusted));
        let foreign = leaf(&other, CLUSTER_SERVER_NAME);
        let verdict = judge(pinned(&ca), &foreign, ends_in(&other));
        let expected = TrustError::WrongPin {
            server: "talk.example.org:4433".into(),
            expected: Fingerprint::of(&ca.der),
            got: Fingerprint::of(&other.der),
            said_by: "of the link, or of --fingerprint".into(),
        };
        assert_eq!(verdict, Err(expected));
        // The pinned authority is shown, but it did not sign the leaf.
        let verdict = judge(pinned(&ca), &foreign, ends_in(&ca));
        assert!(
            matches!(verdict, Err(TrustError::Untrusted { .. })),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_certificate_for_another_name_is_refused() {
        let ca = authority();
        let node = leaf(&ca, "other.example.org");
        for proof in [pinned(&ca), Proof::Authorities(roots(&ca))] {
            let verdict = judge(proof, &node, ends_in(&ca));
            assert!(
                matches!(verdict, Err(TrustError::Untrusted { .. })),
                "{verdict:?}"
            );
        }
        let verdict = judge(Proof::Public(roots(&ca)), &node, &[]);
        assert!(
            matches!(verdict, Err(TrustError::NotPublic { .. })),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_public_authority_vouches_for_the_host_and_not_for_the_clusters_name() {
        let (public, other) = (authority(), authority());
        let judge = |name: &str| judge(Proof::Public(roots(&public)), &leaf(&public, name), &[]);
        assert_eq!(judge("talk.example.org"), Ok(ServerVerdict::Trusted));
        assert!(judge(CLUSTER_SERVER_NAME).is_err());
        // An authority of its own makes no chain public, whatever follows it.
        let own = leaf(&other, "talk.example.org");
        let verdict = super::tests::judge(Proof::Public(roots(&public)), &own, ends_in(&public));
        assert!(
            matches!(verdict, Err(TrustError::NotPublic { .. })),
            "{verdict:?}"
        );
    }

    #[test]
    fn an_address_needs_a_public_certificate_that_has_it() {
        let public = authority();
        for (name, is_trusted) in [
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("talk.example.org", false),
        ] {
            let shown = leaf(&public, name);
            let verdict = judge_at("192.0.2.7", Proof::Public(roots(&public)), &shown, &[]);
            assert_eq!(verdict.is_ok(), is_trusted, "{name}: {verdict:?}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_is_named_and_by_how_much() {
        let ca = authority();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["talk.example.org".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 11, 20);
        params.not_after = rcgen::date_time_ymd(2027, 2, 18);
        let shown = params.signed_by(&key, &ca.issuer).unwrap().der().clone();
        let server: Server = "talk.example.org".parse().unwrap();
        let judge = |proof: Proof, seconds| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            ServerVerifier::new(proof, &server, provider).judge(&shown, ends_in(&ca), now)
        };
        for proof in [
            Proof::Public(roots(&ca)),
            Proof::Authorities(roots(&ca)),
            pinned(&ca),
        ] {
            // 2026-11-28 12:00, in time.
            assert_eq!(
                judge(proof.clone(), 1_795_867_200),
                Ok(ServerVerdict::Trusted)
            );
            // A machine whose battery is empty starts in 1970.
            let early = judge(proof.clone(), 3600).unwrap_err();
            let said = early.to_string();
            assert!(matches!(early, TrustError::NotYetValid { .. }), "{said}");
            assert!(
                said.contains("1970-01-01 01:00") && said.contains("20776 days"),
                "{said}"
            );
            // 2027-02-18 03:00, three hours late.
            let late = judge(proof, 1_802_919_600).unwrap_err();
            let said = late.to_string();
            assert!(matches!(late, TrustError::Expired { .. }), "{said}");
            assert!(
                said.contains("2027-02-18 03:00") && said.contains("3 hours"),
                "{said}"
            );
        }
    }
}
