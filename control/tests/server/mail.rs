//! Addresses that are verified, and passwords that are reset, by mail.

use std::time::Duration;

use confab_control::Config;
use confab_control::mail::target::MailTarget;
use confab_protocol::control::ErrorCode;
use confab_protocol::wire::{self, request::Kind, response};
use confab_testdb::{MailServer, Received};

use crate::harness::{Client, PASSWORD, PATIENCE, TestServer, login, registration};

const NEW_PASSWORD: &str = "a staple for the horse";

async fn with_mail() -> (TestServer, MailServer) {
    with_mail_and(|_| ()).await
}

async fn with_mail_and(change: impl FnOnce(&mut Config)) -> (TestServer, MailServer) {
    let mail = MailServer::start(Vec::new()).unwrap();
    let target = MailTarget {
        url: mail.url().parse().unwrap(),
        from: "confab@example.org".parse().unwrap(),
        server: "talk.example.org".to_owned(),
    };
    let server = TestServer::start_with(|config| {
        config.mail = Some(target);
        change(config);
    })
    .await;
    (server, mail)
}

/// The next letter. Blocks a thread, as tests of this file may.
fn next(mail: &MailServer) -> Received {
    mail.next(PATIENCE).expect("a letter comes")
}

fn nothing_comes(mail: &MailServer) -> bool {
    mail.next(Duration::from_millis(300)).is_none()
}

fn verification_code(letter: &Received) -> &str {
    letter.word_after("verify-email ").unwrap()
}

fn reset_code(letter: &Received) -> &str {
    letter.word_after("--code ").unwrap()
}

fn verify(code: &str) -> Kind {
    let code = code.to_owned();
    Kind::VerifyEmail(wire::VerifyEmail { code })
}

fn send_email_code() -> Kind {
    Kind::SendEmailCode(wire::SendEmailCode { for_change: false })
}

fn send_change_code() -> Kind {
    Kind::SendEmailCode(wire::SendEmailCode { for_change: true })
}

fn send_reset_code(name: &str) -> Kind {
    let name = name.to_owned();
    Kind::SendResetCode(wire::SendResetCode { name })
}

fn reset(name: &str, code: &str, new_password: &str) -> Kind {
    Kind::ResetPassword(wire::ResetPassword {
        name: name.to_owned(),
        code: code.to_owned(),
        new_password: new_password.to_owned(),
    })
}

fn change_email(email: &str, password: &str, code: &str) -> Kind {
    Kind::ChangeEmail(wire::ChangeEmail {
        password: password.to_owned(),
        email: email.to_owned(),
        code: code.to_owned(),
    })
}

/// The code that a change of a verified address needs.
async fn change_code(client: &Client, mail: &MailServer) -> String {
    client.done(send_change_code()).await;
    reset_code(&next(mail)).to_owned()
}

async fn account(client: &Client) -> wire::Account {
    match client.ask(Kind::WhoAmI(wire::WhoAmI {})).await {
        Ok(response::Kind::Account(account)) => account,
        other => panic!("{other:?}"),
    }
}

async fn is_verified(client: &Client) -> bool {
    account(client).await.email_verified
}

/// A signed-in client of `ann`, whose address is verified.
async fn verified_ann(server: &TestServer, mail: &MailServer) -> Client {
    let ann = server.user("ann").await;
    ann.done(verify(verification_code(&next(mail)))).await;
    ann
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_verified_by_the_code_of_the_mail_and_by_no_other() {
    let (server, mail) = with_mail().await;
    let ann = server.user("ann").await;
    let letter = next(&mail);
    assert_eq!(letter.to, "ann@example.org");
    assert!(!is_verified(&ann).await);
    for wrong in ["", "aaaa-aaaa", "no code"] {
        assert_eq!(ann.refused(verify(wrong)).await, ErrorCode::BadCode);
    }
    // A code belongs to one account.
    let ben = server.user("ben").await;
    let of_ben = next(&mail);
    let code = verification_code(&of_ben);
    assert_eq!(ann.refused(verify(code)).await, ErrorCode::BadCode);
    ann.done(send_email_code()).await;
    let again = next(&mail);
    ann.done(verify(&verification_code(&again).to_uppercase()))
        .await;
    assert!(is_verified(&ann).await);
    assert!(!is_verified(&ben).await);
    assert_eq!(ann.refused(send_email_code()).await, ErrorCode::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_password_is_reset_once_by_a_code_and_every_session_ends() {
    let (server, mail) = with_mail().await;
    let ann = verified_ann(&server, &mail).await;
    let stranger = server.client().await;
    // Both names of the account do.
    stranger.done(send_reset_code("ANN@example.org")).await;
    let letter = next(&mail);
    assert_eq!(letter.to, "ann@example.org");
    let code = reset_code(&letter);
    let weak = stranger.refused(reset("ann", code, "short")).await;
    assert_eq!(weak, ErrorCode::WeakPassword);
    stranger.done(reset("ann", code, NEW_PASSWORD)).await;
    assert!(next(&mail).content.contains("was changed"));
    let used = stranger.refused(reset("ann", code, PASSWORD)).await;
    assert_eq!(used, ErrorCode::BadCode);
    let old = stranger.refused(login("ann", PASSWORD)).await;
    assert_eq!(old, ErrorCode::BadCredentials);
    assert!(stranger.ask(login("ann", NEW_PASSWORD)).await.is_ok());
    let ended = ann.refused(Kind::WhoAmI(wire::WhoAmI {})).await;
    assert_eq!(ended, ErrorCode::NotAuthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_an_address_that_nobody_has_verified_and_the_answer_does_not_tell() {
    let (server, mail) = with_mail().await;
    let _ann = server.user("ann").await;
    let first = next(&mail);
    let stranger = server.client().await;
    for name in ["ann", "ann@example.org", "nobody", "no name"] {
        stranger.done(send_reset_code(name)).await;
    }
    assert!(nothing_comes(&mail));
    // The code that verifies resets nothing.
    let code = verification_code(&first);
    let refused = stranger.refused(reset("ann", code, NEW_PASSWORD)).await;
    assert_eq!(refused, ErrorCode::BadCode);
    let of_nobody = stranger.refused(reset("nobody", code, NEW_PASSWORD)).await;
    assert_eq!(of_nobody, ErrorCode::BadCode);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_and_codes_are_throttled_whether_there_is_an_account_or_not() {
    let (server, mail) = with_mail().await;
    let _ann = verified_ann(&server, &mail).await;
    let stranger = server.client().await;
    for name in ["ann", "nobody"] {
        let mut sent = 0;
        while stranger.ask(send_reset_code(name)).await.is_ok() {
            sent += 1;
            assert!(sent < 10, "{name}");
        }
        let refused = stranger.refused(send_reset_code(name)).await;
        assert_eq!(refused, ErrorCode::Throttled, "{name}");
        let guesses = async |count: u32| {
            let mut codes = Vec::new();
            for guess in 0..count {
                let code = format!("aaaa-aaaa-aaaa-aaa{}", char::from(b'a' + guess as u8));
                codes.push(stranger.refused(reset(name, &code, NEW_PASSWORD)).await);
            }
            codes
        };
        let guessed = guesses(8).await;
        assert_eq!(guessed[0], ErrorCode::BadCode, "{name}");
        assert_eq!(guessed[7], ErrorCode::Throttled, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_is_told_and_uses_up_codes() {
    let (server, mail) = with_mail().await;
    let ann = verified_ann(&server, &mail).await;
    let stranger = server.client().await;
    stranger.done(send_reset_code("ann")).await;
    let letter = next(&mail);
    let change = wire::ChangePassword {
        old_password: PASSWORD.to_owned(),
        new_password: NEW_PASSWORD.to_owned(),
    };
    ann.done(Kind::ChangePassword(change)).await;
    assert!(next(&mail).content.contains("was changed"));
    let code = reset_code(&letter);
    let used = stranger.refused(reset("ann", code, PASSWORD)).await;
    assert_eq!(used, ErrorCode::BadCode);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_changed_by_the_password_and_verified_anew() {
    let (server, mail) = with_mail().await;
    let ann = verified_ann(&server, &mail).await;
    let (new, stranger) = ("ann@example.net", server.client().await);
    let changed_by = async |email: &str, password: &str, code: &str| {
        ann.refused(change_email(email, password, code)).await
    };
    let code = change_code(&ann, &mail).await;
    let refused = changed_by(new, "another password", &code).await;
    assert_eq!(refused, ErrorCode::BadCredentials);
    let refused = changed_by("no address", PASSWORD, &code).await;
    assert_eq!(refused, ErrorCode::InvalidArgument);
    // A stolen password does not take the verified address away, nor does a code for something else.
    stranger.done(send_reset_code("ann")).await;
    let reset_before = next(&mail);
    for wrong in ["", "aaaa-aaaa-aaaa-aaaa", reset_code(&reset_before)] {
        let refused = changed_by(new, PASSWORD, wrong).await;
        assert_eq!(refused, ErrorCode::BadCode, "{wrong}");
    }
    ann.done(change_email("Ann@example.net", PASSWORD, &code))
        .await;
    let mut letters = [next(&mail), next(&mail)];
    letters.sort_by(|one, other| one.to.cmp(&other.to));
    let [first_code, told] = letters;
    assert_eq!((&first_code.to[..], &told.to[..]), (new, "ann@example.org"));
    assert!(told.content.contains("has another e-mail address"));
    let now = account(&ann).await;
    assert_eq!((&now.email[..], now.email_verified), (new, false));
    // Repeated, because its answer was lost: its letter may have been, too.
    ann.done(change_email(new, PASSWORD, &code)).await;
    let again = next(&mail);
    assert_eq!(again.to, new);
    let refused = ann.refused(send_change_code()).await;
    assert_eq!(refused, ErrorCode::Denied, "it is not verified");
    // A code to the address that the account had resets nothing any more, whether or not the new one is verified.
    let code = reset_code(&reset_before);
    for _ in 0..2 {
        let late = stranger.refused(reset("ann", code, NEW_PASSWORD)).await;
        assert_eq!(late, ErrorCode::BadCode);
        ann.done(verify(verification_code(&first_code))).await;
        assert!(is_verified(&ann).await);
    }
    let login = |name: &str| login(name, PASSWORD);
    assert!(stranger.ask(login(new)).await.is_ok());
    let other = server.client().await;
    let old = other.refused(login("ann@example.org")).await;
    assert_eq!(old, ErrorCode::BadCredentials);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_of_others_are_not_taken_nor_probed() {
    let (server, mail) = with_mail_and(|config| config.accounts.required.email = false).await;
    let ann = verified_ann(&server, &mail).await;
    let ben = server.user("ben").await;
    next(&mail);
    let mut refusals = Vec::new();
    for _ in 0..6 {
        let probe = change_email("ann@example.org", PASSWORD, "");
        refusals.push(ben.refused(probe).await);
    }
    assert_eq!(refusals[..5], [ErrorCode::EmailTaken; 5]);
    assert_eq!(refusals[5], ErrorCode::Throttled);
    assert!(nothing_comes(&mail));
    assert!(is_verified(&ann).await);
    // An account may do without one here, and then has none that is told of what follows.
    let code = change_code(&ann, &mail).await;
    ann.done(change_email("", PASSWORD, &code)).await;
    assert_eq!(next(&mail).to, "ann@example.org");
    assert_eq!(account(&ann).await.email, "");
    assert_eq!(ann.refused(send_email_code()).await, ErrorCode::Denied);
    ann.done(change_email("ann@example.net", PASSWORD, ""))
        .await;
    assert_eq!(next(&mail).to, "ann@example.net");

    let server = TestServer::start().await;
    let cem = server.user("cem").await;
    let needed = cem.refused(change_email("", PASSWORD, "")).await;
    assert_eq!(needed, ErrorCode::InvalidArgument);
    cem.done(change_email("cem@example.net", PASSWORD, ""))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_do_not_tell_that_two_names_are_one_account_s_and_strangers_use_up_none_of_its_own()
{
    let (server, mail) = with_mail().await;
    let ann = verified_ann(&server, &mail).await;
    let ben = server.user("ben").await;
    next(&mail);
    let stranger = server.client().await;
    let mut sent = 0;
    for name in ["ann", "ann@example.org", "ben", "ben@example.org"] {
        for _ in 0..3 {
            stranger.done(send_reset_code(name)).await;
        }
        let refused = stranger.refused(send_reset_code(name)).await;
        assert_eq!(refused, ErrorCode::Throttled, "{name}");
    }
    while mail.next(Duration::from_millis(300)).is_some() {
        sent += 1;
    }
    assert_eq!(sent, 3, "letters to ann");
    // Wrong codes under one name leave those under the other.
    for name in ["ann", "ann@example.org"] {
        let stranger = server.client().await;
        for _ in 0..5 {
            let wrong = reset(name, "aaaa-aaaa-aaaa-aaaa", NEW_PASSWORD);
            assert_eq!(stranger.refused(wrong).await, ErrorCode::BadCode, "{name}");
        }
    }
    // Ben's address is not verified: the letters that were asked for in his name took none of those that he asks for.
    ben.done(send_email_code()).await;
    assert_eq!(next(&mail).to, "ben@example.org");
    ann.done(send_change_code()).await;
    assert_eq!(next(&mail).to, "ann@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_gets_few_letters_whichever_accounts_name_it() {
    let (server, mail) = with_mail().await;
    for name in ["ann", "ben", "cem", "dan", "eve"] {
        let client = server.client().await;
        let Kind::Register(mut register) = registration(name) else {
            unreachable!("it registers");
        };
        register.email = "victim@example.org".to_owned();
        let registered = client.ask(Kind::Register(register)).await;
        assert!(registered.is_ok(), "{registered:?}");
        let password = PASSWORD.to_owned();
        let delete = wire::DeleteAccount { password };
        client.done(Kind::DeleteAccount(delete)).await;
    }
    let letters = (0..5).filter(|_| mail.next(Duration::from_millis(300)).is_some());
    assert_eq!(letters.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_mail_says_so() {
    let server = TestServer::start().await;
    let ann = server.user("ann").await;
    assert_eq!(ann.refused(send_email_code()).await, ErrorCode::Denied);
    let stranger = server.client().await;
    let refused = stranger.refused(send_reset_code("ann")).await;
    assert_eq!(refused, ErrorCode::Denied);
    let (server, _mail) = with_mail_and(|config| config.accounts.required.email = false).await;
    let ben = server.raw_client().await;
    let welcomed = ben.hello(1, 1).await;
    assert!(matches!(welcomed, Ok(response::Kind::Welcome(welcome)) if welcome.mail));
}
