//! Panics in the server: the operation fails and everything else continues.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use confab_control::store::sqlite::SqliteStore;
use confab_control::{SharedStore, StoreConfig};
use confab_protocol::control::ErrorCode;
use confab_protocol::wire::{CommandOutcome, RoomJoined, Visibility, event};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::gate::Gate;
use crate::harness::{Client, PATIENCE, TestServer, eventually, mute};
use crate::metrics::get;

const SLUG: &str = "friday-night";

/// Panics at the first log line of a module, in the task that logs it. Calls `before` first.
struct Trap<F> {
    module: &'static str,
    before: F,
    is_sprung: AtomicBool,
}

impl<S: tracing::Subscriber, F: Fn() + 'static> Layer<S> for Trap<F> {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let is_of_module = event.metadata().target().ends_with(self.module);
        if is_of_module && !self.is_sprung.swap(true, Ordering::Relaxed) {
            (self.before)();
            panic!("a test's panic in {}", self.module);
        }
    }
}

async fn server() -> (TestServer, Gate, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("shared.sqlite")).unwrap();
    let gate = Gate::new(Arc::new(store));
    let shared = SharedStore(Arc::new(gate.clone()));
    let server = TestServer::start_with(|config| {
        config.store = StoreConfig::Shared(shared);
        config.metrics = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    })
    .await;
    (server, gate, folder)
}

/// Signs Ann and Bob in and joins both. Also returns Bob's join.
async fn in_a_room(server: &TestServer) -> (Client, Client, RoomJoined) {
    let ann = server.user("ann").await;
    ann.create(SLUG, Visibility::Public).await;
    ann.join(SLUG).await.unwrap();
    let bob = server.user("bob").await;
    let joined = bob.join(SLUG).await.unwrap();
    (ann, bob, joined)
}

#[tokio::test]
async fn a_room_whose_task_panics_restarts_with_its_participants() {
    let (server, _gate, _folder) = server().await;
    let relay = server.relay("berlin").await;
    let (_ann, bob, joined) = in_a_room(&server).await;
    let own = |joined: &RoomJoined| {
        let mut participants = joined.participants.iter();
        let own = participants.find(|one| one.sender == joined.self_sender);
        own.unwrap().join_id.clone()
    };
    let era = relay.commands().last().unwrap().fence.era;

    let relay = Arc::new(relay);
    let mends = relay.clone();
    let trap = Trap {
        module: "rooms::room::joins",
        before: move || mends.answer_with(Some(CommandOutcome::Obeyed)),
        is_sprung: AtomicBool::new(false),
    };
    let trapped = tracing::subscriber::set_default(tracing_subscriber::registry().with(trap));
    // The room logs the relay's refusal and panics.
    relay.answer_with(Some(CommandOutcome::NotFound));
    let cem = server.user("cem").await;
    assert_eq!(cem.join(SLUG).await.unwrap().participants.len(), 3);
    drop(trapped);

    let told_to_come_again =
        async { while !matches!(bob.event().await, event::Kind::GoingAway(_)) {} };
    tokio::time::timeout(PATIENCE, told_to_come_again)
        .await
        .unwrap();
    let last = relay.commands().last().unwrap().fence.era;
    assert!(last > era, "the room is under era {last} after {era}");
    let live = &joined.media.as_ref().unwrap().connection_id;
    let again = bob.resume_with(SLUG, &own(&joined), live).await.unwrap();
    assert_eq!(again.media, None, "the media session stays as it is");
    assert_eq!(again.participants.len(), 3);
}

#[tokio::test]
async fn a_panic_in_a_home_lookup_leaves_the_room_unchanged() {
    let (server, gate, _folder) = server().await;
    let relay = server.relay("berlin").await;
    let (ann, _bob, joined) = in_a_room(&server).await;
    let era = relay.commands().last().unwrap().fence.era;

    gate.refuses("beat");
    let nodes = &server.running.peer_api().nodes;
    eventually(|| nodes.lease_epoch(std::time::Instant::now()).is_none()).await;
    gate.panics_at("home", 1);
    ann.done(mute(SLUG, "bob", true)).await;
    let sender = u16::try_from(joined.self_sender).unwrap();
    assert_eq!(relay.may_speak(sender), Some(false));
    assert_eq!(relay.commands().last().unwrap().fence.era, era);
}

#[tokio::test]
async fn a_request_that_panics_is_refused_and_the_next_one_succeeds() {
    let (server, gate, _folder) = server().await;
    let _relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create(SLUG, Visibility::Public).await;
    ann.join(SLUG).await.unwrap();
    let bob = server.user("bob").await;
    gate.panics_at("member", 1);
    let refused = bob.join(SLUG).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Internal);
    assert_eq!(bob.join(SLUG).await.unwrap().participants.len(), 2);
    gate.panics_at("change_member", 1);
    let refused = ann.refused(mute(SLUG, "bob", true)).await;
    assert_eq!(refused, ErrorCode::Internal);
    ann.done(mute(SLUG, "bob", true)).await;
}

#[tokio::test]
async fn a_task_that_panics_restarts_and_healthz_reports_it() {
    let (server, gate, _folder) = server().await;
    assert!(get(&server, "/healthz").await.starts_with("HTTP/1.1 200"));
    gate.panics_at("beat", 1);
    let answer = async {
        loop {
            let answer = get(&server, "/healthz").await;
            if !answer.starts_with("HTTP/1.1 200") {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("heartbeat"), "{answer}");
    // The heartbeat continues: otherwise the lease would expire.
    let nodes = &server.running.peer_api().nodes;
    let breaks = nodes.lease_epoch(std::time::Instant::now());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(nodes.lease_epoch(std::time::Instant::now()), breaks);
    assert!(breaks.is_some());
    let ann = server.user("ann").await;
    ann.create(SLUG, Visibility::Public).await;
}
