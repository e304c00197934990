//! Accounts and sessions over QUIC.

use bytes::Bytes;
use confab_protocol::control::ErrorCode;
use confab_protocol::wire::{self, event, request::Kind, response};

use crate::harness::{PASSWORD, TestServer, login, registration};

#[tokio::test]
async fn an_account_registers_logs_in_and_is_identified() {
    let server = TestServer::start().await;
    let ann = server.client().await;
    let granted = ann.register("Ann").await.unwrap();
    assert_eq!(granted.token.len(), 60);
    assert!(granted.refresh_after_ms < granted.expires_ms);
    let account = granted.account.unwrap();
    assert_eq!(
        (account.username.as_str(), account.email.as_str()),
        ("ann", "ann@example.org")
    );
    for name in ["ann", "ANN", "ann@example.org"] {
        server.client().await.login(name, PASSWORD).await.unwrap();
    }
    let Ok(response::Kind::Account(known)) = ann.ask(Kind::WhoAmI(wire::WhoAmI {})).await else {
        panic!("no account");
    };
    assert_eq!(known, account);
}

#[tokio::test]
async fn a_refused_registration_names_the_field() {
    let server = TestServer::start().await;
    server.user("ann").await;
    let client = server.client().await;
    let refused = async |change: fn(&mut wire::Register)| {
        let Kind::Register(mut register) = registration("bob") else {
            unreachable!()
        };
        change(&mut register);
        let error = client.ask(Kind::Register(register)).await.unwrap_err();
        (error.code(), error.field)
    };
    let about = |code, field: &str| (code, field.to_owned());
    assert_eq!(
        refused(|r| r.username = "ann".into()).await,
        about(ErrorCode::UsernameTaken, "username")
    );
    assert_eq!(
        refused(|r| r.email = "ANN@example.org".into()).await,
        about(ErrorCode::EmailTaken, "email")
    );
    assert_eq!(
        refused(|r| r.username = "b".into()).await,
        about(ErrorCode::InvalidArgument, "username")
    );
    assert_eq!(
        refused(|r| r.email = "bob".into()).await,
        about(ErrorCode::InvalidArgument, "email")
    );
    assert_eq!(
        refused(|r| r.birthday = "2999-01-01".into()).await,
        about(ErrorCode::InvalidArgument, "birthday")
    );
    assert_eq!(
        refused(|r| r.birthday = "1.1.2000".into()).await,
        about(ErrorCode::InvalidArgument, "birthday")
    );
    assert_eq!(
        refused(|r| r.device = "x".repeat(65)).await,
        about(ErrorCode::InvalidArgument, "device")
    );
    assert_eq!(
        refused(|r| r.password = "short".into()).await,
        about(ErrorCode::WeakPassword, "password")
    );
    assert_eq!(
        refused(|r| r.password = "x1".repeat(4000)).await,
        about(ErrorCode::WeakPassword, "password")
    );
    assert_eq!(
        refused(|r| r.password = "password1234".into()).await,
        about(ErrorCode::WeakPassword, "password")
    );
    assert_eq!(
        refused(|r| r.password = "Bob bob 12345".into()).await,
        about(ErrorCode::WeakPassword, "password")
    );
    let child = |r: &mut wire::Register| {
        let today = confab_control::clock::Clock::System.now().day();
        r.birthday = format!("{:04}-01-01", today.year() - 11);
    };
    assert_eq!(refused(child).await, about(ErrorCode::TooYoung, "birthday"));
    client.register("bob").await.unwrap();
}

#[tokio::test]
async fn a_password_matches_in_any_unicode_composition() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut new = registration("zoe");
    if let Kind::Register(register) = &mut new {
        register.password = "čtyři psi u řeky".into();
    }
    client.ask(new).await.unwrap();
    let client = server.client().await;
    let typed = "c\u{30c}tyr\u{30c}i\u{3000}psi u r\u{30c}eky";
    let ends_invisibly = format!("{typed}\u{200b}");
    let refused = client.login("zoe", &ends_invisibly).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BadCredentials);
    client.login("zoe", typed).await.unwrap();
}

#[tokio::test]
async fn a_password_with_a_control_character_is_refused_and_not_shown() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut new = registration("zoe");
    if let Kind::Register(register) = &mut new {
        register.password = "correct\u{202e}horse battery".into();
    }
    let refused = client.ask(new).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::WeakPassword);
    assert_eq!(
        refused.message,
        "a password may not contain a character that turns the direction of text"
    );
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_get_the_same_answer() {
    let server = TestServer::start().await;
    server.user("ann").await;
    let client = server.client().await;
    let wrong_password = client.login("ann", "something else").await.unwrap_err();
    let wrong_name = client.login("nobody", PASSWORD).await.unwrap_err();
    let no_name = client.login("no name at all", PASSWORD).await.unwrap_err();
    assert_eq!(wrong_password.code(), ErrorCode::BadCredentials);
    assert_eq!(wrong_password, wrong_name);
    assert_eq!(wrong_password, no_name);
}

#[tokio::test]
async fn wrong_passwords_are_throttled_and_right_ones_are_not() {
    let server = TestServer::start().await;
    server.user("ann").await;
    for _ in 0..12 {
        let client = server.client().await;
        client.login("ann", PASSWORD).await.unwrap();
    }
    let client = server.client().await;
    let mut codes = Vec::new();
    for _ in 0..10 {
        codes.push(client.refused(login("ann", "a wrong guess")).await);
    }
    assert_eq!(codes[0], ErrorCode::BadCredentials);
    assert_eq!(codes[9], ErrorCode::Throttled);
    let error = client.login("ann", PASSWORD).await.unwrap_err();
    assert!(error.code() == ErrorCode::Throttled && error.retry_after_ms > 0);
    // Other accounts are not throttled.
    client.register("bob").await.unwrap();
}

#[tokio::test]
async fn name_and_address_of_an_account_share_one_limit_of_wrong_passwords() {
    let server = TestServer::start().await;
    server.user("ann").await;
    let client = server.client().await;
    let mut codes = Vec::new();
    for _ in 0..3 {
        for name in ["ann", "ann@example.org"] {
            codes.push(client.refused(login(name, "a wrong guess")).await);
        }
    }
    assert_eq!(codes[..5], [ErrorCode::BadCredentials; 5]);
    assert_eq!(codes[5], ErrorCode::Throttled);
    // A name without an account is throttled in the same way.
    codes.clear();
    for _ in 0..6 {
        codes.push(client.refused(login("nobody", "a wrong guess")).await);
    }
    assert_eq!(codes[..5], [ErrorCode::BadCredentials; 5]);
    assert_eq!(codes[5], ErrorCode::Throttled);
}

#[tokio::test]
async fn registrations_of_a_name_that_is_taken_are_throttled() {
    let server = TestServer::start().await;
    server.user("ann").await;
    let client = server.client().await;
    // As many as wrong passwords are allowed for the account, by either name.
    for _ in 0..5 {
        let refused = client.refused(registration("ann")).await;
        assert_eq!(refused, ErrorCode::UsernameTaken);
    }
    let Kind::Register(mut other) = registration("someone") else {
        unreachable!("a registration");
    };
    other.email = "ann@example.org".to_owned();
    for registration in [registration("ann"), Kind::Register(other)] {
        assert_eq!(client.refused(registration).await, ErrorCode::Throttled);
    }
}

#[tokio::test]
async fn a_known_device_is_not_locked_out_by_wrong_passwords_from_elsewhere() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let cookie = client.register("ann").await.unwrap().device_cookie;
    assert_eq!(cookie.len(), 64);
    let bobs = server.client().await.register("bob").await.unwrap();
    let raw_client = server.client().await;
    let with = |password: &str, cookie: &Bytes| {
        Kind::Login(wire::Login {
            name: "ann".to_owned(),
            password: password.to_owned(),
            device: "phone".to_owned(),
            device_cookie: cookie.clone(),
        })
    };
    while raw_client.refused(login("ann", "a wrong guess")).await != ErrorCode::Throttled {}
    let mut forged = cookie.to_vec();
    forged[20] ^= 1;
    for other in [&bobs.device_cookie, &Bytes::from(forged), &Bytes::new()] {
        let refused = raw_client.refused(with(PASSWORD, other)).await;
        assert_eq!(refused, ErrorCode::Throttled);
    }
    let device = server.client().await;
    let Ok(response::Kind::SessionGranted(granted)) = device.ask(with(PASSWORD, &cookie)).await
    else {
        panic!("the device is let in");
    };
    assert_eq!(granted.device_cookie, cookie);
    // Wrong passwords from the device itself are limited too.
    let thief = server.client().await;
    let mut guesses = 0;
    while thief.refused(with("a wrong guess", &cookie)).await != ErrorCode::Throttled {
        guesses += 1;
    }
    assert_eq!(guesses, 5);
}

#[tokio::test]
async fn fifty_accounts_register_from_one_address_and_the_burst_is_limited() {
    let server = TestServer::start_with(|config| config.accounts.limits.per_second = 0.001).await;
    for number in 0..100 {
        let client = server.client().await;
        client.register(&format!("person{number}")).await.unwrap();
    }
    let third = server.client().await;
    assert_eq!(
        third.refused(registration("person100")).await,
        ErrorCode::Throttled
    );
}

#[tokio::test]
async fn a_lost_response_gives_the_same_successor_and_an_old_token_ends_the_session() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let first = client.register("ann").await.unwrap().token;
    let second = client.refresh(&first).await.unwrap().token;
    assert_ne!(first, second);
    assert_eq!(client.refresh(&first).await.unwrap().token, second);
    client.authenticate(&first).await.unwrap();
    // The second token is used: from now on the first means that two parties hold a token.
    client.authenticate(&second).await.unwrap();
    let thief = server.client().await;
    assert_eq!(
        thief.refresh(&first).await.unwrap_err().code(),
        ErrorCode::SessionEnded
    );
    assert!(matches!(client.event().await, event::Kind::SessionEnded(_)));
    assert_eq!(
        client.refused(Kind::WhoAmI(wire::WhoAmI {})).await,
        ErrorCode::NotAuthenticated
    );
    assert_eq!(
        client.refresh(&second).await.unwrap_err().code(),
        ErrorCode::SessionEnded
    );
}

#[tokio::test]
async fn a_token_of_another_cluster_is_refused() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut token = client.register("ann").await.unwrap().token.to_vec();
    token[59] ^= 1;
    let other = server.client().await;
    for bad in [token, vec![0; 60], Vec::new(), vec![1; 4000]] {
        assert_eq!(
            other.authenticate(&bad.into()).await.unwrap_err().code(),
            ErrorCode::SessionEnded
        );
    }
    client.ask(Kind::WhoAmI(wire::WhoAmI {})).await.unwrap();
}

#[tokio::test]
async fn a_session_survives_a_restart_of_the_server() {
    let server = TestServer::start().await;
    let token = server.client().await.register("ann").await.unwrap().token;
    let TestServer { running, dir } = server;
    let fingerprint = running.fingerprint.clone();
    running.shutdown().await;
    let running = confab_control::serve(crate::harness::cheap(&dir))
        .await
        .unwrap();
    assert_eq!(running.fingerprint, fingerprint);
    let server = TestServer { running, dir };
    server.client().await.authenticate(&token).await.unwrap();
}

#[tokio::test]
async fn sessions_are_listed_and_revoked() {
    let server = TestServer::start().await;
    let laptop = server.user("ann").await;
    let phone = server.client().await;
    phone.login("ann", PASSWORD).await.unwrap();
    let Ok(response::Kind::Sessions(list)) =
        laptop.ask(Kind::ListSessions(wire::ListSessions {})).await
    else {
        panic!("no list");
    };
    let devices: Vec<_> = list
        .sessions
        .iter()
        .map(|s| (s.device.as_str(), s.current))
        .collect();
    assert_eq!(devices, [("laptop", true), ("phone", false)]);
    let id = list.sessions[1].id.clone();
    laptop
        .done(Kind::RevokeSession(wire::RevokeSession { id: id.clone() }))
        .await;
    assert!(matches!(phone.event().await, event::Kind::SessionEnded(_)));
    assert_eq!(
        phone.refused(Kind::WhoAmI(wire::WhoAmI {})).await,
        ErrorCode::NotAuthenticated
    );
    let revoke = |id| Kind::RevokeSession(wire::RevokeSession { id });
    assert_eq!(laptop.refused(revoke(id)).await, ErrorCode::NotFound);
    assert_eq!(
        laptop.refused(revoke("short".into())).await,
        ErrorCode::InvalidArgument
    );
    // An account cannot end a session of another.
    let bob = server.user("bob").await;
    assert_eq!(
        bob.refused(revoke(list.sessions[0].id.clone())).await,
        ErrorCode::NotFound
    );
}

#[tokio::test]
async fn a_new_password_ends_every_other_session() {
    let server = TestServer::start().await;
    let laptop = server.user("ann").await;
    let phone = server.client().await;
    let token = phone.login("ann", PASSWORD).await.unwrap().token;
    let change = |old: &str, new: &str| {
        Kind::ChangePassword(wire::ChangePassword {
            old_password: old.to_owned(),
            new_password: new.to_owned(),
        })
    };
    let fresh = "staple and then some";
    assert_eq!(
        laptop.refused(change("not this one", fresh)).await,
        ErrorCode::BadCredentials
    );
    assert_eq!(
        laptop.refused(change(PASSWORD, "qwertyuiop")).await,
        ErrorCode::WeakPassword
    );
    laptop.done(change(PASSWORD, fresh)).await;
    assert!(matches!(phone.event().await, event::Kind::SessionEnded(_)));
    assert_eq!(
        phone.authenticate(&token).await.unwrap_err().code(),
        ErrorCode::SessionEnded
    );
    laptop.ask(Kind::WhoAmI(wire::WhoAmI {})).await.unwrap();
    assert_eq!(
        phone.refused(login("ann", PASSWORD)).await,
        ErrorCode::BadCredentials
    );
    phone.login("ann", fresh).await.unwrap();
}

#[tokio::test]
async fn logging_out_ends_the_session() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let token = client.register("ann").await.unwrap().token;
    client.done(Kind::Logout(wire::Logout {})).await;
    assert_eq!(
        client.refused(Kind::Logout(wire::Logout {})).await,
        ErrorCode::NotAuthenticated
    );
    assert_eq!(
        client.authenticate(&token).await.unwrap_err().code(),
        ErrorCode::SessionEnded
    );
}

#[tokio::test]
async fn an_export_holds_everything_but_hashes() {
    let server = TestServer::start().await;
    let ann = server.user("ann").await;
    ann.create("friday-night", wire::Visibility::Public).await;
    let Ok(response::Kind::AccountExport(export)) =
        ann.ask(Kind::ExportAccount(wire::ExportAccount {})).await
    else {
        panic!("no export");
    };
    let json: serde_json::Value = serde_json::from_str(&export.json).unwrap();
    assert_eq!(json["account"]["email"], "ann@example.org");
    assert_eq!(json["account"]["birthday"], "1990-01-31");
    assert_eq!(json["sessions"][0]["device"], "laptop");
    assert_eq!(json["conferences"][0]["slug"], "friday-night");
    assert_eq!(json["conferences"][0]["role"], "owner");
    assert!(!export.json.contains("hash") && !export.json.contains("secret"));
}

#[tokio::test]
async fn a_deleted_account_leaves_nothing_behind() {
    let server = TestServer::start().await;
    let ann = server.user("ann").await;
    let bob = server.user("bob").await;
    ann.create("friday-night", wire::Visibility::Public).await;
    let delete = |password: &str| {
        Kind::DeleteAccount(wire::DeleteAccount {
            password: password.to_owned(),
        })
    };
    assert_eq!(
        ann.refused(delete("not this one")).await,
        ErrorCode::BadCredentials
    );
    ann.done(delete(PASSWORD)).await;
    assert_eq!(
        ann.refused(Kind::WhoAmI(wire::WhoAmI {})).await,
        ErrorCode::NotAuthenticated
    );
    assert_eq!(
        ann.refused(login("ann", PASSWORD)).await,
        ErrorCode::BadCredentials
    );
    let info = Kind::ConferenceInfo(wire::ConferenceInfo {
        slug: "friday-night".to_owned(),
    });
    assert_eq!(bob.refused(info).await, ErrorCode::NotFound);
    ann.register("ann").await.unwrap();
    ann.create("friday-night", wire::Visibility::Public).await;
}

#[tokio::test]
async fn a_connection_acts_for_one_account_only() {
    let server = TestServer::start().await;
    let ann = server.user("ann").await;
    let bob = server.client().await;
    let bobs = bob.register("bob").await.unwrap();
    assert_eq!(ann.refused(login("bob", PASSWORD)).await, ErrorCode::Denied);
    let refused = ann.authenticate(&bobs.token).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Denied);
    ann.done(Kind::Logout(wire::Logout {})).await;
    ann.authenticate(&bobs.token).await.unwrap();
}
