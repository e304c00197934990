//! A server, clients and relays for tests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use confab_control::accounts::HashCost;
use confab_control::tls::authority::Authority;
use confab_control::{Config, Running, serve};
use confab_protocol::cluster;
use confab_protocol::cluster::{Action, Command, Fence};
use confab_protocol::control::framing::{self, Deframer};
use confab_protocol::control::{self, CLUSTER_SERVER_NAME, ConferenceId, ErrorCode, MAX_RESPONSE};
use confab_protocol::wire::{self, CommandOutcome, event, request, response};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::mpsc;

/// No machine is so slow that a step takes longer.
pub const PATIENCE: Duration = Duration::from_secs(15);
pub const PASSWORD: &str = "correct horse battery";

pub struct TestServer {
    pub running: Running,
    pub dir: tempfile::TempDir,
}

/// The server with hashes that cost next to nothing.
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
        let client = self.stranger().await;
        client.hello(1, 1).await.unwrap();
        client
    }

    /// A client that has not said hello.
    pub async fn stranger(&self) -> Client {
        let connection = self.connect(control::ALPN, None).await.unwrap();
        Client::new(connection)
    }

    /// A signed-in client of a new account.
    pub async fn person(&self, name: &str) -> Client {
        let client = self.client().await;
        client.register(name).await.unwrap();
        client
    }

    pub async fn connect(
        &self,
        alpn: &[u8],
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Connection, quinn::ConnectionError> {
        let ca = CertificateDer::from_pem_file(&self.running.ca).unwrap();
        self.connect_as(CLUSTER_SERVER_NAME, ca, alpn, identity)
            .await
    }

    /// Asks for `name` and trusts `root`.
    pub async fn connect_as(
        &self,
        name: &str,
        root: CertificateDer<'static>,
        alpn: &[u8],
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Connection, quinn::ConnectionError> {
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
        let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        endpoint.set_default_client_config(config);
        let connecting = endpoint.connect(self.running.addr, name).unwrap();
        tokio::time::timeout(PATIENCE, connecting).await.unwrap()
    }

    /// A linked relay that obeys.
    pub async fn relay(&self, name: &str) -> FakeRelay {
        self.relay_with(name, [7; 16], 1000).await
    }

    pub async fn relay_with(&self, name: &str, boot: [u8; 16], max_sessions: u32) -> FakeRelay {
        let linked = self.running.server.relays.linked();
        let identity = self.relay_identity(name);
        let connection = self.connect(cluster::ALPN, Some(identity)).await.unwrap();
        let relay = FakeRelay::greet(connection, boot, max_sessions).await;
        // A relay that links again takes its own place.
        eventually(|| self.running.server.relays.linked() >= linked.max(1)).await;
        relay
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

/// Waits until it is so.
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
}

pub type Answer = Result<response::Kind, wire::Error>;

impl Client {
    fn new(connection: Connection) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let accepting = connection.clone();
        tokio::spawn(async move {
            let Ok(mut stream) = accepting.accept_uni().await else {
                return;
            };
            let mut deframer = Deframer::new(MAX_RESPONSE);
            while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
                deframer.push(&chunk.bytes);
                while let Some(event) = deframer.next::<wire::Event>().unwrap() {
                    let _ = sender.send(event);
                }
            }
        });
        Self {
            connection,
            events: tokio::sync::Mutex::new(events),
        }
    }

    pub async fn ask(&self, kind: request::Kind) -> Answer {
        let request = wire::Request { kind: Some(kind) };
        self.ask_bytes(&framing::encode(&request)).await.unwrap()
    }

    /// The code of the refusal that this request gets.
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

    /// `None` when the connection is over before the answer.
    pub async fn ask_bytes(&self, bytes: &[u8]) -> Option<Answer> {
        let asking = async {
            let (mut send, recv) = self.connection.open_bi().await.ok()?;
            // The server may have answered, and stopped listening, before all was sent.
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
        let (slug, resume_join_id) = (slug.to_owned(), join.clone());
        match self
            .ask(request::Kind::JoinRoom(wire::JoinRoom {
                slug,
                resume_join_id,
                ..Default::default()
            }))
            .await?
        {
            response::Kind::RoomJoined(joined) => Ok(joined),
            other => panic!("{other:?}"),
        }
    }

    /// The next event.
    pub async fn event(&self) -> event::Kind {
        self.whole_event().await.kind.unwrap()
    }

    pub async fn whole_event(&self) -> wire::Event {
        let mut events = self.events.lock().await;
        let next = tokio::time::timeout(PATIENCE, events.recv()).await;
        next.expect("an event in time").expect("the stream goes on")
    }

    /// The code with which the server closed the connection.
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
    })
}

pub fn login(name: &str, password: &str) -> request::Kind {
    request::Kind::Login(wire::Login {
        name: name.to_owned(),
        password: password.to_owned(),
        device: "phone".to_owned(),
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

/// A relay that does as it is told, or as the test tells it.
pub struct FakeRelay {
    pub connection: Connection,
    pub boot: [u8; 16],
    shared: Arc<Shared>,
}

type Fences = Arc<Mutex<HashMap<ConferenceId, Fence>>>;

struct Shared {
    /// Every command that was not fenced, and the connection id that an OpenMedia was given.
    seen: Mutex<Vec<(Command, u64)>>,
    /// The highest fence of each conference, whichever link it came by.
    fences: Fences,
    /// What it answers to what is not fenced; `None` keeps it silent.
    outcome: Mutex<Option<CommandOutcome>>,
    /// What it says of itself.
    load: Mutex<wire::RelayLoad>,
    send: tokio::sync::Mutex<SendStream>,
}

impl FakeRelay {
    /// Links to another node, too: it is the same relay.
    pub async fn link(&self, server: &TestServer, name: &str) -> Self {
        let identity = server.relay_identity(name);
        let connection = server.connect(cluster::ALPN, Some(identity)).await.unwrap();
        let outcome = Some(CommandOutcome::Obeyed);
        let fences = self.shared.fences.clone();
        Self::greet_as(connection, self.boot, 1000, (outcome, fences)).await
    }

    async fn greet(connection: Connection, boot: [u8; 16], max_sessions: u32) -> Self {
        Self::greet_with(connection, boot, max_sessions, Some(CommandOutcome::Obeyed)).await
    }

    pub async fn greet_with(
        connection: Connection,
        boot: [u8; 16],
        max_sessions: u32,
        outcome: Option<CommandOutcome>,
    ) -> Self {
        Self::greet_as(connection, boot, max_sessions, (outcome, Arc::default())).await
    }

    async fn greet_as(
        connection: Connection,
        boot: [u8; 16],
        max_sessions: u32,
        (outcome, fences): (Option<CommandOutcome>, Fences),
    ) -> Self {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let hello = wire::RelayHello {
            min_version: 1,
            max_version: 1,
            agent: "fake-relay/1".to_owned(),
            boot_id: Bytes::copy_from_slice(&boot),
            region: String::new(),
            addresses: vec!["192.0.2.1:9000".to_owned(), "[2001:db8::1]:9000".to_owned()],
            workers: 1,
            max_sessions,
        };
        send.write_all(&relay_message(wire::relay_to_control::Kind::Hello(hello)))
            .await
            .unwrap();
        let mut deframer = Deframer::new(cluster::MAX_MESSAGE);
        let greeting = tokio::time::timeout(PATIENCE, next_message(&mut recv, &mut deframer)).await;
        let kind = greeting.unwrap().expect("control answers").kind;
        assert!(matches!(kind, Some(wire::control_to_relay::Kind::Hello(_))));
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            outcome: Mutex::new(outcome),
            load: Mutex::default(),
            fences,
            send: tokio::sync::Mutex::new(send),
        });
        tokio::spawn(obey(recv, deframer, shared.clone()));
        tokio::spawn(report(shared.clone()));
        Self {
            connection,
            boot,
            shared,
        }
    }

    pub fn answer_with(&self, outcome: Option<CommandOutcome>) {
        *self.shared.outcome.lock().unwrap() = outcome;
    }

    /// Says from now on that it has so many sessions.
    pub fn has_sessions(&self, sessions: u32) {
        self.shared.load.lock().unwrap().sessions = sessions;
    }

    /// Whether it was told to drain.
    pub fn is_draining(&self) -> bool {
        self.shared.load.lock().unwrap().draining
    }

    pub fn commands(&self) -> Vec<Command> {
        self.shared
            .seen
            .lock()
            .unwrap()
            .iter()
            .map(|(command, _)| command.clone())
            .collect()
    }

    pub fn actions(&self) -> Vec<Action> {
        self.commands()
            .into_iter()
            .map(|command| command.action)
            .collect()
    }

    /// Whether the newest word about the sender's right to speak says so.
    pub fn may_speak(&self, of: u16) -> Option<bool> {
        self.actions()
            .into_iter()
            .rev()
            .find_map(|action| match action {
                Action::OpenMedia(open) if open.sender == of => Some(open.may_speak),
                Action::SetMaySpeak { sender, may_speak } if sender == of => Some(may_speak),
                _ => None,
            })
    }

    pub fn closed(&self, of: u16) -> bool {
        self.actions().contains(&Action::CloseMedia { sender: of })
    }

    /// Says that the newest session of the sender has ended.
    pub async fn end_media(&self, of: u16, reason: wire::MediaEndReason) {
        let (conference, id) = {
            let seen = self.shared.seen.lock().unwrap();
            let opened = seen
                .iter()
                .rev()
                .find_map(|(command, id)| match &command.action {
                    Action::OpenMedia(open) if open.sender == of => Some((command.conference, *id)),
                    _ => None,
                });
            opened.unwrap()
        };
        let ended = wire::MediaEnded {
            conference_id: conference.to_wire(),
            sender: of.into(),
            connection_id: Bytes::copy_from_slice(&id.to_be_bytes()),
            reason: reason.into(),
        };
        self.shared
            .say(wire::relay_to_control::Kind::MediaEnded(ended))
            .await;
    }

    /// Says that the relay has the room of this conference.
    pub async fn has_room(&self, conference: &Bytes) {
        let rooms = wire::LiveRooms {
            conference_ids: vec![conference.clone()],
        };
        let kind = wire::relay_to_control::Kind::LiveRooms(rooms);
        self.shared.say(kind).await;
    }

    /// How often it was told to close the room of this conference.
    pub fn rooms_closed(&self, conference: &Bytes) -> usize {
        let commands = self.commands();
        let closed = commands.iter().filter(|command| {
            command.action == Action::CloseRoom && command.conference.to_wire() == *conference
        });
        closed.count()
    }

    /// Breaks the link.
    pub fn unlink(&self) {
        self.connection.close(0u32.into(), b"test");
    }
}

impl Shared {
    async fn say(&self, kind: wire::relay_to_control::Kind) {
        let _ = self.send.lock().await.write_all(&relay_message(kind)).await;
    }
}

async fn obey(mut recv: RecvStream, mut deframer: Deframer, shared: Arc<Shared>) {
    let mut next_id = 1u64;
    while let Some(message) = next_message(&mut recv, &mut deframer).await {
        let command = match message.kind {
            Some(wire::control_to_relay::Kind::Command(command)) => command,
            Some(wire::control_to_relay::Kind::Drain(_)) => {
                shared.load.lock().unwrap().draining = true;
                continue;
            }
            other => panic!("{other:?}"),
        };
        let command = Command::try_from(&command).unwrap();
        let id = next_id;
        next_id += 1;
        let opens = matches!(command.action, Action::OpenMedia(_));
        let result = |outcome: CommandOutcome| wire::CommandResult {
            id: command.id,
            outcome: outcome.into(),
            connection_id: if opens && outcome == CommandOutcome::Obeyed {
                Bytes::copy_from_slice(&id.to_be_bytes())
            } else {
                Bytes::new()
            },
            media: Vec::new(),
            more: false,
        };
        let is_fenced = {
            let mut fences = shared.fences.lock().unwrap();
            let highest = fences.entry(command.conference).or_default();
            *highest = command.fence.max(*highest);
            command.fence < *highest
        };
        let outcome = match is_fenced {
            true => Some(CommandOutcome::Fenced),
            false => *shared.outcome.lock().unwrap(),
        };
        let result = outcome.map(result);
        if !is_fenced {
            shared.seen.lock().unwrap().push((command, id));
        }
        if let Some(result) = result {
            shared
                .say(wire::relay_to_control::Kind::Result(result))
                .await;
        }
    }
}

async fn report(shared: Arc<Shared>) {
    loop {
        let load = *shared.load.lock().unwrap();
        shared.say(wire::relay_to_control::Kind::Load(load)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn next_message(
    recv: &mut RecvStream,
    deframer: &mut Deframer,
) -> Option<wire::ControlToRelay> {
    loop {
        if let Some(message) = deframer.next().unwrap() {
            return Some(message);
        }
        let chunk = recv.read_chunk(usize::MAX, true).await.ok()??;
        deframer.push(&chunk.bytes);
    }
}

fn relay_message(kind: wire::relay_to_control::Kind) -> Bytes {
    framing::encode(&wire::RelayToControl { kind: Some(kind) })
}
