//! A config directory that cannot be used.

use std::path::Path;
use std::time::{Duration, Instant};

use confab_protocol::wire::{self, event, request, response};

use super::supervisor::{Supervisor, Update};
use super::testing::{Node, kindly, next, slug};

/// Makes storing sessions fail until the returned folder is removed.
fn full_disk(home: &Path) -> std::path::PathBuf {
    let in_the_way = home.join(format!("c/.sessions.json.{}", std::process::id()));
    std::fs::create_dir(&in_the_way).unwrap();
    in_the_way
}

/// Takes the lock of the sessions, as a hung process does.
fn hold_lock(home: &Path) -> std::fs::File {
    let lock = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(home.join("c/sessions.lock"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    lock
}

/// First bytes of the tokens in all requests: (true, _) to exchange it, (false, _) to sign in.
fn tokens(node: &Node) -> Vec<(bool, u8)> {
    let requests = node.requests.lock().unwrap();
    let token = |request: &request::Kind| match request {
        request::Kind::Refresh(refresh) => Some((true, refresh.token[0])),
        request::Kind::Authenticate(authenticate) => Some((false, authenticate.token[0])),
        _ => None,
    };
    requests.iter().filter_map(token).collect()
}

/// The token becomes due soon after the join.
fn soon_due(request: &request::Kind) -> response::Kind {
    match kindly(request) {
        response::Kind::Authenticated(session) => {
            response::Kind::Authenticated(wire::Authenticated {
                refresh_after_ms: 1200,
                ..session
            })
        }
        other => other,
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_stored_is_used_and_stored_later() {
    let node = Node::start(kindly);
    let (mut access, home) = node.logged_in(0).await;
    let in_the_way = full_disk(home.path());
    let (link, signed_in) = access.open_signed_in().await.unwrap();
    assert!(!signed_in.is_kept);
    let stored = async || {
        let sessions = access.store.sessions().await.unwrap();
        sessions.get(&access.server.to_string()).unwrap().token[0]
    };
    assert_eq!(stored().await, 1, "it could not be stored");
    // The old token is not exchanged a second time.
    let again = access.sign_in(&link, link.server_time_ms).await.unwrap();
    assert!(!again.is_kept);
    std::fs::remove_dir(in_the_way).unwrap();
    let later = access.sign_in(&link, link.server_time_ms).await.unwrap();
    assert!(later.is_kept);
    assert_eq!(stored().await, 2);
    assert_eq!(tokens(&node), [(true, 1), (false, 2), (false, 2)]);
}

#[tokio::test]
async fn a_call_uses_its_session_in_memory_while_the_directory_cannot_be_read() {
    let node = Node::start(kindly);
    let (mut access, home) = node.logged_in(u64::MAX).await;
    let (link, _) = access.open_signed_in().await.unwrap();
    let sessions = home.path().join("c/sessions.json");
    std::fs::remove_file(&sessions).unwrap();
    std::fs::create_dir(&sessions).unwrap();
    let signed_in = access.sign_in(&link, link.server_time_ms).await.unwrap();
    assert!(!signed_in.is_kept);
    assert_eq!(tokens(&node), [(false, 1), (false, 1)]);
    // A due token may have been exchanged by another process. Using the old one would end the session.
    assert!(access.sign_in(&link, u64::MAX - 1000).await.is_err());
    assert_eq!(tokens(&node).len(), 2);
    // A process without a session in memory cannot sign in.
    let (fresh, home) = node.access(node.pinned()).await;
    std::fs::create_dir(home.path().join("c/sessions.json")).unwrap();
    assert!(fresh.sign_in(&link, link.server_time_ms).await.is_err());
}

#[tokio::test]
async fn a_lock_held_by_another_process_delays_no_event() {
    let node = Node::start(soon_due);
    let (access, home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    let _held = hold_lock(home.path());
    tokio::time::sleep(Duration::from_millis(600)).await;
    let told = Instant::now();
    node.tell(event::Kind::GoingAway(wire::GoingAway::default()));
    assert!(matches!(next(&mut supervisor).await, Update::Lost(_)));
    assert!(told.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_lock_held_by_another_process_delays_no_leave() {
    let node = Node::start(soon_due);
    let (access, home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    let _held = hold_lock(home.path());
    tokio::time::sleep(Duration::from_millis(600)).await;
    let asked = Instant::now();
    supervisor.leave().await;
    assert!(asked.elapsed() < Duration::from_secs(4));
    let requests = node.requests.lock().unwrap();
    let left = |request: &request::Kind| matches!(request, request::Kind::LeaveRoom(_));
    assert!(requests.iter().any(left));
}
