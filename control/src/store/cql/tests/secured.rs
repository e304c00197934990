//! A database that requires a client certificate and a password.

use std::path::{Path, PathBuf};

use confab_testdb::NoDatabase;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use zeroize::Zeroizing;

use super::*;
use crate::store::cql::config::{CqlConfig, CqlLogin, CqlTls};

/// The default user of Cassandra, and its password.
const USER: &str = "cassandra";

struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self(Issuer::new(params, key), pem)
    }

    /// A certificate and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let made = params.signed_by(&key, &self.0).expect("a certificate");
        (made.pem(), key.serialize_pem())
    }
}

/// Part of the database's configuration.
fn asking(authority: &Authority, address: &str) -> String {
    let (certificate, key) = authority.issue(address);
    let indented = |pem: String| pem.trim().replace('\n', "\n        ");
    format!(
        "authenticator: PasswordAuthenticator
client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: true
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
    parameters:
      private_key: |
        {}
      trusted_certificates: |
        {}
",
        indented(format!("{key}{certificate}")),
        indented(authority.1.clone())
    )
}

fn asking_node(authority: &Authority) -> Result<Node, NoDatabase> {
    let host = Node::free_host()?;
    let node = Node::prepare(&host, &host, &asking(authority, &host))?;
    node.start()?;
    Ok(node)
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("it is written");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_may_require_a_client_certificate_and_a_password() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let Some(node) = testdb::or_skip(asking_node(&authority)) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| written(folder.path(), name, text);
    let (certificate, key) = authority.issue("confab");
    let own = (file("own.crt", &certificate), file("own.key", &key));
    let tls = CqlTls {
        authority: file("ca.pem", &authority.1),
        own: Some(own),
    };
    let login = |password: &str| CqlLogin {
        user: USER.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    };
    let config = CqlConfig {
        login: Some(login(USER)),
        tls: Some(tls.clone()),
        ..config_of(&node.address())
    };
    let since = Instant::now();
    let store = loop {
        // It makes its first user some time after it has opened its port.
        match CqlStore::open(&config).await {
            Ok(store) => break store,
            Err(error) => assert!(since.elapsed() < Duration::from_secs(60), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let account = some_account();
    assert_eq!(store.create_account(account.clone()).await, Ok(()));
    assert_eq!(store.account(account.id).await, Ok(Some(account)));

    let refused = [
        CqlConfig {
            login: Some(login("secret")),
            ..config.clone()
        },
        CqlConfig {
            login: None,
            ..config.clone()
        },
        CqlConfig {
            tls: None,
            ..config.clone()
        },
        CqlConfig {
            tls: Some(CqlTls {
                own: None,
                ..tls.clone()
            }),
            ..config.clone()
        },
        CqlConfig {
            tls: Some(CqlTls {
                authority: file("stranger.pem", &stranger.1),
                ..tls
            }),
            ..config
        },
    ];
    for config in refused {
        let error = CqlStore::open(&config).await.err();
        let error = error.expect("it is not let in").to_string();
        assert!(error.contains("--store"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
