//! Connections and participations against a control node that says what the test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use confab_protocol::control::ErrorCode;
use confab_protocol::wire::request;
use quinn::VarInt;

use super::event::ServerEvent;
use super::sign_in::{Access, SignInError};
use super::supervisor::{CallRequest, Supervisor, Update};
use super::testing::{Node, kindly, next, redirecting, refuse, slug, telling};
use super::{ApiError, ConnectError, Link};
use crate::engine::room::Change;

#[tokio::test]
async fn a_server_without_a_version_in_common_is_told_apart() {
    let node = Node::start_with(b"confab/9", kindly);
    let (access, _home) = node.access(node.pinned()).await;
    let error = Link::open(&access.server, access.trust())
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Version(_)), "{error}");
}

#[tokio::test]
async fn a_refusal_comes_with_its_code() {
    let node = Node::start(|request| match request {
        request::Kind::WhoAmI(_) => refuse(ErrorCode::NotAuthenticated),
        other => kindly(other),
    });
    let (access, _home) = node.access(node.pinned()).await;
    let link = Link::open(&access.server, access.trust()).await.unwrap();
    assert_eq!(
        link.who_am_i().await.unwrap_err().code(),
        Some(ErrorCode::NotAuthenticated)
    );
}

#[tokio::test]
async fn a_node_is_shown_at_a_second_connection_that_the_address_is_known() {
    let node = Node::start(kindly);
    let (access, _home) = node.access(node.pinned()).await;
    for is_known in [false, true, true] {
        let link = Link::open(&access.server, access.trust()).await.unwrap();
        link.close().await;
        let known = node.known_addresses.lock().unwrap().last().copied();
        assert_eq!(known, Some(is_known));
    }
}

#[tokio::test]
async fn two_processes_exchange_a_token_once() {
    let node = Node::start(kindly);
    let (access, _home) = node.logged_in(0).await;
    let (mut one, mut two) = (access.clone(), access.clone());
    let (first, second) = tokio::join!(one.open_signed_in(), two.open_signed_in());
    first.unwrap();
    second.unwrap();
    let requests = node.requests.lock().unwrap();
    let refreshes = requests
        .iter()
        .filter(|r| matches!(r, request::Kind::Refresh(_)))
        .count();
    let tokens: Vec<_> = requests
        .iter()
        .filter_map(|r| {
            if let request::Kind::Authenticate(a) = r {
                Some(a.token[0])
            } else {
                None
            }
        })
        .collect();
    assert_eq!((refreshes, tokens), (1, vec![2]));
}

#[tokio::test]
async fn a_session_that_is_over_is_forgotten() {
    let node = Node::start(|request| match request {
        request::Kind::Authenticate(_) => refuse(ErrorCode::SessionEnded),
        other => kindly(other),
    });
    let (mut access, _home) = node.logged_in(u64::MAX).await;
    assert!(matches!(
        access.open_signed_in().await,
        Err(SignInError::SessionOver(_))
    ));
    assert!(matches!(
        access.open_signed_in().await,
        Err(SignInError::NotLoggedIn(_))
    ));
}

#[tokio::test]
async fn a_lost_connection_is_replaced_and_the_join_taken_up() {
    let node = Node::start(kindly);
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (joined, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    let event = next(&mut supervisor).await;
    assert!(
        matches!(&event, Update::Event(ServerEvent::Room(_, event)) if matches!(event.change, Change::Joined(_))),
        "{event:?}"
    );
    node.hang_up();
    assert!(matches!(next(&mut supervisor).await, Update::Lost(_)));
    let update = next(&mut supervisor).await;
    assert!(
        matches!(
            update,
            Update::Rejoined {
                resumed: true,
                reconnected: true,
                ..
            }
        ),
        "{update:?}"
    );
    assert_eq!(
        node.joins(),
        [vec![], joined.me.join_id.as_bytes().to_vec()]
    );
}

#[tokio::test]
async fn a_join_that_is_gone_is_joined_afresh() {
    let node = Node::start(|request| match request {
        request::Kind::JoinRoom(join) if !join.resume_join_id.is_empty() => {
            refuse(ErrorCode::NotFound)
        }
        other => kindly(other),
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    supervisor.request(CallRequest::Resume);
    let update = next(&mut supervisor).await;
    assert!(
        matches!(
            update,
            Update::Rejoined {
                resumed: false,
                reconnected: false,
                ..
            }
        ),
        "{update:?}"
    );
    assert_eq!(node.joins().len(), 3);
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_and_one_that_banned_is_not() {
    let tries = Arc::new(Mutex::new(0));
    let node = Node::start(move |request| match request {
        request::Kind::JoinRoom(join) if !join.resume_join_id.is_empty() => {
            let mut tries = tries.lock().unwrap();
            *tries += 1;
            refuse(if *tries < 3 {
                ErrorCode::Busy
            } else {
                ErrorCode::Banned
            })
        }
        other => kindly(other),
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    node.hang_up();
    assert!(matches!(next(&mut supervisor).await, Update::Lost(_)));
    let update = next(&mut supervisor).await;
    let Update::Failed(SignInError::Api(error)) = update else {
        panic!("{update:?}")
    };
    assert_eq!(error.code(), Some(ErrorCode::Banned));
    assert_eq!(node.joins().len(), 4);
}

#[tokio::test]
async fn a_leave_reaches_the_server() {
    let node = Node::start(kindly);
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (joined, _, supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    let (to, left) = tokio::sync::oneshot::channel();
    supervisor.request(CallRequest::Leave(to));
    left.await.unwrap();
    let requests = node.requests.lock().unwrap();
    let Some(request::Kind::LeaveRoom(leave)) = requests.last() else {
        panic!("{requests:?}")
    };
    assert_eq!(leave.join_id, joined.me.join_id.to_wire());
}

#[tokio::test]
async fn a_join_follows_the_room_to_another_node() {
    let home_node = Node::start(kindly);
    let first = home_node.start_beside(redirecting(home_node.address));
    let (access, _home) = first.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    assert_eq!((first.joins().len(), home_node.joins().len()), (1, 1));
    // And finds it again there.
    next(&mut supervisor).await;
    home_node.hang_up();
    assert!(matches!(next(&mut supervisor).await, Update::Lost(_)));
    assert!(matches!(
        next(&mut supervisor).await,
        Update::Rejoined { resumed: true, .. }
    ));
    assert_eq!((first.joins().len(), home_node.joins().len()), (1, 2));
}

#[tokio::test]
async fn nodes_that_send_one_round_and_round_are_not_followed_for_ever() {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let node = Node::start(redirecting(anywhere));
    let (access, _home) = node.logged_in(u64::MAX).await;
    let refused = Supervisor::start(access, slug(), None).await.unwrap_err();
    assert!(
        matches!(refused, SignInError::Api(ApiError::Elsewhere(_))),
        "{refused}"
    );
}

#[tokio::test]
async fn a_client_of_a_dead_node_connects_to_a_known_other_node() {
    let other = Node::start(kindly);
    let first = other.start_beside(telling(other.address));
    let (access, _home) = first.logged_in(u64::MAX).await;
    let again = access.clone();
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    first.endpoint.close(VarInt::from_u32(0), b"");
    first.hang_up();
    assert!(matches!(next(&mut supervisor).await, Update::Lost(_)));
    let rejoined = tokio::time::timeout(Duration::from_secs(20), supervisor.updates.recv());
    assert!(matches!(
        rejoined.await.unwrap(),
        Some(Update::Rejoined { .. })
    ));
    assert_eq!(other.joins().len(), 1);
    // It is remembered with the session, for a client that starts then.
    let mut later = Access::new(again.server.clone(), again.trust().clone(), again.store)
        .await
        .unwrap();
    later.open_signed_in().await.unwrap();
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_no_secret_and_no_address() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("confab=trace")
        // Whose digits may be those of a secret.
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    // One thread runs all of this test, so that nothing is logged past it.
    let _guard = tracing::subscriber::set_default(subscriber);
    let node = Node::start(kindly);
    let (access, home) = node.logged_in(0).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    // A node that is gone is tried in vain.
    node.endpoint.close(VarInt::from_u32(0), b"");
    assert!(matches!(next(&mut supervisor).await, Update::Lost(_)));
    tokio::time::sleep(Duration::from_secs(6)).await;
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("no connection yet"), "{logged}");
    let home = home.path().display().to_string();
    for secret in ["127.0.0.1", "[2, 2", "0202", "ann", home.as_str()] {
        assert!(!logged.contains(secret), "{secret} in {logged}");
    }
}
