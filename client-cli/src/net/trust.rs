//! How a server proves its identity, and how that is remembered.
//!
//! A cluster has an authority of its own, and each node a certificate of it under the cluster's name. Without a public
//! name there is nobody to vouch for that authority: its fingerprint is pinned, as `ssh` does with host keys. Or a public
//! authority vouches for the server's name; then the server itself tells the fingerprint of the cluster's authority, and
//! its other nodes, which a client knows by address alone, are trusted by that.
//!
//! How a server was trusted is remembered, and nothing less is taken from then on. Only a server of which nothing is
//! known can be looked at ([`Trust::Unknown`]), and then nothing is sent to it.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use confab_protocol::control::CLUSTER_SERVER_NAME;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Fingerprint, Server};

/// Maximum size of a file of authorities in bytes.
const MAX_PEM: u64 = 16 << 20;

/// Time limit for reading this machine's public authorities.
const ROOTS_PATIENCE: Duration = Duration::from_secs(5);

/// How the server has to prove its identity.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The server is unknown: it can be examined only.
    Unknown,
    /// By a certificate of a public authority for its host.
    Public {
        /// The public authorities of this machine.
        roots: Arc<RootCertStore>,
        /// The cluster's authority, as the server said last; `None` before it said anything.
        authority: Option<Fingerprint>,
    },
    /// Authorities from a file.
    Authorities {
        roots: Arc<RootCertStore>,
        /// The cluster's authority, as the server said last; `None` before it said anything.
        authority: Option<Fingerprint>,
    },
    /// The authority with this fingerprint.
    Pinned {
        pin: Fingerprint,
        /// The origin of the pin, for messages.
        source: PinSource,
    },
}

/// Where a pin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    Flag,
    /// The file of servers seen before.
    KnownServers(PathBuf),
    /// The person has just confirmed it, at the first contact.
    FirstSight,
    /// The server named its cluster's authority, when something else vouched for it.
    Server,
}

impl fmt::Display for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("of the link, or of --fingerprint"),
            Self::KnownServers(path) => {
                write!(f, "remembered in {}", path.display())
            }
            Self::FirstSight => f.write_str("seen a moment ago"),
            Self::Server => f.write_str("which the server named for all its nodes"),
        }
    }
}

/// How a server is trusted, as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    /// By a public authority, for its host.
    Public {
        /// The cluster's authority, for its other nodes.
        authority: Fingerprint,
    },
    /// By this authority alone.
    Pinned(Fingerprint),
}

impl Remembered {
    /// The authority of the cluster.
    pub fn authority(self) -> Fingerprint {
        match self {
            Self::Public { authority } | Self::Pinned(authority) => authority,
        }
    }
}

/// The identity that a server has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerVerdict {
    /// The server proved its identity.
    Trusted,
    /// A valid chain to an unknown authority.
    Unproved(Fingerprint),
}

/// Why a server is not trusted. Nothing was sent to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The file of authorities cannot be read.
    #[error("cannot read the certificates in {path}: {reason}")]
    NoSuchFile {
        path: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// The file of authorities holds none.
    #[error("{path} holds no certificate in PEM form")]
    NotCertificates { path: PathBuf },
    /// This machine's public authorities cannot be read.
    #[error(
        "the certificates of this machine's public authorities cannot be read within {} s: give the server's authority with \
         --fingerprint or --ca",
        ROOTS_PATIENCE.as_secs()
    )]
    NoPublicRoots,
    /// The server is unknown, and this command may not trust it at first sight.
    #[error(
        "nothing is known of the server {server}: log in with `confab --server {server} login NAME`, or give its authority \
         with --fingerprint or --ca"
    )]
    Unknown { server: String },
    /// Another authority than the pinned one.
    #[error(
        "the server {server} shows the authority {got}, not {expected} ({said_by}): somebody may be in between. {ADVICE}"
    )]
    WrongPin {
        server: String,
        expected: Fingerprint,
        got: Fingerprint,
        /// The origin of the pin.
        said_by: String,
    },
    /// It names another authority than the one that it has proved.
    #[error(
        "the server {server} has proved the authority {pin}, and says that it belongs to another one, {named}: it wants to pass for \
         another server. {ADVICE}"
    )]
    OtherAuthority {
        server: String,
        pin: Fingerprint,
        named: Fingerprint,
    },
    /// A public authority vouched for the server before, and none does now.
    #[error(
        "no public authority vouches for the server {server}, as one did when it was last trusted ({reason}); it shows the \
         authority {got}: somebody may be in between. {ADVICE}"
    )]
    NotPublic {
        server: String,
        /// The authority that came.
        got: Fingerprint,
        /// Why the chain is refused.
        reason: String,
    },
    /// By this machine's clock the certificate is not valid yet.
    #[error(
        "the certificate of the server {server} is valid from {from} on, and this machine's clock says {now} UTC, {ahead} \
         earlier: set the clock"
    )]
    NotYetValid {
        server: String,
        /// From which day on.
        from: String,
        /// The date by this machine's clock.
        now: String,
        /// How long that is before.
        ahead: String,
    },
    /// By this machine's clock the certificate has expired.
    #[error(
        "the certificate of the server {server} was valid until {until}, and this machine's clock says {now} UTC, {since} \
         later: set the clock if that is wrong, or ask the server's operator to renew the certificate"
    )]
    Expired {
        server: String,
        until: String,
        /// The date by this machine's clock.
        now: String,
        /// How long that is after.
        since: String,
    },
    /// The chain is refused.
    #[error(
        "the certificate of the server {server} is not accepted: {reason}; check --server, or give its authority with \
         --fingerprint or --ca"
    )]
    Untrusted {
        server: String,
        /// Why the chain is refused.
        reason: String,
    },
    /// The server is unknown, and there is no terminal to ask the person.
    #[error(
        "the server {server} is seen for the first time, with the authority {got}, and there is no terminal to ask whether \
         that is right. Compare it with what `confab-control fingerprint` prints there and give it with --fingerprint, or \
         take whichever is seen first with --trust-first-sight"
    )]
    NobodyToAsk { server: String, got: Fingerprint },
    /// The server is unknown, and the person does not trust it.
    #[error(
        "the authority {got} of the server {server} was not trusted: nothing was sent to it. `confab-control fingerprint` \
         prints the right one there"
    )]
    Declined { server: String, got: Fingerprint },
    /// A session shows that the server was trusted before, but how is not stored.
    #[error(
        "there is a session at {server}, but {path} does not say how the server was trusted; it shows the authority {got}. \
         {ADVICE}"
    )]
    Forgotten {
        server: String,
        got: Fingerprint,
        /// The file of servers seen before.
        path: PathBuf,
    },
}

/// Advice for a server whose identity has changed.
const ADVICE: &str = "Ask its operator what `confab-control fingerprint` prints there, and give that with --fingerprint: it \
                      is remembered from then on";

/// The name that one handshake asks for, and the proof that it expects.
#[derive(Debug, Clone)]
pub(super) struct Check {
    /// The server name of the handshake. For the cluster's name a node shows the cluster's certificate, and for any other
    /// its public one, if it has one.
    pub(super) name: String,
    pub(super) proof: Proof,
}

/// The proof that a chain of certificates has to give.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// A chain to a public authority, for the host.
    Public(Arc<RootCertStore>),
    /// A chain to an authority of the file, for the host or the cluster's name.
    Authorities(Arc<RootCertStore>),
    /// A chain to this authority, for the host or the cluster's name.
    Pin(Fingerprint, PinSource),
    /// A chain to any authority, for the cluster's name.
    Any,
}

impl Trust {
    /// Reads authorities from a PEM file. May block on the file.
    pub fn from_pem_file(path: &Path) -> Result<Self, TrustError> {
        let mut pem = Vec::new();
        let read = fs::File::open(path).and_then(|file| file.take(MAX_PEM).read_to_end(&mut pem));
        read.map_err(|error| TrustError::NoSuchFile {
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
        Ok(Self::Authorities {
            roots: Arc::new(roots),
            authority: None,
        })
    }

    /// As it was remembered in the file at `path`. Where a public authority has to vouch, this machine's are read.
    pub async fn remembered(how: Remembered, path: &Path) -> Result<Self, TrustError> {
        Ok(match how {
            Remembered::Public { authority } => Self::Public {
                roots: public_roots().await?,
                authority: Some(authority),
            },
            Remembered::Pinned(pin) => Self::Pinned {
                pin,
                source: PinSource::KnownServers(path.to_owned()),
            },
        })
    }

    /// The trust for another node of the same server: it may have no public name, so that the cluster's authority
    /// does, as soon as that is known.
    pub(super) fn of_another_node(&self) -> Self {
        match self {
            Self::Public {
                authority: Some(pin),
                ..
            }
            | Self::Authorities {
                authority: Some(pin),
                ..
            } => Self::Pinned {
                pin: *pin,
                source: PinSource::Server,
            },
            Self::Public {
                authority: None, ..
            } => Self::Unknown,
            trust => trust.clone(),
        }
    }

    /// Refuses an authority that the server may not name as its cluster's. By the authority the client finds what it keeps of the server:
    /// its devices, and those of others. Under a pin it is the one that was proved, or a server could pass for another.
    pub(super) fn admits_authority(
        &self,
        server: &Server,
        named: Fingerprint,
    ) -> Result<(), TrustError> {
        match self {
            Self::Pinned { pin, .. } if *pin != named => Err(TrustError::OtherAuthority {
                server: server.to_string(),
                pin: *pin,
                named,
            }),
            _ => Ok(()),
        }
    }

    /// The handshakes to try in turn, until one shows what it has to. None when nothing is known of the server.
    pub(super) fn checks(&self, server: &Server) -> Vec<Check> {
        let by = |proof: Proof| {
            let names = [CLUSTER_SERVER_NAME.to_owned(), server.host.clone()];
            names
                .map(|name| Check {
                    name,
                    proof: proof.clone(),
                })
                .to_vec()
        };
        match self {
            Self::Unknown => Vec::new(),
            Self::Public { roots, .. } => vec![Check::public(server, roots.clone())],
            Self::Authorities { roots, .. } => by(Proof::Authorities(roots.clone())),
            Self::Pinned { pin, source } => by(Proof::Pin(*pin, source.clone())),
        }
    }
}

impl Check {
    /// That a public authority vouches for the server's host.
    pub(super) fn public(server: &Server, roots: Arc<RootCertStore>) -> Self {
        Self {
            name: server.host.clone(),
            proof: Proof::Public(roots),
        }
    }

    /// That the server shows a chain of a cluster, whichever.
    pub(super) fn any() -> Self {
        Self {
            name: CLUSTER_SERVER_NAME.to_owned(),
            proof: Proof::Any,
        }
    }
}

/// The public authorities of this machine. What cannot be loaded is left out: a chain that needs it does not verify.
pub async fn public_roots() -> Result<Arc<RootCertStore>, TrustError> {
    // On a disk that hangs, perhaps.
    let reading = tokio::task::spawn_blocking(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    match tokio::time::timeout(ROOTS_PATIENCE, reading).await {
        Ok(Ok(roots)) => Ok(roots),
        Ok(Err(_)) | Err(_) => Err(TrustError::NoPublicRoots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        "talk.example.org".parse().unwrap()
    }

    fn names(trust: &Trust) -> Vec<String> {
        let checks = trust.checks(&server()).into_iter();
        checks.map(|check| check.name).collect()
    }

    fn public(authority: Option<Fingerprint>) -> Trust {
        Trust::Public {
            roots: Arc::new(RootCertStore::empty()),
            authority,
        }
    }

    #[test]
    fn a_file_of_authorities_is_read_and_a_file_of_something_else_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::new(Vec::new())
            .unwrap()
            .self_signed(&key)
            .unwrap();
        fs::write(&path, authority.pem()).unwrap();
        let trust = Trust::from_pem_file(&path).unwrap();
        assert!(matches!(&trust, Trust::Authorities { roots, .. } if roots.len() == 1));
        fs::write(&path, "nothing").unwrap();
        assert!(matches!(
            Trust::from_pem_file(&path),
            Err(TrustError::NotCertificates { .. })
        ));
        let missing = Trust::from_pem_file(&dir.path().join("none"));
        assert!(matches!(missing, Err(TrustError::NoSuchFile { .. })));
    }

    #[test]
    fn a_server_is_asked_for_its_own_name_where_a_public_authority_vouches_and_nowhere_first_else()
    {
        assert_eq!(names(&public(None)), ["talk.example.org"]);
        let pinned = Trust::Pinned {
            pin: Fingerprint::of(b"x"),
            source: PinSource::Flag,
        };
        assert_eq!(names(&pinned), [CLUSTER_SERVER_NAME, "talk.example.org"]);
        assert!(names(&Trust::Unknown).is_empty());
    }

    #[test]
    fn other_nodes_are_trusted_by_the_clusters_authority_as_soon_as_it_is_known() {
        let authority = Fingerprint::of(b"authority");
        let other = public(Some(authority)).of_another_node();
        assert!(
            matches!(other, Trust::Pinned { pin, .. } if pin == authority),
            "{other:?}"
        );
        assert!(matches!(public(None).of_another_node(), Trust::Unknown));
    }
}
