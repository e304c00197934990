//! Mail: addresses that are verified, and passwords that are reset, by people with the client.

use std::time::Duration;

use confab_testdb::{MailServer, Received};

use super::{PASSWORD, Server};

const PATIENCE: Duration = Duration::from_secs(60);
const NEW_PASSWORD: &str = "green heron on stilts";

/// The arguments of the client in the command that the letter has.
fn command(letter: &Received) -> Vec<String> {
    let line = letter
        .content
        .lines()
        .find_map(|line| line.strip_prefix("    confab "));
    let words = line.unwrap_or_else(|| panic!("{letter:?}")).split(' ');
    // The server's name is this machine's here, and its port a free one: the tests know another address.
    words.skip(2).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_password_is_reset_by_the_commands_of_the_mails() {
    let mail = MailServer::start(Vec::new()).unwrap();
    let flags = [
        "--smtp-url",
        &mail.url(),
        "--mail-from",
        "Confab <confab@example.org>",
    ];
    let server = Server::start_with(&flags).await;
    let next = || mail.next(PATIENCE).expect("a letter comes");
    let client = async |args: &[&str], password| {
        let ended = server.users.try_client("ann", args, password).await;
        ended.unwrap()
    };
    let register = ["register", "ann", "--email", "amn@example.org"];
    let registered = client(&register, Some(PASSWORD)).await;
    assert!(
        registered
            .stdout
            .contains("`confab verify-email CODE` verifies amn@example.org"),
        "{registered:?}"
    );
    assert_eq!(next().to, "amn@example.org");
    let change = ["change-email", "ann@example.org"];
    let changed = client(&change, Some(PASSWORD)).await;
    assert_eq!(changed.code, Some(0), "{changed:?}");
    let letter = next();
    assert_eq!(letter.to, "ann@example.org");
    let verify = command(&letter);
    let words: Vec<&str> = verify.iter().map(String::as_str).collect();
    assert_eq!(words[0], "verify-email");
    let wrong = client(&["verify-email", "aaaa-aaaa"], None).await;
    assert_eq!(wrong.code, Some(3), "{wrong:?}");
    let verified = client(&words, None).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let account = client(&["whoami"], None).await;
    assert!(
        account.stdout.contains("ann@example.org (verified)"),
        "{account:?}"
    );
    let shown = server.done(&["users", "show", "ann"]).await;
    assert!(shown.contains("ann@example.org (verified)"), "{shown}");

    // The password is lost.
    let lost = client(&["login", "ann"], Some("no idea what it was")).await;
    assert!(lost.stderr.contains("reset-password ann"), "{lost:?}");
    let asked = client(&["reset-password", "ann@example.org"], None).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let reset = command(&next());
    let words: Vec<&str> = reset.iter().map(String::as_str).collect();
    assert_eq!(words[0], "reset-password");
    let done = client(&words, Some(NEW_PASSWORD)).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("password changed"), "{done:?}");
    assert!(next().content.contains("was changed"));
    let again = client(&words, Some(PASSWORD)).await;
    assert_eq!(again.code, Some(3), "{again:?}");
    assert_eq!(server.login("ann", PASSWORD).await.code, Some(3));
    assert_eq!(server.login("ann", NEW_PASSWORD).await.code, Some(0));
    let acts = server.audited();
    for act in [
        "change_email",
        "verify_email",
        "send_reset_code",
        "reset_password",
    ] {
        assert!(
            acts.contains(&(act.to_owned(), "ok".to_owned())),
            "{acts:?}"
        );
    }
    server.process.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_whether_the_mail_server_answers() {
    let server = Server::start().await;
    let check = async |url: &str| {
        let flags = [
            "check",
            "--smtp-url",
            url,
            "--mail-from",
            "confab@example.org",
        ];
        server.operator(&flags).await.stdout
    };
    let mail = MailServer::start(Vec::new()).unwrap();
    let said = check(&mail.url()).await;
    assert!(said.contains("answers (--smtp-url)"), "{said}");
    // Nobody listens on port 1.
    let said = check("smtp://127.0.0.1:1").await;
    assert!(
        said.contains("the mail server 127.0.0.1:1 cannot be used"),
        "{said}"
    );
    server.process.end().await.unwrap();
}
