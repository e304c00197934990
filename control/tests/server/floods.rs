//! Floods of unauthenticated connections, written from the protocol's page alone, while other clients are served.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_control::metrics::connections::HandshakeOutcome;
use confab_protocol::control::{self, CLUSTER_SERVER_NAME, framing};
use confab_protocol::wire::{self, Visibility, request::Kind};
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig, VarInt};

use crate::harness::{Client, LOCALHOST, TestServer, eventually};

const SLUG: &str = "friday-night";
/// Number of datagrams of a ClientHello with an X25519MLKEM768 key share.
const DATAGRAMS_OF_HELLO: usize = 2;
/// A client has sent its whole flight after this time without a datagram.
const QUIET: Duration = Duration::from_millis(200);
/// The server's handshake timeout of 10 s, and a margin for what it sends afterwards.
const HANDSHAKE_IS_OVER: Duration = Duration::from_millis(11_500);

/// The first flight of a client. A ClientHello may take several datagrams.
pub type Opening = Vec<Vec<u8>>;

async fn openings(server: &TestServer, alpn: &[u8], count: usize) -> Vec<Opening> {
    openings_with(server.settings(alpn, None), count).await
}

/// The first flights of `count` new clients.
pub async fn openings_with(settings: ClientConfig, count: usize) -> Vec<Opening> {
    let catcher = tokio::net::UdpSocket::bind(SocketAddr::from((LOCALHOST, 0)));
    let catcher = catcher.await.unwrap();
    let to = catcher.local_addr().unwrap();
    let mut known = HashSet::new();
    let mut openings = Vec::new();
    while openings.len() < count {
        let endpoint = Endpoint::client(SocketAddr::from((LOCALHOST, 0))).unwrap();
        let connecting = endpoint.connect_with(settings.clone(), to, CLUSTER_SERVER_NAME);
        let _connecting = connecting.unwrap();
        let mut opening: Opening = Vec::new();
        while opening.len() < DATAGRAMS_OF_HELLO {
            let mut datagram = vec![0; 2048];
            let receiving = tokio::time::timeout(QUIET, catcher.recv(&mut datagram));
            let Ok(len) = receiving.await else {
                break;
            };
            datagram.truncate(len.unwrap());
            // Retransmissions of earlier clients belong to their handshakes.
            if !known.contains(connection_id(&datagram)) {
                opening.push(datagram);
            }
        }
        if let Some(first) = opening.first() {
            known.insert(connection_id(first).to_vec());
            openings.push(opening);
        }
    }
    openings
}

/// The destination connection ID that the client chose, of 20 bytes (RFC 9000 §17.2.2).
fn connection_id(initial: &[u8]) -> &[u8] {
    assert_eq!(initial[5], 20);
    &initial[6..26]
}

/// Sends each flight from its own socket at this address, where no client answers.
fn forge(server: &TestServer, from: [u8; 4], openings: &[Opening]) -> Vec<UdpSocket> {
    let send = |opening: &Opening| {
        let socket = UdpSocket::bind(SocketAddr::from((from, 0))).unwrap();
        for datagram in opening {
            socket.send_to(datagram, server.running.addr).unwrap();
        }
        socket
    };
    openings.iter().map(send).collect()
}

fn handshakes_with(server: &TestServer, outcome: HandshakeOutcome) -> u64 {
    server
        .running
        .api()
        .metrics
        .connections
        .handshakes
        .of(outcome)
}

/// A correct client: creates a conference and joins it.
async fn is_served(server: &TestServer, name: &str, from: [u8; 4]) -> Client {
    let client = server.client_from(from).await;
    client.register(name).await.unwrap();
    let slug = format!("{SLUG}-{name}");
    client.create(&slug, Visibility::Public).await;
    let joined = client.join(&slug).await.unwrap();
    assert!(joined.media.is_some());
    client
}

#[tokio::test]
async fn forged_handshakes_do_not_block_others() {
    let server = TestServer::start().await;
    let _relay = server.relay("berlin").await;
    let openings = openings(&server, control::ALPN, 300).await;
    let (ours, others) = openings.split_at(150);
    let _forged = forge(&server, LOCALHOST, ours);
    let mut scattered = Vec::new();
    for (at, some) in others.chunks(2).enumerate() {
        scattered.push(forge(&server, [127, 0, 1, at as u8 + 1], some));
    }
    eventually(|| handshakes_with(&server, HandshakeOutcome::Retried) >= 300 - 64).await;
    // The owner of the forged address, a client elsewhere, and a relay that links for the first time.
    is_served(&server, "ann", LOCALHOST).await;
    is_served(&server, "bob", [127, 0, 0, 2]).await;
    server.relay_with("amsterdam", [3; 16], 1000).await;
    assert_eq!(handshakes_with(&server, HandshakeOutcome::Refused), 0);
    eventually(|| server.running.peer_api().relays.linked() == 2).await;
}

#[tokio::test]
async fn an_unvalidated_address_receives_at_most_three_times_what_it_sent() {
    let server = TestServer::start().await;
    let mut openings = openings(&server, control::ALPN, 3).await;
    // One handshake fails at once, and the server sends an error.
    openings.extend(self::openings(&server, b"h3", 1).await);
    let sockets = forge(&server, [127, 0, 0, 3], &openings);
    tokio::time::sleep(HANDSHAKE_IS_OVER).await;
    for (at, socket) in sockets.iter().enumerate() {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 2048];
        let mut got = 0;
        while let Ok(len) = socket.recv(&mut buffer) {
            got += len;
        }
        let sent: usize = openings[at].iter().map(Vec::len).sum();
        assert!(got > 0 && got <= 3 * sent, "{got} bytes for {sent}");
    }
}

#[tokio::test]
async fn a_returning_client_validates_its_address_by_token() {
    let server = TestServer::start().await;
    let settings = server.settings(control::ALPN, None);
    let first = server.connect_from(LOCALHOST, settings.clone()).await;
    let first = Client::new(first.unwrap());
    first.hello(1, 1).await.unwrap();
    first.connection.close(0u32.into(), b"done");
    let openings = openings(&server, control::ALPN, 80).await;
    let _forged = forge(&server, LOCALHOST, &openings);
    eventually(|| handshakes_with(&server, HandshakeOutcome::Retried) >= 72).await;
    let retried = handshakes_with(&server, HandshakeOutcome::Retried);
    let again = server.connect_from(LOCALHOST, settings).await.unwrap();
    assert_eq!(handshakes_with(&server, HandshakeOutcome::Retried), retried);
    Client::new(again).hello(1, 1).await.unwrap();
    // A new client has to validate its address.
    server.client().await;
    assert!(handshakes_with(&server, HandshakeOutcome::Retried) > retried);
}

/// Connects with a minimal flow-control window.
async fn without_credit(server: &TestServer, from: [u8; 4]) -> Option<Connection> {
    let mut settings = server.settings(control::ALPN, None);
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(16))
        .receive_window(VarInt::from_u32(16));
    settings.transport_config(Arc::new(transport));
    server.connect_from(from, settings).await.ok()
}

/// Sends hello and does not read the response.
pub async fn hello(connection: &Connection) -> Option<()> {
    let (mut send, _recv) = connection.open_bi().await.ok()?;
    let hello = Kind::Hello(wire::Hello {
        min_version: 1,
        max_version: 1,
        agent: String::new(),
    });
    let request = wire::Request { kind: Some(hello) };
    send.write_all(&framing::encode(&request)).await.ok()?;
    send.finish().ok()
}

/// Sends hello and an incomplete request, and keeps the connection open.
async fn loiter(connection: Connection) -> Option<Connection> {
    hello(&connection).await?;
    let (mut unfinished, _) = connection.open_bi().await.ok()?;
    unfinished.write_all(&[0, 0, 0x40, 0]).await.ok()?;
    // As much as flow control allows.
    let body = [0x0a; 16_000];
    let writing = unfinished.write_all(&body);
    let _ = tokio::time::timeout(Duration::from_millis(50), writing).await;
    Some(connection)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_several_kinds_leave_others_served_and_a_relay_linked() {
    let server = Arc::new(TestServer::start().await);
    let _relay = server.relay("berlin").await;
    let ann = is_served(&server, "ann", LOCALHOST).await;
    let settings = server.settings(control::ALPN, None);
    let attack = |last: u8| {
        let (server, settings) = (server.clone(), settings.clone());
        tokio::spawn(async move {
            let mut held = Vec::new();
            let until = Instant::now() + Duration::from_secs(3);
            for at in 0usize.. {
                if Instant::now() >= until {
                    break;
                }
                let from = [127, 0, 2, last];
                match at % 3 {
                    0 => {
                        if let Some(connection) = without_credit(&server, from).await {
                            held.push(loiter(connection).await);
                        }
                    }
                    1 => {
                        if let Ok(connection) = server.connect_from(from, settings.clone()).await {
                            held.push(loiter(connection).await);
                        }
                    }
                    // A connection that closes at once.
                    _ => drop(server.connect_from(from, settings.clone()).await),
                }
            }
            held.len()
        })
    };
    let attackers: Vec<_> = (1..=3).map(attack).collect();
    for (at, from) in [LOCALHOST, [127, 0, 2, 1], [127, 0, 3, 1]]
        .iter()
        .enumerate()
    {
        let name = format!("someone{at}");
        is_served(&server, &name, *from).await;
        let served = ann.ask(Kind::WhoAmI(wire::WhoAmI {})).await;
        assert!(served.is_ok(), "{served:?}");
    }
    let mut held = 0;
    for attacker in attackers {
        held += attacker.await.unwrap();
    }
    assert!(held > 10, "{held} connections attacked");
    assert_eq!(server.running.peer_api().relays.linked(), 1);
    assert!(ann.connection.close_reason().is_none());
}
