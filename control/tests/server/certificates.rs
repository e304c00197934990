//! Which certificate is presented to whom, and the files in the data folder.

use confab_control::tls::certificates::OwnCertificate;
use confab_control::{STATE_FILE, ServeError, serve};
use confab_protocol::control::CLUSTER_SERVER_NAME;
use confab_protocol::wire::response;
use confab_protocol::{cluster, control};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::harness::{TestServer, cheap};

const PUBLIC_NAME: &str = "voice.example.org";

#[tokio::test]
async fn clients_see_the_operators_certificate_and_relays_the_clusters() {
    let own = rcgen::generate_simple_self_signed(vec![PUBLIC_NAME.to_owned()]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = (files.path().join("own.crt"), files.path().join("own.key"));
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let server = TestServer::start_with(|config| {
        config.own_certificate = Some(OwnCertificate { certificate, key });
        config.public_names = vec![PUBLIC_NAME.to_owned()];
    })
    .await;
    let public = own.cert.der().clone();
    let ca = CertificateDer::from_pem_file(&server.running.ca).unwrap();
    let connect = async |name: &str, root: &CertificateDer<'static>, alpn: &[u8]| {
        let identity = (alpn == cluster::ALPN).then(|| server.relay_identity("berlin"));
        server
            .connect_as(name, root.clone(), alpn, identity)
            .await
            .is_ok()
    };
    assert!(connect(PUBLIC_NAME, &public, control::ALPN).await);
    assert!(!connect(PUBLIC_NAME, &ca, control::ALPN).await);
    assert!(connect(CLUSTER_SERVER_NAME, &ca, control::ALPN).await);
    assert!(connect(PUBLIC_NAME, &ca, cluster::ALPN).await);
    assert!(!connect(PUBLIC_NAME, &public, cluster::ALPN).await);
}

#[tokio::test]
async fn the_welcome_has_the_digest_of_the_cluster_ca() {
    let server = TestServer::start().await;
    let Ok(response::Kind::Welcome(welcome)) = server.raw_client().await.hello(1, 1).await else {
        panic!("not welcome");
    };
    let ca = CertificateDer::from_pem_file(&server.running.ca).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &ca);
    assert_eq!(welcome.authority, digest.as_ref());
}

#[tokio::test]
async fn a_reload_shows_renewed_certificates_and_keeps_the_old_ones_after_an_error() {
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = (files.path().join("own.crt"), files.path().join("own.key"));
    let write = || {
        let own = rcgen::generate_simple_self_signed(vec![PUBLIC_NAME.to_owned()]).unwrap();
        std::fs::write(&certificate, own.cert.pem()).unwrap();
        std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
        own.cert.der().clone()
    };
    let first = write();
    let server = TestServer::start_with(|config| {
        config.own_certificate = Some(OwnCertificate {
            certificate: certificate.clone(),
            key: key.clone(),
        });
    })
    .await;
    let shows = async |root: &CertificateDer<'static>| {
        let connecting = server.connect_as(PUBLIC_NAME, root.clone(), control::ALPN, None);
        connecting.await.is_ok()
    };
    assert!(shows(&first).await);
    let standing = server.client().await;

    let second = write();
    assert!(shows(&first).await, "no reload yet");
    server.running.certificates.reload().await;
    assert!(shows(&second).await && !shows(&first).await);
    // Open connections continue, and the certificate of the cluster has not changed.
    standing.hello(1, 1).await.unwrap();
    let ca = CertificateDer::from_pem_file(&server.running.ca).unwrap();
    let relay = Some(server.relay_identity("berlin"));
    let linked = server.connect_as(CLUSTER_SERVER_NAME, ca, cluster::ALPN, relay);
    assert!(linked.await.is_ok());

    write();
    std::fs::write(&key, "no key").unwrap();
    server.running.certificates.reload().await;
    assert!(shows(&second).await, "the old certificate stays");
    std::fs::remove_file(&certificate).unwrap();
    server.running.certificates.reload().await;
    assert!(shows(&second).await);
}

#[tokio::test]
async fn the_state_file_has_the_address_and_the_chain_ends_in_the_ca() {
    let server = TestServer::start().await;
    let path = server.dir.path().join(STATE_FILE);
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(state["listen"], server.running.addr.to_string());
    assert_eq!(state["fingerprint"], server.running.fingerprint);
    assert_eq!(state["ca"], server.running.ca.to_str().unwrap());
    let connection = server.connect(control::ALPN, None).await.unwrap();
    let chain = connection.peer_identity().unwrap();
    let chain = chain.downcast::<Vec<CertificateDer<'static>>>().unwrap();
    assert_eq!(
        chain[1],
        CertificateDer::from_pem_file(&server.running.ca).unwrap()
    );
    let TestServer { running, dir: _dir } = server;
    running.shutdown().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_second_server_on_a_data_folder_is_refused() {
    let server = TestServer::start().await;
    let second = serve(cheap(&server.dir)).await;
    assert!(matches!(second, Err(ServeError::InUse(_))));
}
