//! A call with the real programs: everyone hears everyone, and moderators are obeyed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Stage, received};

#[tokio::test(flavor = "multi_thread")]
async fn three_people_hear_each_other_and_a_mute_and_a_kick_hold() {
    let stage = Stage::new().await;
    for name in ["ann", "ben", "cem"] {
        stage.register(name).await;
    }
    stage.ok("ann", &["conference", "create", "room"]).await;
    let mut calls = Vec::new();
    for (name, tone) in [("ann", "300"), ("ben", "500"), ("cem", "700")] {
        let args = [
            "room",
            "--tone",
            tone,
            "--out",
            "none",
            "--stats-every",
            "200ms",
        ];
        let mut call = stage.fleet.users().join(name, &args).unwrap();
        call.wait_until("media", |event| event["state"] == "live")
            .await
            .unwrap();
        calls.push(call);
    }
    let [ann, ben, cem] = &mut calls[..] else {
        panic!("three")
    };
    for (listener, speakers) in [(&mut *ann, ["ben", "cem"]), (&mut *cem, ["ann", "ben"])] {
        for speaker in speakers {
            let hears = |stats: &serde_json::Value| received(stats, speaker) > 50;
            listener.wait_until("stats", hears).await.unwrap();
        }
    }

    stage
        .ok("ann", &["conference", "mute", "room", "ben"])
        .await;
    let is_muted = |event: &serde_json::Value| event["username"] == "ben" && event["muted"] == true;
    cem.wait_until("participant_changed", is_muted)
        .await
        .unwrap();
    // The relay obeyed before the command ended: what is on the way now was sent before.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let before = cem.wait_for("stats").await.unwrap();
    let more_of_ann = received(&before, "ann") + 100;
    let later = |stats: &serde_json::Value| received(stats, "ann") > more_of_ann;
    let after = cem.wait_until("stats", later).await.unwrap();
    assert_eq!(
        received(&before, "ben"),
        received(&after, "ben"),
        "ben is muted"
    );

    stage
        .ok("ann", &["conference", "unmute", "room", "ben"])
        .await;
    let hears = |stats: &serde_json::Value| received(stats, "ben") > received(&after, "ben") + 20;
    cem.wait_until("stats", hears).await.unwrap();

    stage
        .ok("ann", &["conference", "kick", "room", "ben"])
        .await;
    let kicked =
        |event: &serde_json::Value| event["username"] == "ben" && event["reason"] == "kicked";
    cem.wait_until("participant_left", kicked).await.unwrap();
    assert_eq!(ben.wait_for("left").await.unwrap()["reason"], "kicked");

    let left = cem.leave().await.unwrap();
    assert!(received(&left, "ann") > 100);
    ann.wait_until("participant_left", |event| event["username"] == "cem")
        .await
        .unwrap();
    ann.leave().await.unwrap();
    stage.fleet.end().await.unwrap();
}
