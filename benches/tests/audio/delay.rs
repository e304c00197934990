//! From mouth to ear: a microphone at one client, speakers at the other.

use std::time::Duration;

use confab_benches::card::{Form, Sounds};
use confab_benches::voice::voice;

use super::stage::{Audio, Heard};

/// How long somebody speaks, in seconds.
const SECONDS: f64 = 40.0;

/// The first seconds are not judged: delays are long until the network is known.
const SETTLED: f64 = 8.0;

/// Of a call with frames of this length: median and 95th percentile of the delay in milliseconds, and the correlation.
async fn delays(frame: &str) -> Option<(f64, f64, f64)> {
    let audio = Audio::new().await?;
    audio.register(&["ann", "ben"]).await;
    let mouth = audio.card("mouth", Form::default());
    let ear = mouth.beside(&audio.path("ear"), Form::default()).unwrap();
    let spoken = voice(1, SECONDS + 30.0);
    mouth.hear(&spoken).unwrap();
    let at = |name, card| audio.at(&Sounds::default(&audio.plugin, card), name);
    let none = ["--noise-suppression", "off", "--frame", frame];
    let ann = [&["room", "--out", "none"], &none[..]].concat();
    let mut ann = at("ann", &mouth).join("ann", &ann).unwrap();
    let ben = ["room", "--in", "none", "--frame", frame];
    let mut ben = at("ben", &ear).join("ben", &ben).unwrap();
    for call in [&mut ann, &mut ben] {
        call.wait_for("joined").await.unwrap();
    }
    let joined = mouth.now();
    tokio::time::sleep(Duration::from_secs_f64(SECONDS)).await;
    ann.leave().await.unwrap();
    let left = ben.leave().await.unwrap();
    println!("{left}");
    audio.stage.fleet.end().await.unwrap();

    let heard = Heard::of(&spoken, &ear.played().unwrap());
    let (from, to) = (joined + SETTLED, joined + SECONDS - 1.0);
    let known = heard
        .within(from, to)
        .filter(|piece| piece.correlation > 0.6);
    let mut delays: Vec<f64> = known.map(|piece| piece.delay * 1000.0).collect();
    delays.sort_by(f64::total_cmp);
    let part = |part: f64| delays[(delays.len() as f64 * part) as usize];
    Some((part(0.5), part(0.95), heard.correlation(from, to)))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures: make test-audio"]
async fn a_voice_is_heard_soon_and_whole() {
    // With short frames the codec has less to work with.
    for (frame, most, good) in [("20ms", 120.0, 0.9), ("10ms", 110.0, 0.7)] {
        let Some((p50, p95, correlation)) = delays(frame).await else {
            return;
        };
        println!(
            "frames of {frame}: p50 {p50:.1} ms, p95 {p95:.1} ms, correlation {correlation:.3}"
        );
        // Twice what it is where nothing else runs.
        assert!(p50 < most, "{p50} ms");
        assert!(correlation > good, "{correlation}");
    }
}
