//! What an operator does to accounts, conferences and rooms, with the real programs.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

mod fleet;
mod mail;
mod webhooks;

use std::path::PathBuf;

use common::programs;
use confab_benches::fleet::{Call, Ended, Process, Programs, Users};
use serde_json::Value;
use tempfile::TempDir;

const CONTROL: &str = "confab-control";
const PASSWORD: &str = "blue moose over hills";

/// A server with a relay inside, and its operator.
struct Server {
    programs: Programs,
    process: Process,
    users: Users,
    data: PathBuf,
    scratch: TempDir,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more flags.
    async fn start_with(flags: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path().join("data");
        let mut args: Vec<String> = ["serve", "--with-relay", "--listen", "127.0.0.1:0"]
            .map(str::to_owned)
            .to_vec();
        let more = [
            "--relay-listen",
            "127.0.0.1:0",
            "--optional",
            "email,birthday",
        ];
        args.extend(more.map(str::to_owned));
        let audit = scratch.path().join("audit");
        args.extend(["--data-dir".to_owned(), data.display().to_string()]);
        args.extend(["--audit-log".to_owned(), audit.display().to_string()]);
        args.extend(flags.iter().map(ToString::to_string));
        let programs = Programs::new(&programs());
        let log = scratch.path().join("control.log");
        let process = programs.serve(CONTROL, CONTROL, &args, &log).await.unwrap();
        let ca = data.join("ca.crt");
        let users = Users::new(&programs, scratch.path(), &ca, process.address);
        Self {
            programs,
            process,
            users,
            data,
            scratch,
        }
    }

    /// Runs a command of the operator.
    async fn operator(&self, args: &[&str]) -> Ended {
        let mut command = self.programs.command(CONTROL);
        command.args(args).arg("--data-dir").arg(&self.data);
        let done = self.programs.output("confab-control", &mut command).await;
        done.unwrap()
    }

    /// The same, which has to end well. Returns what it printed.
    async fn done(&self, args: &[&str]) -> String {
        let ended = self.operator(args).await;
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended.stdout
    }

    /// The same, as JSON lines.
    async fn json(&self, args: &[&str]) -> Vec<Value> {
        let printed = self.done(&[args, &["--json"]].concat()).await;
        let lines = printed.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The same, which has to be refused with this exit code and message.
    async fn refused(&self, args: &[&str], code: i32, says: &str) {
        let ended = self.operator(args).await;
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(says), "{args:?}: {ended:?}");
    }

    /// The acts of the audit log, with their results.
    fn audited(&self) -> Vec<(String, String)> {
        let log = std::fs::read_to_string(self.scratch.path().join("audit")).unwrap();
        assert!(
            !log.contains("127.0.0.1") && !log.contains("example.org"),
            "{log}"
        );
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        lines
            .map(|line: Value| (text(&line, "act"), text(&line, "result")))
            .collect()
    }

    /// Registers without an e-mail address and a birthday.
    async fn register(&self, name: &str) {
        let args = ["register", name];
        let done = self.users.client(name, &args, Some(PASSWORD));
        done.await.unwrap();
    }

    async fn login(&self, name: &str, password: &str) -> Ended {
        let args = ["login", name];
        let done = self.users.try_client(name, &args, Some(password));
        done.await.unwrap()
    }

    async fn join(&self, name: &str, slug: &str) -> Call {
        let args = [slug, "--in", "none", "--out", "none"];
        let mut call = self.users.join(name, &args).unwrap();
        call.wait_for("joined").await.unwrap();
        call
    }
}

fn names(rows: &[Value], key: &str) -> Vec<String> {
    let name = |row: &Value| row[key].as_str().unwrap().to_owned();
    rows.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_added_found_disabled_reset_and_deleted() {
    let server = Server::start().await;
    server.register("ann").await;
    // An account that the operator makes, with a password that is shown once.
    let added = server
        .json(&["users", "add", "ben", "--email", "ben@example.org"])
        .await;
    let made = added[0]["password"].as_str().unwrap().to_owned();
    assert_eq!(server.login("ben", &made).await.code, Some(0));
    let says = "username is taken";
    server.refused(&["users", "add", "ben"], 1, says).await;

    let all = server.json(&["users", "list"]).await;
    assert_eq!(names(&all, "username"), ["ann", "ben"]);
    assert_eq!(all[0]["email"], Value::Null);
    assert_eq!(
        server.json(&["users", "list", "--limit", "1"]).await.len(),
        1
    );
    let text = server.done(&["users", "list"]).await;
    assert!(text.starts_with("NAME"), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    // By the address, too.
    let ben = server.json(&["users", "show", "ben@example.org"]).await;
    assert_eq!(ben[0]["sessions"].as_array().unwrap().len(), 1);
    server
        .refused(&["users", "show", "nobody"], 4, "no account")
        .await;

    // A disabled account is out, and stays out.
    let create = ["conference", "create", "lobby"];
    server.users.client("ann", &create, None).await.unwrap();
    let mut call = server.join("ben", "lobby").await;
    server.done(&["users", "disable", "ben"]).await;
    let left = call.wait_for("left").await.unwrap();
    assert_eq!(left["reason"], "session_ended");
    let refused = server.login("ben", &made).await;
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("disabled"), "{refused:?}");
    assert_eq!(
        server.json(&["users", "show", "ben"]).await[0]["disabled"],
        true
    );
    server.done(&["users", "enable", "ben"]).await;
    assert_eq!(server.login("ben", &made).await.code, Some(0));

    // A new password ends every session.
    let reset = server.json(&["users", "reset-password", "ben"]).await;
    let second = reset[0]["password"].as_str().unwrap().to_owned();
    let whoami = server
        .users
        .try_client("ben", &["whoami"], None)
        .await
        .unwrap();
    assert_eq!(whoami.code, Some(3), "{whoami:?}");
    assert_ne!(server.login("ben", &made).await.code, Some(0));
    assert_eq!(server.login("ben", &second).await.code, Some(0));

    // Another address is a name of the account from then on, and the old one is not.
    let set = ["users", "set-email", "ben", "ben@example.net"];
    assert_eq!(server.json(&set).await[0]["event"], "email_set");
    assert_eq!(server.login("ben@example.net", &second).await.code, Some(0));
    server
        .done(&["users", "set-email", "ben", "--remove"])
        .await;
    assert_ne!(server.login("ben@example.net", &second).await.code, Some(0));

    // Whoever owns a conference is not deleted by mistake.
    let create = ["conference", "create", "friday"];
    server.users.client("ben", &create, None).await.unwrap();
    server
        .refused(&["users", "delete", "ben"], 2, "--yes")
        .await;
    let delete = ["users", "delete", "ben", "--yes"];
    server.refused(&delete, 1, "friday").await;
    server
        .done(&[&delete[..], &["--with-conferences"]].concat())
        .await;
    assert_eq!(
        names(&server.json(&["users", "list"]).await, "username"),
        ["ann"]
    );
    assert_ne!(server.login("ben", &second).await.code, Some(0));

    let audited = server.audited();
    for (act, result) in [
        ("register", "ok"),
        ("add_account", "begun"),
        ("add_account", "username_taken"),
        ("disable_account", "ok"),
        ("login", "denied"),
        ("reset_password", "ok"),
        ("login", "bad_credentials"),
        ("create_conference", "ok"),
        ("delete_account", "ok"),
    ] {
        let is_it = |line: &(String, String)| line.0 == act && line.1 == result;
        assert!(audited.iter().any(is_it), "{act} {result}: {audited:?}");
    }
    server.process.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_sees_a_server_that_runs_and_a_port_that_is_taken() {
    let server = Server::start().await;
    let beside = server.operator(&["check"]).await;
    let says = "a server runs on the data folder";
    assert!(beside.stdout.contains(says), "{beside:?}");
    let address = server.process.address.to_string();
    let mut command = server.programs.command(CONTROL);
    let folder = server.scratch.path().join("another");
    command
        .args(["check", "--listen", &address, "--data-dir"])
        .arg(&folder);
    let other = server.programs.output("confab-control", &mut command).await;
    let other = other.unwrap();
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(
        other.stdout.contains("taken by another program"),
        "{other:?}"
    );
    assert!(other.stderr.contains("to be corrected"), "{other:?}");
    assert!(!folder.exists(), "it changes nothing");
    server.process.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn conferences_change_hands_and_rooms_are_seen_and_ended() {
    let server = Server::start().await;
    for name in ["ann", "ben"] {
        server.register(name).await;
    }
    let create = ["conference", "create", "friday", "--title", "Friday night"];
    server.users.client("ann", &create, None).await.unwrap();
    for (flag, visibility) in [("--invite-only", "invite"), ("--public", "public")] {
        let change = ["--json", "conference", "change", "friday", flag];
        let changed = server.users.client("ann", &change, None).await.unwrap();
        let changed: Value = serde_json::from_str(&changed).unwrap();
        assert_eq!(changed["visibility"], visibility);
    }
    let mut ann = server.join("ann", "friday").await;
    let mut ben = server.join("ben", "friday").await;

    let rooms = server.json(&["rooms", "list"]).await;
    assert_eq!(
        (&rooms[0]["slug"], &rooms[0]["live"]),
        (&"friday".into(), &2.into())
    );
    let room = server.json(&["rooms", "show", "friday"]).await;
    let present = room[0]["present"].as_array().unwrap();
    assert_eq!(names(present, "username"), ["ann", "ben"]);
    // A member sees it before joining, too.
    let info = ["--json", "conference", "info", "friday"];
    let info = server.users.client("ben", &info, None).await.unwrap();
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["present"], serde_json::json!(["ann", "ben"]));

    // The room learns of its new owner.
    server
        .refused(
            &["conferences", "transfer", "friday", "nobody"],
            4,
            "no account",
        )
        .await;
    server
        .done(&["conferences", "transfer", "friday", "ben"])
        .await;
    let is_owner = |event: &Value| event["self"] == true && event["role"] == "owner";
    ben.wait_until("participant_changed", is_owner)
        .await
        .unwrap();
    let is_moderator = |event: &Value| event["self"] == true && event["role"] == "moderator";
    ann.wait_until("participant_changed", is_moderator)
        .await
        .unwrap();
    let all = server.json(&["conferences", "list"]).await;
    assert_eq!(
        (&all[0]["owner"], &all[0]["live"]),
        (&"ben".into(), &2.into())
    );
    let shown = server.json(&["conferences", "show", "friday"]).await;
    assert_eq!(shown[0]["members"].as_array().unwrap().len(), 2);

    let notice = "restart at 22:00";
    server.done(&["message", notice]).await;
    for call in [&mut ann, &mut ben] {
        let event = call.wait_for("operator_notice").await.unwrap();
        assert_eq!(event["text"], notice);
    }

    let ended = server.done(&["rooms", "end", "friday"]).await;
    assert!(ended.contains("2 accounts"), "{ended}");
    for call in [&mut ann, &mut ben] {
        let left = call.wait_for("left").await.unwrap();
        assert_eq!(left["reason"], "kicked");
    }
    assert!(server.json(&["rooms", "list"]).await.is_empty());
    let delete = ["conferences", "delete", "friday", "--yes"];
    server.done(&delete).await;
    server.refused(&delete, 4, "no conference").await;
    server.process.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_by_invitation_lets_in_who_has_a_link_and_a_bot_with_its_token() {
    let server = Server::start_with(&["--registration", "invite", "--create", "operators"]).await;
    let added = server.json(&["users", "add", "ann"]).await;
    let made = added[0]["password"].as_str().unwrap();
    assert_eq!(server.login("ann", made).await.code, Some(0));
    let own = ["conference", "create", "own"];
    let refused = server.users.try_client("ann", &own, None).await.unwrap();
    assert_eq!(refused.code, Some(5), "{refused:?}");
    assert!(refused.stderr.contains("only the operator"), "{refused:?}");
    let create = ["conferences", "create", "friday", "--owner", "ann"];
    let create = [&create[..], &["--invite-only"]].concat();
    server.done(&create).await;
    server.refused(&create, 1, "slug is taken").await;

    // A link that only its reader sees on standard output.
    let ann = async |args: &[&str]| server.users.try_client("ann", args, None).await.unwrap();
    let invited = ann(&["conference", "invite", "--link", "--uses", "1", "friday"]).await;
    assert_eq!(invited.code, Some(0), "{invited:?}");
    assert!(
        invited.stderr.contains("good for one account"),
        "{invited:?}"
    );
    let link = invited.stdout.trim();
    assert_eq!(invited.stdout.lines().count(), 1, "{invited:?}");
    let plain = link.rsplit_once('.').unwrap().0;
    let log = server.data.join("confab.sqlite");
    let stored = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    let token = link.rsplit_once('.').unwrap().1;
    assert!(!stored.contains(token), "only a hash is stored");

    let come = async |name: &str, args: &[&str]| {
        let done = server.users.try_client(name, args, Some(PASSWORD));
        done.await.unwrap()
    };
    let stranger = come("eve", &["register", "eve"]).await;
    assert_eq!(stranger.code, Some(5), "{stranger:?}");
    assert!(
        stranger.stderr.contains("by invitation only"),
        "{stranger:?}"
    );
    let without = come("eve", &["register", "eve", "--invitation", plain]).await;
    assert_eq!(without.code, Some(2), "{without:?}");
    assert!(
        without.stderr.contains("no invitation in it"),
        "{without:?}"
    );
    let ben = come("ben", &["register", "ben", "--invitation", link]).await;
    assert_eq!(ben.code, Some(0), "{ben:?}");
    let late = come("eve", &["register", "eve", "--invitation", link]).await;
    assert_eq!(late.code, Some(4), "{late:?}");
    assert!(late.stderr.contains("not good any more"), "{late:?}");
    // Who is a member follows it again.
    let quiet = ["--in", "none", "--out", "none"];
    let mut call = server
        .users
        .join("ben", &[&[link][..], &quiet[..]].concat())
        .unwrap();
    call.wait_for("joined").await.unwrap();

    // By a name, as before; and what is left of links.
    let all = ann(&["--json", "conference", "invitations", "friday"]).await;
    let all: Value = serde_json::from_str(&all.stdout).unwrap();
    let one = &all["invitations"][0];
    assert_eq!((&one["used"], &one["uses"]), (&1.into(), &1.into()));
    let id = one["id"].as_str().unwrap();
    let revoke = ["conference", "revoke-invitation", "friday", id];
    assert_eq!(ann(&revoke).await.code, Some(0));
    assert_eq!(ann(&revoke).await.code, Some(4));

    // A program joins by its token, without a session in its folder, and is heard.
    let bot = server.json(&["users", "add-bot", "music"]).await;
    let text = |key: &str| bot[0][key].as_str().unwrap().to_owned();
    let invite = ["conference", "invite", "friday", "music"];
    assert_eq!(ann(&invite).await.code, Some(0));
    let bots = server.users.clone().with(
        std::path::Path::new("confab"),
        &[("CONFAB_TOKEN".to_owned(), text("token"))],
    );
    let mut music = bots
        .join("music", &["friday", "--tone", "440", "--out", "none"])
        .unwrap();
    music.wait_for("joined").await.unwrap();
    let hears = |stats: &Value| common::received(stats, "music") > 25;
    call.wait_until("stats", hears).await.unwrap();
    let denied = bots
        .try_client("music", &["sessions", "list"], None)
        .await
        .unwrap();
    assert_eq!(denied.code, Some(5), "{denied:?}");
    music.leave().await.unwrap();
    server.done(&["users", "new-token", "music"]).await;
    let ended = bots
        .try_client("music", &["conference", "list"], None)
        .await
        .unwrap();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("CONFAB_TOKEN"), "{ended:?}");
    call.leave().await.unwrap();
    server.process.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_needs_a_link_and_a_name() {
    let server = Server::start_with(&["--registration", "closed", "--guests"]).await;
    let added = server.json(&["users", "add", "ann"]).await;
    let made = added[0]["password"].as_str().unwrap();
    assert_eq!(server.login("ann", made).await.code, Some(0));
    let create = ["conference", "create", "friday", "--invite-only"];
    server.users.client("ann", &create, None).await.unwrap();
    let invite = ["conference", "invite", "--link", "friday"];
    let link = server.users.client("ann", &invite, None).await.unwrap();
    let mut ann = server.join("ann", "friday").await;

    let guest = [link.trim(), "--guest", "Eve", "--out", "none"];
    let speaks = [&guest[..], &["--tone", "440", "--stats-every", "200ms"]].concat();
    let mut eve = server.users.join("eve", &speaks).unwrap();
    eve.wait_for("joined").await.unwrap();
    let joined = ann.wait_for("participant_joined").await.unwrap();
    let name = joined["username"].as_str().unwrap().to_owned();
    assert!(name.starts_with("eve~"), "{joined}");
    let hears = |stats: &Value| common::received(stats, &name) > 25;
    ann.wait_until("stats", hears).await.unwrap();
    let users = server.json(&["users", "list"]).await;
    assert_eq!(names(&users, "kind"), ["person", "guest"]);
    // A text by somebody without an account, and no session is left in the folder.
    let text = ["text", link.trim(), "--guest", "joe", "--message", "hello"];
    let text = server.users.try_client("joe", &text, None).await.unwrap();
    assert_eq!(text.code, Some(0), "{text:?}");
    let said = ann.wait_for("text").await.unwrap();
    assert!(said["from"].as_str().unwrap().starts_with("joe~"), "{said}");
    let whoami = server
        .users
        .try_client("eve", &["whoami"], None)
        .await
        .unwrap();
    assert_eq!(whoami.code, Some(3), "{whoami:?}");

    let ban = ["conference", "ban", "friday", &name];
    let banned = server.users.client("ann", &ban, None).await.unwrap();
    assert!(banned.contains("it is revoked"), "{banned}");
    let left = eve.wait_for("left").await.unwrap();
    assert_eq!(left["reason"], "banned");
    // On the same device the guest is known, whatever its name and link.
    let as_ann = async |args: &[&str]| {
        let args = [&["conference"], args].concat();
        let done = server.users.client("ann", &args, None);
        done.await.unwrap()
    };
    let second = as_ann(&["invite", "--link", "friday"]).await;
    let disguised = ["join", second.trim(), "--guest", "joe", "--out", "none"];
    let refused = server
        .users
        .try_client("eve", &disguised, None)
        .await
        .unwrap();
    assert_eq!(refused.code, Some(5), "{refused:?}");
    let members = as_ann(&["members", "friday"]).await;
    let of_eve = members.lines().find(|line| line.contains(&name));
    assert!(
        of_eve.is_some_and(|line| line.contains("banned")),
        "{members}"
    );
    as_ann(&["unban", "friday", &name]).await;
    let mut eve = server.users.join("eve", &disguised[1..]).unwrap();
    eve.wait_for("joined").await.unwrap();
    eve.leave().await.unwrap();
    ann.leave().await.unwrap();
    server.process.end().await.unwrap();
}
