//! The load generator with the real programs: small shapes, of which nothing may be lost.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use common::{Stage, programs};
use confab::net::Fingerprint;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

/// Far more than it takes, on a machine that has other things to do.
const DEADLINE: Duration = Duration::from_secs(120);
/// What is lost or late for lack of time is no failure of a test.
const GENEROUS: [&str; 4] = ["--max-latency", "10s", "--max-loss", "50%"];

async fn load(args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_confab-load"));
    command.args(args).kill_on_drop(true).stdin(Stdio::null());
    let output = tokio::time::timeout(DEADLINE, command.output());
    output.await.unwrap().unwrap()
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn assert_that_all_arrived(held: &Value, rooms: u64) {
    assert_eq!(held["kind"], "held", "{held}");
    assert_eq!(held["rooms"], rooms, "{held}");
    assert!(held["frames_expected"].as_u64().unwrap() > 100, "{held}");
    assert_eq!(held["frames_arrived"], held["frames_expected"], "{held}");
    assert!(held["tags_checked"].as_u64().unwrap() > 0, "{held}");
    assert_eq!(held["bad_tags"], 0, "{held}");
}

#[tokio::test]
async fn every_frame_arrives_at_a_relay_of_its_own() {
    let scratch = tempfile::tempdir().unwrap();
    let (out, programs) = (scratch.path().join("out.json"), programs());
    let (file, folder) = (out.to_str().unwrap(), programs.to_str().unwrap());
    let shape = ["--rooms", "2", "--members", "3", "--hold", "1s"];
    let places = ["--out", file, "--programs", folder];
    let args = [&shape[..], &places, &GENEROUS].concat();
    let output = load(&args).await;
    let lines = lines(&out);
    assert_that_all_arrived(&lines[0], 2);
    assert!(lines[0]["relay_p99_us"].as_f64().unwrap() > 0.0);
    assert!(lines[0]["relay_cores"].as_f64().unwrap() > 0.0);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("frames arrived"), "{said}");
    assert!(said.starts_with("starts a relay"), "{said}");
    assert!(said.contains("2 rooms of 3, 1 speaking in each, for 1s"));
}

#[tokio::test]
async fn a_ramp_ends_with_its_last_good_step() {
    let scratch = tempfile::tempdir().unwrap();
    let (out, programs) = (scratch.path().join("out.json"), programs());
    let (file, folder) = (out.to_str().unwrap(), programs.to_str().unwrap());
    let ramp = ["--rooms", "1", "--max-rooms", "3", "--step", "2x"];
    let times = ["--step-time", "500ms", "--warm-up", "100ms"];
    let places = ["--out", file, "--programs", folder];
    let relay = ["--", "--workers", "1", "--coalesce-max", "5ms"];
    let args = [&ramp[..], &times, &places, &GENEROUS, &relay].concat();
    let output = load(&args).await;
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = lines(&out);
    let end = lines.last().unwrap();
    let says_nothing = end["knee"].is_null() || end["end"].get("strained").is_some();
    let code = if says_nothing { 3 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(end["kind"], "end", "{said}");
    // A machine that is busy with something else may end it before.
    if end["end"] == "max_rooms" {
        assert_eq!(end["knee"]["rooms"], 3);
        assert!(
            said.contains("not the knee: 30 people in 3 rooms"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_measured_through_its_control_node_and_keeps_nothing() {
    let stage = Stage::new().await;
    let out = stage.scratch.path().join("out.json");
    let control = stage.fleet.control.to_string();
    let shape = ["--rooms", "2", "--members", "3", "--hold", "1s"];
    let authority = CertificateDer::from_pem_file(stage.fleet.authority()).unwrap();
    let pin = Fingerprint::of(&authority).to_string();
    let places = ["--out", out.to_str().unwrap(), "--control", &control];
    // Whoever is there is not trusted for being there.
    let output = load(&[&shape[..], &places, &GENEROUS].concat()).await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no public authority"), "{said}");
    let args = [&shape[..], &places, &["--fingerprint", &pin], &GENEROUS].concat();
    let output = load(&args).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("registers 3 accounts at"), "{said}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("left behind"), "{errors}");
    assert_that_all_arrived(&lines(&out)[0], 2);
    stage.fleet.end().await.unwrap();
}

#[tokio::test]
async fn bad_flags_get_one_clear_error() {
    for (args, says) in [
        (
            &["--speakers", "11"][..],
            "--speakers 11 are more than --members 10",
        ),
        (&["--relay-cores", "4000"], "cores look like"),
        (&["--programs", "/nowhere"], "No such file"),
    ] {
        let output = load(args).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(said.contains(says), "{args:?}: {said}");
    }
}
