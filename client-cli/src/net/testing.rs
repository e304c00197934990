//! A control node that says what a test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use confab_e2ee::mls::{ToMember, wire as group_wire};
use confab_protocol::control::framing::{Deframer, StreamKind, encode};
use confab_protocol::control::{
    ALPN, CLUSTER_SERVER_NAME, ConferenceId, ErrorCode, JoinId, MAX_COMMIT_REQUEST, Refusal, Slug,
};
use confab_protocol::wire::{self, event, request, response};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, VarInt};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::broadcast;
use zeroize::Zeroizing;

use super::sign_in::Access;
use super::supervisor::{Supervisor, Update};
use super::trust::PinSource;
use super::{Fingerprint, Trust};
use crate::engine::testing;
use crate::store::Store;
use crate::store::sessions::StoredSession;

type Answer = dyn Fn(&request::Kind) -> response::Kind + Send + Sync;

/// A control node for tests.
pub(super) struct Node {
    pub(super) address: SocketAddr,
    pub(super) authority: Fingerprint,
    pub(super) requests: Arc<Mutex<Vec<request::Kind>>>,
    pub(super) connections: Arc<Mutex<Vec<quinn::Connection>>>,
    /// For each connection: true when it came with an address token.
    pub(super) known_addresses: Arc<Mutex<Vec<bool>>>,
    pub(super) endpoint: Endpoint,
    /// The time that it takes for each answer.
    pub(super) pause: Arc<Mutex<Duration>>,
    /// Events for every connection.
    events: broadcast::Sender<wire::Event>,
    /// Bytes for every connection's stream of the group.
    group: broadcast::Sender<Bytes>,
    signer: Arc<Signer>,
}

/// The certificate for clients that do not ask for the cluster's name.
enum Shown {
    Cluster,
    /// A certificate of this authority for this host.
    Public(Arc<Signer>, &'static str),
}

impl Node {
    pub(super) fn start(
        answer: impl Fn(&request::Kind) -> response::Kind + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(ALPN, answer)
    }

    pub(super) fn start_with(
        alpn: &[u8],
        answer: impl Fn(&request::Kind) -> response::Kind + Send + Sync + 'static,
    ) -> Self {
        Self::start_under(Arc::new(Signer::new()), Shown::Cluster, alpn, answer)
    }

    /// A node with a certificate of `public` for `host`, of a cluster of its own.
    pub(super) fn start_public(
        public: &Arc<Signer>,
        host: &'static str,
        answer: impl Fn(&request::Kind) -> response::Kind + Send + Sync + 'static,
    ) -> Self {
        let shown = Shown::Public(public.clone(), host);
        Self::start_under(Arc::new(Signer::new()), shown, ALPN, answer)
    }

    /// Another node of the same server.
    pub(super) fn start_beside(
        &self,
        answer: impl Fn(&request::Kind) -> response::Kind + Send + Sync + 'static,
    ) -> Self {
        Self::start_under(self.signer.clone(), Shown::Cluster, ALPN, answer)
    }

    /// Another node of the same server, with a certificate of `public` for `host` beside the cluster's.
    pub(super) fn start_public_beside(
        &self,
        public: &Arc<Signer>,
        host: &'static str,
        answer: impl Fn(&request::Kind) -> response::Kind + Send + Sync + 'static,
    ) -> Self {
        let shown = Shown::Public(public.clone(), host);
        Self::start_under(self.signer.clone(), shown, ALPN, answer)
    }

    fn start_under(
        signer: Arc<Signer>,
        shown: Shown,
        alpn: &[u8],
        answer: impl Fn(&request::Kind) -> response::Kind + Send + Sync + 'static,
    ) -> Self {
        let authority = signer.fingerprint();
        let cluster = Arc::new(signer.certificate(CLUSTER_SERVER_NAME));
        let others = match shown {
            Shown::Cluster => cluster.clone(),
            Shown::Public(public, host) => Arc::new(public.certificate(host)),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver { cluster, others }));
        tls.alpn_protocols = vec![alpn.to_vec()];
        let quic = QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(quic));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let node = Self {
            address: endpoint.local_addr().unwrap(),
            authority,
            requests: Arc::default(),
            connections: Arc::default(),
            known_addresses: Arc::default(),
            endpoint: endpoint.clone(),
            pause: Arc::default(),
            events: broadcast::channel(128).0,
            group: broadcast::channel(128).0,
            signer,
        };
        let (requests, connections) = (node.requests.clone(), node.connections.clone());
        let pause = node.pause.clone();
        let known_addresses = node.known_addresses.clone();
        let (events, group) = (node.events.clone(), node.group.clone());
        let answer: Arc<Answer> = Arc::new(answer);
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let is_known = incoming.remote_address_validated();
                known_addresses.lock().unwrap().push(is_known);
                if let Ok(connection) = incoming.await {
                    connections.lock().unwrap().push(connection.clone());
                    let told = (events.subscribe(), group.subscribe());
                    let seen = (requests.clone(), pause.clone());
                    tokio::spawn(serve(connection, authority, told, seen, answer.clone()));
                }
            }
        });
        node
    }

    pub(super) fn in_file(&self) -> Trust {
        Trust::Authorities {
            roots: self.signer.as_root(),
            authority: None,
        }
    }

    /// Trusted by the public authorities that this machine is made to have.
    pub(super) fn public(roots: &Signer, authority: Option<Fingerprint>) -> Trust {
        Trust::Public {
            roots: roots.as_root(),
            authority,
        }
    }

    pub(super) async fn access(&self, trust: Trust) -> (Access, tempfile::TempDir) {
        Self::access_at(self.address, trust).await
    }

    async fn access_at(address: SocketAddr, trust: Trust) -> (Access, tempfile::TempDir) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(Some(home.path().join("c"))).await.unwrap();
        let server = address.to_string().parse().unwrap();
        (Access::new(server, trust, store).await.unwrap(), home)
    }

    pub(super) fn pinned(&self) -> Trust {
        Trust::Pinned {
            pin: self.authority,
            source: PinSource::Flag,
        }
    }

    /// An access that has logged in; its token is to be exchanged after `refresh_after_ms`.
    pub(super) async fn logged_in(&self, refresh_after_ms: u64) -> (Access, tempfile::TempDir) {
        self.logged_in_at(self.address, refresh_after_ms).await
    }

    /// The same, by a path that leads to the node.
    pub(super) async fn logged_in_at(
        &self,
        path: SocketAddr,
        refresh_after_ms: u64,
    ) -> (Access, tempfile::TempDir) {
        let (access, home) = Self::access_at(path, self.pinned()).await;
        let session = StoredSession {
            username: "ann".into(),
            token: Zeroizing::new(vec![1; 60]),
            expires_ms: u64::MAX,
            refresh_after_ms,
            nodes: Vec::new(),
        };
        access
            .store
            .lock_sessions()
            .await
            .unwrap()
            .put(&access.server.to_string(), session)
            .await
            .unwrap();
        (access, home)
    }

    pub(super) fn hang_up(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.close(VarInt::from_u32(7), b"test");
        }
    }

    /// Tells something on every connection.
    pub(super) fn tell(&self, kind: event::Kind) {
        let event = wire::Event {
            kind: Some(kind),
            ..wire::Event::default()
        };
        self.events.send(event).unwrap();
    }

    /// Says something to a group on every connection.
    pub(super) fn tell_group(
        &self,
        conference: ConferenceId,
        join: Option<JoinId>,
        message: &ToMember,
    ) {
        for part in group_wire::to_stream(conference, join, message) {
            self.group.send(part).unwrap();
        }
    }

    /// Writes these bytes on every connection's stream of the group.
    pub(super) fn tell_group_bytes(&self, bytes: &[u8]) {
        self.group.send(Bytes::copy_from_slice(bytes)).unwrap();
    }

    /// The messages of members so far, by request.
    pub(super) fn group_requests(&self) -> Vec<wire::SendToGroup> {
        let requests = self.requests.lock().unwrap();
        let to_group = requests.iter().filter_map(|request| match request {
            request::Kind::SendToGroup(messages) => Some(messages.clone()),
            _ => None,
        });
        to_group.collect()
    }

    /// The joins so far.
    pub(super) fn join_requests(&self) -> Vec<wire::JoinRoom> {
        let requests = self.requests.lock().unwrap();
        let joins = requests.iter().filter_map(|request| match request {
            request::Kind::JoinRoom(join) => Some(join.clone()),
            _ => None,
        });
        joins.collect()
    }

    /// The join ids that the joins so far wanted to take up.
    pub(super) fn joins(&self) -> Vec<Vec<u8>> {
        let joins = self.join_requests().into_iter();
        joins.map(|join| join.resume_join_id.to_vec()).collect()
    }
}

/// The authority of a server's nodes.
pub(super) struct Signer {
    authority: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Signer {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { authority, issuer }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.authority)
    }

    pub(super) fn as_root(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        Arc::new(roots)
    }

    fn certificate(&self, name: &str) -> CertifiedKey {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(vec![leaf, self.authority.clone()], key, &provider).unwrap()
    }
}

/// As control does: the cluster's certificate for its name, another for everything else.
#[derive(Debug)]
struct Resolver {
    cluster: Arc<CertifiedKey>,
    others: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_cluster = hello.server_name() == Some(CLUSTER_SERVER_NAME);
        Some(
            if is_cluster {
                &self.cluster
            } else {
                &self.others
            }
            .clone(),
        )
    }
}

async fn serve(
    connection: quinn::Connection,
    authority: Fingerprint,
    (mut told, mut to_group): (broadcast::Receiver<wire::Event>, broadcast::Receiver<Bytes>),
    (requests, pause): (Arc<Mutex<Vec<request::Kind>>>, Arc<Mutex<Duration>>),
    answer: Arc<Answer>,
) {
    // A stream of a later version, which the client has to stop.
    let mut unknown = connection.open_uni().await.unwrap();
    unknown.write_all(&[77]).await.unwrap();
    let mut group = connection.open_uni().await.unwrap();
    group
        .write_all(&[StreamKind::Group.to_byte()])
        .await
        .unwrap();
    tokio::spawn(async move {
        while let Ok(message) = to_group.recv().await {
            if group.write_all(&message).await.is_err() {
                return;
            }
        }
    });
    // As the control node does: the event stream opens with its first event, here at once.
    let mut events = connection.open_uni().await.unwrap();
    events
        .write_all(&[StreamKind::Events.to_byte()])
        .await
        .unwrap();
    let participant = wire::Participant::from(&testing::participant(3));
    let event = wire::Event {
        conference_id: testing::CONFERENCE.to_wire(),
        revision: 2,
        kind: Some(event::Kind::Joined(wire::ParticipantJoined {
            participant: Some(participant),
        })),
    };
    events.write_all(&encode(&event)).await.unwrap();
    tokio::spawn(async move {
        while let Ok(event) = told.recv().await {
            if events.write_all(&encode(&event)).await.is_err() {
                return;
            }
        }
    });
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        let bytes = receive.read_to_end(MAX_COMMIT_REQUEST).await.unwrap();
        let mut deframer = Deframer::new(MAX_COMMIT_REQUEST);
        deframer.push(&bytes);
        let kind = deframer
            .next::<wire::Request>()
            .unwrap()
            .unwrap()
            .kind
            .unwrap();
        let mut kind_of_answer = answer(&kind);
        requests.lock().unwrap().push(kind);
        if let response::Kind::Welcome(welcome) = &mut kind_of_answer
            && welcome.authority.is_empty()
        {
            welcome.authority = authority.as_bytes().to_vec().into();
        }
        let response = encode(&wire::Response {
            kind: Some(kind_of_answer),
        });
        let pause = *pause.lock().unwrap();
        tokio::time::sleep(pause).await;
        // The client may be gone already.
        let _ = send.write_all(&response).await;
        let _ = send.finish();
    }
}

/// The answers of a well-behaved node.
pub(super) fn kindly(request: &request::Kind) -> response::Kind {
    let account = Some(wire::Account {
        username: "ann".into(),
        ..wire::Account::default()
    });
    match request {
        request::Kind::Hello(_) => response::Kind::Welcome(wire::Welcome {
            version: 1,
            server_time_ms: 1000,
            ..wire::Welcome::default()
        }),
        request::Kind::Authenticate(_) => response::Kind::Authenticated(wire::Authenticated {
            account,
            expires_ms: u64::MAX,
            refresh_after_ms: 1_000_000,
        }),
        request::Kind::Refresh(_) => response::Kind::SessionGranted(wire::SessionGranted {
            token: vec![2; 60].into(),
            expires_ms: u64::MAX,
            refresh_after_ms: 1_000_000,
            account,
            ..wire::SessionGranted::default()
        }),
        request::Kind::JoinRoom(_) => room_joined(),
        _ => response::Kind::Done(wire::Done::default()),
    }
}

pub(super) fn room_joined() -> response::Kind {
    let joined = testing::joined(0, &[0, 1], 1);
    let everyone = [&joined.me].into_iter().chain(&joined.others);
    response::Kind::RoomJoined(wire::RoomJoined {
        conference: Some(wire::Conference {
            id: joined.conference.to_wire(),
            ..wire::Conference::default()
        }),
        revision: joined.revision,
        participants: everyone.map(Into::into).collect(),
        self_sender: joined.me.sender.into(),
        media: joined.media.as_ref().map(Into::into),
        delivery_key: joined.delivery_key.to_vec().into(),
        key_scheme: wire::KeyScheme::Mls.into(),
        media_version: 1,
        resume_secret: vec![4; 16].into(),
    })
}

pub(super) fn refuse(code: ErrorCode) -> response::Kind {
    response::Kind::Error(Refusal::new(code, "no").into())
}

pub(super) fn slug() -> Slug {
    "friday".parse().unwrap()
}

pub(super) async fn next(supervisor: &mut Supervisor) -> Update {
    let next = tokio::time::timeout(Duration::from_secs(5), supervisor.updates.recv());
    next.await.expect("an update in time").expect("an update")
}

/// Sends every join to another node.
pub(super) fn redirecting(to: SocketAddr) -> impl Fn(&request::Kind) -> response::Kind {
    move |request| match request {
        request::Kind::JoinRoom(_) => response::Kind::Redirect(wire::Redirect {
            nodes: vec![to.to_string()],
        }),
        other => kindly(other),
    }
}

/// Tells that there is another node.
pub(super) fn telling(of: SocketAddr) -> impl Fn(&request::Kind) -> response::Kind {
    move |request| match kindly(request) {
        response::Kind::Welcome(welcome) => response::Kind::Welcome(wire::Welcome {
            nodes: vec![of.to_string()],
            ..welcome
        }),
        other => other,
    }
}
