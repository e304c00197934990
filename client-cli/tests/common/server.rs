//! A control node that keeps what it hears, and whose certificates can be exchanged.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use confab_protocol::control::framing::{Deframer, encode};
use confab_protocol::control::{ALPN, CLUSTER_SERVER_NAME, MAX_REQUEST, TOKEN_LEN};
use confab_protocol::wire::{self, request, response};
use quinn::Endpoint;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Identity;

type Answer = dyn Fn(&request::Kind) -> response::Kind + Send + Sync;

pub struct FakeServer {
    pub address: SocketAddr,
    identity: Arc<Mutex<Identity>>,
    requests: Arc<Mutex<Vec<request::Kind>>>,
    connections: Arc<Mutex<Vec<quinn::Connection>>>,
    answer: Arc<Mutex<Arc<Answer>>>,
    /// Why it closes a connection on which it hears something.
    goodbye: Arc<Mutex<Option<String>>>,
    _endpoint: Endpoint,
}

impl FakeServer {
    pub fn start(identity: Identity) -> Self {
        let identity = Arc::new(Mutex::new(identity));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(identity.clone())));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let quic = QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(quic));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let server = Self {
            address: endpoint.local_addr().unwrap(),
            identity,
            requests: Arc::default(),
            connections: Arc::default(),
            answer: Arc::new(Mutex::new(Arc::new(kindly))),
            goodbye: Arc::default(),
            _endpoint: endpoint.clone(),
        };
        let (identity, requests) = (server.identity.clone(), server.requests.clone());
        let (connections, answer) = (server.connections.clone(), server.answer.clone());
        let goodbye = server.goodbye.clone();
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let Ok(connection) = incoming.await else {
                    continue;
                };
                connections.lock().unwrap().push(connection.clone());
                let authority = identity.lock().unwrap().authority;
                let (requests, answer) = (requests.clone(), answer.lock().unwrap().clone());
                let goodbye = goodbye.lock().unwrap().clone();
                tokio::spawn(async move {
                    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                        if let Some(reason) = &goodbye {
                            connection.close(9u32.into(), reason.as_bytes());
                            return;
                        }
                        let bytes = receive.read_to_end(MAX_REQUEST + 4).await.unwrap();
                        let mut deframer = Deframer::new(MAX_REQUEST);
                        deframer.push(&bytes);
                        let request = deframer.next::<wire::Request>().unwrap().unwrap();
                        let kind = request.kind.unwrap();
                        let mut told = answer(&kind);
                        if let response::Kind::Welcome(welcome) = &mut told {
                            welcome.authority = authority.as_bytes().to_vec().into();
                        }
                        requests.lock().unwrap().push(kind);
                        let response = encode(&wire::Response { kind: Some(told) });
                        // The client may be gone already.
                        let _ = send.write_all(&response).await;
                        let _ = send.finish();
                    }
                });
            }
        });
        server
    }

    pub fn by_address(&self) -> String {
        self.address.to_string()
    }

    pub fn by_name(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// From now on it shows other certificates, and what it has heard is forgotten: somebody else has its place.
    pub fn becomes(&self, identity: Identity) {
        *self.identity.lock().unwrap() = identity;
        self.heard().clear();
    }

    /// From now on it says something else.
    pub fn answers(
        &self,
        answer: impl Fn(&request::Kind) -> response::Kind + Send + Sync + 'static,
    ) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    /// From now on it closes each connection for this reason.
    pub fn hangs_up(&self, reason: &str) {
        *self.goodbye.lock().unwrap() = Some(reason.to_owned());
    }

    /// The requests that have come.
    pub fn heard(&self) -> MutexGuard<'_, Vec<request::Kind>> {
        self.requests.lock().unwrap()
    }

    /// How many connections there were.
    pub fn met(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// Waits until no connection is open.
    pub async fn is_alone(&self) {
        let connections = self.connections.lock().unwrap().clone();
        for connection in connections {
            tokio::time::timeout(Duration::from_secs(20), connection.closed())
                .await
                .expect("the client closes it");
        }
    }
}

/// The answers of a server with the account `ann`.
pub fn kindly(request: &request::Kind) -> response::Kind {
    let account = wire::Account {
        id: vec![7; 16].into(),
        username: "ann".into(),
        email: "ann@example.org".into(),
        birthday: "1990-01-31".into(),
        created_ms: 1,
        disabled: false,
        kind: wire::AccountKind::Person.into(),
        email_verified: false,
    };
    match request {
        request::Kind::Hello(_) => response::Kind::Welcome(wire::Welcome {
            version: 1,
            server_time_ms: 1000,
            email_required: true,
            birthday_required: true,
            ..wire::Welcome::default()
        }),
        request::Kind::Register(_) | request::Kind::Login(_) => {
            response::Kind::SessionGranted(wire::SessionGranted {
                token: vec![1; TOKEN_LEN].into(),
                expires_ms: u64::MAX,
                refresh_after_ms: u64::MAX,
                account: Some(account),
                ..wire::SessionGranted::default()
            })
        }
        request::Kind::Authenticate(_) => response::Kind::Authenticated(wire::Authenticated {
            account: Some(account),
            expires_ms: u64::MAX,
            refresh_after_ms: u64::MAX,
        }),
        request::Kind::WhoAmI(_) => response::Kind::Account(account),
        _ => response::Kind::Done(wire::Done::default()),
    }
}

#[derive(Debug)]
struct Resolver(Arc<Mutex<Identity>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let identity = self.0.lock().unwrap();
        let is_cluster = hello.server_name() == Some(CLUSTER_SERVER_NAME);
        Some(
            if is_cluster {
                &identity.cluster
            } else {
                &identity.others
            }
            .clone(),
        )
    }
}
