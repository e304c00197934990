//! Everything a person can get wrong: one clear line, the documented exit code, and nothing half done.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{PASSWORD, Stage};
use confab_benches::fleet::Programs;

const USAGE: i32 = 2;
const AUTH: i32 = 3;
const NOT_FOUND: i32 = 4;
const DENIED: i32 = 5;
const NETWORK: i32 = 6;
const AUDIO: i32 = 7;

fn register<'a>(name: &'a str, email: &'a str, birthday: &'a str) -> [&'a str; 6] {
    ["register", name, "--email", email, "--birthday", birthday]
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_refuse_what_is_wrong_and_keep_nothing_of_it() {
    let stage = Stage::new().await;
    stage.register("ann").await;
    let good = ("ben@example.org", "1990-01-31");
    for (args, password, says) in [
        (register("ann", good.0, good.1), PASSWORD, "taken"),
        (register("ANN", good.0, good.1), PASSWORD, "taken"),
        (
            register("ben", "ann@example.org", good.1),
            PASSWORD,
            "e-mail",
        ),
        (register("b", good.0, good.1), PASSWORD, "3 to 32"),
        (register("be n", good.0, good.1), PASSWORD, "letters"),
        (register("ben", "nowhere", good.1), PASSWORD, "e-mail"),
        (register("ben", good.0, "2020-01-01"), PASSWORD, "years"),
        (register("ben", good.0, "31.1.1990"), PASSWORD, "YYYY-MM-DD"),
        (register("ben", good.0, good.1), "short", "10 to 128"),
        (
            register("ben", good.0, good.1),
            &"x".repeat(129),
            "10 to 128",
        ),
        (register("ben", good.0, good.1), "password123", "password"),
        (register("ben", good.0, good.1), "Ben, ben 1234", "password"),
    ] {
        stage.fails("ben", &args, Some(password), USAGE, says).await;
    }
    // Nothing of all that was kept: the name and the address are still free.
    stage.register("ben").await;
    stage
        .fails(
            "ann",
            &["login", "ann"],
            Some("not her password"),
            AUTH,
            "password",
        )
        .await;
    stage
        .fails(
            "ann",
            &["login", "nobody"],
            Some("not her password"),
            AUTH,
            "password",
        )
        .await;
    stage.ok("ann", &["whoami"]).await;
    stage.ok("ann", &["logout"]).await;
    stage.fails("ann", &["whoami"], None, AUTH, "log").await;
    stage.fleet.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_is_over() {
    let stage = Stage::new().await;
    stage.register("ann").await;
    stage
        .fleet
        .users()
        .client("elsewhere", &["login", "ann"], Some(PASSWORD))
        .await
        .unwrap();
    let list = stage.ok("ann", &["--json", "sessions", "list"]).await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let other = list["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|session| session["current"] == false)
        .unwrap();
    stage
        .ok(
            "ann",
            &["sessions", "revoke", other["id"].as_str().unwrap()],
        )
        .await;
    stage
        .fails("elsewhere", &["whoami"], None, AUTH, "log")
        .await;
    stage.ok("ann", &["whoami"]).await;
    stage.fleet.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn conferences_keep_out_who_does_not_belong() {
    let stage = Stage::new().await;
    for name in ["ann", "ben"] {
        stage.register(name).await;
    }
    stage
        .ok("ann", &["conference", "create", "closed", "--invite-only"])
        .await;
    let join = [
        "join",
        "closed",
        "--in",
        "none",
        "--out",
        "none",
        "--duration",
        "1s",
    ];
    for (name, args, code, says) in [
        (
            "ann",
            &["conference", "create", "closed"][..],
            USAGE,
            "taken",
        ),
        (
            "ann",
            &["conference", "create", "no_underscore"],
            USAGE,
            "letters",
        ),
        (
            "ann",
            &["conference", "info", "nowhere"],
            NOT_FOUND,
            "there is no",
        ),
        (
            "ann",
            &["join", "nowhere", "--in", "none", "--out", "none"],
            NOT_FOUND,
            "there is no",
        ),
        ("ann", &["conference", "leave", "closed"], DENIED, "owner"),
        (
            "ann",
            &["conference", "invite", "closed", "nobody"],
            NOT_FOUND,
            "there is no",
        ),
        ("ben", &join, DENIED, "invit"),
        ("ben", &["conference", "kick", "closed", "ann"], DENIED, ""),
        ("ben", &["conference", "delete", "closed"], DENIED, ""),
    ] {
        stage.fails(name, args, None, code, says).await;
    }
    stage
        .ok("ann", &["conference", "invite", "closed", "ben"])
        .await;
    stage.ok("ben", &join).await;
    stage
        .ok("ann", &["conference", "ban", "closed", "ben"])
        .await;
    stage.fails("ben", &join, None, DENIED, "banned").await;
    stage.fleet.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_servers_and_wrong_files_are_named() {
    let stage = Stage::new().await;
    stage.register("ann").await;
    stage.ok("ann", &["conference", "create", "room"]).await;

    let nobody = ["--server", "127.0.0.1:9", "whoami"];
    stage.fails("ann", &nobody, None, AUTH, "log").await;
    let nobody = ["--server", "127.0.0.1:9", "login", "ann"];
    stage
        .fails("ann", &nobody, Some(PASSWORD), NETWORK, "127.0.0.1:9")
        .await;

    let not_audio = stage.scratch.path().join("not.wav");
    std::fs::write(&not_audio, "this is no sound").unwrap();
    for file in ["/nowhere/at/all.wav", not_audio.to_str().unwrap()] {
        let join = ["join", "room", "--in", file, "--out", "none"];
        stage.fails("ann", &join, None, AUDIO, file).await;
    }
    let join = [
        "join",
        "room",
        "--in",
        "none",
        "--out",
        "/nowhere/at/all.wav",
    ];
    stage
        .fails("ann", &join, None, AUDIO, "/nowhere/at/all.wav")
        .await;
    stage.fleet.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_variable_is_as_if_it_were_not_there() {
    let home = tempfile::tempdir().unwrap();
    let client = Programs::new(&common::programs());
    for variable in ["CONFAB_SERVER", "CONFAB_CA", "CONFAB_FINGERPRINT"] {
        let mut command = client.command("confab");
        command
            .args(["whoami"])
            .env(variable, "")
            .env("CONFAB_CONFIG_DIR", home.path());
        let ended = client.output("confab whoami", &mut command).await.unwrap();
        assert_eq!(ended.code, Some(USAGE), "{ended:?}");
        assert!(ended.stderr.contains("which server?"), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_asked_for_json_reads_of_wrong_flags_in_json() {
    let stage = Stage::new().await;
    for args in [
        &["--json", "foo"][..],
        &["join", "--json"],
        &["--json", "join", "a b"],
        &["--json", "conference", "invite", "friday"],
    ] {
        let ended = stage.run("ann", args, None).await;
        assert_eq!(ended.code, Some(USAGE), "{args:?}: {ended:?}");
        let last = ended.stdout.lines().last().unwrap();
        let error: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!(error["event"], "error", "{args:?}: {error}");
        assert_eq!(error["exit_code"], USAGE, "{args:?}: {error}");
        assert!(ended.stderr.contains("error: "), "{args:?}: {ended:?}");
    }
    let says = "leave out the name, or --link";
    let both = ["conference", "invite", "friday", "ben", "--link"];
    stage.fails("ann", &both, None, USAGE, says).await;
    let says = "copy the whole";
    let cut = ["join", "confab://talk.example.org/friday#1.AAAA"];
    stage.fails("ann", &cut, None, USAGE, says).await;
}
