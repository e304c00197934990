//! Control and a relay in one process, and people who come by a link.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::{hears_more, programs, register, talk};
use confab_benches::fleet::{Process, Programs, Users};

const CONTROL: &str = "confab-control";

/// A server with a relay inside, on these addresses.
async fn serve(scratch: &std::path::Path, listen: &str, relay: &str) -> Process {
    let data = scratch.join("data");
    let args = [
        "serve",
        "--with-relay",
        "--listen",
        listen,
        "--relay-listen",
        relay,
    ];
    let mut args: Vec<String> = args.map(str::to_owned).to_vec();
    args.extend(["--data-dir".to_owned(), data.display().to_string()]);
    let programs = Programs::new(&programs());
    let log = scratch.join("control.log");
    programs.serve(CONTROL, CONTROL, &args, &log).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_talk_by_a_link_and_a_restart_is_a_short_gap() {
    let scratch = tempfile::tempdir().unwrap();
    let server = serve(scratch.path(), "127.0.0.1:0", "127.0.0.1:0").await;
    let address = server.address;
    let ca = scratch.path().join("data/ca.crt");
    let users = Users::new(&Programs::new(&programs()), scratch.path(), &ca, address);
    register(&users, "ann").await;
    register(&users, "ben").await;
    let link = users
        .client("ann", &["conference", "link", "lobby"], None)
        .await;
    let link = link.unwrap().trim().to_owned();
    assert!(link.starts_with("confab://127.0.0.1"), "{link}");

    let (mut ann, mut ben) = talk(&users, &link).await;
    hears_more(&mut ben, "ann").await;

    server.end().await.unwrap();
    let down = tokio::time::Instant::now();
    let server = serve(scratch.path(), &address.to_string(), "127.0.0.1:0").await;
    hears_more(&mut ben, "ann").await;
    println!("a restart: heard again after {:.1?}", down.elapsed());
    assert!(
        down.elapsed() < Duration::from_secs(20),
        "{:?}",
        down.elapsed()
    );

    // Another server under the same name is not followed.
    let (place, digest) = link.split_once("#1.").unwrap();
    let first = if digest.starts_with('A') { 'B' } else { 'A' };
    let other = format!("{place}#1.{first}{}", &digest[1..]);
    let ended = users
        .try_client("ann", &["join", &other, "--in", "none"], None)
        .await
        .unwrap();
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(ended.stderr.contains("authority"), "{ended:?}");
    ben.leave().await.unwrap();
    ann.leave().await.unwrap();
    server.end().await.unwrap();
}
