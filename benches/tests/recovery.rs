//! Servers die in mid-call and come back; nobody has to do anything.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Stage, received};
use confab_benches::fleet::Call;

/// Waits until `call` has received 50 more frames of `speaker` than now.
async fn hears(call: &mut Call, speaker: &str) {
    let now = received(&call.wait_for("stats").await.unwrap(), speaker);
    call.wait_until("stats", |stats| received(stats, speaker) > now + 50)
        .await
        .unwrap();
}

/// Two people who hear each other.
async fn talking(stage: &Stage) -> [Call; 2] {
    for name in ["ann", "ben"] {
        stage.register(name).await;
    }
    stage.ok("ann", &["conference", "create", "room"]).await;
    let join = |name| {
        let args = [
            "room",
            "--tone",
            "440",
            "--out",
            "none",
            "--stats-every",
            "200ms",
        ];
        stage.fleet.users().join(name, &args).unwrap()
    };
    let mut calls = ["ann", "ben"].map(join);
    for call in &mut calls {
        call.wait_until("media", |event| event["state"] == "live")
            .await
            .unwrap();
    }
    let [ann, ben] = &mut calls;
    hears(ann, "ben").await;
    hears(ben, "ann").await;
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_dies_and_comes_back_is_found_again() {
    let mut stage = Stage::new().await;
    let [mut ann, mut ben] = talking(&stage).await;
    stage.fleet.kill_relay().await;
    stage.fleet.start_relay().await.unwrap();
    hears(&mut ann, "ben").await;
    hears(&mut ben, "ann").await;
    ann.leave().await.unwrap();
    ben.leave().await.unwrap();
    stage.fleet.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn voice_outlives_control_and_control_comes_back_to_command() {
    let mut stage = Stage::new().await;
    let [mut ann, mut ben] = talking(&stage).await;
    stage.fleet.kill_control().await;
    // Without control: more than a jitter buffer could hide.
    hears(&mut ann, "ben").await;
    hears(&mut ben, "ann").await;
    stage.fleet.start_control().await.unwrap();
    for call in [&mut ann, &mut ben] {
        call.wait_for("reconnected").await.unwrap();
    }
    hears(&mut ann, "ben").await;
    stage
        .ok("ann", &["conference", "kick", "room", "ben"])
        .await;
    assert_eq!(ben.wait_for("left").await.unwrap()["reason"], "kicked");
    ann.leave().await.unwrap();
    stage.fleet.end().await.unwrap();
}
