//! Tests: a client sends data to trusted servers only, and remembers how it trusted them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use confab_protocol::wire::{self, request, response};

use super::sign_in::{Access, SignInError};
use super::testing::{Node, Signer, kindly, telling};
use super::trust::{PinSource, ServerVerdict};
use super::{ConnectError, Fingerprint, Link, Nodes, Remembered, Server, Trust, TrustError};

/// A host that the system's resolver knows without a network.
const HOST: &str = "localhost";

fn at_host(node: &Node) -> Server {
    Server {
        host: HOST.into(),
        port: node.address.port(),
    }
}

/// An access to a node under its host's name.
async fn named(node: &Node, trust: Trust) -> (Access, tempfile::TempDir) {
    let (access, home) = node.access(trust.clone()).await;
    (
        Access::new(at_host(node), trust, access.store)
            .await
            .unwrap(),
        home,
    )
}

async fn known(access: &Access) -> Option<Remembered> {
    access
        .store
        .known_server(&access.server.to_string())
        .await
        .unwrap()
}

fn pinned(pin: Fingerprint, source: PinSource) -> Trust {
    Trust::Pinned { pin, source }
}

fn refused(opened: Result<Link, SignInError>) -> TrustError {
    match opened {
        Err(SignInError::Connect(ConnectError::Trust(error))) => error,
        other => panic!("it is refused for want of trust, not {other:?}"),
    }
}

fn has_heard_nothing(node: &Node) -> bool {
    node.requests.lock().unwrap().is_empty()
}

#[tokio::test]
async fn an_unknown_server_is_not_connected_to() {
    let node = Node::start(kindly);
    let (mut access, _home) = node.access(Trust::Unknown).await;
    let error = refused(access.open().await);
    assert!(matches!(error, TrustError::Unknown { .. }), "{error}");
    assert!(node.connections.lock().unwrap().is_empty());
    assert_eq!(known(&access).await, None);
}

#[tokio::test]
async fn examining_a_server_sends_nothing_and_leaves_no_connection_open() {
    let (public, node) = (Signer::new(), Node::start(kindly));
    let verdict = Link::examine(&at_host(&node), public.as_root())
        .await
        .unwrap();
    assert_eq!(verdict, ServerVerdict::Unproved(node.authority));
    let connection = node.connections.lock().unwrap().pop().unwrap();
    tokio::time::timeout(Duration::from_secs(5), connection.closed())
        .await
        .unwrap();
    assert!(has_heard_nothing(&node));
}

#[tokio::test]
async fn examining_a_server_detects_a_public_certificate_for_its_host() {
    let public = Arc::new(Signer::new());
    let node = Node::start_public(&public, HOST, kindly);
    let verdict = Link::examine(&at_host(&node), public.as_root())
        .await
        .unwrap();
    assert_eq!(verdict, ServerVerdict::Trusted);
    assert!(has_heard_nothing(&node));
    // By its address the certificate, which does not have it, says nothing: what is left is the cluster's authority.
    let by_address: Server = node.address.to_string().parse().unwrap();
    let verdict = Link::examine(&by_address, public.as_root()).await.unwrap();
    assert_eq!(verdict, ServerVerdict::Unproved(node.authority));
    // One that has the address vouches for it.
    let node = Node::start_public(&public, "127.0.0.1", kindly);
    let by_address: Server = node.address.to_string().parse().unwrap();
    let verdict = Link::examine(&by_address, public.as_root()).await.unwrap();
    assert_eq!(verdict, ServerVerdict::Trusted);
}

#[tokio::test]
async fn trust_at_first_sight_is_remembered_and_required_later() {
    let node = Node::start(kindly);
    let (mut access, _home) = node
        .access(pinned(node.authority, PinSource::FirstSight))
        .await;
    access.open().await.unwrap();
    assert_eq!(
        known(&access).await,
        Some(Remembered::Pinned(node.authority))
    );
    // An impostor with an authority of his own, where the server was.
    let impostor = Node::start(kindly);
    let server: Server = impostor.address.to_string().parse().unwrap();
    let mut deceived = Access::new(server, access.trust().clone(), access.store)
        .await
        .unwrap();
    let error = refused(deceived.open().await);
    assert!(
        matches!(&error, TrustError::WrongPin { expected, got, .. }
            if *expected == node.authority && *got == impostor.authority),
        "{error}"
    );
    assert!(has_heard_nothing(&impostor));
}

#[tokio::test]
async fn two_processes_that_see_a_server_first_have_to_see_the_same() {
    let node = Node::start(kindly);
    let (mut access, _home) = node
        .access(pinned(node.authority, PinSource::FirstSight))
        .await;
    let other = Remembered::Pinned(Fingerprint::of(b"what the other process saw"));
    let name = access.server.to_string();
    access.store.remember_server(&name, other).await.unwrap();
    let error = refused(access.open().await);
    assert!(matches!(error, TrustError::WrongPin { .. }), "{error}");
    assert_eq!(known(&access).await, Some(other));
}

#[tokio::test]
async fn trust_from_the_command_line_replaces_the_remembered_one() {
    let node = Node::start(kindly);
    for trust in [node.pinned(), node.in_file()] {
        let (mut access, _home) = node.access(trust).await;
        let name = access.server.to_string();
        let before = Remembered::Pinned(Fingerprint::of(b"before"));
        access.store.remember_server(&name, before).await.unwrap();
        access.open().await.unwrap();
        assert_eq!(
            known(&access).await,
            Some(Remembered::Pinned(node.authority))
        );
    }
    // A public authority is not forgotten for the sake of the same cluster's.
    let (mut access, _home) = node.access(node.pinned()).await;
    let public = Remembered::Public {
        authority: node.authority,
    };
    let name = access.server.to_string();
    access.store.remember_server(&name, public).await.unwrap();
    access.open().await.unwrap();
    assert_eq!(known(&access).await, Some(public));
}

#[tokio::test]
async fn a_server_under_a_public_authority_is_remembered_as_that() {
    let public = Arc::new(Signer::new());
    let node = Node::start_public(&public, HOST, kindly);
    let (mut access, _home) = named(&node, Node::public(&public, None)).await;
    access.open().await.unwrap();
    let authority = node.authority;
    assert_eq!(known(&access).await, Some(Remembered::Public { authority }));
    // It made its cluster anew: the public authority vouches for what it says.
    let anew = Node::start_public(&public, HOST, kindly);
    let mut later = Access::new(at_host(&anew), access.trust().clone(), access.store)
        .await
        .unwrap();
    let name = later.server.to_string();
    let before = Remembered::Public { authority };
    later.store.remember_server(&name, before).await.unwrap();
    later.open().await.unwrap();
    let authority = anew.authority;
    assert_eq!(known(&later).await, Some(Remembered::Public { authority }));
}

#[tokio::test]
async fn a_server_that_was_public_is_refused_under_an_authority_of_its_own() {
    let public = Signer::new();
    let impostor = Node::start(kindly);
    // Even the cluster's own authority is less than what was there before.
    for remembered in [impostor.authority, Fingerprint::of(b"the cluster's")] {
        let (mut access, _home) = named(&impostor, Node::public(&public, Some(remembered))).await;
        let error = refused(access.open().await);
        assert!(
            matches!(&error, TrustError::NotPublic { got, .. } if *got == impostor.authority),
            "{error}"
        );
        assert!(error.to_string().contains("--fingerprint"), "{error}");
    }
    assert!(has_heard_nothing(&impostor));
}

#[tokio::test]
async fn a_pinned_server_is_refused_under_a_public_authority_without_the_pin() {
    let public = Arc::new(Signer::new());
    let impostor = Node::start_public(&public, HOST, kindly);
    let pin = Fingerprint::of(b"the cluster's");
    let (mut access, _home) = named(&impostor, pinned(pin, PinSource::Flag)).await;
    let error = refused(access.open().await);
    assert!(matches!(error, TrustError::WrongPin { .. }), "{error}");
    assert!(has_heard_nothing(&impostor));
    // The same server with the pin's authority behind is the one that was pinned.
    let trust = impostor.pinned();
    let (mut access, _home) = named(&impostor, trust).await;
    access.open().await.unwrap();
}

#[tokio::test]
async fn other_nodes_of_a_public_server_are_trusted_by_the_clusters_authority() {
    let public = Arc::new(Signer::new());
    let other = Node::start(kindly);
    let told = telling(other.address);
    let first = other.start_public_beside(&public, HOST, told);
    let (mut access, _home) = named(&first, Node::public(&public, None)).await;
    access.open().await.unwrap().close().await;
    first.endpoint.close(quinn::VarInt::from_u32(0), b"");
    let link = access.open().await.unwrap();
    assert_eq!(link.node, other.address.to_string().parse().unwrap());
    assert_eq!(
        known(&access).await,
        Some(Remembered::Public {
            authority: other.authority
        })
    );
}

#[tokio::test]
async fn nothing_is_sent_to_an_untrusted_server_at_the_address_of_a_node() {
    let public = Arc::new(Signer::new());
    let stranger = Node::start(kindly);
    let public_stranger = Node::start_public(&public, "127.0.0.1", kindly);
    for stranger in [stranger, public_stranger] {
        let first = Node::start_public(&public, HOST, telling(stranger.address));
        let (mut access, _home) = named(&first, Node::public(&public, None)).await;
        access.open().await.unwrap().close().await;
        first.endpoint.close(quinn::VarInt::from_u32(0), b"");
        assert!(access.open().await.is_err());
        assert!(has_heard_nothing(&stranger));
    }
}

#[tokio::test]
async fn before_the_clusters_authority_is_known_no_other_node_is_trusted() {
    let public = Arc::new(Signer::new());
    let node = Node::start(kindly);
    let (mut access, _home) = node.access(Node::public(&public, None)).await;
    let nowhere: Server = SocketAddr::from((Ipv4Addr::LOCALHOST, 9))
        .to_string()
        .parse()
        .unwrap();
    access.set_nodes(Nodes::new(nowhere.clone(), vec![access.server.clone()]));
    access.server = nowhere;
    assert!(access.open().await.is_err());
    assert!(node.connections.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_session_is_told_to_nobody_but_the_server_it_is_of() {
    let node = Node::start(kindly);
    let (mut access, _home) = node.logged_in(u64::MAX).await;
    let impostor = Node::start(kindly);
    // The impostor has taken the server's place.
    let there = impostor.address.to_string().parse().unwrap();
    access.set_nodes(Nodes::new(there, Vec::new()));
    let opened = access.open_signed_in().await.map(|(link, _)| link);
    assert!(matches!(refused(opened), TrustError::WrongPin { .. }));
    assert!(has_heard_nothing(&impostor));
}

#[tokio::test]
async fn a_welcome_without_an_authority_is_none() {
    let node = Node::start(|request| match kindly(request) {
        response::Kind::Welcome(welcome) => response::Kind::Welcome(wire::Welcome {
            authority: vec![1; 31].into(),
            ..welcome
        }),
        other => other,
    });
    let (mut access, _home) = node.access(node.pinned()).await;
    assert!(access.open().await.is_err());
    let asked = node.requests.lock().unwrap();
    assert!(matches!(asked[..], [request::Kind::Hello(_)]));
}
