//! The link to a control node: its commands in, their results and what happened by itself out.
//!
//! A link that is lost is made again for as long as the relay lives; media goes on meanwhile.

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use confab_protocol::cluster::{self, BootId, Command, CommandOutcome, CommandResult};
use confab_protocol::control::CLUSTER_SERVER_NAME;
use confab_protocol::control::framing::{self, Deframer, FrameError};
use confab_protocol::control::text::Shown;
use confab_protocol::version;
use confab_protocol::wire::{self, control_to_relay, relay_to_control};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};

use crate::core::{MediaEnded, Registry};
use crate::identity::Identity;

/// Wait before the second attempt; doubled for each one after.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest wait between attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// An attempt that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Ended sessions that are kept for a control node that is out of reach.
const MAX_BACKLOG: usize = 100_000;

/// What the relay says of itself.
#[derive(Clone)]
pub struct Hello {
    /// Of this start.
    pub boot: BootId,
    /// Which region it serves.
    pub region: String,
    /// What clients are told; when empty, where it listens, with the address on which control is reached for a wildcard.
    pub public: Vec<SocketAddr>,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// How many workers.
    pub workers: u32,
    /// How many sessions it takes.
    pub max_sessions: u32,
    /// A session from which nothing is heard for so long ends.
    pub idle_timeout: Duration,
}

/// One link: to one control node.
pub struct Link {
    /// HOST:PORT.
    pub control: String,
    /// Who the relay is.
    pub identity: Arc<Identity>,
    /// What it says of itself.
    pub hello: Hello,
    /// What commands are carried out on.
    pub registry: Arc<Registry>,
    /// Told after each command.
    pub changed: Arc<Notify>,
    /// Sessions that ended by themselves.
    pub ended: UnboundedReceiver<MediaEnded>,
    /// The load, measured every second.
    pub load: watch::Receiver<wire::RelayLoad>,
    /// How many links are up.
    pub linked: Arc<AtomicUsize>,
    /// Told when control wants the relay to drain.
    pub drain: Arc<Notify>,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("the name does not resolve: {0}")]
    Resolve(std::io::Error),
    #[error("no UDP socket: {0}")]
    Socket(std::io::Error),
    #[error("no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Connect(#[from] quinn::ConnectError),
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Write(#[from] quinn::WriteError),
    #[error(transparent)]
    Read(#[from] quinn::ReadError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the control node closed the link")]
    Closed,
    #[error("the control node speaks version {0}, which this relay does not")]
    Version(u32),
    #[error("the control node did not begin with hello")]
    NoHello,
}

impl Link {
    /// Keeps the link up for as long as the relay lives.
    pub async fn run(mut self) {
        let mut backlog = VecDeque::new();
        let mut wait = BACKOFF_MIN;
        loop {
            let connecting = Self::connect(&self.control, &self.identity, &self.hello);
            let connected = Self::meanwhile(connecting, &mut self.ended, &mut backlog).await;
            let (was_up, error) = match connected {
                Ok(session) => {
                    tracing::info!(control = self.control, "linked to control");
                    if session.is_loopback {
                        tracing::warn!(
                            "clients are told a loopback address, which only this machine reaches; \
                             for others give --public-address"
                        );
                    }
                    self.linked.fetch_add(1, Ordering::Relaxed);
                    let error = self.serve(session, &mut backlog).await;
                    self.linked.fetch_sub(1, Ordering::Relaxed);
                    (true, error)
                }
                Err(error) => (false, error),
            };
            if was_up {
                wait = BACKOFF_MIN;
            }
            // rustls has no type for it behind quinn's error.
            let is_other_ca = error.to_string().contains("invalid peer certificate");
            let advice = if is_other_ca {
                "; the identity is of another server's authority: make one with this server's `confab-control relay-identity`"
            } else {
                ""
            };
            tracing::warn!(
                control = self.control,
                "no link to control: {}{advice}",
                Shown(&error)
            );
            let pause = tokio::time::sleep(wait);
            Self::meanwhile(pause, &mut self.ended, &mut backlog).await;
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    }

    /// Waits for something while there is no link, and remembers which sessions end meanwhile.
    async fn meanwhile<T>(
        waiting: impl Future<Output = T>,
        ended: &mut UnboundedReceiver<MediaEnded>,
        backlog: &mut VecDeque<MediaEnded>,
    ) -> T {
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                done = &mut waiting => return done,
                Some(ended) = ended.recv() => remember(backlog, ended),
            }
        }
    }

    async fn connect(
        control: &str,
        identity: &Identity,
        hello: &Hello,
    ) -> Result<Session, LinkError> {
        tokio::time::timeout(CONNECT_TIMEOUT, Session::open(control, identity, hello))
            .await
            .unwrap_or(Err(LinkError::Timeout))
    }

    /// Serves until the link is lost. What could not be said stays in `backlog` for the next one.
    async fn serve(
        &mut self,
        mut session: Session,
        backlog: &mut VecDeque<MediaEnded>,
    ) -> LinkError {
        if let Err(error) = self.tell_rooms(&mut session).await {
            return error;
        }
        let alive = Duration::from_millis(cluster::ALIVE_INTERVAL_MS);
        loop {
            while let Some(ended) = backlog.front() {
                if let Err(error) = session.send_message(media_ended(ended)).await {
                    return error;
                }
                backlog.pop_front();
            }
            let said = tokio::select! {
                message = session.next() => match message {
                    Ok(Some(control_to_relay::Kind::Command(command))) => {
                        let result = self.obey(&command);
                        session.send_message(relay_to_control::Kind::Result(result)).await
                    }
                    Ok(Some(control_to_relay::Kind::Drain(wire::Drain {}))) => {
                        tracing::info!(control = self.control, "told to drain");
                        self.drain.notify_one();
                        Ok(())
                    }
                    Ok(Some(control_to_relay::Kind::Hello(_)) | None) => Ok(()),
                    Err(error) => Err(error),
                },
                Some(ended) = self.ended.recv() => {
                    remember(backlog, ended);
                    Ok(())
                }
                Ok(()) = self.load.changed() => {
                    let load = *self.load.borrow_and_update();
                    match session.send_message(relay_to_control::Kind::Load(load)).await {
                        // Whoever takes over a room that is on its way elsewhere has to know that it is here, too.
                        Ok(()) if load.draining => self.tell_rooms(&mut session).await,
                        said => said,
                    }
                }
                () = tokio::time::sleep(alive) => {
                    session.send_message(relay_to_control::Kind::Alive(wire::Alive {})).await
                }
            };
            if let Err(error) = said {
                session.connection.close(0u32.into(), b"");
                return error;
            }
        }
    }

    /// Says which rooms are live here.
    async fn tell_rooms(&self, session: &mut Session) -> Result<(), LinkError> {
        for rooms in self.registry.live_rooms().chunks(cluster::MAX_LIVE_ROOMS) {
            let conference_ids = rooms.iter().map(|room| room.to_wire()).collect();
            let rooms = relay_to_control::Kind::LiveRooms(wire::LiveRooms { conference_ids });
            session.send_message(rooms).await?;
        }
        Ok(())
    }

    fn obey(&self, message: &wire::Command) -> wire::CommandResult {
        let result = match Command::try_from(message) {
            Ok(command) => self.registry.execute(Instant::now(), &command),
            Err(error) => {
                let error = Shown(error);
                tracing::warn!(control = self.control, "a command makes no sense: {error}");
                CommandResult::bare(message.id, CommandOutcome::Invalid)
            }
        };
        self.changed.notify_one();
        wire::CommandResult::from(&result)
    }
}

impl Hello {
    /// As it is said to the control node at that address.
    fn message(&self, control: SocketAddr) -> wire::RelayHello {
        let mut addresses = self.public.clone();
        if addresses.is_empty() {
            for listen in &self.listen {
                addresses.extend(reached_at(*listen, control).filter(|a| !addresses.contains(a)));
            }
        }
        let addresses = addresses.iter().map(ToString::to_string).collect();
        wire::RelayHello {
            min_version: version::CONTROL.min(),
            max_version: version::CONTROL.max(),
            agent: concat!("confab-relay/", env!("CARGO_PKG_VERSION")).to_owned(),
            boot_id: Bytes::copy_from_slice(&self.boot.0),
            region: self.region.clone(),
            addresses,
            workers: self.workers,
            max_sessions: self.max_sessions,
            min_media_version: version::MEDIA.min(),
            max_media_version: version::MEDIA.max(),
            idle_timeout_ms: u32::try_from(self.idle_timeout.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

/// A link that is up.
struct Session {
    _endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    deframer: Deframer,
    /// Whether all that clients are told is a loopback address.
    is_loopback: bool,
}

impl Session {
    /// Connects to the control node and exchanges hellos.
    async fn open(control: &str, identity: &Identity, hello: &Hello) -> Result<Self, LinkError> {
        let mut addresses = tokio::net::lookup_host(control)
            .await
            .map_err(LinkError::Resolve)?;
        let control = addresses
            .next()
            .ok_or_else(|| LinkError::Resolve(std::io::Error::other("it has no address")))?;
        let local: SocketAddr = if control.is_ipv6() {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        } else {
            ([0, 0, 0, 0], 0).into()
        };
        let endpoint = quinn::Endpoint::client(local).map_err(LinkError::Socket)?;
        let connecting = endpoint.connect_with(identity.client(), control, CLUSTER_SERVER_NAME)?;
        let connection = connecting.await?;
        let (mut send, receive) = connection.open_bi().await?;
        let hello = hello.message(control);
        let is_loopback = hello
            .addresses
            .iter()
            .filter_map(|address| address.parse::<SocketAddr>().ok())
            .all(|address| address.ip().to_canonical().is_loopback());
        send.write_all(&message(relay_to_control::Kind::Hello(hello)))
            .await?;
        let mut session = Self {
            _endpoint: endpoint,
            connection,
            send,
            receive,
            deframer: Deframer::new(cluster::MAX_MESSAGE),
            is_loopback,
        };
        match session.next().await? {
            Some(control_to_relay::Kind::Hello(hello)) => {
                if !version::CONTROL.contains(hello.version) {
                    return Err(LinkError::Version(hello.version));
                }
            }
            _ => return Err(LinkError::NoHello),
        }
        Ok(session)
    }

    /// The next message; cancelling the wait loses nothing. `None`: one of a kind that this relay does not know.
    async fn next(&mut self) -> Result<Option<control_to_relay::Kind>, LinkError> {
        loop {
            if let Some(message) = self.deframer.next::<wire::ControlToRelay>()? {
                return Ok(message.kind);
            }
            match self.receive.read_chunk(cluster::MAX_MESSAGE, true).await? {
                Some(chunk) => self.deframer.push(&chunk.bytes),
                None => return Err(LinkError::Closed),
            }
        }
    }

    async fn send_message(&mut self, kind: relay_to_control::Kind) -> Result<(), LinkError> {
        Ok(self.send.write_all(&message(kind)).await?)
    }
}

/// Keeps what control is to hear, the newest if there is too much of it.
fn remember(backlog: &mut VecDeque<MediaEnded>, ended: MediaEnded) {
    if backlog.len() == MAX_BACKLOG {
        backlog.pop_front();
    }
    backlog.push_back(ended);
}

fn message(kind: relay_to_control::Kind) -> Bytes {
    framing::encode(&wire::RelayToControl { kind: Some(kind) })
}

fn media_ended(ended: &MediaEnded) -> relay_to_control::Kind {
    relay_to_control::Kind::MediaEnded(wire::MediaEnded {
        conference_id: ended.conference.to_wire(),
        sender: ended.sender.into(),
        connection_id: Bytes::copy_from_slice(&ended.connection_id.to_bytes()),
        reason: ended.reason.into(),
    })
}

/// Where clients reach a listening address: itself or, for a wildcard, the address on which this machine reaches control,
/// if it is of a family that the wildcard serves.
fn reached_at(listen: SocketAddr, control: SocketAddr) -> Option<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return Some(listen);
    }
    let ip = address_towards(control)?;
    let serves = listen.is_ipv6() || ip.is_ipv4();
    serves.then(|| SocketAddr::new(ip, listen.port()))
}

/// This machine's address as `control` would see it without a NAT between. No datagram is sent for it.
fn address_towards(control: SocketAddr) -> Option<std::net::IpAddr> {
    let local: SocketAddr = if control.is_ipv6() {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        ([0, 0, 0, 0], 0).into()
    };
    let socket = std::net::UdpSocket::bind(local).ok()?;
    socket.connect(control).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
