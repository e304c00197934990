//! What the relay tells over HTTP.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use confab_relay::core::{DropCause, Registry, mailbox};
use confab_relay::metrics::{Figures, Heartbeat, STUCK_AFTER};
use confab_telemetry::Source as _;
use lab::Lab;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn figures(lab: &Lab) -> Figures {
    let heartbeat = || Arc::new(Heartbeat::new(Instant::now()));
    let (post, _) = mailbox();
    Figures {
        counters: vec![Arc::clone(&lab.workers[0].counters), Arc::default()],
        heartbeats: vec![heartbeat(), heartbeat()],
        registry: Arc::new(Registry::new(
            lab::BOOT,
            lab::Setup::default().capacity,
            vec![post],
            [1; 32],
        )),
        linked: Arc::new(AtomicUsize::new(0)),
        draining: tokio::sync::watch::Sender::new(false).subscribe(),
    }
}

/// The value of a series in the text.
fn value(text: &str, series: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn every_drop_has_its_cause_and_every_worker_its_counters() {
    let mut lab = Lab::new();
    let mut ann = lab.join(1, 0);
    let _ben = lab.join(1, 1);
    let frame = ann.audio("x");
    lab.deliver(&ann, &frame);
    lab.deliver(&ann, &frame);
    lab.deliver(&ann, b"nonsense");
    lab.workers[0]
        .counters
        .send_latency
        .record_duration(Duration::from_micros(30), 7);
    let text = figures(&lab).figures();
    for cause in DropCause::ALL {
        let series = format!("confab_relay_drops_total{{cause=\"{}\"}}", cause.name());
        let expected = match cause {
            DropCause::Replayed | DropCause::Malformed => 1,
            _ => 0,
        };
        assert_eq!(value(&text, &series), expected, "{series}");
    }
    assert_eq!(
        value(&text, "confab_relay_frames_out_total{worker=\"0\"}"),
        1
    );
    assert_eq!(
        value(&text, "confab_relay_frames_out_total{worker=\"1\"}"),
        0
    );
    assert_eq!(value(&text, "confab_relay_send_latency_seconds_count"), 7);
    assert_eq!(
        value(
            &text,
            "confab_relay_send_latency_seconds_bucket{le=\"+Inf\"}"
        ),
        7
    );
    for line in text.lines().filter(|line| line.starts_with("# HELP")) {
        assert!(line.split_whitespace().count() > 3, "{line:?} helps nobody");
    }
}

/// All that the server answers to some bytes.
async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn it_answers_what_it_knows_and_survives_what_it_does_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let figures = figures(&Lab::new());
    let linked = Arc::clone(&figures.linked);
    tokio::spawn(confab_telemetry::serve(
        Arc::new(listener),
        Arc::new(figures),
    ));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for (request, status) in [
        (get("/healthz"), "200"),
        (get("/readyz"), "503"),
        (get("/metrics"), "200"),
        (get("/secrets"), "404"),
        (get("/metrics").replace("GET", "DELETE"), "405"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = ask(address, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:?}: {answer:?}"
        );
    }
    linked.store(1, Ordering::Relaxed);
    assert!(
        ask(address, get("/readyz").as_bytes())
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_relay_with_a_worker_that_stands_still_is_not_healthy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut figures = figures(&Lab::new());
    let long_ago = Instant::now().checked_sub(2 * STUCK_AFTER).unwrap();
    let stuck = Arc::new(Heartbeat::new(long_ago));
    figures.heartbeats.push(Arc::clone(&stuck));
    tokio::spawn(confab_telemetry::serve(
        Arc::new(listener),
        Arc::new(figures),
    ));
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = ask(address, request).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("a worker stands still"), "{answer}");
    stuck.beat(Instant::now());
    let answer = ask(address, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
