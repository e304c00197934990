//! Lines that a person types in a call, by the real programs.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Stage, received};
use confab_benches::fleet::Call;
use confab_benches::tone::read;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

async fn join(stage: &Stage, name: &str, more: &[&str]) -> Call {
    let args = [&["room", "--commands", "--stats-every", "100ms"], more].concat();
    let mut call = stage.fleet.users().join(name, &args).unwrap();
    call.wait_until("media", |event| event["state"] == "live")
        .await
        .unwrap();
    call
}

async fn stage() -> Stage {
    let stage = Stage::new().await;
    for name in ["ann", "ben"] {
        stage.register(name).await;
    }
    stage.ok("ann", &["conference", "create", "room"]).await;
    stage
}

/// The frames that came of ann by now.
async fn heard(ben: &mut Call) -> u64 {
    ben.catch_up().unwrap();
    // The first count may have waited.
    ben.wait_for("stats").await.unwrap();
    received(&ben.wait_for("stats").await.unwrap(), "ann")
}

async fn hears_more(ben: &mut Call) {
    let before = heard(ben).await;
    let hears = |stats: &Value| received(stats, "ann") > before + 25;
    ben.wait_until("stats", hears).await.unwrap();
}

/// Nothing comes of ann for a while, but for what was on its way.
async fn hears_nothing(ben: &mut Call) {
    let settled = heard(ben).await;
    let after = {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        heard(ben).await
    };
    assert!(after <= settled + 20, "{settled} and then {after} frames");
    let later = heard(ben).await;
    assert_eq!(after, later);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_muted_person_sends_nothing_and_a_quiet_one_is_played_quietly() {
    let stage = stage().await;
    let mut ann = join(
        &stage,
        "ann",
        &["--tone", "440", "--out", "none", "--muted"],
    )
    .await;
    let muted = ann.first("own_voice").await.unwrap();
    assert_eq!(muted["muted"], true);
    let file = stage.scratch.path().join("heard.wav");
    let out = file.display().to_string();
    let mut ben = join(&stage, "ben", &["--in", "none", "--out", &out]).await;
    ann.feed(b"/unmute\n");
    hears_more(&mut ben).await;
    ann.feed(b"/mute\n");
    ann.wait_until("own_voice", |event| event["muted"] == true)
        .await
        .unwrap();
    hears_nothing(&mut ben).await;

    // Silent for ben, although everything comes.
    ben.feed(b"/volume ann 0\n/volume nobody 50\n/who\nhello\n/speak up\n");
    let volume = ben.wait_for("volume").await.unwrap();
    assert_eq!(
        (&volume["username"], &volume["percent"]),
        (&"ann".into(), &0.into())
    );
    let says =
        |what: &'static str| move |event: &Value| event["message"].as_str().unwrap().contains(what);
    ben.wait_until("warning", says("nobody here is called nobody"))
        .await
        .unwrap();
    let who = ben.wait_for("who").await.unwrap();
    assert_eq!(who["participants"][0]["username"], "ann");
    ben.wait_until("warning", says("/help")).await.unwrap();
    assert_eq!(ann.wait_for("text").await.unwrap()["text"], "hello");
    let before = std::time::Instant::now();
    ann.feed(b"/unmute\n");
    hears_more(&mut ben).await;
    hears_more(&mut ben).await;
    let silent = before.elapsed();
    ben.leave().await.unwrap();
    let samples = read(&file).unwrap();
    let last = samples.len() - (silent.as_secs_f64() * 0.5 * 48_000.0) as usize;
    assert!(samples[last..].iter().all(|sample| sample.abs() < 0.001));
    assert!(samples.iter().any(|sample| sample.abs() > 0.1));

    // And in the next call too.
    let file = stage.scratch.path().join("again.wav");
    let out = file.display().to_string();
    let mut ben = join(&stage, "ben", &["--in", "none", "--out", &out]).await;
    hears_more(&mut ben).await;
    ben.leave().await.unwrap();
    let samples = read(&file).unwrap();
    assert!(samples.iter().all(|sample| sample.abs() < 0.001));
    ann.leave().await.unwrap();
    stage.fleet.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_an_empty_line_begin_and_end_what_is_said() {
    let stage = stage().await;
    let mut ben = join(&stage, "ben", &["--in", "none", "--out", "none"]).await;
    let push = ["--tone", "440", "--out", "none", "--talk", "push"];
    let mut ann = join(&stage, "ann", &push).await;
    assert_eq!(ann.first("own_voice").await.unwrap()["talking"], false);
    hears_nothing(&mut ben).await;
    ann.feed(b"\n");
    hears_more(&mut ben).await;
    ann.feed(b"/talk\n");
    ann.wait_until("own_voice", |event| event["talking"] == false)
        .await
        .unwrap();
    hears_nothing(&mut ben).await;
    let id = Pid::from_raw(ann.id().unwrap() as i32).unwrap();
    kill_process(id, Signal::USR1).unwrap();
    hears_more(&mut ben).await;
    kill_process(id, Signal::USR2).unwrap();
    hears_nothing(&mut ben).await;
    ann.leave().await.unwrap();
    ben.leave().await.unwrap();
    stage.fleet.end().await.unwrap();
}
