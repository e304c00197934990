//! Several control nodes that share a store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use confab_control::store::Store;
use confab_control::store::sqlite::SqliteStore;
use confab_control::{Config, NodeConfig, SharedStore, StoreConfig, serve};
use confab_protocol::cluster::Action;
use confab_protocol::control::{ConferenceId, ErrorCode};
use confab_protocol::wire::{self, Visibility, event, request, response};
use tokio::runtime::Runtime;

use crate::gate::Gate;
use crate::harness::{Client, PATIENCE, TestServer, ban, cheap, eventually, kick, mute, secret_of};
use crate::relay::FakeRelay;

const SLUG: &str = "friday-night";

/// A node on its own runtime, so that it can be killed.
pub struct Node {
    pub server: TestServer,
    pub gate: Gate,
    runtime: OwnRuntime,
}

impl Node {
    /// Shuts the node down. Dropping it kills it without a notice.
    async fn end(self) {
        let Self {
            server, runtime, ..
        } = self;
        let running = server.running;
        let ending = runtime.spawn(running.shutdown());
        ending.await.unwrap();
    }
}

struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.0.as_ref().unwrap().spawn(task)
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts nodes that know each other; also returns the folder of their store.
pub async fn fleet(names: &[&str]) -> (Vec<Node>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("shared.sqlite")).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let mut nodes: Vec<Node> = Vec::new();
    for name in names {
        let keys = nodes.first().map(|first| first.server.dir.path());
        let node = start(name, store.clone(), keys).await;
        nodes.push(node);
    }
    eventually(|| {
        let others = |node: &Node| node.server.running.peer_api().nodes.others().len();
        nodes.iter().all(|node| others(node) == names.len() - 1)
    })
    .await;
    (nodes, folder)
}

/// Creates a data folder with the keys of another.
fn folder_with(keys: Option<&std::path::Path>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["ca.crt", "ca.key", "token.key", "server.id"] {
        if let Some(keys) = keys {
            std::fs::copy(keys.join(file), dir.path().join(file)).unwrap();
        }
    }
    dir
}

async fn start(name: &str, store: Arc<dyn Store>, keys: Option<&std::path::Path>) -> Node {
    start_in(folder_with(keys), Some(name), store).await
}

/// Starts a node; without a name it uses that of its identity.
pub async fn start_in(dir: tempfile::TempDir, name: Option<&str>, store: Arc<dyn Store>) -> Node {
    let gate = Gate::new(store);
    let config = Config {
        store: StoreConfig::Shared(SharedStore(Arc::new(gate.clone()))),
        node: NodeConfig {
            name: name.map(|name| name.parse().unwrap()),
            ..NodeConfig::default()
        },
        ..cheap(&dir)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let runtime = OwnRuntime(Some(runtime));
    let running = runtime.spawn(serve(config)).await.unwrap().unwrap();
    Node {
        server: TestServer { running, dir },
        gate,
        runtime,
    }
}

/// Two nodes, one relay linked to both, and Ann in a room at the first node.
struct Scene {
    one: Node,
    two: Node,
    relay_of_one: FakeRelay,
    relay_of_two: FakeRelay,
    ann: Client,
    ann_token: Bytes,
    joined: wire::RoomJoined,
    _folder: tempfile::TempDir,
}

async fn scene() -> Scene {
    let (nodes, folder) = fleet(&["one", "two"]).await;
    let [one, two] = nodes.try_into().ok().unwrap();
    let relay_of_one = one.server.relay("berlin").await;
    let relay_of_two = relay_of_one.link(&two.server, "berlin").await;
    eventually(|| two.server.running.peer_api().relays.linked() == 1).await;
    let ann = one.server.client().await;
    let ann_token = ann.register("ann").await.unwrap().token;
    ann.create(SLUG, Visibility::Public).await;
    let joined = ann.join(SLUG).await.unwrap();
    Scene {
        one,
        two,
        relay_of_one,
        relay_of_two,
        ann,
        ann_token,
        joined,
        _folder: folder,
    }
}

fn own(joined: &wire::RoomJoined) -> wire::Participant {
    let mut all = joined.participants.iter();
    let own = all.find(|participant| participant.sender == joined.self_sender);
    own.expect("oneself is in the room").clone()
}

async fn redirect(client: &Client) -> Option<Vec<String>> {
    let (slug, resume_join_id) = (SLUG.to_owned(), Bytes::new());
    let join = wire::JoinRoom {
        slug,
        resume_join_id,
        ..Default::default()
    };
    match client.ask(request::Kind::JoinRoom(join)).await {
        Ok(response::Kind::Redirect(redirect)) => Some(redirect.nodes),
        _ => None,
    }
}

/// Retries until a node admits the client: a dead node is detected after some seconds of silence.
async fn join_in_time(client: &Client) -> wire::RoomJoined {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if redirect(client).await.is_none()
            && let Ok(joined) = client.join(SLUG).await
        {
            return joined;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no node admits the client");
}

#[tokio::test]
async fn a_join_is_redirected_to_the_owner() {
    let scene = scene().await;
    let bob = scene.two.server.user("bob").await;
    let nodes = redirect(&bob).await.expect("a redirection");
    assert_eq!(nodes, [scene.one.server.running.addr.to_string()]);
    // The token is valid at every node.
    let at_two = scene.two.server.client().await;
    at_two.authenticate(&scene.ann_token).await.unwrap();
    assert!(redirect(&at_two).await.is_some());
    assert!(scene.relay_of_two.actions().is_empty());
}

#[tokio::test]
async fn the_welcome_lists_other_nodes() {
    let (nodes, _folder) = fleet(&["one", "two", "three"]).await;
    let raw_client = nodes[0].server.raw_client().await;
    let Ok(response::Kind::Welcome(welcome)) = raw_client.hello(1, 1).await else {
        panic!("a welcome");
    };
    let mut listed = welcome.nodes;
    listed.sort();
    let mut others: Vec<_> = nodes[1..]
        .iter()
        .map(|node| node.server.running.addr.to_string())
        .collect();
    others.sort();
    assert_eq!(listed, others);
}

#[tokio::test]
async fn any_node_forwards_moderation_to_the_owner() {
    let scene = scene().await;
    let ann = scene.two.server.client().await;
    ann.authenticate(&scene.ann_token).await.unwrap();
    let bob = scene.one.server.user("bob").await;
    let bob_in = bob.join(SLUG).await.unwrap();
    let sender = bob_in.self_sender as u16;
    assert!(matches!(scene.ann.event().await, event::Kind::Joined(_)));

    ann.done(mute(SLUG, "bob", true)).await;
    assert_eq!(scene.relay_of_one.may_speak(sender), Some(false));
    assert!(matches!(bob.event().await, event::Kind::Changed(_)));

    let info = request::Kind::ConferenceInfo(wire::ConferenceInfo {
        slug: SLUG.to_owned(),
    });
    let Ok(response::Kind::Conference(conference)) = ann.ask(info).await else {
        panic!("a conference");
    };
    assert_eq!(conference.live, 2);

    ann.done(ban(SLUG, "bob")).await;
    assert!(scene.relay_of_one.closed(sender));
    assert_eq!(bob.join(SLUG).await.unwrap_err().code(), ErrorCode::Banned);
    assert_eq!(
        ann.refused(kick(SLUG, "bob")).await,
        ErrorCode::NotFound,
        "the refusal of the other node is returned"
    );

    let delete = wire::DeleteConference {
        slug: SLUG.to_owned(),
    };
    ann.done(request::Kind::DeleteConference(delete)).await;
    assert!(scene.relay_of_one.actions().contains(&Action::CloseRoom));
    assert!(scene.relay_of_two.actions().is_empty());
}

#[tokio::test]
async fn counts_of_other_nodes_rooms_are_fetched_and_cached() {
    let scene = scene().await;
    let conference = scene.joined.conference.as_ref().unwrap();
    let room = ConferenceId::new(conference.id[..].try_into().unwrap());
    let nobodys = ConferenceId::new([9; 16]);
    let at_one = &scene.one.server.running.api().counts;
    let at_two = &scene.two.server.running.api().counts;
    assert_eq!(at_two.of(&[nobodys, room]).await, [0, 1]);
    // The home cannot be read any more, and is cached.
    scene.two.gate.shut();
    assert_eq!(at_two.of(&[room, nobodys]).await, [1, 0]);
    let bob = scene.one.server.user("bob").await;
    bob.join(SLUG).await.unwrap();
    assert_eq!(at_one.of(&[room]).await, [2]);
}

#[tokio::test]
async fn a_session_ends_at_all_nodes() {
    let scene = scene().await;
    let ann = scene.two.server.client().await;
    ann.authenticate(&scene.ann_token).await.unwrap();
    ann.done(request::Kind::Logout(wire::Logout {})).await;
    let mut removed = false;
    while !removed {
        removed = matches!(scene.ann.event().await, event::Kind::Removed(_));
    }
    let sender = scene.joined.self_sender as u16;
    eventually(|| scene.relay_of_one.closed(sender)).await;
    assert_eq!(
        scene
            .ann
            .refused(request::Kind::WhoAmI(wire::WhoAmI {}))
            .await,
        ErrorCode::NotAuthenticated
    );
}

#[tokio::test]
async fn the_room_of_a_killed_node_is_taken_over() {
    let scene = scene().await;
    drop(scene.one);
    let ann = scene.two.server.client().await;
    ann.authenticate(&scene.ann_token).await.unwrap();
    // A mute waits until the owner is known to be dead, and then holds.
    ann.done(mute(SLUG, "ann", true)).await;
    let sender = scene.joined.self_sender as u16;
    assert_eq!(scene.relay_of_two.may_speak(sender), Some(false));
    // Ann's media session was not closed, and her join continues.
    let (me, before) = (own(&scene.joined), scene.joined.media.unwrap());
    assert!(scene.relay_of_two.has_session(sender) && !scene.relay_of_two.closed(sender));
    let joined = ann
        .resume_with(SLUG, &me.join_id, &before.connection_id)
        .await
        .unwrap();
    assert_eq!(joined.media, None, "what she has stays");
    // Members take the proposals of every node.
    assert_eq!(joined.delivery_key, scene.joined.delivery_key);
    let fresh = ann.resume(SLUG, &me.join_id).await.unwrap();
    assert!(fresh.media.unwrap().era > before.era);
}

#[tokio::test]
async fn a_takeover_drops_a_participant_banned_before_the_relay_obeyed() {
    let scene = scene().await;
    let bob = scene.one.server.user("bob").await;
    let bob_in = bob.join(SLUG).await.unwrap();
    let (of_ann, of_bob) = (scene.joined.self_sender, bob_in.self_sender);
    // The node that stores the ban dies before the relay receives it.
    scene.relay_of_one.answer_with(None);
    let banned = scene.ann.ask(ban(SLUG, "bob"));
    let killed = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(scene.one);
    };
    let (banned, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(1), banned), killed);
    assert!(!matches!(banned, Ok(Ok(_))), "it was acknowledged");
    let ann = scene.two.server.client().await;
    ann.authenticate(&scene.ann_token).await.unwrap();
    let me = own(&scene.joined);
    let live = &scene.joined.media.as_ref().unwrap().connection_id;
    let start = Instant::now();
    let joined = loop {
        // Until the other node is known to be dead, joins are redirected to it.
        let join = wire::JoinRoom {
            slug: SLUG.to_owned(),
            resume_join_id: me.join_id.clone(),
            resume_secret: secret_of(&me.join_id),
            live_connection_id: live.clone(),
            ..Default::default()
        };
        if let Ok(response::Kind::RoomJoined(joined)) = ann.ask(request::Kind::JoinRoom(join)).await
        {
            break joined;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(start.elapsed() < PATIENCE);
    };
    assert_eq!(joined.participants.len(), 1);
    let relay = &scene.relay_of_two;
    eventually(|| !relay.has_session(of_bob as u16)).await;
    assert!(relay.has_session(of_ann as u16));
}

#[tokio::test]
async fn a_node_that_shuts_down_releases_its_rooms_at_once() {
    let scene = scene().await;
    scene.one.end().await;
    let ann = scene.two.server.client().await;
    ann.authenticate(&scene.ann_token).await.unwrap();
    let listed = scene.two.gate.nodes().await.unwrap();
    assert_eq!(listed.len(), 1, "the other has taken its leave");
    let joined = join_in_time(&ann).await;
    assert!(joined.media.unwrap().era > scene.joined.media.unwrap().era);
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_cannot_change_rooms_it_lost() {
    let scene = scene().await;
    scene.one.gate.shut();
    let bob = scene.two.server.user("bob").await;
    let bob_in = join_in_time(&bob).await;
    let taken = bob_in.media.unwrap();
    assert!(taken.era > scene.joined.media.as_ref().unwrap().era);
    let before = scene.relay_of_one.commands().len();
    scene.one.gate.open();
    // Its requests are now carried out by the node that owns the room.
    let cem = scene.one.server.user("cem").await;
    let start = Instant::now();
    let mut sent_on = None;
    while sent_on.is_none() && start.elapsed() < PATIENCE {
        sent_on = redirect(&cem).await;
    }
    assert_eq!(
        sent_on.expect("the other node has the room"),
        [scene.two.server.running.addr.to_string()]
    );
    assert_eq!(scene.relay_of_one.commands().len(), before);
    // Participants of the lost room are told to connect again.
    let mut is_sent_away = false;
    while !is_sent_away {
        is_sent_away = matches!(scene.ann.event().await, event::Kind::GoingAway(_));
    }
}

#[tokio::test]
async fn an_outage_of_the_store_moves_no_room() {
    let scene = scene().await;
    scene.one.gate.shut();
    scene.two.gate.shut();
    // Longer than [`DEAD_AFTER`](confab_control::cluster::nodes::members::DEAD_AFTER).
    tokio::time::sleep(Duration::from_secs(6)).await;
    scene.two.gate.open();
    scene.one.gate.open();
    let bob = scene.two.server.user("bob").await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let nodes = redirect(&bob).await;
        assert!(nodes.is_none_or(|nodes| nodes == [scene.one.server.running.addr.to_string()]));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(scene.relay_of_two.actions().is_empty());
    scene.ann.done(mute(SLUG, "ann", true)).await;
}

#[tokio::test]
async fn a_second_node_of_the_same_name_does_not_start() {
    let (nodes, folder) = fleet(&["one"]).await;
    let store = SqliteStore::open(&folder.path().join("shared.sqlite")).unwrap();
    let dir = folder_with(Some(nodes[0].server.dir.path()));
    let config = Config {
        store: StoreConfig::Shared(SharedStore(Arc::new(Gate::new(Arc::new(store))))),
        node: NodeConfig {
            name: Some("one".parse().unwrap()),
            ..NodeConfig::default()
        },
        ..cheap(&dir)
    };
    let refused = serve(config)
        .await
        .err()
        .expect("it is refused")
        .to_string();
    assert!(refused.contains("--node"), "{refused}");
    drop(nodes);
}
