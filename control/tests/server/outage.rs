//! Outages of the store: known sessions continue, and no request hangs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use confab_control::store::remembering::RememberingStore;
use confab_control::store::sqlite::SqliteStore;
use confab_control::store::{HomeRecord, Store};
use confab_control::{SharedStore, StoreConfig};
use confab_protocol::control::ErrorCode;
use confab_protocol::wire::{self, Visibility, event, request, response};

use crate::fleet::fleet;
use crate::gate::Gate;
use crate::harness::{
    Client, PASSWORD, PATIENCE, TestServer, create, eventually, kick, login, mute,
};
use crate::relay::FakeRelay;

const SLUG: &str = "friday-night";

/// One server on a store with a gate, and Ann and Bob in a room.
struct Scene {
    server: TestServer,
    gate: Gate,
    store: Arc<dyn Store>,
    ann: Client,
    bob_token: Bytes,
    _bob: Client,
    _relay: FakeRelay,
    _folder: tempfile::TempDir,
}

async fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("shared.sqlite")).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let gate = Gate::new(store.clone());
    let shared = SharedStore(Arc::new(gate.clone()));
    let server = TestServer::start_with(|config| config.store = StoreConfig::Shared(shared)).await;
    let relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create(SLUG, Visibility::Public).await;
    ann.join(SLUG).await.unwrap();
    let bob = server.client().await;
    let bob_token = bob.register("bob").await.unwrap().token;
    bob.join(SLUG).await.unwrap();
    Scene {
        server,
        gate,
        store,
        ann,
        bob_token,
        _bob: bob,
        _relay: relay,
        _folder: folder,
    }
}

#[tokio::test]
async fn a_known_session_signs_in_and_joins_during_an_outage() {
    let scene = scene().await;
    scene.gate.shut();
    let bob = scene.server.client().await;
    let answer = bob.authenticate(&scene.bob_token).await;
    assert!(
        matches!(answer, Ok(response::Kind::Authenticated(_))),
        "{answer:?}"
    );
    bob.join(SLUG).await.unwrap();
    // A refresh also signs in, and does not change the token.
    let bob = scene.server.client().await;
    let granted = bob.refresh(&scene.bob_token).await.unwrap();
    assert_eq!(granted.token, scene.bob_token);
    bob.join(SLUG).await.unwrap();
    scene.gate.open();
    let exchanged = async {
        while bob.refresh(&scene.bob_token).await.unwrap().token == scene.bob_token {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let exchanged = tokio::time::timeout(PATIENCE, exchanged).await;
    exchanged.expect("the store is asked again");
}

#[tokio::test]
async fn creating_moderating_and_logging_in_are_refused_as_busy() {
    let scene = scene().await;
    let raw_client = scene.server.client().await;
    scene.gate.shut();
    for ask in [
        create("another", Visibility::Public),
        mute(SLUG, "bob", true),
        kick(SLUG, "bob"),
    ] {
        assert_eq!(scene.ann.refused(ask).await, ErrorCode::Busy);
    }
    assert_eq!(
        raw_client.refused(login("bob", PASSWORD)).await,
        ErrorCode::Busy
    );
}

#[tokio::test]
async fn only_the_first_request_waits_for_a_hanging_store() {
    let scene = scene().await;
    scene.gate.hang();
    let bob = scene.server.client().await;
    bob.authenticate(&scene.bob_token).await.unwrap();
    bob.join(SLUG).await.unwrap();
    // If each request waited for a second, this limit would be exceeded.
    let asking = async {
        for _ in 0..30 {
            bob.authenticate(&scene.bob_token).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking)
        .await
        .expect("no request waits");
}

#[tokio::test]
async fn a_revoked_session_stays_revoked_during_an_outage() {
    let scene = scene().await;
    let bob = scene.server.client().await;
    bob.authenticate(&scene.bob_token).await.unwrap();
    bob.done(request::Kind::Logout(wire::Logout {})).await;
    scene.gate.shut();
    let bob = scene.server.client().await;
    let refused = bob.authenticate(&scene.bob_token).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Busy);
}

#[tokio::test]
async fn an_exchanged_token_stays_invalid_during_an_outage() {
    let scene = scene().await;
    let bob = scene.server.client().await;
    let newer = bob.refresh(&scene.bob_token).await.unwrap().token;
    scene.gate.shut();
    let thief = scene.server.client().await;
    let refused = thief.authenticate(&scene.bob_token).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Busy);
    let refused = thief.refresh(&scene.bob_token).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Busy);
    // The session has not ended: the store has not decided that the older token is stolen.
    let bob = scene.server.client().await;
    bob.authenticate(&newer).await.unwrap();
}

#[tokio::test]
async fn a_session_wrongly_admitted_during_an_outage_ends_after_it() {
    let scene = scene().await;
    scene.gate.shut();
    let bob = scene.server.client().await;
    bob.authenticate(&scene.bob_token).await.unwrap();
    // Ended by a node that cannot reach this one.
    let account = scene
        .store
        .account_by_username("bob".parse().unwrap())
        .await;
    let account = account.unwrap().unwrap().id;
    scene.store.end_sessions_of(account, None).await.unwrap();
    scene.gate.open();
    while !matches!(bob.event().await, event::Kind::SessionEnded(_)) {}
    let who_am_i = request::Kind::WhoAmI(wire::WhoAmI {});
    assert_eq!(bob.refused(who_am_i).await, ErrorCode::NotAuthenticated);
}

#[tokio::test]
async fn the_cache_does_not_undo_another_nodes_change_of_a_session() {
    let (nodes, _folder) = fleet(&["one", "two"]).await;
    let (one, two) = (&nodes[0], &nodes[1]);
    let ann = one.server.client().await;
    let token = ann.register("ann").await.unwrap().token;
    let at_two = two.server.client().await;
    let newer = at_two.refresh(&token).await.unwrap().token;
    one.gate.shut();
    // The first node has not read the exchange. The newer token shows that its cache is outdated, and it accepts neither.
    let again = one.server.client().await;
    for shown in [&newer, &token] {
        let refused = again.authenticate(shown).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Busy);
    }
    one.gate.open();
    again.authenticate(&newer).await.unwrap();

    // A session that ends there ends here too, with or without the store.
    one.gate.shut();
    at_two.done(request::Kind::Logout(wire::Logout {})).await;
    while !matches!(again.event().await, event::Kind::SessionEnded(_)) {}
    let again = one.server.client().await;
    let refused = again.authenticate(&newer).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Busy);
}

#[tokio::test]
async fn taking_a_room_clears_cached_standings_and_homes_are_not_cached() {
    let scene = scene().await;
    let store = RememberingStore::new(Arc::new(scene.gate.clone()));
    let found = store.conference_by_slug(SLUG.parse().unwrap()).await;
    let room = found.unwrap().unwrap();
    store.member(room.id, room.owner).await.unwrap().unwrap();
    let home = store.home(room.id).await.unwrap().unwrap();

    scene.gate.shut();
    let standing = store.recall_member(room.id, room.owner).await.unwrap();
    assert!(standing.unwrap().from_memory);
    assert!(store.member(room.id, room.owner).await.is_err());
    assert!(store.home(room.id).await.is_err());

    scene.gate.open();
    let taken = HomeRecord {
        era: home.era + 1,
        ..home.clone()
    };
    store.write_home(room.id, Some(home), taken).await.unwrap();
    scene.gate.shut();
    assert!(store.recall_member(room.id, room.owner).await.is_err());
    let by_slug = store.recall_conference_by_slug(room.slug.clone()).await;
    assert_eq!(by_slug.unwrap().unwrap().value, room);
}

#[tokio::test]
async fn a_request_read_whole_is_carried_out_after_its_connection_breaks() {
    let scene = scene().await;
    let (server, gate, ann) = (&scene.server, &scene.gate, &scene.ann);
    let phone = server.client().await;
    phone.login("ann", PASSWORD).await.unwrap();
    let clients = server.running.peer_api().clients.count();
    let new_password = "another horse entirely";
    gate.hang();
    let change = request::Kind::ChangePassword(wire::ChangePassword {
        old_password: PASSWORD.to_owned(),
        new_password: new_password.to_owned(),
    });
    let asking = async {
        tokio::select! {
            answer = ann.ask(change) => panic!("{answer:?}"),
            () = eventually(|| gate.has_waited("account")) => {}
        }
    };
    asking.await;
    ann.connection.close(0u32.into(), b"gone");
    // The connection counts until its request has ended.
    let server_side = || server.running.peer_api().clients.count();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server_side(), clients);
    gate.open();
    while !matches!(phone.event().await, event::Kind::SessionEnded(_)) {}
    eventually(|| server_side() < clients).await;
    let fresh = server.client().await;
    fresh.login("ann", new_password).await.unwrap();
}
