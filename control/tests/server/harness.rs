//! A server and clients for tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use confab_control::domain::HashCost;
use confab_control::tls::authority::Authority;
use confab_control::{Config, Running, serve};
use confab_protocol::cluster;
use confab_protocol::control::framing::{self, Deframer, StreamKind};
use confab_protocol::control::{
    self, CLUSTER_SERVER_NAME, ErrorCode, MAX_GROUP_MESSAGE, MAX_RESPONSE,
};
use confab_protocol::wire::{self, event, request, response};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::mpsc;

use crate::relay::FakeRelay;

/// Time limit for any step, long enough for slow machines.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Source address of clients by default.
pub const LOCALHOST: [u8; 4] = [127, 0, 0, 1];
pub const PASSWORD: &str = "correct horse battery";

pub struct TestServer {
    pub running: Running,
    pub dir: tempfile::TempDir,
}

/// Settings with the cheapest password hashes.
pub fn cheap(dir: &tempfile::TempDir) -> Config {
    let mut config = Config::local(dir.path());
    config.accounts.cost = HashCost {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };
    config
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = cheap(&dir);
        change(&mut config);
        let running = serve(config).await.unwrap();
        Self { running, dir }
    }

    pub async fn client(&self) -> Client {
        let client = self.raw_client().await;
        client.hello(1, 1).await.unwrap();
        client
    }

    /// A client before its hello.
    pub async fn raw_client(&self) -> Client {
        let connection = self.connect(control::ALPN, None).await.unwrap();
        Client::new(connection)
    }

    /// A signed-in client of a new account with this name.
    pub async fn user(&self, name: &str) -> Client {
        let client = self.client().await;
        client.register(name).await.unwrap();
        client
    }

    pub async fn connect(
        &self,
        alpn: &[u8],
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Connection, quinn::ConnectionError> {
        self.connect_from(LOCALHOST, self.settings(alpn, identity))
            .await
    }

    /// Connects with server name `name`, and trusts `root`.
    pub async fn connect_as(
        &self,
        name: &str,
        root: CertificateDer<'static>,
        alpn: &[u8],
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Connection, quinn::ConnectionError> {
        let endpoint = Endpoint::client(SocketAddr::from((LOCALHOST, 0))).unwrap();
        let settings = settings(root, alpn, identity);
        let connecting = endpoint.connect_with(settings, self.running.addr, name);
        tokio::time::timeout(PATIENCE, connecting.unwrap())
            .await
            .unwrap()
    }

    /// QUIC settings of a client.
    pub fn settings(
        &self,
        alpn: &[u8],
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> quinn::ClientConfig {
        let ca = CertificateDer::from_pem_file(&self.running.ca).unwrap();
        settings(ca, alpn, identity)
    }

    /// Connects from this address; all of 127.0.0.0/8 is local.
    pub async fn connect_from(
        &self,
        address: [u8; 4],
        settings: quinn::ClientConfig,
    ) -> Result<Connection, quinn::ConnectionError> {
        let endpoint = Endpoint::client(SocketAddr::from((address, 0))).unwrap();
        let to = self.running.addr;
        let connecting = endpoint.connect_with(settings, to, CLUSTER_SERVER_NAME);
        tokio::time::timeout(PATIENCE, connecting.unwrap())
            .await
            .unwrap()
    }

    /// A client from this address after its hello.
    pub async fn client_from(&self, address: [u8; 4]) -> Client {
        let settings = self.settings(control::ALPN, None);
        let connection = self.connect_from(address, settings).await.unwrap();
        let client = Client::new(connection);
        client.hello(1, 1).await.unwrap();
        client
    }

    /// Links a relay that obeys all commands.
    pub async fn relay(&self, name: &str) -> FakeRelay {
        self.relay_with(name, [7; 16], 1000).await
    }

    pub async fn relay_with(&self, name: &str, boot: [u8; 16], max_sessions: u32) -> FakeRelay {
        let linked = self.running.peer_api().relays.linked();
        let identity = self.relay_identity(name);
        let connection = self.connect(cluster::ALPN, Some(identity)).await.unwrap();
        let relay = FakeRelay::link_as(connection, boot, max_sessions).await;
        // A relay that links again replaces its old link.
        eventually(|| self.running.peer_api().relays.linked() >= linked.max(1)).await;
        relay
    }

    /// Links a relay with an identity that another node of the cluster has issued.
    pub async fn relay_of(&self, home: &Self, name: &str) -> FakeRelay {
        let identity = home.relay_identity(name);
        let connection = self.connect(cluster::ALPN, Some(identity)).await.unwrap();
        FakeRelay::link_as(connection, [7; 16], 1000).await
    }

    pub fn relay_identity(
        &self,
        name: &str,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let authority = Authority::open(self.dir.path()).unwrap();
        let out = self.dir.path().join(name);
        let now = confab_control::clock::Clock::System.now();
        let files = authority
            .issue_relay(&name.parse().unwrap(), &out, now)
            .unwrap();
        let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        (chain.map(Result::unwrap).collect(), key)
    }
}

pub fn settings(
    root: CertificateDer<'static>,
    alpn: &[u8],
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> quinn::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut tls = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Waits until the condition holds.
pub async fn eventually(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("it becomes so");
}

pub struct Client {
    pub connection: Connection,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<wire::Event>>,
    group: tokio::sync::Mutex<mpsc::UnboundedReceiver<wire::ToGroup>>,
}

async fn read_all<M: prost::Message + Default>(
    mut stream: RecvStream,
    to: mpsc::UnboundedSender<M>,
) {
    let mut deframer = Deframer::new(MAX_GROUP_MESSAGE);
    while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
        deframer.push(&chunk.bytes);
        while let Some(message) = deframer.next::<M>().unwrap() {
            let _ = to.send(message);
        }
    }
}

/// Resume secrets of all joins in this process, by join ID, so that clients of a test can resume each other's joins.
static SECRETS: Mutex<BTreeMap<Bytes, Bytes>> = Mutex::new(BTreeMap::new());

fn remember_secret(joined: &wire::RoomJoined) {
    if !joined.resume_secret.is_empty() {
        let mut participants = joined.participants.iter();
        let own = participants.find(|participant| participant.sender == joined.self_sender);
        let join_id = own.unwrap().join_id.clone();
        let secret = joined.resume_secret.clone();
        SECRETS.lock().unwrap().insert(join_id, secret);
    }
}

pub fn secret_of(join_id: &Bytes) -> Bytes {
    let secrets = SECRETS.lock().unwrap();
    secrets.get(join_id).cloned().unwrap_or_default()
}

pub type Answer = Result<response::Kind, wire::Error>;

impl Client {
    pub fn new(connection: Connection) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let (group_sender, group) = mpsc::unbounded_channel();
        let accepting = connection.clone();
        let client = Self::with_channels(connection, events, group);
        tokio::spawn(async move {
            while let Ok(mut stream) = accepting.accept_uni().await {
                let mut kind = [0];
                stream.read_exact(&mut kind).await.unwrap();
                match StreamKind::from_byte(kind[0]).unwrap() {
                    StreamKind::Events => tokio::spawn(read_all(stream, sender.clone())),
                    StreamKind::Group => tokio::spawn(read_all(stream, group_sender.clone())),
                };
            }
        });
        client
    }

    /// A client that does not read its events.
    pub fn without_events(connection: Connection) -> Self {
        let (_, events) = mpsc::unbounded_channel();
        let (_, group) = mpsc::unbounded_channel();
        Self::with_channels(connection, events, group)
    }

    fn with_channels(
        connection: Connection,
        events: mpsc::UnboundedReceiver<wire::Event>,
        group: mpsc::UnboundedReceiver<wire::ToGroup>,
    ) -> Self {
        Self {
            connection,
            events: tokio::sync::Mutex::new(events),
            group: tokio::sync::Mutex::new(group),
        }
    }

    /// An event, if one has come.
    pub async fn event_that_has_come(&self) -> Option<wire::Event> {
        self.events.lock().await.try_recv().ok()
    }

    /// A message on the group stream, if one has come.
    pub async fn any_group_message(&self) -> Option<wire::ToGroup> {
        self.group.lock().await.try_recv().ok()
    }

    /// Sends a request without reading the response.
    pub async fn begin(&self, kind: request::Kind) -> Option<RecvStream> {
        let (mut send, recv) = self.connection.open_bi().await.ok()?;
        let request = wire::Request { kind: Some(kind) };
        send.write_all(&framing::encode(&request)).await.ok()?;
        send.finish().ok()?;
        Some(recv)
    }

    pub async fn ask(&self, kind: request::Kind) -> Answer {
        let request = wire::Request { kind: Some(kind) };
        self.ask_bytes(&framing::encode(&request)).await.unwrap()
    }

    /// As [`Self::ask`], within the server's rate limit.
    pub async fn ask_slowly(&self, kind: request::Kind) -> Answer {
        loop {
            match self.ask(kind.clone()).await {
                Err(error) if error.code() == ErrorCode::Throttled => {
                    let pause = Duration::from_millis(error.retry_after_ms.into());
                    tokio::time::sleep(pause).await;
                }
                answer => return answer,
            }
        }
    }

    /// Sends a request that must be refused. Returns the error code.
    pub async fn refused(&self, kind: request::Kind) -> ErrorCode {
        let shown = format!("{kind:?}");
        match self.ask(kind).await {
            Err(error) => error.code(),
            Ok(answer) => panic!("{shown} was answered by {answer:?}"),
        }
    }

    pub async fn done(&self, kind: request::Kind) {
        let answer = self.ask(kind).await;
        assert!(matches!(answer, Ok(response::Kind::Done(_))), "{answer:?}");
    }

    /// Sends raw bytes on a stream; `None` if the connection closes before the response.
    pub async fn ask_bytes(&self, bytes: &[u8]) -> Option<Answer> {
        let asking = async {
            let (mut send, recv) = self.connection.open_bi().await.ok()?;
            // The server may have responded and stopped the stream before all bytes are sent.
            let _ = send.write_all(bytes).await;
            let _ = send.finish();
            read_answer(recv).await
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .expect("an answer in time")
    }

    pub async fn hello(&self, min_version: u32, max_version: u32) -> Answer {
        let agent = "test/1".to_owned();
        self.ask(request::Kind::Hello(wire::Hello {
            min_version,
            max_version,
            agent,
        }))
        .await
    }

    pub async fn register(&self, name: &str) -> Result<wire::SessionGranted, wire::Error> {
        granted(self.ask(registration(name)).await)
    }

    pub async fn login(
        &self,
        name: &str,
        password: &str,
    ) -> Result<wire::SessionGranted, wire::Error> {
        granted(self.ask(login(name, password)).await)
    }

    pub async fn refresh(&self, token: &Bytes) -> Result<wire::SessionGranted, wire::Error> {
        let token = token.clone();
        granted(
            self.ask(request::Kind::Refresh(wire::Refresh { token }))
                .await,
        )
    }

    pub async fn authenticate(&self, token: &Bytes) -> Answer {
        let token = token.clone();
        self.ask(request::Kind::Authenticate(wire::Authenticate { token }))
            .await
    }

    pub async fn create(&self, slug: &str, visibility: wire::Visibility) {
        let answer = self.ask(create(slug, visibility)).await;
        assert!(
            matches!(answer, Ok(response::Kind::Conference(_))),
            "{answer:?}"
        );
    }

    pub async fn join(&self, slug: &str) -> Result<wire::RoomJoined, wire::Error> {
        self.resume(slug, &Bytes::new()).await
    }

    pub async fn resume(&self, slug: &str, join: &Bytes) -> Result<wire::RoomJoined, wire::Error> {
        self.resume_with(slug, join, &Bytes::new()).await
    }

    /// Resumes a join, with a media session on which the relay answers.
    pub async fn resume_with(
        &self,
        slug: &str,
        join: &Bytes,
        live: &Bytes,
    ) -> Result<wire::RoomJoined, wire::Error> {
        self.join_by(wire::JoinRoom {
            slug: slug.to_owned(),
            resume_join_id: join.clone(),
            live_connection_id: live.clone(),
            resume_secret: secret_of(join),
            ..Default::default()
        })
        .await
    }

    /// Resumes a join in this state of the room's group.
    pub async fn resume_in_group(
        &self,
        slug: &str,
        join: &Bytes,
        group: Option<wire::GroupEpoch>,
    ) -> Result<wire::RoomJoined, wire::Error> {
        self.join_by(wire::JoinRoom {
            slug: slug.to_owned(),
            resume_join_id: join.clone(),
            resume_secret: secret_of(join),
            group,
            ..Default::default()
        })
        .await
    }

    async fn join_by(&self, join: wire::JoinRoom) -> Result<wire::RoomJoined, wire::Error> {
        match self.ask(request::Kind::JoinRoom(join)).await? {
            response::Kind::RoomJoined(joined) => {
                remember_secret(&joined);
                Ok(joined)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next event.
    pub async fn event(&self) -> event::Kind {
        self.next_event().await.kind.unwrap()
    }

    /// The next event that is not a probe of the relay.
    pub async fn next_event(&self) -> wire::Event {
        loop {
            let event = self.any_event().await;
            if !matches!(event.kind, Some(event::Kind::ProbeMedia(_))) {
                return event;
            }
        }
    }

    /// Waits for a probe of the relay and answers it.
    pub async fn answer_probe(&self, alive: bool) {
        let (probe, conference_id) = loop {
            let event = self.any_event().await;
            if let Some(event::Kind::ProbeMedia(probe)) = event.kind {
                break (probe, event.conference_id);
            }
        };
        let report = wire::ReportMedia {
            conference_id,
            resume_secret: secret_of(&probe.join_id),
            join_id: probe.join_id,
            connection_id: probe.connection_id,
            alive,
        };
        self.done(request::Kind::ReportMedia(report)).await;
    }

    async fn any_event(&self) -> wire::Event {
        let mut events = self.events.lock().await;
        let next = tokio::time::timeout(PATIENCE, events.recv()).await;
        next.expect("an event in time").expect("the stream goes on")
    }

    /// Waits until the server closes the connection. Returns the error code.
    pub async fn closed(&self) -> u64 {
        let closed = tokio::time::timeout(PATIENCE, self.connection.closed()).await;
        match closed.expect("the connection ends in time") {
            quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("{other}"),
        }
    }
}

async fn read_answer(mut recv: RecvStream) -> Option<Answer> {
    let bytes = recv
        .read_to_end(MAX_RESPONSE + framing::LENGTH_LEN)
        .await
        .ok()?;
    let mut deframer = Deframer::new(MAX_RESPONSE);
    deframer.push(&bytes);
    let response: wire::Response = deframer.next().unwrap().expect("a whole answer");
    deframer.finish().unwrap();
    Some(match response.kind.expect("an answer of a known kind") {
        response::Kind::Error(error) => Err(error),
        kind => Ok(kind),
    })
}

fn granted(answer: Answer) -> Result<wire::SessionGranted, wire::Error> {
    match answer? {
        response::Kind::SessionGranted(granted) => Ok(granted),
        other => panic!("{other:?}"),
    }
}

pub fn registration(name: &str) -> request::Kind {
    request::Kind::Register(wire::Register {
        username: name.to_owned(),
        email: format!("{name}@example.org"),
        password: PASSWORD.to_owned(),
        birthday: "1990-01-31".to_owned(),
        device: "laptop".to_owned(),
        invitation: None,
    })
}

pub fn login(name: &str, password: &str) -> request::Kind {
    request::Kind::Login(wire::Login {
        name: name.to_owned(),
        password: password.to_owned(),
        device: "phone".to_owned(),
        device_cookie: Bytes::new(),
    })
}

pub fn create(slug: &str, visibility: wire::Visibility) -> request::Kind {
    request::Kind::CreateConference(wire::CreateConference {
        slug: slug.to_owned(),
        title: String::new(),
        visibility: visibility.into(),
        region: String::new(),
    })
}

pub fn mute(slug: &str, username: &str, muted: bool) -> request::Kind {
    let (slug, username) = (slug.to_owned(), username.to_owned());
    request::Kind::Mute(wire::Mute {
        slug,
        username,
        muted,
    })
}

pub fn kick(slug: &str, username: &str) -> request::Kind {
    let (slug, username) = (slug.to_owned(), username.to_owned());
    request::Kind::Kick(wire::Kick { slug, username })
}

pub fn ban(slug: &str, username: &str) -> request::Kind {
    let (slug, username) = (slug.to_owned(), username.to_owned());
    request::Kind::Ban(wire::Ban { slug, username })
}

pub fn set_role(slug: &str, username: &str, role: wire::Role) -> request::Kind {
    let (slug, username) = (slug.to_owned(), username.to_owned());
    request::Kind::SetRole(wire::SetRole {
        slug,
        username,
        role: role.into(),
        only_of_banned: false,
    })
}

pub fn invite(slug: &str, username: &str) -> request::Kind {
    let (slug, username) = (slug.to_owned(), username.to_owned());
    request::Kind::Invite(wire::Invite {
        slug,
        username,
        role: 0,
    })
}
