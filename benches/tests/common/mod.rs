//! What the process-level tests share: the real programs, and people who use them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use confab_benches::fleet::{Call, Ended, Fleet, Users};
use serde_json::Value;

pub const PASSWORD: &str = "four random words here";

/// A fleet of its own for each test, in a folder that goes with it.
pub struct Stage {
    pub fleet: Fleet,
    pub scratch: tempfile::TempDir,
}

impl Stage {
    pub async fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let fleet = Fleet::start(&programs(), scratch.path()).await.unwrap();
        Self { fleet, scratch }
    }

    pub async fn register(&self, name: &str) {
        register(&self.fleet.users(), name).await;
    }

    /// Runs a command as `name`, which has to end well.
    pub async fn ok(&self, name: &str, args: &[&str]) -> String {
        self.fleet.users().client(name, args, None).await.unwrap()
    }

    /// Runs a command as `name` and gives how it ended.
    pub async fn run(&self, name: &str, args: &[&str], password: Option<&str>) -> Ended {
        self.fleet
            .users()
            .try_client(name, args, password)
            .await
            .unwrap()
    }

    /// Runs a command that has to fail with this exit code and one line that holds `says`.
    pub async fn fails(
        &self,
        name: &str,
        args: &[&str],
        password: Option<&str>,
        code: i32,
        says: &str,
    ) {
        let ended = self.run(name, args, password).await;
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
        let said = ended.stderr.trim();
        assert!(said.contains(says), "{args:?} said {said:?}");
        // What is no command at all gets a hint on the next lines.
        let is_usage = said.starts_with("error: ");
        assert!(
            is_usage || said.lines().count() == 1,
            "{args:?} said {said:?}"
        );
    }
}

/// Makes an account for one of these users.
pub async fn register(users: &Users, name: &str) {
    users.register(name, PASSWORD).await.unwrap();
}

/// The frames that were received of `speaker`, by an event with statistics.
pub fn received(stats: &Value, speaker: &str) -> u64 {
    let speakers = stats["speakers"].as_array().unwrap();
    let of_speaker = speakers.iter().filter(|one| one["username"] == speaker);
    of_speaker
        .map(|one| one["frames_received"].as_u64().unwrap())
        .sum()
}

/// Ann talks and ben listens, by this link; ann opens the conference.
pub async fn talk(users: &Users, link: &str) -> (Call, Call) {
    let join = |name: &str, input: [&str; 2]| {
        let args = [
            &[link, "--out", "none", "--stats-every", "100ms"],
            &input[..],
        ]
        .concat();
        users.join(name, &args).unwrap()
    };
    let mut ann = join("ann", ["--tone", "440"]);
    ann.wait_for("joined").await.unwrap();
    (ann, join("ben", ["--in", "none"]))
}

/// Waits until more frames of `speaker` have come than have by now.
pub async fn hears_more(call: &mut Call, speaker: &str) {
    call.catch_up().unwrap();
    let before = received(&call.wait_for("stats").await.unwrap(), speaker);
    let hears = |stats: &Value| received(stats, speaker) > before + 25;
    call.wait_until("stats", hears).await.unwrap();
}

/// The folder of the programs: this test's is below it. They are built before the tests are run.
pub fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    for program in ["confab", "confab-control", "confab-relay"] {
        assert!(
            folder.join(program).is_file(),
            "{program} is not built: `cargo build --workspace --bins` first, or `make test`"
        );
    }
    folder.to_owned()
}
