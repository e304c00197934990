//! Operators' commands to a running cluster.

use std::sync::Arc;
use std::time::Duration;

use confab_control::clock::Clock;
use confab_control::cluster::status::{ClusterStatus, NodeLiveness};
use confab_control::operator::{Operator, OperatorError};
use confab_control::peer_api::status;
use confab_control::store::sqlite::SqliteStore;
use confab_control::tls::authority::Authority;
use confab_protocol::cluster;
use confab_protocol::wire::Visibility;

use crate::fleet::{fleet, start_in};
use crate::harness::{PATIENCE, TestServer, eventually};
use crate::relay::FakeRelay;

fn operator(server: &TestServer) -> Operator {
    Operator::new(server.dir.path(), None, Clock::System.now()).unwrap()
}

#[tokio::test]
async fn the_status_lists_all_nodes_and_relays() {
    let (nodes, _folder) = fleet(&["one", "two"]).await;
    let (one, two) = (&nodes[0].server, &nodes[1].server);
    let relay = one.relay("berlin").await;
    let _same = relay.link(two, "berlin").await;
    let _other = two.relay_with("amsterdam", [3; 16], 500).await;
    eventually(|| two.running.peer_api().relays.linked() == 2).await;
    let ann = one.user("ann").await;
    ann.create("friday-night", Visibility::Public).await;
    ann.join("friday-night").await.unwrap();

    let status = operator(two).status().await.unwrap();
    let names: Vec<_> = status.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    let figures = status.nodes[0].figures.as_ref().unwrap();
    assert_eq!((figures.rooms, figures.participants), (1, 1));
    assert!(figures.store_answers);
    let links: Vec<_> = status
        .relays
        .iter()
        .map(|relay| (relay.name.as_str(), relay.nodes.len(), relay.max_sessions))
        .collect();
    assert_eq!(links, [("amsterdam", 1, 500), ("berlin", 2, 1000)]);

    // A dead node is listed as such and does not delay the response.
    let mut nodes = nodes;
    drop(nodes.remove(0));
    let two = &nodes[0].server;
    let life = async || operator(two).status().await.unwrap().nodes[0].clone();
    let dead = async {
        while life().await.life != NodeLiveness::Dead {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dead).await.unwrap();
    assert_eq!(life().await.figures, None);
}

#[tokio::test]
async fn a_relay_is_drained_from_any_node() {
    let (nodes, _folder) = fleet(&["one", "two"]).await;
    let (one, two) = (&nodes[0].server, &nodes[1].server);
    let relay = one.relay("berlin").await;
    relay.has_sessions(3);
    let berlin = "berlin".parse().unwrap();
    let operator = operator(two);
    let waited = operator.drain(&berlin, Duration::ZERO, |_| ()).await;
    assert!(
        matches!(waited, Err(OperatorError::SessionsLeft { sessions: 3, .. })),
        "{waited:?}"
    );
    eventually(|| relay.is_draining()).await;
    let mut told = Vec::new();
    let drained = operator.drain(&berlin, PATIENCE, |sessions| {
        told.push(sessions);
        relay.has_sessions(sessions - 1);
    });
    let drained = drained.await.unwrap();
    assert_eq!(told, [3, 2, 1]);
    assert!(drained.is_last, "{drained:?}");

    let nowhere = "nowhere".parse().unwrap();
    let unknown = operator
        .drain(&nowhere, PATIENCE, |_| ())
        .await
        .unwrap_err();
    assert!(unknown.to_string().contains("berlin"), "{unknown}");
}

#[tokio::test]
async fn a_revoked_identity_is_refused_and_a_new_one_is_accepted() {
    let (nodes, _folder) = fleet(&["one", "two"]).await;
    let (one, two) = (&nodes[0].server, &nodes[1].server);
    let (chain, key) = one.relay_identity("berlin");
    let link = async |server: &TestServer| {
        let identity = Some((chain.clone(), key.clone_key()));
        server.connect(cluster::ALPN, identity).await.unwrap()
    };
    let first = FakeRelay::link_with(link(one).await, [7; 16], 1000, None).await;
    let second = FakeRelay::link_with(link(two).await, [7; 16], 1000, None).await;
    let revoked = "berlin".parse().unwrap();
    operator(one)
        .revoke_relay(&revoked, Clock::System.now())
        .await
        .unwrap();
    for relay in [first, second] {
        let closed = tokio::time::timeout(PATIENCE, relay.connection.closed()).await;
        assert!(closed.is_ok(), "at every node");
    }
    let refused = link(two).await;
    let closed = tokio::time::timeout(PATIENCE, refused.closed()).await;
    match closed.unwrap() {
        quinn::ConnectionError::ApplicationClosed(close) => {
            assert_eq!(close.error_code.into_inner(), 8);
        }
        other => panic!("{other}"),
    }
    // An identity of the same name, issued later.
    let again = two.relay("berlin").await;
    eventually(|| two.running.peer_api().relays.linked() == 1).await;
    assert!(again.connection.close_reason().is_none());
}

#[tokio::test]
async fn rooms_move_from_a_revoked_relay_even_if_participants_reach_it() {
    let (nodes, _folder) = fleet(&["one"]).await;
    let one = &nodes[0].server;
    let revoked = one.relay("berlin").await;
    let ann = one.user("ann").await;
    ann.create("friday-night", Visibility::Public).await;
    let joined = ann.join("friday-night").await.unwrap();
    let sender = joined.self_sender as u16;
    assert!(revoked.has_session(sender));
    let other = one.relay_with("paris", [9; 16], 1000).await;
    eventually(|| one.running.peer_api().relays.linked() == 2).await;
    let berlin = "berlin".parse().unwrap();
    operator(one)
        .revoke_relay(&berlin, Clock::System.now())
        .await
        .unwrap();
    let goes_on = async {
        loop {
            ann.answer_probe(true).await;
        }
    };
    let gone = async { eventually(|| other.has_session(sender)).await };
    tokio::select! {
        () = goes_on => {}
        () = gone => {}
    }
    assert!(other.has_session(sender));
}

#[tokio::test]
async fn operator_commands_need_a_key_of_the_cluster() {
    let server = TestServer::start().await;
    let other = TestServer::start().await;
    let there = server.running.addr.to_string();
    let raw_client = Operator::new(other.dir.path(), Some(&there), Clock::System.now()).unwrap();
    let refused = raw_client.status().await.unwrap_err();
    assert!(matches!(refused, OperatorError::Node { .. }), "{refused}");
    let empty = tempfile::tempdir().unwrap();
    assert!(Operator::new(empty.path(), None, Clock::System.now()).is_err());
}

#[tokio::test]
async fn a_node_without_the_ca_key_joins_the_cluster() {
    let (nodes, folder) = fleet(&["one"]).await;
    let one = &nodes[0].server;
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(one.dir.path()).unwrap();
    let now = Clock::System.now();
    authority
        .issue_node(&"two".parse().unwrap(), &[], dir.path(), now)
        .unwrap();
    for file in ["token.key", "server.id"] {
        std::fs::copy(one.dir.path().join(file), dir.path().join(file)).unwrap();
    }
    let store = SqliteStore::open(&folder.path().join("shared.sqlite")).unwrap();
    let node = start_in(dir, None, Arc::new(store)).await;
    let two = &node.server;
    assert_eq!(two.running.peer_api().node.run.name.as_str(), "two");
    assert!(!two.dir.path().join("ca.key").exists());
    let answers = |status: ClusterStatus, name: &str| {
        let mut nodes = status.nodes.into_iter();
        nodes.any(|node| node.name.as_str() == name && node.figures.is_some())
    };
    for (asked, other) in [(two, "one"), (one, "two")] {
        let asking = async {
            while !answers(status::of_cluster(asked.running.peer_api()).await, other) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap();
    }
    // Clients and relays accept it as a node.
    let _relay = two.relay_of(one, "berlin").await;
    eventually(|| two.running.peer_api().relays.linked() == 1).await;
}

#[tokio::test]
async fn a_node_that_is_revoked_is_refused_until_it_has_a_new_identity() {
    let (nodes, _folder) = fleet(&["one"]).await;
    let one = &nodes[0].server;
    let authority = Authority::open(one.dir.path()).unwrap();
    let name = "stolen".parse().unwrap();
    let identity = |at| {
        let identity = authority.node_identity(one.dir.path(), &name, at).unwrap();
        (identity.chain, identity.key)
    };
    let before = Clock::System.now();
    let link = async |at| {
        one.connect(cluster::ALPN, Some(identity(at)))
            .await
            .unwrap()
    };
    let linked = link(before).await;
    operator(one).revoke_node(&name, before).await.unwrap();
    for connection in [linked, link(before).await] {
        let closed = tokio::time::timeout(PATIENCE, connection.closed()).await;
        match closed.unwrap() {
            quinn::ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.error_code.into_inner(), 8);
            }
            other => panic!("{other}"),
        }
    }
    let later = confab_control::clock::UnixMillis(before.0 + 1);
    let again = link(later).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(again.close_reason().is_none());
}
