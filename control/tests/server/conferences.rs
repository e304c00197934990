//! Conferences and memberships over QUIC.

use bytes::Bytes;
use confab_protocol::control::ErrorCode;
use confab_protocol::wire::{self, Role, Visibility, request::Kind, response};

use crate::harness::{Client, TestServer, ban, create, invite, mute, set_role};

fn info(slug: &str) -> Kind {
    Kind::ConferenceInfo(wire::ConferenceInfo {
        slug: slug.to_owned(),
    })
}

fn leave(slug: &str) -> Kind {
    Kind::LeaveConference(wire::LeaveConference {
        slug: slug.to_owned(),
    })
}

pub(crate) async fn members(client: &Client, slug: &str) -> Vec<(String, Role)> {
    let slug = slug.to_owned();
    let list = Kind::ListMembers(wire::ListMembers {
        slug,
        cursor: Bytes::new(),
    });
    match client.ask(list).await {
        Ok(response::Kind::Members(members)) => members
            .members
            .iter()
            .map(|m| (m.username.clone(), m.role()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

async fn list(client: &Client, cursor: Bytes) -> wire::Conferences {
    let list = Kind::ListConferences(wire::ListConferences { cursor });
    match client.ask_slowly(list).await {
        Ok(response::Kind::Conferences(conferences)) => conferences,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_slug_is_unique() {
    let server = TestServer::start().await;
    let (ann, bob) = (server.user("ann").await, server.user("bob").await);
    let Ok(response::Kind::Conference(made)) =
        ann.ask(create("Friday-Night", Visibility::Public)).await
    else {
        panic!("not made");
    };
    assert_eq!(
        (made.slug.as_str(), made.title.as_str()),
        ("friday-night", "friday-night")
    );
    assert_eq!((made.owner.as_str(), made.role()), ("ann", Role::Owner));
    assert_eq!(
        bob.refused(create("friday-night", Visibility::Invite))
            .await,
        ErrorCode::SlugTaken
    );
    for bad in ["x", "-abc", "a b c"] {
        assert_eq!(
            bob.refused(create(bad, Visibility::Public)).await,
            ErrorCode::InvalidArgument
        );
    }
    assert_eq!(
        bob.refused(create("other", Visibility::Unspecified)).await,
        ErrorCode::InvalidArgument
    );
    let long = Kind::CreateConference(wire::CreateConference {
        slug: "other".to_owned(),
        title: "x".repeat(101),
        visibility: Visibility::Public.into(),
        region: String::new(),
    });
    assert_eq!(bob.refused(long).await, ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn an_account_owns_a_limited_number_of_conferences() {
    let server = TestServer::start_with(|config| config.conferences.max_owned = 2).await;
    let ann = server.user("ann").await;
    ann.create("one", Visibility::Public).await;
    ann.create("two", Visibility::Public).await;
    assert_eq!(
        ann.refused(create("three", Visibility::Public)).await,
        ErrorCode::LimitReached
    );
    ann.done(Kind::DeleteConference(wire::DeleteConference {
        slug: "one".to_owned(),
    }))
    .await;
    ann.create("three", Visibility::Public).await;
}

#[tokio::test]
async fn the_owner_changes_the_title_and_who_may_join() {
    let server = TestServer::start().await;
    let ann = server.user("ann").await;
    let (bob, cem) = (server.user("bob").await, server.user("cem").await);
    ann.create("friday", Visibility::Public).await;
    ann.done(invite("friday", "bob")).await;
    let change = |title: &str, visibility: Visibility| {
        Kind::ChangeConference(wire::ChangeConference {
            slug: "friday".to_owned(),
            title: title.to_owned(),
            visibility: visibility.into(),
        })
    };
    let closed = change("", Visibility::Invite);
    assert_eq!(bob.refused(closed.clone()).await, ErrorCode::Denied);
    let unknown = Kind::ChangeConference(wire::ChangeConference {
        slug: "friday".to_owned(),
        title: "Friday".to_owned(),
        visibility: 99,
    });
    for bad in [
        change("", Visibility::Unspecified),
        change(&"x".repeat(101), Visibility::Invite),
        unknown,
    ] {
        assert_eq!(ann.refused(bad).await, ErrorCode::InvalidArgument);
    }
    let shown = |answer| match answer {
        Ok(response::Kind::Conference(shown)) => shown,
        other => panic!("{other:?}"),
    };
    let changed = shown(ann.ask(closed).await);
    assert_eq!(changed.visibility(), Visibility::Invite);
    assert_eq!(changed.role(), Role::Owner);
    assert_eq!(cem.refused(info("friday")).await, ErrorCode::Denied);
    assert_eq!(shown(bob.ask(info("friday")).await).role(), Role::Member);
    let named = shown(ann.ask(change("Friday", Visibility::Unspecified)).await);
    assert_eq!(named.title, "Friday");
    assert_eq!(named.visibility(), Visibility::Invite);
    shown(ann.ask(change("", Visibility::Public)).await);
    assert_eq!(shown(cem.ask(info("friday")).await).title, "Friday");
}

#[tokio::test]
async fn only_members_see_an_invitation_only_conference() {
    let server = TestServer::start().await;
    let (ann, bob) = (server.user("ann").await, server.user("bob").await);
    ann.create("family", Visibility::Invite).await;
    ann.create("everybody", Visibility::Public).await;
    assert_eq!(bob.refused(info("family")).await, ErrorCode::Denied);
    assert!(
        matches!(bob.ask(info("everybody")).await, Ok(response::Kind::Conference(c)) if c.role() == Role::Unspecified)
    );
    let see = Kind::ListMembers(wire::ListMembers {
        slug: "everybody".to_owned(),
        cursor: Bytes::new(),
    });
    assert_eq!(bob.refused(see).await, ErrorCode::Denied);
    ann.done(invite("family", "bob")).await;
    ann.done(invite("family", "bob")).await;
    assert!(
        matches!(bob.ask(info("family")).await, Ok(response::Kind::Conference(c)) if c.role() == Role::Member)
    );
    assert_eq!(list(&bob, Bytes::new()).await.conferences.len(), 1);
    assert_eq!(
        bob.refused(invite("family", "ann")).await,
        ErrorCode::Denied
    );
    assert_eq!(
        ann.refused(invite("family", "nobody")).await,
        ErrorCode::NotFound
    );
    assert_eq!(ann.refused(info("nowhere")).await, ErrorCode::NotFound);
}

#[tokio::test]
async fn only_a_higher_role_changes_a_role() {
    let server = TestServer::start().await;
    let ann = server.user("ann").await;
    let (bob, eve) = (server.user("bob").await, server.user("eve").await);
    ann.create("team", Visibility::Invite).await;
    ann.done(invite("team", "bob")).await;
    ann.done(invite("team", "eve")).await;
    assert_eq!(
        bob.refused(set_role("team", "eve", Role::Listener)).await,
        ErrorCode::Denied
    );
    ann.done(set_role("team", "bob", Role::Moderator)).await;
    bob.done(set_role("team", "eve", Role::Listener)).await;
    assert_eq!(
        bob.refused(set_role("team", "eve", Role::Moderator)).await,
        ErrorCode::Denied
    );
    assert_eq!(
        bob.refused(set_role("team", "ann", Role::Member)).await,
        ErrorCode::Owner
    );
    assert_eq!(
        ann.refused(set_role("team", "bob", Role::Owner)).await,
        ErrorCode::InvalidArgument
    );
    assert_eq!(
        ann.refused(set_role("team", "bob", Role::Unspecified))
            .await,
        ErrorCode::InvalidArgument
    );
    server.user("stranger").await;
    assert_eq!(
        ann.refused(set_role("team", "stranger", Role::Member))
            .await,
        ErrorCode::NotFound
    );
    bob.done(ban("team", "eve")).await;
    assert_eq!(ann.refused(invite("team", "eve")).await, ErrorCode::Banned);
    assert_eq!(eve.refused(info("team")).await, ErrorCode::Banned);
    assert!(list(&eve, Bytes::new()).await.conferences.is_empty());
    let seen = members(&ann, "team").await;
    assert!(seen.contains(&("eve".to_owned(), Role::Banned)) && seen.len() == 3);
    ann.done(set_role("team", "bob", Role::Member)).await;
    assert_eq!(
        members(&bob, "team").await.len(),
        2,
        "a member does not see bans"
    );
}

#[tokio::test]
pub(crate) async fn members_can_leave_and_the_owner_cannot() {
    let server = TestServer::start().await;
    let (ann, bob) = (server.user("ann").await, server.user("bob").await);
    ann.create("team", Visibility::Invite).await;
    ann.done(invite("team", "bob")).await;
    bob.done(leave("team")).await;
    assert_eq!(bob.refused(leave("team")).await, ErrorCode::NotFound);
    assert_eq!(
        bob.join("team").await.unwrap_err().code(),
        ErrorCode::Denied
    );
    assert_eq!(ann.refused(leave("team")).await, ErrorCode::Owner);
}

#[tokio::test]
async fn a_conference_has_a_maximum_of_members() {
    let server = TestServer::start_with(|config| config.rooms.max_members = 2).await;
    let _relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    let (bob, eve) = (server.user("bob").await, server.user("eve").await);
    ann.create("team", Visibility::Public).await;
    bob.join("team").await.unwrap();
    assert_eq!(
        eve.join("team").await.unwrap_err().code(),
        ErrorCode::LimitReached
    );
    assert_eq!(
        ann.refused(invite("team", "eve")).await,
        ErrorCode::LimitReached
    );
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let server = TestServer::start_with(|config| config.conferences.max_owned = 200).await;
    let ann = server.user("ann").await;
    for number in 0..101 {
        let conference = create(&format!("conference-{number}"), Visibility::Public);
        let made = ann.ask_slowly(conference).await;
        assert!(
            matches!(made, Ok(response::Kind::Conference(_))),
            "{made:?}"
        );
    }
    let first = list(&ann, Bytes::new()).await;
    assert_eq!(first.conferences.len(), 100);
    let second = list(&ann, first.next).await;
    assert_eq!((second.conferences.len(), second.next.len()), (1, 0));
    let cursor = Bytes::from_static(b"nonsense!");
    let bad = Kind::ListConferences(wire::ListConferences { cursor });
    let refused = ann.ask_slowly(bad).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn a_muted_member_cannot_leave_to_lift_the_mute() {
    let server = TestServer::start().await;
    let _relay = server.relay("berlin").await;
    let (ann, bob) = (server.user("ann").await, server.user("bob").await);
    ann.create("open", Visibility::Public).await;
    bob.join("open").await.unwrap();
    ann.done(mute("open", "bob", true)).await;
    assert_eq!(bob.refused(leave("open")).await, ErrorCode::Denied);
    ann.done(mute("open", "bob", false)).await;
    ann.done(set_role("open", "bob", Role::Listener)).await;
    assert_eq!(bob.refused(leave("open")).await, ErrorCode::Denied);
    ann.done(set_role("open", "bob", Role::Member)).await;
    bob.done(leave("open")).await;
}

#[tokio::test]
async fn the_devices_of_one_account_in_a_room_are_limited() {
    let server = TestServer::start().await;
    let _relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create("open", Visibility::Public).await;
    for _ in 0..8 {
        ann.join("open").await.unwrap();
    }
    let refused = ann.join("open").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::LimitReached);
}
