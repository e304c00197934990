//! Clients that violate the protocol.

use std::time::Duration;

use confab_protocol::control::framing;
use confab_protocol::control::{ErrorCode, MAX_REQUEST};
use confab_protocol::wire::{self, event, request::Kind, response};

use crate::harness::{Answer, Client, PATIENCE, TestServer};

fn code(answer: Option<Answer>) -> ErrorCode {
    answer.expect("an answer").expect_err("a refusal").code()
}

/// A request of a kind that this version does not know: field 999, an empty message.
fn unknown() -> Vec<u8> {
    vec![0, 0, 0, 3, 0xba, 0x3e, 0x00]
}

async fn still_serves(server: &TestServer) {
    server
        .client()
        .await
        .ask(Kind::WhoAmI(wire::WhoAmI {}))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn hello_is_the_first_request_and_needs_a_common_version() {
    let server = TestServer::start().await;
    let client = server.raw_client().await;
    assert_eq!(
        client.refused(Kind::WhoAmI(wire::WhoAmI {})).await,
        ErrorCode::HelloRequired
    );
    let error = client.hello(7, 9).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedVersion);
    assert!(error.message.contains("speaks 1,"), "{}", error.message);
    assert_eq!(
        client.hello(0, 0).await.unwrap_err().code(),
        ErrorCode::UnsupportedVersion
    );
    assert_eq!(
        client.refused(Kind::WhoAmI(wire::WhoAmI {})).await,
        ErrorCode::HelloRequired
    );
    let agent = "x".repeat(65);
    let hello = wire::Hello {
        min_version: 1,
        max_version: 1,
        agent,
    };
    assert_eq!(
        client.refused(Kind::Hello(hello)).await,
        ErrorCode::InvalidArgument
    );
    let Ok(response::Kind::Welcome(welcome)) = client.hello(1, 9).await else {
        panic!("not welcome");
    };
    assert_eq!(
        (welcome.version, welcome.max_request_bytes as usize),
        (1, MAX_REQUEST)
    );
    assert_eq!(
        client.refused(Kind::WhoAmI(wire::WhoAmI {})).await,
        ErrorCode::NotAuthenticated
    );
}

#[tokio::test]
async fn invalid_bytes_get_a_typed_error() {
    let server = TestServer::start().await;
    let client = server.client().await;
    assert_eq!(
        code(client.ask_bytes(&unknown()).await),
        ErrorCode::UnknownRequest
    );
    assert_eq!(
        code(client.ask_bytes(&[0, 0, 0, 0]).await),
        ErrorCode::UnknownRequest
    );
    assert_eq!(code(client.ask_bytes(&[]).await), ErrorCode::Malformed);
    assert_eq!(code(client.ask_bytes(&[0, 0]).await), ErrorCode::Malformed);
    assert_eq!(
        code(client.ask_bytes(&[0, 0, 0, 9, 1]).await),
        ErrorCode::Malformed
    );
    assert_eq!(
        code(client.ask_bytes(&[0, 0, 0, 2, 0xff, 0xff]).await),
        ErrorCode::Malformed
    );
    assert_eq!(
        code(client.ask_bytes(&[0, 0, 0x40, 1]).await),
        ErrorCode::TooLarge
    );
    assert_eq!(
        code(client.ask_bytes(&[0xff; 100_000]).await),
        ErrorCode::TooLarge
    );
    let request = framing::encode(&wire::Request {
        kind: Some(Kind::WhoAmI(wire::WhoAmI {})),
    });
    let two = [&request[..], &request[..]].concat();
    assert_eq!(code(client.ask_bytes(&two).await), ErrorCode::Malformed);
    client.register("ann").await.unwrap();
}

/// Sends unknown requests until the connection is closed. Returns how many were throttled.
async fn flood(client: &Client) -> u32 {
    let mut throttled = 0;
    loop {
        match client.ask_bytes(&unknown()).await {
            Some(Err(error)) if error.code() == ErrorCode::Throttled => {
                assert!(error.retry_after_ms > 0);
                throttled += 1;
            }
            Some(answer) => assert_eq!(answer.unwrap_err().code(), ErrorCode::UnknownRequest),
            None => return throttled,
        }
    }
}

#[tokio::test]
async fn a_flooding_client_is_throttled_then_closed_and_others_are_served() {
    let server = TestServer::start().await;
    let ann = server.user("ann").await;
    let throttled = flood(&ann).await;
    assert!(throttled >= 400, "closed after {throttled}");
    assert_eq!(ann.closed().await, 2);
    let raw_client = server.client().await;
    let throttled = flood(&raw_client).await;
    assert!(
        (40..400).contains(&throttled),
        "an unauthenticated connection is closed after {throttled}"
    );
    assert_eq!(raw_client.closed().await, 2);
    still_serves(&server).await;
}

#[tokio::test]
async fn the_request_rate_is_limited_per_account() {
    let server = TestServer::start().await;
    let ann = server.client().await;
    let token = ann.register("ann").await.unwrap().token;
    let mut connections = vec![ann];
    for _ in 0..3 {
        let client = server.client().await;
        client.authenticate(&token).await.unwrap();
        connections.push(client);
    }
    let began = std::time::Instant::now();
    let mut served = 0;
    for _ in 0..60 {
        for client in &connections {
            served += usize::from(client.ask(Kind::WhoAmI(wire::WhoAmI {})).await.is_ok());
        }
    }
    // 100 at once and 50 per second, for all four connections together.
    let most = 100.0 + 50.0 * began.elapsed().as_secs_f64() + 1.0;
    assert!(served as f64 <= most, "{served} of 240, {most} allowed");
    server.user("bob").await;
}

#[tokio::test]
async fn an_account_has_64_connections_and_one_that_ends_makes_room() {
    let server = TestServer::start().await;
    let first = server.client().await;
    let token = first.register("ann").await.unwrap().token;
    let mut held = vec![first];
    for _ in 1..64 {
        let client = server.client().await;
        client.authenticate(&token).await.unwrap();
        held.push(client);
    }
    let one_more = server.client().await;
    let refused = one_more.authenticate(&token).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::LimitReached);
    assert!(refused.retry_after_ms > 0);
    held.pop().unwrap().connection.close(0u32.into(), b"done");
    let again = async {
        while one_more.authenticate(&token).await.is_err() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("a place is free again");
}

/// Number of requests that this client can have in progress.
async fn streams_at_once(client: &Client) -> usize {
    let mut held = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(300), client.connection.open_bi()).await
    {
        let (mut send, recv) = stream.unwrap();
        send.write_all(&[0, 0]).await.unwrap();
        held.push((send, recv));
    }
    held.len()
}

#[tokio::test]
async fn unfinished_streams_do_not_block_other_clients() {
    let server = TestServer::start().await;
    let raw_client = server.client().await;
    assert_eq!(streams_at_once(&raw_client).await, 2);
    let ann = server.user("ann").await;
    // QUIC announces new stream credit in batches.
    let at_once = streams_at_once(&ann).await;
    assert!((28..=32).contains(&at_once), "{at_once} requests at once");
    assert!(
        tokio::time::timeout(Duration::from_millis(200), ann.connection.open_uni())
            .await
            .is_err(),
        "a client opens no unidirectional stream"
    );
    still_serves(&server).await;
}

#[tokio::test]
async fn reset_streams_do_not_block_other_clients() {
    let server = TestServer::start().await;
    let raw_client = server.client().await;
    for _ in 0..2000 {
        let Ok((mut send, mut recv)) = raw_client.connection.open_bi().await else {
            break;
        };
        let _ = send.write_all(&[0]).await;
        let _ = send.reset(0u32.into());
        let _ = recv.stop(0u32.into());
    }
    assert_eq!(raw_client.closed().await, 2);
    still_serves(&server).await;
}

#[tokio::test]
async fn only_participants_send_long_requests_and_only_of_their_kinds() {
    let server = TestServer::start().await;
    let _relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create("friday-night", wire::Visibility::Public).await;
    // `leave_room` and `who_am_i`, padded with an unknown field.
    let padded = |key: [u8; 2]| {
        let padding = [&[0xba, 0x3e, 0x80, 0xc0, 0x02][..], &[0; 40_960]].concat();
        let body_len = padding.len() as u32;
        assert_eq!(body_len, 40_965);
        let kind = [&key[..], &[0x85, 0xc0, 0x02], &padding].concat();
        [&(kind.len() as u32).to_be_bytes()[..], &kind].concat()
    };
    let key = |kind: Kind| {
        let bytes = framing::encode(&wire::Request { kind: Some(kind) });
        [bytes[4], bytes[5]]
    };
    let leave = padded(key(Kind::LeaveRoom(wire::LeaveRoom::default())));
    let join = padded(key(Kind::JoinRoom(wire::JoinRoom::default())));
    assert_eq!(code(ann.ask_bytes(&leave).await), ErrorCode::TooLarge);
    ann.join("friday-night").await.unwrap();
    assert_ne!(code(ann.ask_bytes(&leave).await), ErrorCode::TooLarge);
    assert_eq!(code(ann.ask_bytes(&join).await), ErrorCode::TooLarge);
}

#[tokio::test]
async fn a_connection_without_hello_is_closed() {
    let server = TestServer::start().await;
    let client = server.raw_client().await;
    assert_eq!(client.closed().await, 4);
}

#[tokio::test]
async fn the_oldest_unauthenticated_connection_of_an_address_is_evicted() {
    let server =
        TestServer::start_with(|config| config.connections.unauthenticated.per_source = 3).await;
    let mut signed_in = Vec::new();
    for name in ["ann", "bob", "cem", "dee", "eve"] {
        signed_in.push(server.user(name).await);
    }
    let mut unauthenticated = Vec::new();
    for _ in 0..4 {
        unauthenticated.push(server.client().await);
    }
    assert_eq!(unauthenticated[0].closed().await, 5);
    for stays in unauthenticated[1..].iter().chain(&signed_in) {
        assert!(stays.connection.close_reason().is_none());
    }
    // A connection that signs out is unauthenticated again.
    signed_in[0].done(Kind::Logout(wire::Logout {})).await;
    assert_eq!(unauthenticated[1].closed().await, 5);
    signed_in[0]
        .login("ann", crate::harness::PASSWORD)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_connection_without_sign_in_is_closed_after_30_s() {
    let server = TestServer::start().await;
    let raw_client = server.client().await;
    let began = std::time::Instant::now();
    let closed = tokio::time::timeout(2 * Duration::from_secs(30), raw_client.connection.closed());
    match closed.await.expect("it is closed") {
        quinn::ConnectionError::ApplicationClosed(close) => {
            assert_eq!(close.error_code.into_inner(), 9);
        }
        other => panic!("{other}"),
    }
    assert!(began.elapsed() > Duration::from_secs(25));
}

#[tokio::test]
async fn an_unknown_alpn_is_refused_by_tls() {
    let server = TestServer::start().await;
    server
        .connect(b"h3", None)
        .await
        .expect_err("no such protocol here");
}

#[tokio::test]
async fn a_shutdown_is_announced_to_clients() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let TestServer { running, dir: _dir } = server;
    let shutdown = tokio::spawn(running.shutdown());
    let event::Kind::GoingAway(going) = client.event().await else {
        panic!("no notice");
    };
    assert!(going.retry_after_ms > 0);
    assert_eq!(client.closed().await, 1);
    tokio::time::timeout(PATIENCE, shutdown)
        .await
        .unwrap()
        .unwrap();
}
