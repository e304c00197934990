//! Webhooks.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Server;

/// Takes webhooks on a port of its own; gives the bodies that came.
async fn receiver() -> (String, tokio::sync::mpsc::Receiver<Value>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (heard, bodies) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            let body: Value = loop {
                let mut piece = [0; 4096];
                let len = stream.read(&mut piece).await.unwrap();
                bytes.extend_from_slice(&piece[..len]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
                if let Some(body) = body.and_then(|body| serde_json::from_str(body).ok()) {
                    assert!(text.contains("webhook-signature: v1,"), "{text}");
                    break body;
                }
            };
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            heard.send(body).await.unwrap();
        }
    });
    (url, bodies)
}

/// The kind and the participant of the next message.
async fn next(bodies: &mut tokio::sync::mpsc::Receiver<Value>) -> String {
    let wait = std::time::Duration::from_secs(30);
    let body = tokio::time::timeout(wait, bodies.recv()).await.unwrap();
    let body = body.unwrap();
    assert_eq!(body["data"]["conference"]["slug"], "friday", "{body}");
    let name = body["data"]["participant"]["username"].as_str();
    let kind = body["type"].as_str().unwrap();
    format!("{kind} {}", name.unwrap_or("-"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_the_operators_hears_who_comes_and_goes() {
    let (url, mut bodies) = receiver().await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let server = Server::start_with(&["--webhook", &url, "--webhook-secret", secret]).await;
    for name in ["ann", "ben"] {
        server.register(name).await;
    }
    let create = ["conference", "create", "friday"];
    server.users.client("ann", &create, None).await.unwrap();
    let mut ann = server.join("ann", "friday").await;
    let mut told = Vec::new();
    // Before anything else happens in the room.
    for _ in 0..2 {
        told.push(next(&mut bodies).await);
    }
    let mut ben = server.join("ben", "friday").await;
    ann.leave().await.unwrap();
    ben.leave().await.unwrap();
    for _ in 0..4 {
        told.push(next(&mut bodies).await);
    }
    let expected = [
        "room.started -",
        "participant.joined ann",
        "participant.joined ben",
        "participant.left ann",
        "participant.left ben",
        "room.ended -",
    ];
    assert_eq!(told, expected);
    server.process.end().await.unwrap();
}
