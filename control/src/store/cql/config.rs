//! The address of the database, credentials and TLS.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use crate::store::StoreError;

/// The port of a CQL server.
const PORT: u16 = 9042;
/// The default keyspace.
const KEYSPACE: &str = "confab";
/// The longest name of a keyspace that every database accepts.
const MAX_KEYSPACE: usize = 48;
/// The default number of replicas.
pub const REPLICATION: u8 = 3;

/// The operator's settings of the CQL store.
#[derive(Clone, Debug)]
pub struct CqlConfig {
    /// Nodes and keyspace.
    pub address: CqlAddress,
    /// The credentials.
    pub login: Option<CqlLogin>,
    /// TLS; `None` is without encryption.
    pub tls: Option<CqlTls>,
    /// Replicas of each row in a new keyspace.
    pub replication: u8,
    /// The datacentre to use; `None` if there is only one.
    pub datacenter: Option<String>,
}

impl CqlConfig {
    /// A database on this machine: one replica, without TLS and login.
    pub fn local(address: CqlAddress) -> Self {
        Self {
            address,
            login: None,
            tls: None,
            replication: 1,
            datacenter: None,
        }
    }
}

/// Nodes and keyspace: `cql://host:port,host/keyspace`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CqlAddress {
    /// `host:port` of some nodes; the driver learns the others from them.
    pub nodes: Vec<String>,
    /// The keyspace.
    pub keyspace: String,
}

/// A user of the database.
#[derive(Clone, PartialEq, Eq)]
pub struct CqlLogin {
    /// The user.
    pub user: String,
    /// The password; never shown.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for CqlLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CqlLogin(…)")
    }
}

/// TLS files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CqlTls {
    /// PEM file with the CA certificates of the nodes. The nodes' certificates must name their IP addresses.
    pub authority: PathBuf,
    /// PEM files with a client certificate and its key, for a database that requires one.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl FromStr for CqlAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a CQL store is given as cql://HOST:PORT,HOST:PORT/KEYSPACE";
        let rest = text.strip_prefix("cql://").ok_or(FORM)?;
        if rest.contains('@') {
            return Err("user and password are given by --store-user and CONFAB_CONTROL_STORE_PASSWORD, not in the URL".to_owned());
        }
        let (hosts, keyspace) = match rest.split_once('/') {
            None | Some((_, "")) => (rest.trim_end_matches('/'), KEYSPACE),
            Some((hosts, keyspace)) => (hosts, keyspace),
        };
        let begins_well = keyspace.starts_with(|first: char| first.is_ascii_lowercase());
        let in_alphabet = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !begins_well || !keyspace.chars().all(in_alphabet) || keyspace.len() > MAX_KEYSPACE {
            return Err(format!(
                "a keyspace is 1 to {MAX_KEYSPACE} of a-z, 0-9 and '_' and begins with a letter, not '{keyspace}'"
            ));
        }
        let nodes: Result<Vec<_>, _> = hosts.split(',').map(node).collect();
        Ok(Self {
            nodes: nodes?,
            keyspace: keyspace.to_owned(),
        })
    }
}

/// `host`, `host:port`, `[IPv6]` or `[IPv6]:port`, always with the port.
fn node(text: &str) -> Result<String, String> {
    let wrong = || format!("'{text}' is not a node: give HOST, HOST:PORT or [IPV6]:PORT");
    let end_of_host = if text.starts_with('[') {
        text.find(']').ok_or_else(wrong)? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, port) = text.split_at(end_of_host);
    let inner = host.trim_start_matches('[').trim_end_matches(']');
    if inner.is_empty() || inner.contains(char::is_whitespace) {
        return Err(wrong());
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(format!("{host}:{PORT}")),
        Some(port) if port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(format!("{host}:{port}"))
        }
        _ => Err(wrong()),
    }
}

impl CqlTls {
    /// The configuration for the driver.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] that names the file that cannot be used.
    pub(super) fn client_config(&self) -> Result<Arc<ClientConfig>, StoreError> {
        let wrong = |path: &PathBuf, error: &dyn fmt::Display| {
            StoreError::Unavailable(format!("{} cannot be used: {error}", path.display()))
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authority)? {
            roots
                .add(certificate)
                .map_err(|error| wrong(&self.authority, &error))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
            .with_root_certificates(roots);
        let config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let own = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
                builder
                    .with_client_auth_cert(chain, own)
                    .map_err(|error| wrong(certificate, &error))?
            }
        };
        Ok(Arc::new(config))
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(std::iter::Iterator::collect);
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(StoreError::Unavailable(format!(
            "{} holds no certificate: give a PEM file",
            path.display()
        ))),
        Err(error) => Err(StoreError::Unavailable(format!(
            "{} cannot be used: {error}",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_keyspace_are_read() {
        let address: CqlAddress = "cql://one:9043,10.0.0.2,[::1],[fe80::2]:99/voice_1"
            .parse()
            .unwrap();
        assert_eq!(
            address.nodes,
            ["one:9043", "10.0.0.2:9042", "[::1]:9042", "[fe80::2]:99"]
        );
        assert_eq!(address.keyspace, "voice_1");
        let short: CqlAddress = "cql://one".parse().unwrap();
        assert_eq!((short.nodes.len(), short.keyspace.as_str()), (1, KEYSPACE));
    }

    #[test]
    fn a_wrong_address_is_explained() {
        for (text, said) in [
            ("cql://", "is not a node"),
            ("cql://one,,two", "is not a node"),
            ("cql://one:x", "'one:x'"),
            ("cql://one:0", "'one:0'"),
            ("cql://[::1", "is not a node"),
            ("cql://ann:secret@one", "--store-user"),
            ("cql://one/Voice", "a keyspace is"),
            ("cql://one/a;drop", "a keyspace is"),
            ("cql:/one", "cql://HOST"),
        ] {
            let error = text.parse::<CqlAddress>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let login = CqlLogin {
            user: "ann".to_owned(),
            password: Zeroizing::new("secret".to_owned()),
        };
        assert!(!format!("{login:?}").contains("secret"));
    }

    #[test]
    fn a_missing_tls_file_is_named() {
        let tls = CqlTls {
            authority: "/nowhere/ca.pem".into(),
            own: None,
        };
        let error = tls.client_config().unwrap_err();
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}
