//! Relays that link, unlink, restart and refuse.

use confab_protocol::cluster::{self, Action};
use confab_protocol::control::{self, ErrorCode};
use confab_protocol::wire::{self, CommandOutcome, Visibility, event};

use crate::harness::{Client, TestServer, ban, eventually, mute};
use crate::relay::FakeRelay;

const SLUG: &str = "friday-night";

async fn room() -> (TestServer, FakeRelay, Client, wire::RoomJoined) {
    let server = TestServer::start().await;
    let relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create(SLUG, Visibility::Public).await;
    let joined = ann.join(SLUG).await.unwrap();
    (server, relay, ann, joined)
}

fn moved(kind: event::Kind) -> wire::MediaSession {
    match kind {
        event::Kind::MediaMoved(moved) => moved.media.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lost_relay_moves_the_room_to_another() {
    let (server, relay, ann, joined) = room().await;
    let other = server.relay_with("paris", [9; 16], 1000).await;
    eventually(|| server.running.peer_api().relays.linked() == 2).await;
    relay.unlink();
    let event = ann.next_event().await;
    assert!(event.revision > joined.revision);
    let media = moved(event.kind.unwrap());
    let before = joined.media.unwrap();
    assert_eq!(
        (media.era, media.placement),
        (before.era, before.placement + 1)
    );
    assert_ne!(media.uplink_key, before.uplink_key);
    let commands = other.commands();
    let open = commands.last().unwrap();
    assert!(
        matches!(&open.action, Action::OpenMedia(open) if u32::from(open.sender) == joined.self_sender)
    );
    assert_eq!(
        (open.boot.0, open.fence.placement),
        (other.boot, media.placement)
    );
}

#[tokio::test]
async fn a_relay_that_participants_reach_keeps_the_room_without_a_link() {
    let (server, relay, ann, joined) = room().await;
    let other = server.relay_with("paris", [9; 16], 1000).await;
    eventually(|| server.running.peer_api().relays.linked() == 2).await;
    relay.unlink();
    for _ in 0..4 {
        ann.answer_probe(true).await;
    }
    let _again = relay.link(&server, "berlin").await;
    eventually(|| server.running.peer_api().relays.linked() == 2).await;
    ann.done(mute(SLUG, "ann", true)).await;
    assert!(other.actions().is_empty());
    assert!(relay.has_session(joined.self_sender as u16));
}

#[tokio::test]
async fn a_room_leaves_a_draining_relay_when_all_participants_have_moved() {
    let (server, relay, ann, joined) = room().await;
    let other = server.relay_with("paris", [9; 16], 1000).await;
    eventually(|| server.running.peer_api().relays.linked() == 2).await;
    relay.drain();
    let media = moved(ann.event().await);
    assert_eq!(
        media.placement,
        joined.media.as_ref().unwrap().placement + 1
    );
    let sender = joined.self_sender as u16;
    eventually(|| other.has_session(sender) && !relay.has_session(sender)).await;
    let conference = joined.conference.unwrap().id;
    assert!(relay.rooms_closed(&conference) > 0);
}

#[tokio::test]
async fn a_relay_that_links_again_soon_keeps_its_rooms() {
    let (server, relay, ann, joined) = room().await;
    relay.unlink();
    eventually(|| server.running.peer_api().relays.linked() == 0).await;
    assert_eq!(ann.join(SLUG).await.unwrap_err().code(), ErrorCode::Busy);
    let again = relay.link(&server, "berlin").await;
    ann.done(mute(SLUG, "ann", true)).await;
    assert!(matches!(ann.event().await, event::Kind::Changed(_)));
    // The relay's sessions were listed, and none was opened anew.
    let sender = joined.self_sender as u16;
    assert!(again.actions().contains(&Action::SetMaySpeak {
        sender,
        may_speak: true
    }));
    assert!(
        !again
            .actions()
            .iter()
            .any(|action| matches!(action, Action::OpenMedia(_)))
    );
}

#[tokio::test]
async fn sessions_that_ended_without_a_link_are_found_after_the_next_link() {
    let (server, relay, ann, _) = room().await;
    let bob = server.user("bob").await;
    let bob_in = bob.join(SLUG).await.unwrap();
    assert!(matches!(ann.event().await, event::Kind::Joined(_)));
    relay.unlink();
    eventually(|| server.running.peer_api().relays.linked() == 0).await;
    let identity = server.relay_identity("berlin");
    let connection = server.connect(cluster::ALPN, Some(identity)).await.unwrap();
    let last =
        FakeRelay::link_with(connection, relay.boot, 1000, Some(CommandOutcome::NotFound)).await;
    assert!(matches!(
        bob.event().await,
        event::Kind::Left(_) | event::Kind::Removed(_)
    ));
    eventually(|| last.actions().len() >= 2).await;
    assert_eq!(
        bob.resume(SLUG, &bob_in.participants[1].join_id)
            .await
            .unwrap_err()
            .code(),
        ErrorCode::NotFound
    );
}

#[tokio::test]
async fn a_restart_of_a_relay_ends_its_sessions() {
    let (server, relay, ann, joined) = room().await;
    relay.unlink();
    eventually(|| server.running.peer_api().relays.linked() == 0).await;
    let again = server.relay_with("berlin", [8; 16], 1000).await;
    let media = moved(ann.event().await);
    assert!(media.placement > joined.media.unwrap().placement);
    assert!(
        again
            .commands()
            .iter()
            .all(|command| command.boot.0 == [8; 16])
    );
}

#[tokio::test]
async fn while_no_relay_is_linked_the_room_waits() {
    let (server, relay, ann, _) = room().await;
    relay.unlink();
    ann.answer_probe(false).await;
    // The relay may still serve the other participants.
    assert_eq!(ann.join(SLUG).await.unwrap_err().code(), ErrorCode::Busy);
    let _late = server.relay_with("paris", [9; 16], 1000).await;
    moved(ann.event().await);
    ann.join(SLUG).await.unwrap();
}

#[tokio::test]
async fn a_fenced_owner_disconnects_its_participants() {
    let (_server, relay, ann, joined) = room().await;
    let before = joined.media.unwrap();
    relay.answer_with(Some(CommandOutcome::Fenced));
    // Stored, and repeated under the fence of the present owner.
    ann.done(mute(SLUG, "ann", true)).await;
    while !matches!(ann.event().await, event::Kind::GoingAway(_)) {}
    relay.answer_with(Some(CommandOutcome::Obeyed));
    let again = ann.join(SLUG).await.unwrap();
    assert!(again.media.unwrap().era > before.era);
    assert_eq!(relay.may_speak(again.self_sender as u16), Some(false));
}

#[tokio::test]
async fn a_full_relay_gets_no_further_session() {
    let (_server, relay, ann, _) = room().await;
    relay.answer_with(Some(CommandOutcome::Full));
    assert_eq!(ann.join(SLUG).await.unwrap_err().code(), ErrorCode::NoRelay);
}

#[tokio::test]
async fn a_relay_of_another_cluster_is_refused() {
    let server = TestServer::start().await;
    let close_code = async |connection: quinn::Connection| {
        let closed = tokio::time::timeout(crate::harness::PATIENCE, connection.closed()).await;
        match closed.unwrap() {
            quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
            _ => None,
        }
    };
    let without_certificate = server.connect(cluster::ALPN, None).await.unwrap();
    assert_eq!(close_code(without_certificate).await, Some(6));
    // TLS refuses an identity of another cluster, during the handshake or at the first message.
    let other = TestServer::start().await;
    if let Ok(raw_client) = server
        .connect(cluster::ALPN, Some(other.relay_identity("berlin")))
        .await
    {
        assert_eq!(close_code(raw_client).await, None);
    }
    assert_eq!(server.running.peer_api().relays.linked(), 0);
    // A relay's certificate is not accepted as a server's, and a client needs none.
    let relay = server
        .connect(control::ALPN, Some(server.relay_identity("berlin")))
        .await
        .unwrap();
    relay.close(0u32.into(), b"done");
}

/// A conference with a leftover room at a relay, from before this server's start.
async fn left_over() -> (TestServer, FakeRelay, Client, bytes::Bytes) {
    let server = TestServer::start().await;
    let relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    let bob = server.user("bob").await;
    ann.create(SLUG, Visibility::Public).await;
    // Bob is a member but not in the room.
    let joined = bob.join(SLUG).await.unwrap();
    let conference = joined.conference.unwrap().id;
    let me = joined
        .participants
        .iter()
        .find(|participant| participant.sender == joined.self_sender);
    bob.done(wire::request::Kind::LeaveRoom(wire::LeaveRoom {
        slug: SLUG.to_owned(),
        join_id: me.unwrap().join_id.clone(),
    }))
    .await;
    eventually(|| server.running.peer_api().rooms.count() == 0).await;
    relay.has_room(&conference).await;
    (server, relay, ann, conference)
}

#[tokio::test]
async fn a_ban_closes_a_leftover_room_at_a_relay() {
    let (_server, relay, ann, conference) = left_over().await;
    let before = relay.rooms_closed(&conference);
    ann.done(ban(SLUG, "bob")).await;
    assert!(
        relay.rooms_closed(&conference) > before,
        "before it is answered"
    );
}

#[tokio::test]
async fn a_deleted_conference_is_closed_at_a_relay_that_links_later() {
    let (server, relay, ann, conference) = left_over().await;
    relay.unlink();
    eventually(|| server.running.peer_api().relays.linked() == 0).await;
    ann.done(wire::request::Kind::DeleteConference(
        wire::DeleteConference {
            slug: SLUG.to_owned(),
        },
    ))
    .await;
    let again = server.relay("berlin").await;
    again.has_room(&conference).await;
    eventually(|| again.rooms_closed(&conference) > 0).await;
}

#[tokio::test]
async fn a_ban_is_not_acknowledged_while_a_relay_with_leftovers_does_not_answer() {
    let (_server, relay, ann, _) = left_over().await;
    relay.answer_with(None);
    assert_eq!(ann.refused(ban(SLUG, "bob")).await, ErrorCode::Busy);
    relay.answer_with(Some(CommandOutcome::Obeyed));
    ann.done(ban(SLUG, "bob")).await;
}

#[tokio::test]
async fn a_relay_does_not_attract_a_room_by_claiming_to_have_it() {
    let (server, relay, ann, conference) = left_over().await;
    let other = server.relay_with("paris", [9; 16], 1000).await;
    eventually(|| server.running.peer_api().relays.linked() == 2).await;
    relay.has_sessions(500);
    eventually(|| {
        let node = server.running.peer_api();
        let status = node.relays.status(&node.node.run.name);
        status.iter().any(|relay| relay.load.sessions == 500)
    })
    .await;
    relay.has_room(&conference).await;
    ann.join(SLUG).await.unwrap();
    assert!(other.has_session(0), "it went to the less loaded relay");
}
