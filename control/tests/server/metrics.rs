//! The HTTP pages of the server.

use std::net::SocketAddr;

use confab_control::store::sqlite::SqliteStore;
use confab_control::{SharedStore, StoreConfig};
use confab_protocol::wire::Visibility;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::gate::Gate;
use crate::harness::{PATIENCE, TestServer};

const SLUG: &str = "friday-night";

/// Sends a GET request. Returns head and body of the response.
pub async fn get(server: &TestServer, path: &str) -> String {
    let address = server.running.metrics.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap()
        .unwrap();
    answer
}

fn value(page: &str, name: &str) -> Option<f64> {
    let of_it = |line: &&str| {
        line.strip_prefix("confab_control_")
            .and_then(|line| line.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with(' '))
    };
    let line = page.lines().find(of_it)?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn metrics_are_served_and_an_outage_of_the_store_leaves_the_node_ready() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("shared.sqlite")).unwrap();
    let gate = Gate::new(std::sync::Arc::new(store));
    let shared = SharedStore(std::sync::Arc::new(gate.clone()));
    let server = TestServer::start_with(|config| {
        config.store = StoreConfig::Shared(shared);
        config.metrics = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    })
    .await;
    let _relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create(SLUG, Visibility::Public).await;
    ann.join(SLUG).await.unwrap();
    ann.join("no-such-room").await.unwrap_err();

    let page = get(&server, "/metrics").await;
    for (name, expected) in [
        ("rooms", 1.0),
        ("participants", 1.0),
        ("clients", 1.0),
        ("strangers", 0.0),
        ("links", 1.0),
        ("handshakes_total{verdict=\"admitted\"}", 2.0),
        ("handshakes_total{verdict=\"retried\"}", 0.0),
        ("refused_total{limit=\"password_queue\"}", 0.0),
        ("closed_total{reason=\"flooded\"}", 0.0),
        ("datagrams_held_back_total", 0.0),
        ("relays_linked", 1.0),
        ("nodes_alive", 1.0),
        ("store_answers", 1.0),
        ("takeovers_total", 0.0),
        ("fenced_commands_total", 0.0),
        ("passwords_waiting", 0.0),
        ("password_wait_seconds_count", 1.0),
        (
            "request_seconds_count{kind=\"join_room\",result=\"ok\"}",
            1.0,
        ),
        (
            "request_seconds_count{kind=\"join_room\",result=\"not_found\"}",
            1.0,
        ),
        (
            "store_seconds_count{operation=\"create_account\",result=\"ok\"}",
            1.0,
        ),
    ] {
        assert_eq!(value(&page, name), Some(expected), "{name}\n{page}");
    }

    gate.shut();
    let bob = server.client().await;
    bob.register("bob").await.unwrap_err();
    let ready = get(&server, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(get(&server, "/healthz").await.starts_with("HTTP/1.1 200"));
    server.running.api().metrics.close();
    assert!(get(&server, "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(get(&server, "/").await.starts_with("HTTP/1.1 404"));
}
