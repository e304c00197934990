//! Invitations by link, who may make accounts and conferences, and bots.

use bytes::Bytes;
use confab_control::accounts::service::{NewAccount, RegistrationPolicy};
use confab_control::conferences::NewConference;
use confab_protocol::control::ErrorCode;
use confab_protocol::wire::{self, Role, Visibility, request::Kind, response};

use crate::conferences::members;
use crate::harness::{
    Client, PASSWORD, TestServer, ban, create, invite, login, registration, set_role,
};

pub(crate) async fn link_to(author: &Client, slug: &str, uses: u32) -> (Bytes, wire::Invitation) {
    match author.ask(new_invitation(slug, uses, 3600)).await {
        Ok(response::Kind::InvitationCreated(created)) => {
            (created.token, created.invitation.unwrap())
        }
        other => panic!("{other:?}"),
    }
}

fn new_invitation(slug: &str, uses: u32, valid_s: u64) -> Kind {
    Kind::CreateInvitation(wire::CreateInvitation {
        slug: slug.to_owned(),
        role: Role::Unspecified.into(),
        uses,
        valid_s,
    })
}

fn redeem(slug: &str, token: &Bytes) -> Kind {
    Kind::RedeemInvitation(wire::RedeemInvitation {
        slug: slug.to_owned(),
        token: token.clone(),
    })
}

async fn role_by(client: &Client, slug: &str, token: &Bytes) -> Result<Role, ErrorCode> {
    match client.ask(redeem(slug, token)).await {
        Ok(response::Kind::Conference(conference)) => Ok(conference.role()),
        Err(error) => Err(error.code()),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn listed(client: &Client, slug: &str) -> Vec<wire::Invitation> {
    let list = wire::ListInvitations {
        slug: slug.to_owned(),
    };
    match client.ask(Kind::ListInvitations(list)).await {
        Ok(response::Kind::Invitations(all)) => all.invitations,
        other => panic!("{other:?}"),
    }
}

fn revoke(slug: &str, id: &Bytes) -> Kind {
    Kind::RevokeInvitation(wire::RevokeInvitation {
        slug: slug.to_owned(),
        id: id.clone(),
    })
}

#[tokio::test]
async fn an_invitation_makes_members_until_it_is_used_up_or_revoked() {
    let server = TestServer::start().await;
    let ann = server.user("ann").await;
    ann.create("family", Visibility::Invite).await;
    let (token, invitation) = link_to(&ann, "family", 2).await;
    assert_eq!((token.len(), invitation.uses, invitation.used), (16, 2, 0));
    assert_ne!(invitation.id, token, "the server keeps a hash");
    assert_eq!(invitation.author, "ann");

    let (ben, eve, joe) = (
        server.user("ben").await,
        server.user("eve").await,
        server.user("joe").await,
    );
    let wrong = Bytes::from_static(&[0; 16]);
    assert_eq!(
        role_by(&ben, "family", &wrong).await,
        Err(ErrorCode::NotFound)
    );
    // Twice by the same account counts once.
    for _ in 0..2 {
        assert_eq!(role_by(&ben, "family", &token).await, Ok(Role::Member));
    }
    assert_eq!(role_by(&ann, "family", &token).await, Ok(Role::Owner));
    assert_eq!(role_by(&eve, "family", &token).await, Ok(Role::Member));
    let late = role_by(&joe, "family", &token).await;
    assert_eq!(late, Err(ErrorCode::NotFound), "it is used up");
    let all = listed(&ann, "family").await;
    assert_eq!((all.len(), all[0].used), (1, 2));

    let (second, other) = link_to(&ann, "family", 5).await;
    ann.done(revoke("family", &other.id)).await;
    let again = ann.refused(revoke("family", &other.id)).await;
    assert_eq!(again, ErrorCode::NotFound);
    let late = role_by(&joe, "family", &second).await;
    assert_eq!(late, Err(ErrorCode::NotFound), "it is revoked");
    // Whoever was banned comes back by no link.
    ann.done(ban("family", "eve")).await;
    let (third, _) = link_to(&ann, "family", 5).await;
    let banned = role_by(&eve, "family", &third).await;
    assert_eq!(banned, Err(ErrorCode::Banned));
    // Nor does it help in another conference, unless that takes everybody.
    ann.create("club", Visibility::Invite).await;
    ann.create("market", Visibility::Public).await;
    let elsewhere = role_by(&joe, "club", &third).await;
    assert_eq!(elsewhere, Err(ErrorCode::NotFound));
    let open = role_by(&joe, "market", &third).await;
    assert_eq!(open, Ok(Role::Unspecified));
}

#[tokio::test]
async fn only_who_may_invite_makes_sees_and_revokes_invitations() {
    let server = TestServer::start().await;
    let (ann, ben, joe) = (
        server.user("ann").await,
        server.user("ben").await,
        server.user("joe").await,
    );
    ann.create("family", Visibility::Invite).await;
    ann.done(invite("family", "ben")).await;
    for kind in [
        new_invitation("family", 1, 3600),
        Kind::ListInvitations(wire::ListInvitations {
            slug: "family".into(),
        }),
        revoke("family", &Bytes::from_static(&[0; 16])),
    ] {
        assert_eq!(ben.refused(kind.clone()).await, ErrorCode::Denied);
        assert_eq!(joe.refused(kind).await, ErrorCode::Denied);
    }
    for bad in [
        new_invitation("family", 0, 3600),
        new_invitation("family", 1001, 3600),
        new_invitation("family", 1, 59),
        new_invitation("family", 1, 367 * 24 * 3600),
        revoke("family", &Bytes::from_static(&[0; 15])),
        redeem("family", &Bytes::from_static(&[0; 17])),
    ] {
        assert_eq!(ann.refused(bad).await, ErrorCode::InvalidArgument);
    }
    // A moderator's invitation is good for as long as its author is one.
    ann.done(set_role("family", "ben", Role::Moderator)).await;
    let (token, _) = link_to(&ben, "family", 5).await;
    ann.done(set_role("family", "ben", Role::Member)).await;
    let late = role_by(&joe, "family", &token).await;
    assert_eq!(late, Err(ErrorCode::NotFound));
    ann.done(set_role("family", "ben", Role::Moderator)).await;
    assert_eq!(role_by(&joe, "family", &token).await, Ok(Role::Member));
    for _ in 0..49 {
        link_to(&ann, "family", 1).await;
    }
    let many = ann.refused(new_invitation("family", 1, 3600)).await;
    assert_eq!(many, ErrorCode::LimitReached);
}

fn register_by(name: &str, slug: &str, token: &Bytes) -> Kind {
    let Kind::Register(mut register) = registration(name) else {
        unreachable!()
    };
    register.invitation = Some(wire::RedeemInvitation {
        slug: slug.to_owned(),
        token: token.clone(),
    });
    Kind::Register(register)
}

/// Somebody whose account the operator has made.
async fn added(server: &TestServer, name: &str) -> Client {
    let new = NewAccount {
        username: name.parse().unwrap(),
        email: None,
        birthday: None,
        password: PASSWORD.to_owned().into(),
    };
    server.running.api().accounts.add(new).await.unwrap();
    let client = server.client().await;
    client.login(name, PASSWORD).await.unwrap();
    client
}

async fn with_policy(policy: RegistrationPolicy) -> TestServer {
    TestServer::start_with(|config| config.accounts.registration = policy).await
}

#[tokio::test]
async fn an_account_is_made_by_invitation_and_uses_it_up() {
    let server = with_policy(RegistrationPolicy::ByInvitation).await;
    let stranger = server.client().await;
    assert_eq!(
        stranger.refused(registration("ben")).await,
        ErrorCode::Denied
    );
    let wrong = Bytes::from_static(&[0; 16]);
    assert_eq!(
        stranger.refused(register_by("ben", "family", &wrong)).await,
        ErrorCode::NotFound
    );
    // The first one is made by the operator.
    let ann = added(&server, "ann").await;
    ann.create("family", Visibility::Invite).await;
    let (token, _) = link_to(&ann, "family", 1).await;
    // A name that is taken uses nothing up.
    let taken = server.client().await;
    assert_eq!(
        taken.refused(register_by("ann", "family", &token)).await,
        ErrorCode::UsernameTaken
    );
    let ben = server.client().await;
    let granted = ben.ask(register_by("ben", "family", &token)).await;
    assert!(
        matches!(granted, Ok(response::Kind::SessionGranted(_))),
        "{granted:?}"
    );
    assert_eq!(role_by(&ben, "family", &token).await, Ok(Role::Member));
    let late = server.client().await;
    assert_eq!(
        late.refused(register_by("joe", "family", &token)).await,
        ErrorCode::NotFound
    );
    assert_eq!(
        late.refused(login("joe", PASSWORD)).await,
        ErrorCode::BadCredentials
    );
}

#[tokio::test]
async fn where_anybody_may_register_an_invitation_makes_a_member_if_it_is_good() {
    let server = TestServer::start().await;
    let ann = server.user("ann").await;
    ann.create("family", Visibility::Invite).await;
    let (token, _) = link_to(&ann, "family", 1).await;
    for (name, role) in [("ben", Some(Role::Member)), ("cem", None)] {
        let client = server.client().await;
        let granted = client.ask(register_by(name, "family", &token)).await;
        assert!(granted.is_ok(), "{granted:?}");
        let members = members(&ann, "family").await;
        let found = members.iter().find(|(username, _)| username == name);
        assert_eq!(found.map(|(_, role)| *role), role, "{name}");
    }
}

#[tokio::test]
async fn a_place_that_many_want_at_once_is_given_to_one_and_leaves_no_other_account() {
    let server = with_policy(RegistrationPolicy::ByInvitation).await;
    let ann = added(&server, "ann").await;
    ann.create("family", Visibility::Invite).await;
    let (token, _) = link_to(&ann, "family", 1).await;
    let mut attempts = Vec::new();
    for number in 0..6 {
        let client = server.client().await;
        let register = register_by(&format!("guest-{number}"), "family", &token);
        attempts.push(tokio::spawn(
            async move { client.ask(register).await.is_ok() },
        ));
    }
    let mut taken = 0;
    for attempt in attempts {
        taken += usize::from(attempt.await.unwrap());
    }
    assert_eq!(taken, 1);
    let page = server.running.api().accounts.all(None, 100).await.unwrap();
    assert_eq!(page.items.len(), 2, "{:?}", page.items);
}

#[tokio::test]
async fn a_closed_server_takes_nobody_and_only_its_operator_creates_conferences() {
    let server = TestServer::start_with(|config| {
        config.accounts.registration = RegistrationPolicy::Closed;
        config.conferences.by_accounts = false;
    })
    .await;
    let stranger = server.client().await;
    let error = stranger.ask(registration("ben")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Denied);
    assert!(error.message.contains("operator"), "{error:?}");
    let ann = added(&server, "ann").await;
    let refused = ann.refused(create("family", Visibility::Invite)).await;
    assert_eq!(refused, ErrorCode::Denied);
    let new = |slug: &str| NewConference {
        slug: slug.parse().unwrap(),
        title: "Family".parse().unwrap(),
        visibility: Visibility::Invite,
        region: None,
    };
    let conferences = &server.running.api().conferences;
    let nobody = "nobody".parse().unwrap();
    assert!(conferences.create_for(nobody, new("none")).await.is_err());
    let owner = "ann".parse().unwrap();
    conferences.create_for(owner, new("family")).await.unwrap();
    link_to(&ann, "family", 1).await;
}

#[tokio::test]
async fn a_bot_looks_joins_and_leaves_and_does_nothing_else() {
    let server = TestServer::start().await;
    let relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create("family", Visibility::Invite).await;
    let accounts = &server.running.api().accounts;
    let (account, token) = accounts.add_bot("music".parse().unwrap()).await.unwrap();
    ann.done(invite("family", "music")).await;
    let bot = server.client().await;
    let Ok(response::Kind::Authenticated(session)) = bot.authenticate(&token).await else {
        panic!("it is signed in");
    };
    assert_eq!(session.account.unwrap().kind(), wire::AccountKind::Bot);
    assert_eq!(session.refresh_after_ms, session.expires_ms);
    bot.join("family").await.unwrap();
    drop(relay);
    for kind in [
        create("own", Visibility::Public),
        invite("family", "ann"),
        new_invitation("family", 1, 3600),
        Kind::ExportAccount(wire::ExportAccount {}),
        Kind::Logout(wire::Logout {}),
        Kind::ListSessions(wire::ListSessions {}),
    ] {
        assert_eq!(bot.refused(kind).await, ErrorCode::Denied);
    }
    // It cannot be exchanged: a program that is started twice would lose it.
    let other = server.client().await;
    let exchanged = other.refresh(&token).await.unwrap_err();
    assert_eq!(exchanged.code(), ErrorCode::Denied);
    assert!(other.authenticate(&token).await.is_ok());
    let second = accounts.renew_token(&account).await.unwrap();
    let late = server.client().await;
    let ended = late.authenticate(&token).await.unwrap_err();
    assert_eq!(ended.code(), ErrorCode::SessionEnded);
    assert!(late.authenticate(&second).await.is_ok());
    // A person gets no such token, and a bot no password.
    let ann = accounts.find(&"ann".parse().unwrap()).await.unwrap();
    assert!(accounts.renew_token(&ann).await.is_err());
    let reset = accounts.reset_password(account, "four other random words");
    assert!(reset.await.is_err());
}
