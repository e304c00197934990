//! Live rooms over QUIC, with a relay that obeys.

use std::time::Duration;

use bytes::Bytes;
use confab_protocol::cluster::Action;
use confab_protocol::control::room::{LeaveReason, Participant, Role};
use confab_protocol::control::{ErrorCode, MediaGrant};
use confab_protocol::wire::{
    self, CommandOutcome, MediaEndReason, Visibility, event, request::Kind, response,
};

use crate::harness::{Client, TestServer, ban, eventually, invite, kick, mute, set_role};

const SLUG: &str = "friday-night";

struct Room {
    server: TestServer,
    relay: crate::relay::FakeRelay,
    ann: Client,
    bob: Client,
    ann_in: wire::RoomJoined,
    bob_in: wire::RoomJoined,
}

/// Ann owns the conference. She and Bob are in its room, and Ann has received Bob's join.
async fn room() -> Room {
    let server = TestServer::start().await;
    let relay = server.relay("berlin").await;
    let (ann, bob) = (server.user("ann").await, server.user("bob").await);
    ann.create(SLUG, Visibility::Public).await;
    let ann_in = ann.join(SLUG).await.unwrap();
    let bob_in = bob.join(SLUG).await.unwrap();
    assert!(matches!(ann.event().await, event::Kind::Joined(_)));
    Room {
        server,
        relay,
        ann,
        bob,
        ann_in,
        bob_in,
    }
}

fn leave(joined: &wire::RoomJoined) -> Kind {
    let own = joined
        .participants
        .iter()
        .find(|p| p.sender == joined.self_sender)
        .unwrap();
    Kind::LeaveRoom(wire::LeaveRoom {
        slug: SLUG.to_owned(),
        join_id: own.join_id.clone(),
    })
}

fn own_join_id(joined: &wire::RoomJoined) -> Bytes {
    let own = joined
        .participants
        .iter()
        .find(|p| p.sender == joined.self_sender)
        .unwrap();
    own.join_id.clone()
}

#[tokio::test]
async fn a_join_returns_the_room_and_notifies_the_others() {
    let Room {
        relay,
        ann_in,
        bob_in,
        ..
    } = room().await;
    let grant = MediaGrant::try_from(bob_in.media.as_ref().unwrap()).unwrap();
    assert_eq!(grant.addresses.len(), 2);
    assert_eq!((grant.era, grant.placement), (1, 1));
    assert_ne!(grant.uplink_key, grant.downlink_key);
    assert_eq!(bob_in.key_scheme(), wire::KeyScheme::Mls);
    assert_eq!(bob_in.delivery_key, ann_in.delivery_key);
    assert_eq!(bob_in.delivery_key.len(), 32);
    let users: Vec<Participant> = bob_in
        .participants
        .iter()
        .map(|p| p.try_into().unwrap())
        .collect();
    let names: Vec<_> = users
        .iter()
        .map(|p| (p.username.as_str(), p.role))
        .collect();
    assert_eq!(names, [("ann", Role::Owner), ("bob", Role::Member)]);
    assert_ne!(users[0].join_id, users[1].join_id);
    assert!(bob_in.revision > ann_in.revision);
    assert_eq!(bob_in.conference.unwrap().live, 2);
    let opened = relay.actions().into_iter().find_map(|action| match action {
        Action::OpenMedia(open) if u32::from(open.sender) == bob_in.self_sender => Some(open),
        _ => None,
    });
    let opened = opened.unwrap();
    assert_eq!(
        (opened.uplink_key, opened.downlink_key),
        (grant.uplink_key, grant.downlink_key)
    );
    assert!(opened.may_speak);
}

#[tokio::test]
async fn a_join_without_a_relay_is_refused() {
    let server = TestServer::start().await;
    let ann = server.user("ann").await;
    ann.create(SLUG, Visibility::Public).await;
    let error = ann.join(SLUG).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NoRelay);
    assert!(error.retry_after_ms > 0);
    let relay = server.relay_with("small", [1; 16], 0).await;
    assert_eq!(ann.join(SLUG).await.unwrap_err().code(), ErrorCode::NoRelay);
    let _other = server.relay("large").await;
    eventually(|| server.running.peer_api().relays.linked() == 2).await;
    ann.join(SLUG).await.unwrap();
    assert!(relay.commands().is_empty());
}

#[tokio::test]
async fn a_refused_join_has_the_reason() {
    let Room {
        server, ann, bob, ..
    } = room().await;
    let slug = |slug: &str| slug.to_owned();
    assert_eq!(
        bob.join("no-such-room").await.unwrap_err().code(),
        ErrorCode::NotFound
    );
    assert_eq!(
        bob.join("NO SLUG").await.unwrap_err().code(),
        ErrorCode::InvalidArgument
    );
    ann.create("family", Visibility::Invite).await;
    assert_eq!(
        bob.join("family").await.unwrap_err().code(),
        ErrorCode::Denied
    );
    ann.done(invite("family", "bob")).await;
    bob.join("family").await.unwrap();
    ann.done(ban("family", "bob")).await;
    assert_eq!(
        bob.join("family").await.unwrap_err().code(),
        ErrorCode::Banned
    );
    ann.done(set_role("family", "bob", Role::Listener)).await;
    let joined = bob.join("family").await.unwrap();
    let own = joined
        .participants
        .iter()
        .find(|p| p.sender == joined.self_sender)
        .unwrap();
    assert!(!Participant::try_from(own).unwrap().may_speak());
    let raw_client = server.client().await;
    let join = Kind::JoinRoom(wire::JoinRoom {
        slug: slug(SLUG),
        ..Default::default()
    });
    assert_eq!(raw_client.refused(join).await, ErrorCode::NotAuthenticated);
}

#[tokio::test]
async fn a_room_has_a_maximum_of_participants() {
    let server = TestServer::start_with(|config| config.rooms.max_participants = 2).await;
    let _relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create(SLUG, Visibility::Public).await;
    let first = ann.join(SLUG).await.unwrap();
    let second = ann.join(SLUG).await.unwrap();
    assert_ne!(first.self_sender, second.self_sender);
    assert_eq!(
        ann.join(SLUG).await.unwrap_err().code(),
        ErrorCode::LimitReached
    );
    ann.done(leave(&first)).await;
    let third = ann.join(SLUG).await.unwrap();
    assert_ne!(
        third.self_sender, first.self_sender,
        "a label is not given again at once"
    );
}

#[tokio::test]
async fn a_mute_is_obeyed_before_it_is_acknowledged() {
    let Room {
        relay,
        ann,
        bob,
        bob_in,
        server,
        ..
    } = room().await;
    let sender = bob_in.self_sender as u16;
    ann.done(mute(SLUG, "bob", true)).await;
    assert_eq!(relay.may_speak(sender), Some(false));
    let event::Kind::Changed(changed) = bob.event().await else {
        panic!("no change");
    };
    assert!(changed.participant.unwrap().muted);
    // The mute belongs to the membership: rejoining does not lift it.
    let again = server.client().await;
    again.login("bob", crate::harness::PASSWORD).await.unwrap();
    let joined = again.join(SLUG).await.unwrap();
    assert_eq!(relay.may_speak(joined.self_sender as u16), Some(false));
    ann.done(mute(SLUG, "bob", false)).await;
    assert_eq!(relay.may_speak(sender), Some(true));
    assert_eq!(relay.may_speak(joined.self_sender as u16), Some(true));
    assert_eq!(
        bob.refused(mute(SLUG, "ann", true)).await,
        ErrorCode::Denied
    );
}

#[tokio::test]
async fn moderation_is_not_acknowledged_before_the_relay_obeys() {
    let Room {
        relay, ann, bob, ..
    } = room().await;
    relay.answer_with(None);
    assert_eq!(ann.refused(mute(SLUG, "bob", true)).await, ErrorCode::Busy);
    assert_eq!(bob.join(SLUG).await.unwrap_err().code(), ErrorCode::Busy);
    relay.answer_with(Some(CommandOutcome::Obeyed));
    ann.done(mute(SLUG, "bob", true)).await;
    bob.join(SLUG).await.unwrap();
}

#[tokio::test]
async fn a_kick_removes_every_device_and_allows_rejoining() {
    let Room {
        server,
        relay,
        ann,
        bob,
        bob_in,
        ..
    } = room().await;
    let phone = server.client().await;
    phone.login("bob", crate::harness::PASSWORD).await.unwrap();
    let phone_in = phone.join(SLUG).await.unwrap();
    assert!(matches!(bob.event().await, event::Kind::Joined(_)));
    ann.done(kick(SLUG, "bob")).await;
    for joined in [&bob_in, &phone_in] {
        assert!(relay.closed(joined.self_sender as u16));
    }
    let removed = loop {
        if let event::Kind::Removed(removed) = phone.event().await {
            break removed;
        }
    };
    assert_eq!(removed.reason(), LeaveReason::Kicked);
    assert_eq!(removed.join_id, own_join_id(&phone_in));
    assert_eq!(ann.refused(kick(SLUG, "bob")).await, ErrorCode::NotFound);
    bob.join(SLUG).await.unwrap();
}

#[tokio::test]
async fn a_ban_holds_until_the_role_is_set_anew() {
    let Room {
        server,
        relay,
        ann,
        bob,
        bob_in,
        ..
    } = room().await;
    ann.done(ban(SLUG, "bob")).await;
    assert!(relay.closed(bob_in.self_sender as u16));
    let event::Kind::Removed(removed) = bob.event().await else {
        panic!("not removed");
    };
    assert_eq!(removed.reason(), LeaveReason::Banned);
    let event::Kind::Left(_) = ann.event().await else {
        panic!("ann got no notice");
    };
    assert_eq!(bob.join(SLUG).await.unwrap_err().code(), ErrorCode::Banned);
    assert_eq!(
        bob.resume(SLUG, &own_join_id(&bob_in))
            .await
            .unwrap_err()
            .code(),
        ErrorCode::NotFound
    );
    let leave = Kind::LeaveConference(wire::LeaveConference {
        slug: SLUG.to_owned(),
    });
    assert_eq!(bob.refused(leave).await, ErrorCode::Banned);
    ann.done(set_role(SLUG, "bob", Role::Member)).await;
    bob.join(SLUG).await.unwrap();
    // An account that was never a member can be banned too.
    server.user("eve").await;
    ann.done(ban(SLUG, "eve")).await;
    assert_eq!(ann.refused(ban(SLUG, "nobody")).await, ErrorCode::NotFound);
    assert_eq!(ann.refused(ban(SLUG, "ann")).await, ErrorCode::Owner);
}

#[tokio::test]
async fn a_participant_survives_a_lost_connection_and_is_resumed() {
    let Room {
        server,
        relay,
        ann,
        bob,
        bob_in,
        ..
    } = room().await;
    bob.connection.close(0u32.into(), b"gone");
    let again = server.client().await;
    again.login("bob", crate::harness::PASSWORD).await.unwrap();
    let join_id = own_join_id(&bob_in);
    let resumed = again.resume(SLUG, &join_id).await.unwrap();
    assert_eq!(resumed.self_sender, bob_in.self_sender);
    assert_eq!(own_join_id(&resumed), join_id);
    let (old, new) = (bob_in.media.unwrap(), resumed.media.unwrap());
    assert_ne!(old.uplink_key, new.uplink_key);
    assert_ne!(old.connection_id, new.connection_id);
    assert_eq!(resumed.participants.len(), 2);
    // Events now go to the new connection.
    ann.done(mute(SLUG, "bob", true)).await;
    assert!(matches!(again.event().await, event::Kind::Changed(_)));
    // A join cannot be resumed by another account.
    assert_eq!(
        ann.resume(SLUG, &join_id).await.unwrap_err().code(),
        ErrorCode::NotFound
    );
    assert_eq!(
        ann.resume(SLUG, &Bytes::from_static(b"short"))
            .await
            .unwrap_err()
            .code(),
        ErrorCode::InvalidArgument
    );
    relay
        .end_media(bob_in.self_sender as u16, MediaEndReason::Idle)
        .await;
    assert!(
        matches!(again.event().await, event::Kind::Removed(r) if r.reason() == LeaveReason::Lost)
    );
    assert_eq!(
        again.resume(SLUG, &join_id).await.unwrap_err().code(),
        ErrorCode::NotFound
    );
}

#[tokio::test]
async fn a_bye_at_the_relay_ends_the_participation() {
    let Room {
        relay, ann, bob_in, ..
    } = room().await;
    relay
        .end_media(bob_in.self_sender as u16, MediaEndReason::Bye)
        .await;
    let event::Kind::Left(left) = ann.event().await else {
        panic!("no participant left");
    };
    assert_eq!(
        (left.sender, left.reason()),
        (bob_in.self_sender, LeaveReason::Left)
    );
}

#[tokio::test]
async fn a_room_ends_with_its_last_participant_and_the_next_has_a_new_era() {
    let Room {
        relay,
        ann,
        bob,
        ann_in,
        bob_in,
        server,
    } = room().await;
    bob.done(leave(&bob_in)).await;
    assert!(matches!(ann.event().await, event::Kind::Left(_)));
    assert_eq!(bob.refused(leave(&bob_in)).await, ErrorCode::NotFound);
    ann.done(leave(&ann_in)).await;
    eventually(|| relay.actions().last() == Some(&Action::CloseRoom)).await;
    eventually(|| server.running.peer_api().rooms.count() == 0).await;
    let next = ann.join(SLUG).await.unwrap();
    let media = next.media.unwrap();
    assert!(
        media.era > ann_in.media.unwrap().era,
        "an era is not given twice"
    );
}

#[tokio::test]
async fn a_deleted_conference_closes_its_room() {
    let Room {
        relay, ann, bob, ..
    } = room().await;
    let delete = Kind::DeleteConference(wire::DeleteConference {
        slug: SLUG.to_owned(),
    });
    assert_eq!(bob.refused(delete.clone()).await, ErrorCode::Denied);
    ann.done(delete).await;
    assert!(relay.actions().contains(&Action::CloseRoom));
    assert!(matches!(bob.event().await, event::Kind::Left(_)));
    assert!(
        matches!(bob.event().await, event::Kind::Removed(r) if r.reason() == LeaveReason::Closed)
    );
    assert_eq!(
        bob.join(SLUG).await.unwrap_err().code(),
        ErrorCode::NotFound
    );
}

#[tokio::test]
async fn participants_leave_when_their_session_ends() {
    let Room {
        relay,
        ann,
        bob,
        bob_in,
        ..
    } = room().await;
    bob.done(Kind::Logout(wire::Logout {})).await;
    let event::Kind::Left(left) = ann.event().await else {
        panic!("no participant left");
    };
    assert_eq!(left.reason(), LeaveReason::SessionEnded);
    eventually(|| relay.closed(bob_in.self_sender as u16)).await;
    let info = Kind::ConferenceInfo(wire::ConferenceInfo {
        slug: SLUG.to_owned(),
    });
    let Ok(response::Kind::Conference(conference)) = ann.ask(info).await else {
        panic!("no conference");
    };
    assert_eq!(conference.live, 1);
}

#[tokio::test]
async fn a_hundred_concurrent_joins_succeed_and_are_announced() {
    let server = TestServer::start_with(|config| config.accounts.limits.burst = 1000).await;
    let _relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create(SLUG, Visibility::Public).await;
    let ann_in = ann.join(SLUG).await.unwrap();
    let mut users = Vec::new();
    for number in 0..100 {
        users.push(server.user(&format!("person{number}")).await);
    }
    let started = std::time::Instant::now();
    let joins: Vec<_> = users
        .into_iter()
        .map(|user| tokio::spawn(async move { user.join(SLUG).await.map(|joined| (user, joined)) }))
        .collect();
    let mut senders = std::collections::HashSet::from([ann_in.self_sender]);
    let mut last_revision = ann_in.revision;
    for join in joins {
        let (_, joined) = join.await.unwrap().unwrap();
        assert!(senders.insert(joined.self_sender));
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    for _ in 0..100 {
        let event = ann.next_event().await;
        assert!(event.revision > last_revision);
        last_revision = event.revision;
    }
}
