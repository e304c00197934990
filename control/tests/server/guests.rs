//! Guests: people without an account.

use bytes::Bytes;
use confab_e2ee::mls::identity::{DeviceKey, EXPORTED_LEN, EXPORTER_LABEL};
use confab_protocol::control::ErrorCode;
use confab_protocol::wire::{self, Role, Visibility, request::Kind, response};

use crate::conferences::members;
use crate::harness::{
    Client, PATIENCE, TestServer, ban, create, invite, kick, registration, set_role,
};
use crate::invitations::{link_to, listed};

/// The entry of a guest by a client, on this device.
fn enter_on(
    client: &Client,
    device: &DeviceKey,
    (name, slug, token): (&str, &str, &Bytes),
) -> wire::EnterAsGuest {
    let mut exported = [0; EXPORTED_LEN];
    let connection = &client.connection;
    connection
        .export_keying_material(&mut exported, EXPORTER_LABEL, b"")
        .unwrap();
    wire::EnterAsGuest {
        name: name.to_owned(),
        slug: slug.to_owned(),
        token: token.clone(),
        device: "laptop".to_owned(),
        device_key: Bytes::copy_from_slice(&device.public().0),
        device_proof: Bytes::copy_from_slice(&device.sign_entry(&exported)),
    }
}

/// The same on a device of its own.
fn enter(client: &Client, name: &str, slug: &str, token: &Bytes) -> Kind {
    let device = DeviceKey::generate();
    Kind::EnterAsGuest(enter_on(client, &device, (name, slug, token)))
}

async fn guest(server: &TestServer, slug: &str, token: &Bytes) -> (Client, wire::SessionGranted) {
    guest_on(server, &DeviceKey::generate(), slug, token).await
}

async fn guest_on(
    server: &TestServer,
    device: &DeviceKey,
    slug: &str,
    token: &Bytes,
) -> (Client, wire::SessionGranted) {
    let client = server.client().await;
    let enter = enter_on(&client, device, ("eve", slug, token));
    match client.ask(Kind::EnterAsGuest(enter)).await {
        Ok(response::Kind::SessionGranted(granted)) => (client, granted),
        other => panic!("{other:?}"),
    }
}

async fn is_gone(server: &TestServer, name: &str) {
    let accounts = &server.running.api().accounts;
    let gone = async {
        while accounts.find(&name.parse().unwrap()).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn a_banned_guest_is_known_by_its_device_and_its_link_is_over() {
    let server = TestServer::start_with(|config| config.accounts.guests = true).await;
    let _relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create("family", Visibility::Invite).await;
    let (first, made) = link_to(&ann, "family", 5).await;
    let (second, _) = link_to(&ann, "family", 5).await;
    let device = DeviceKey::generate();
    let (eve, granted) = guest_on(&server, &device, "family", &first).await;
    let _joined = eve.join("family").await.unwrap();
    let name = granted.account.unwrap().username;
    ann.done(ban("family", &name)).await;
    let links: Vec<_> = listed(&ann, "family").await;
    assert!(links.iter().all(|link| link.id != made.id), "{links:?}");
    let stranger = server.client().await;
    let on_it = |token| Kind::EnterAsGuest(enter_on(&stranger, &device, ("joe", "family", token)));
    assert_eq!(stranger.refused(on_it(&first)).await, ErrorCode::NotFound);
    assert_eq!(stranger.refused(on_it(&second)).await, ErrorCode::Banned);
    // The account goes with the room, the ban stays, and can be lifted by the name.
    drop(eve);
    is_gone(&server, &name).await;
    assert_eq!(stranger.refused(on_it(&second)).await, ErrorCode::Banned);
    assert!(
        members(&ann, "family")
            .await
            .contains(&(name.clone(), Role::Banned))
    );
    ann.done(set_role("family", &name, Role::Member)).await;
    assert!(stranger.ask(on_it(&second)).await.is_ok());
}

#[tokio::test]
async fn a_ban_meets_all_guests_of_the_device_and_no_guest_comes_in_by_a_way_around() {
    let server = TestServer::start_with(|config| config.accounts.guests = true).await;
    let _relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create("family", Visibility::Invite).await;
    ann.create("market", Visibility::Public).await;
    let (link, _) = link_to(&ann, "family", 9).await;
    let device = DeviceKey::generate();
    let (eve, granted) = guest_on(&server, &device, "family", &link).await;
    let (present, _) = guest_on(&server, &device, "family", &link).await;
    let (waiting, _) = guest_on(&server, &device, "family", &link).await;
    let (other, _) = guest(&server, "family", &link).await;
    for client in [&eve, &present, &other] {
        client.join("family").await.unwrap();
    }
    // A guest of another conference, of which the ban would not know by which link it came.
    let (aside, _) = guest_on(&server, &device, "market", &Bytes::new()).await;
    let redeem = wire::RedeemInvitation {
        slug: "family".to_owned(),
        token: link.clone(),
    };
    let refused = aside.refused(Kind::RedeemInvitation(redeem)).await;
    assert_eq!(refused, ErrorCode::Denied);

    ann.done(ban("family", &granted.account.unwrap().username))
        .await;
    for client in [&eve, &present, &waiting] {
        let refused = client.join("family").await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Banned);
    }
    let banned = members(&ann, "family").await;
    let banned = banned.iter().filter(|(_, role)| *role == Role::Banned);
    assert_eq!(banned.count(), 3);
    assert!(other.join("family").await.is_ok(), "another device's");
}

#[tokio::test]
async fn a_guest_proves_that_it_has_its_device_s_key() {
    let server = TestServer::start_with(|config| config.accounts.guests = true).await;
    let ann = server.user("ann").await;
    ann.create("market", Visibility::Public).await;
    let (client, other) = (server.client().await, server.client().await);
    let device = DeviceKey::generate();
    let none = Bytes::new();
    let entry = |of| enter_on(of, &device, ("eve", "market", &none));
    let good = entry(&client);
    let another_s = wire::EnterAsGuest {
        device_key: Bytes::copy_from_slice(&DeviceKey::generate().public().0),
        ..good.clone()
    };
    let without = wire::EnterAsGuest {
        device_key: none.clone(),
        ..good.clone()
    };
    for bad in [another_s, without, entry(&other)] {
        let refused = client.refused(Kind::EnterAsGuest(bad)).await;
        assert_eq!(refused, ErrorCode::InvalidArgument);
    }
    assert!(client.ask(Kind::EnterAsGuest(good)).await.is_ok());
}

#[tokio::test]
async fn guests_are_forgotten_when_the_room_ends() {
    let server = TestServer::start_with(|config| config.accounts.guests = true).await;
    let _relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create("market", Visibility::Public).await;
    let joined = ann.join("market").await.unwrap();
    let (eve, granted) = guest(&server, "market", &Bytes::new()).await;
    eve.join("market").await.unwrap();
    let name = granted.account.unwrap().username;
    // Sent out, the guest could come again while the room lasts.
    ann.done(kick("market", &name)).await;
    let accounts = &server.running.api().accounts;
    assert!(accounts.find(&name.parse().unwrap()).await.is_ok());
    ann.done(Kind::LeaveRoom(wire::LeaveRoom {
        slug: "market".to_owned(),
        join_id: joined.participants[0].join_id.clone(),
    }))
    .await;
    is_gone(&server, &name).await;
}

#[tokio::test]
async fn a_guest_comes_to_one_conference_and_is_forgotten_when_it_leaves() {
    let server = TestServer::start_with(|config| config.accounts.guests = true).await;
    let relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create("family", Visibility::Invite).await;
    ann.create("market", Visibility::Public).await;
    let none = Bytes::new();
    let (token, _) = link_to(&ann, "family", 2).await;
    let stranger = server.client().await;
    for (bad, code) in [
        (enter(&stranger, "eve", "family", &none), ErrorCode::Denied),
        (
            enter(&stranger, "eve", "nowhere", &none),
            ErrorCode::NotFound,
        ),
        (
            enter(&stranger, "eve", "family", &Bytes::from_static(&[0; 16])),
            ErrorCode::NotFound,
        ),
        (
            enter(&stranger, "e~aaaa", "market", &none),
            ErrorCode::InvalidArgument,
        ),
        (
            enter(&stranger, "eve~aaaa", "market", &none),
            ErrorCode::InvalidArgument,
        ),
        (
            enter(&stranger, &"e".repeat(28), "market", &none),
            ErrorCode::InvalidArgument,
        ),
    ] {
        assert_eq!(stranger.refused(bad.clone()).await, code, "{bad:?}");
    }
    assert_eq!(
        stranger.refused(registration("eve~aaaa")).await,
        ErrorCode::InvalidArgument
    );
    let (eve, granted) = guest(&server, "family", &token).await;
    let account = granted.account.unwrap();
    assert!(account.username.starts_with("eve~"), "{account:?}");
    assert_eq!(account.kind(), wire::AccountKind::Guest);
    assert_eq!(granted.refresh_after_ms, granted.expires_ms);
    let joined = eve.join("family").await.unwrap();
    // Another of the same name is another.
    let (other, second) = guest(&server, "family", &token).await;
    assert_ne!(second.account.unwrap().username, account.username);
    let third = stranger
        .refused(enter(&stranger, "eve", "family", &token))
        .await;
    assert_eq!(third, ErrorCode::NotFound, "it is used up");
    // Elsewhere a guest is nobody, not even where everybody may come.
    let refused = eve.join("market").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Denied);
    for kind in [
        create("own", Visibility::Public),
        invite("family", "ann"),
        Kind::ChangePassword(wire::ChangePassword::default()),
    ] {
        assert_eq!(eve.refused(kind).await, ErrorCode::Denied);
    }
    ann.done(ban("family", &account.username)).await;
    drop((relay, joined, other));

    let (joe, granted) = guest(&server, "market", &none).await;
    let joined = joe.join("market").await.unwrap();
    let leave = wire::LeaveRoom {
        slug: "market".to_owned(),
        join_id: joined.participants[0].join_id.clone(),
    };
    joe.done(Kind::LeaveRoom(leave)).await;
    let name = granted.account.unwrap().username;
    is_gone(&server, &name).await;
    let late = server.client().await.authenticate(&granted.token).await;
    assert_eq!(late.unwrap_err().code(), ErrorCode::SessionEnded);
}

#[tokio::test]
async fn a_server_takes_no_guests_unless_it_is_told_to() {
    let server = TestServer::start().await;
    let ann = server.user("ann").await;
    ann.create("market", Visibility::Public).await;
    let stranger = server.client().await;
    let refused = stranger
        .refused(enter(&stranger, "eve", "market", &Bytes::new()))
        .await;
    assert_eq!(refused, ErrorCode::Denied);
}
