//! Ann, who speaks, and Ben, who listens: both by the real client.

use std::time::Duration;

use confab_benches::fleet::{Call, Users};
use serde_json::Value;
use tokio::time::Instant;

use super::common::{Stage, received};

pub const ROOM: &str = "room";

/// A gap of this length means that a voice has stopped. Frames come every 20 ms and counts every 100 ms; the rest is
/// tolerance for a busy machine.
const STOPPED: Duration = Duration::from_millis(1500);

/// The servers, and two honest participants.
pub struct Scene {
    pub stage: Stage,
    pub ann: Call,
    pub ben: Call,
}

impl Scene {
    /// Ann speaks and Ben hears her.
    pub async fn new() -> Self {
        Self::with(&["--tone", "440"]).await
    }

    /// Ann is in the room, and says nothing.
    pub async fn with_silent_ann() -> Self {
        Self::with(&["--in", "none"]).await
    }

    async fn with(input: &[&str]) -> Self {
        let stage = Stage::new().await;
        for name in ["ann", "ben"] {
            stage.register(name).await;
        }
        stage.ok("ann", &["conference", "create", ROOM]).await;
        let users = stage.fleet.users();
        let ann = join(&users, "ann", input).await;
        let ben = join(&users, "ben", &["--in", "none"]).await;
        Self { stage, ann, ben }
    }

    /// Somebody else comes, and hears Ann.
    pub async fn guest(&self, name: &str) -> Call {
        self.stage.register(name).await;
        let mut guest = join(&self.stage.fleet.users(), name, &["--in", "none"]).await;
        let hears = |stats: &Value| received(stats, "ann") > 25;
        guest.wait_until("stats", hears).await.unwrap();
        guest
    }

    /// Waits until Ben has heard more than `frames` of somebody.
    pub async fn ben_hears(&mut self, name: &str, frames: u64) {
        let hears = |stats: &Value| received(stats, name) > frames;
        self.ben.wait_until("stats", hears).await.unwrap();
    }

    /// How many frames of somebody Ben has heard.
    pub async fn heard_by_ben(&mut self, name: &str) -> u64 {
        // The first that comes may have waited: two are asked for.
        self.ben.catch_up().unwrap();
        self.ben.wait_for("stats").await.unwrap();
        received(&self.ben.wait_for("stats").await.unwrap(), name)
    }

    /// Fails if Ann's voice stopped at Ben since then.
    pub fn ann_was_heard_since(&mut self, from: Instant) {
        self.ben.catch_up().unwrap();
        let longest = self.ben.longest_gap("ann", from, Instant::now());
        assert!(longest < STOPPED, "ann was silent for {longest:?}");
    }

    /// Both are there to the end, and end in order.
    pub async fn end(mut self) {
        self.ben.leave().await.unwrap();
        self.ann.leave().await.unwrap();
        self.stage.fleet.end().await.unwrap();
    }
}

/// Joins the room, and waits until a relay answers.
pub async fn join(users: &Users, name: &str, input: &[&str]) -> Call {
    let args = [&[ROOM, "--out", "none", "--stats-every", "100ms"], input].concat();
    let mut call = users.join(name, &args).unwrap();
    let is_live = |event: &Value| event["state"] == "live";
    call.wait_until("media", is_live).await.unwrap();
    call
}
