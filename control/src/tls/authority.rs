//! The cluster CA: created at the first start, it signs this node's certificate and the identities of relays, nodes and
//! operators.
//!
//! A certificate that a node presents as a server is for `serverAuth` only; one that a relay, a node or an operator presents as a
//! client is for `clientAuth` only. Neither can be used as the other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use confab_protocol::control::CLUSTER_SERVER_NAME;
use jiff::ToSpan as _;
use rcgen::{Certificate, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::certificate::X509Certificate;

use super::TlsError;
use super::certificate::{
    San, ca_params, end_of, fixed_names, is_of, issuer_key_id, key_id, leaf_params, parse_name,
    peer, pem, sans,
};
use super::files::{self, Readers};
use crate::clock::UnixMillis;
use crate::domain::{NodeName, Peer, RelayName};
use crate::random;

/// The CA's certificate, for relays and clients.
pub const CA_FILE: &str = "ca.crt";
const CA_KEY_FILE: &str = "ca.key";
const LEAF_FILE: &str = "server.crt";
const LEAF_KEY_FILE: &str = "server.key";
/// File stem of `node.crt` and `node.key`, the node's identity as a client of other nodes.
const NODE_STEM: &str = "node";
/// File stem of `operator.crt` and `operator.key`.
const OPERATOR_STEM: &str = "operator";
/// At a start, the server's certificate is renewed if it expires within this time.
const RENEW_DAYS: i32 = 180;

/// The CA, with its key if the folder has it.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Option<Issuer<'static, KeyPair>>,
}

pub struct Identity {
    /// The leaf certificate first, the CA's last.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// The files that [`Authority::issue_relay`] has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayFiles {
    /// The relay's certificate, followed by the CA's.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The CA's certificate.
    pub ca: PathBuf,
}

impl Authority {
    /// Opens the CA in the folder, or creates one.
    pub fn open_or_create(folder: &Path, now: UnixMillis) -> Result<Self, TlsError> {
        files::make_folder(folder)?;
        let (certificate, key) = (folder.join(CA_FILE), folder.join(CA_KEY_FILE));
        // The key is written first, since a certificate without its key is useless.
        if files::read(&certificate)?.is_none() {
            if files::read(&key)?.is_some() {
                return Err(TlsError::Lost {
                    path: certificate,
                    beside: CA_KEY_FILE,
                });
            }
            let pair = KeyPair::generate()?;
            let made = ca_params(now)?.self_signed(&pair)?;
            files::write(&key, pair.serialize_pem().as_bytes(), Readers::Owner)?;
            files::write(&certificate, made.pem().as_bytes(), Readers::All)?;
        }
        Self::open(folder)
    }

    /// Opens the CA in the folder. Without its key it cannot sign.
    pub fn open(folder: &Path) -> Result<Self, TlsError> {
        let certificate = read_certificate(&folder.join(CA_FILE))?;
        let key = folder.join(CA_KEY_FILE);
        let issuer = match files::read(&key)? {
            None => None,
            Some(_) => {
                let pair = read_key(&key)?;
                if !is_of(&certificate, &pair) {
                    return Err(TlsError::OtherKey {
                        key,
                        certificate: folder.join(CA_FILE),
                    });
                }
                Some(Issuer::from_ca_cert_der(&certificate, pair)?)
            }
        };
        Ok(Self {
            certificate,
            issuer,
        })
    }

    /// True if the CA's key is in the folder.
    pub fn can_sign(&self) -> bool {
        self.issuer.is_some()
    }

    fn issuer(&self) -> Result<&Issuer<'static, KeyPair>, TlsError> {
        self.issuer.as_ref().ok_or(TlsError::NoCaKey)
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The fingerprint that clients pin: `sha256:` and 64 hexadecimal digits, over the certificate's DER.
    pub fn fingerprint(&self) -> String {
        format!("sha256:{}", data_encoding::HEXLOWER.encode(&self.digest()))
    }

    /// SHA-256 over the certificate's DER.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(digest::digest(&digest::SHA256, &self.certificate).as_ref());
        digest
    }

    /// This node's server certificate. It is renewed if it is missing, expires soon, is of another CA or lacks a name. Without
    /// the CA's key it must exist and be valid.
    pub fn server_identity(
        &self,
        folder: &Path,
        public_names: &[String],
        now: UnixMillis,
    ) -> Result<Identity, TlsError> {
        let (certificate, key) = (folder.join(LEAF_FILE), folder.join(LEAF_KEY_FILE));
        if !self.can_sign() {
            let wanted = fixed_names(public_names)?;
            return self.kept(&certificate, &key, now, |kept| {
                wanted.is_subset(&sans(kept))
            });
        }
        let mut names = fixed_names(public_names)?;
        // The machine's name may be invalid in a certificate; then clients cannot use it.
        names.extend(host_name().as_deref().and_then(parse_name));
        let kept =
            files::read(&certificate)?.and_then(|pem| CertificateDer::from_pem_slice(&pem).ok());
        let is_fit = |kept: &CertificateDer<'_>| self.is_fit(kept, &names, now);
        let leaf = match kept.filter(is_fit) {
            Some(kept) if read_key(&key).is_ok() => kept,
            _ => {
                let (made, pair) = self.for_server(&names, now)?;
                write_pair((&certificate, &made.pem()), (&key, &pair))?;
                made.into()
            }
        };
        let pair = read_key(&key)?;
        Ok(Identity {
            chain: vec![leaf, self.certificate.clone()],
            key: PrivatePkcs8KeyDer::from(pair.serialize_der()).into(),
        })
    }

    /// Writes a relay's certificate, its key and the CA's certificate into `out`.
    pub fn issue_relay(
        &self,
        name: &RelayName,
        out: &Path,
        now: UnixMillis,
    ) -> Result<RelayFiles, TlsError> {
        let [certificate, key, ca] = self.issue(&Peer::Relay(name.clone()), "relay", out, now)?;
        Ok(RelayFiles {
            certificate,
            key,
            ca,
        })
    }

    /// Writes a node's server and client certificates, their keys and the CA's certificate into `out`, so that the node needs no
    /// `ca.key`. Returns the files.
    pub fn issue_node(
        &self,
        name: &NodeName,
        public_names: &[String],
        out: &Path,
        now: UnixMillis,
    ) -> Result<Vec<PathBuf>, TlsError> {
        let (made, pair) = self.for_server(&fixed_names(public_names)?, now)?;
        let mut written = self
            .issue(&Peer::Node(name.clone()), NODE_STEM, out, now)?
            .to_vec();
        let (certificate, key) = (out.join(LEAF_FILE), out.join(LEAF_KEY_FILE));
        write_pair((&certificate, &made.pem()), (&key, &pair))?;
        written.extend([certificate, key]);
        Ok(written)
    }

    /// Writes an operator's certificate, its key and the CA's certificate into `out`. Returns the files.
    pub fn issue_operator(&self, out: &Path, now: UnixMillis) -> Result<[PathBuf; 3], TlsError> {
        self.issue(&Peer::Operator, OPERATOR_STEM, out, now)
    }

    /// The files of the certificate chain, the key and the CA.
    fn issue(
        &self,
        peer: &Peer,
        stem: &str,
        out: &Path,
        now: UnixMillis,
    ) -> Result<[PathBuf; 3], TlsError> {
        let (certificate, key) = pair_in(out, stem);
        let (made, pair) = self.for_client(peer, now)?;
        files::make_folder(out)?;
        let ca = pem(&self.certificate);
        write_pair(
            (&certificate, &format!("{}{ca}", made.pem())),
            (&key, &pair),
        )?;
        let ca_file = out.join(CA_FILE);
        files::write(&ca_file, ca.as_bytes(), Readers::All)?;
        Ok([certificate, key, ca_file])
    }

    /// This node's client certificate for other nodes: newly issued, or read from the folder if the CA's key is not there.
    pub fn node_identity(
        &self,
        folder: &Path,
        name: &NodeName,
        now: UnixMillis,
    ) -> Result<Identity, TlsError> {
        self.client_identity(folder, NODE_STEM, &Peer::Node(name.clone()), now)
    }

    /// The client certificate of an operator's command: newly issued, or read from the folder if the CA's key is not there.
    pub fn operator_identity(&self, folder: &Path, now: UnixMillis) -> Result<Identity, TlsError> {
        self.client_identity(folder, OPERATOR_STEM, &Peer::Operator, now)
    }

    fn client_identity(
        &self,
        folder: &Path,
        stem: &str,
        peer: &Peer,
        now: UnixMillis,
    ) -> Result<Identity, TlsError> {
        if !self.can_sign() {
            let (certificate, key) = pair_in(folder, stem);
            let name = San::Dns(peer.to_string());
            return self.kept(&certificate, &key, now, |kept| sans(kept).contains(&name));
        }
        let (made, pair) = self.for_client(peer, now)?;
        Ok(self.identity(made.into(), &pair))
    }

    /// Reads a certificate and its key, and checks that this CA signed it and that it has not expired.
    fn kept(
        &self,
        certificate: &Path,
        key: &Path,
        now: UnixMillis,
        has_names: impl Fn(&X509Certificate<'_>) -> bool,
    ) -> Result<Identity, TlsError> {
        let wrong = |why| TlsError::Unfit {
            path: certificate.to_owned(),
            why,
        };
        let pem = files::read(certificate)?.ok_or_else(|| wrong("it is missing"))?;
        let leaf = CertificateDer::from_pem_slice(&pem)
            .map_err(|_| wrong("it is not a certificate in PEM"))?;
        let (Ok((_, parsed)), Ok((_, ca))) = (
            x509_parser::parse_x509_certificate(&leaf),
            x509_parser::parse_x509_certificate(&self.certificate),
        ) else {
            return Err(wrong("it is not a certificate"));
        };
        if issuer_key_id(&parsed).is_none_or(|id| Some(id) != key_id(&ca)) {
            return Err(wrong("it is signed by another CA"));
        }
        if end_of(&parsed).is_none_or(|end| end < now.day()) {
            return Err(wrong("it has expired"));
        }
        if !has_names(&parsed) {
            return Err(wrong("it is for another name than --node or --public-name"));
        }
        let pair = read_key(key)?;
        let leaf = leaf.into_owned();
        Ok(self.identity(leaf, &pair))
    }

    fn identity(&self, leaf: CertificateDer<'static>, pair: &KeyPair) -> Identity {
        Identity {
            chain: vec![leaf, self.certificate.clone()],
            key: PrivatePkcs8KeyDer::from(pair.serialize_der()).into(),
        }
    }

    fn for_server(
        &self,
        names: &BTreeSet<San>,
        now: UnixMillis,
    ) -> Result<(Certificate, KeyPair), TlsError> {
        let pair = KeyPair::generate()?;
        let mut params = leaf_params(CLUSTER_SERVER_NAME, now)?;
        params.subject_alt_names = names.iter().map(San::to_rcgen).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok((params.signed_by(&pair, self.issuer()?)?, pair))
    }

    /// Issues a client certificate for this peer.
    fn for_client(&self, peer: &Peer, now: UnixMillis) -> Result<(Certificate, KeyPair), TlsError> {
        let (pair, full_name) = (KeyPair::generate()?, peer.to_string());
        let mut params = leaf_params(&full_name, now)?;
        params.subject_alt_names = vec![San::Dns(full_name).to_rcgen()?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let serial = [now.0.to_be_bytes(), random::bytes()].concat();
        params.serial_number = Some(serial.into());
        Ok((params.signed_by(&pair, self.issuer()?)?, pair))
    }

    /// Copies the CA from one folder into another, with its key if `with_key`. Returns the files.
    pub fn copy(from: &Path, to: &Path, with_key: bool) -> Result<Vec<PathBuf>, TlsError> {
        // The key first, as in `open_or_create`.
        let files = [(CA_KEY_FILE, Readers::Owner), (CA_FILE, Readers::All)];
        let copied = &files[usize::from(!with_key)..];
        for (name, readers) in copied {
            files::copy(&from.join(name), &to.join(name), *readers)?;
        }
        Ok(copied.iter().map(|(name, _)| to.join(name)).collect())
    }

    fn is_fit(&self, kept: &CertificateDer<'_>, names: &BTreeSet<San>, now: UnixMillis) -> bool {
        let (Ok((_, kept)), Ok((_, ca))) = (
            x509_parser::parse_x509_certificate(kept),
            x509_parser::parse_x509_certificate(&self.certificate),
        ) else {
            return false;
        };
        let renew = now.day().saturating_add(RENEW_DAYS.days());
        let lasts = end_of(&kept).is_some_and(|end| end > renew);
        let is_ours = issuer_key_id(&kept).is_some_and(|id| Some(id) == key_id(&ca));
        lasts && is_ours && sans(&kept) == *names
    }
}

/// The node named by the identity in a folder; `None` if there is none.
pub fn named_node(folder: &Path) -> Option<NodeName> {
    let (certificate, _) = pair_in(folder, NODE_STEM);
    match peer(&read_certificate(&certificate).ok()?)? {
        Peer::Node(name) => Some(name),
        Peer::Relay(_) | Peer::Operator => None,
    }
}

/// The paths of certificate and key with this stem.
fn pair_in(folder: &Path, stem: &str) -> (PathBuf, PathBuf) {
    (
        folder.join(format!("{stem}.crt")),
        folder.join(format!("{stem}.key")),
    )
}

/// The key first, since a certificate without its key is useless.
fn write_pair(
    (certificate, pem): (&Path, &str),
    (key, pair): (&Path, &KeyPair),
) -> Result<(), TlsError> {
    files::write(key, pair.serialize_pem().as_bytes(), Readers::Owner)?;
    files::write(certificate, pem.as_bytes(), Readers::All)
}

/// This machine's name, from a file of Linux; `None` elsewhere.
pub fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, TlsError> {
    let content = || TlsError::Content {
        path: path.to_owned(),
        expected: "a certificate in PEM",
    };
    let pem = files::read(path)?.ok_or_else(|| missing(path))?;
    CertificateDer::from_pem_slice(&pem).map_err(|_| content())
}

fn missing(path: &Path) -> TlsError {
    TlsError::Missing {
        path: path.to_owned(),
    }
}

fn read_key(path: &Path) -> Result<KeyPair, TlsError> {
    let content = || TlsError::Content {
        path: path.to_owned(),
        expected: "a private key in PEM",
    };
    let pem = files::read(path)?.ok_or_else(|| missing(path))?;
    let pem = zeroize::Zeroizing::new(String::from_utf8(pem).map_err(|_| content())?);
    KeyPair::from_pem(&pem).map_err(|_| content())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tls::certificate::issued;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn valid_certificates_are_kept_and_expiring_ones_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path(), NOW).unwrap();
        let again = Authority::open_or_create(dir.path(), NOW).unwrap();
        assert_eq!(authority.fingerprint(), again.fingerprint());
        assert_eq!(authority.fingerprint().len(), "sha256:".len() + 64);
        let leaf = |names: &[String], now| {
            authority
                .server_identity(dir.path(), names, now)
                .unwrap()
                .chain[0]
                .clone()
        };
        let first = leaf(&[], NOW);
        assert_eq!(leaf(&[], NOW.after(DAY)), first);
        let named = leaf(
            &["voice.example.org".to_owned(), "192.0.2.7".to_owned()],
            NOW,
        );
        assert_ne!(named, first);
        let (_, parsed) = x509_parser::parse_x509_certificate(&named).unwrap();
        assert!(sans(&parsed).contains(&San::Dns("voice.example.org".to_owned())));
        assert_ne!(
            leaf(
                &["192.0.2.7".to_owned(), "voice.example.org".to_owned()],
                NOW.after(DAY * 700)
            ),
            named
        );
        assert!(
            authority
                .server_identity(dir.path(), &["no name".to_owned()], NOW)
                .is_err()
        );
    }

    #[cfg(unix)]
    #[test]
    fn key_files_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path(), NOW).unwrap();
        authority.server_identity(dir.path(), &[], NOW).unwrap();
        let out = dir.path().join("relay");
        let written = authority
            .issue_relay(&"berlin-1".parse().unwrap(), &out, NOW)
            .unwrap();
        for key in [
            dir.path().join(CA_KEY_FILE),
            dir.path().join(LEAF_KEY_FILE),
            written.key,
        ] {
            assert_eq!(
                std::fs::metadata(key).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }

    #[test]
    fn a_certificate_names_its_relay_or_node() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path(), NOW).unwrap();
        let name: RelayName = "berlin-1".parse().unwrap();
        let written = authority.issue_relay(&name, dir.path(), NOW).unwrap();
        let certificate = read_certificate(&written.certificate).unwrap();
        assert_eq!(peer(&certificate), Some(Peer::Relay(name)));
        let server = authority.server_identity(dir.path(), &[], NOW).unwrap();
        assert_eq!(peer(&server.chain[0]), None);
        let one: NodeName = "one".parse().unwrap();
        let node = authority.node_identity(dir.path(), &one, NOW).unwrap();
        assert_eq!(peer(&node.chain[0]), Some(Peer::Node(one)));
        assert_eq!(
            read_certificate(&written.ca).unwrap(),
            *authority.certificate()
        );
        let operator = authority.operator_identity(dir.path(), NOW).unwrap();
        assert_eq!(peer(&operator.chain[0]), Some(Peer::Operator));
    }

    #[test]
    fn the_serial_number_holds_the_time_of_issue() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path(), NOW).unwrap();
        for now in [NOW, NOW.after(Duration::from_millis(1)), UnixMillis(77)] {
            let made = authority.operator_identity(dir.path(), now).unwrap();
            assert_eq!(issued(&made.chain[0]), now);
        }
        // With serial numbers of other programs.
        let pair = KeyPair::generate().unwrap();
        let mut short = leaf_params("test", NOW).unwrap();
        short.serial_number = Some(vec![1].into());
        let short = short.signed_by(&pair, authority.issuer().unwrap()).unwrap();
        assert_eq!(issued(short.der()), UnixMillis(0));
        let random_serial = authority.server_identity(dir.path(), &[], NOW).unwrap();
        assert_eq!(issued(&random_serial.chain[0]), UnixMillis(0));
    }

    #[test]
    fn a_node_runs_on_its_identity_without_the_ca_key() {
        let (home, node) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = Authority::open_or_create(home.path(), NOW).unwrap();
        let name: NodeName = "two".parse().unwrap();
        let public = ["two.example.org".to_owned()];
        authority
            .issue_node(&name, &public, node.path(), NOW)
            .unwrap();
        assert!(!node.path().join(CA_KEY_FILE).exists());
        assert_eq!(named_node(node.path()), Some(name.clone()));
        let keyless = Authority::open_or_create(node.path(), NOW).unwrap();
        assert!(!keyless.can_sign());
        assert_eq!(keyless.fingerprint(), authority.fingerprint());
        let later = NOW.after(DAY * 700);
        let shown = keyless
            .server_identity(node.path(), &public, later)
            .unwrap();
        assert_eq!(peer(&shown.chain[0]), None);
        let client = keyless.node_identity(node.path(), &name, NOW).unwrap();
        assert_eq!(peer(&client.chain[0]), Some(Peer::Node(name.clone())));
        assert_eq!(issued(&client.chain[0]), NOW);

        let error = |done: Result<Identity, TlsError>| done.err().unwrap().to_string();
        let other = ["three.example.org".to_owned()];
        let lacks = error(keyless.server_identity(node.path(), &other, NOW));
        assert!(lacks.contains("node-identity"), "{lacks}");
        let ended = error(keyless.server_identity(node.path(), &public, NOW.after(DAY * 800)));
        assert!(ended.contains("has expired"), "{ended}");
        let another = "three".parse().unwrap();
        let another = error(keyless.node_identity(node.path(), &another, NOW));
        assert!(another.contains("another name"), "{another}");
        let none = error(keyless.operator_identity(node.path(), NOW));
        assert!(none.contains("operator.crt"), "{none}");
        let signs = keyless.issue_relay(&"r1".parse().unwrap(), node.path(), NOW);
        assert!(matches!(signs, Err(TlsError::NoCaKey)), "{signs:?}");
        authority.issue_operator(node.path(), NOW).unwrap();
        let operator = keyless.operator_identity(node.path(), NOW).unwrap();
        assert_eq!(peer(&operator.chain[0]), Some(Peer::Operator));
    }
}
