//! Clients that do not keep to the protocol.

use std::time::Duration;

use confab_protocol::control::framing;
use confab_protocol::control::{self, ErrorCode, MAX_REQUEST};
use confab_protocol::wire::{self, event, request::Kind, response};

use crate::harness::{Answer, Client, PATIENCE, TestServer};

fn code(answer: Option<Answer>) -> ErrorCode {
    answer.expect("an answer").expect_err("a refusal").code()
}

/// A request of a kind that will be known one day: field 999, an empty message.
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
async fn hello_comes_first_and_versions_have_to_meet() {
    let server = TestServer::start().await;
    let client = server.stranger().await;
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
async fn bytes_that_are_no_request_get_a_typed_answer() {
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

#[tokio::test]
async fn a_client_that_floods_is_slowed_and_then_closed_and_others_are_not() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut throttled = 0u32;
    loop {
        match client.ask_bytes(&unknown()).await {
            Some(Err(error)) if error.code() == ErrorCode::Throttled => {
                assert!(error.retry_after_ms > 0);
                throttled += 1;
            }
            Some(answer) => assert_eq!(answer.unwrap_err().code(), ErrorCode::UnknownRequest),
            None => break,
        }
    }
    assert!(throttled >= 400, "closed after {throttled}");
    assert_eq!(client.closed().await, 2);
    still_serves(&server).await;
}

#[tokio::test]
async fn streams_that_are_opened_and_left_open_stop_nobody_else() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut held = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(200), client.connection.open_bi()).await
    {
        let (mut send, recv) = stream.unwrap();
        send.write_all(&[0, 0]).await.unwrap();
        held.push((send, recv));
    }
    assert!(held.len() <= 32, "{} requests under way", held.len());
    assert!(
        tokio::time::timeout(Duration::from_millis(200), client.connection.open_uni())
            .await
            .is_err(),
        "a client opens no unidirectional stream"
    );
    still_serves(&server).await;
}

#[tokio::test]
async fn who_does_not_say_hello_is_closed() {
    let server = TestServer::start().await;
    let client = server.stranger().await;
    assert_eq!(client.closed().await, 4);
}

#[tokio::test]
async fn one_address_has_only_so_many_connections() {
    let server = TestServer::start_with(|config| config.connections.per_source = 3).await;
    let mut held: Vec<Client> = Vec::new();
    for _ in 0..3 {
        held.push(server.client().await);
    }
    server
        .connect(control::ALPN, None)
        .await
        .expect_err("a fourth");
    held.pop().unwrap().connection.close(0u32.into(), b"done");
    let again = async {
        while server.connect(control::ALPN, None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("a place is free again");
}

#[tokio::test]
async fn a_protocol_that_nobody_speaks_is_refused_by_tls() {
    let server = TestServer::start().await;
    server
        .connect(b"h3", None)
        .await
        .expect_err("no such protocol here");
}

#[tokio::test]
async fn a_server_that_goes_away_says_so() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let TestServer { running, dir: _dir } = server;
    let shutdown = tokio::spawn(running.shutdown());
    let event::Kind::GoingAway(going) = client.event().await else {
        panic!("not told");
    };
    assert!(going.retry_after_ms > 0);
    assert_eq!(client.closed().await, 1);
    tokio::time::timeout(PATIENCE, shutdown)
        .await
        .unwrap()
        .unwrap();
}
