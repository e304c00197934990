//! Cards that do not open, open and do not move, and do not close.

use std::time::{Duration, Instant};

use confab_benches::card::{Fault, Form, Sounds};
use confab_benches::voice::voice;
use confab_benches::wire::{Scope, Wire};

use super::common::{received, register};
use super::stage::{Audio, of_side};

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_opens_and_never_moves_is_no_success_and_is_used_once_it_moves() {
    let Some(audio) = Audio::new().await else {
        return;
    };
    audio.register(&["ann", "ben"]).await;
    let card = audio.card("card", Form::default());
    card.hear(&voice(1, 60.0)).unwrap();
    card.fail(Fault::Stalled).unwrap();
    let users = audio.at(&Sounds::default(&audio.plugin, &card), "ann");
    let mut ben = audio.join_with_files("ben", &voice(2, 60.0));
    ben.wait_until("media", |event| event["state"] == "live")
        .await
        .unwrap();
    let mut ann = users
        .join("ann", &["room", "--stats-every", "200ms"])
        .unwrap();
    ann.wait_for("joined").await.unwrap();
    let joined = Instant::now();
    for side in ["microphone", "speakers"] {
        let stalled = of_side(side, "cause", "stalled");
        if !ann.events_named("device_lost").any(&stalled) {
            ann.wait_until("device_lost", stalled).await.unwrap();
        }
    }
    // Within 2 s on a machine with nothing else to do.
    assert!(
        joined.elapsed() < Duration::from_secs(4),
        "{:?}",
        joined.elapsed()
    );
    assert!(ann.events_named("device_in_use").next().is_none());
    tokio::time::sleep(Duration::from_secs(2)).await;
    card.mend(Fault::Stalled).unwrap();
    ann.wait_until("device_in_use", |event| event["side"] == "speakers")
        .await
        .unwrap();
    let hears = |stats: &serde_json::Value| received(stats, "ann") > 50;
    ben.wait_until("stats", hears).await.unwrap();
    // What no device played was not heard.
    let left = ann.leave().await.unwrap();
    let unheard = left["devices"]["speakers"]["unheard_ms"].as_u64().unwrap();
    assert!(unheard > 2500, "{left}");
    ben.leave().await.unwrap();
    audio.stage.fleet.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_card_nobody_joins_and_a_card_that_hangs_stops_neither_the_call_nor_its_end() {
    let Some(audio) = Audio::new().await else {
        return;
    };
    audio.register(&["ann"]).await;
    let card = audio.card("card", Form::default());
    let users = audio.at(&Sounds::default(&audio.plugin, &card), "ann");
    let join = ["--json", "join", "room", "--duration", "1s"];

    card.fail(Fault::Unplugged).unwrap();
    let begun = Instant::now();
    let ended = users.try_client("ann", &join, None).await.unwrap();
    assert_eq!(ended.code, Some(7), "{ended:?}");
    assert!(ended.stdout.contains("--in FILE.wav"), "{ended:?}");
    assert!(!ended.stdout.contains("\"joined\""), "{ended:?}");
    assert_eq!(
        ended.stderr, "",
        "the library's own lines are nobody's business"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    card.mend(Fault::Unplugged).unwrap();

    // Opening does not end: neither does the program wait for it, nor does a signal.
    card.fail(Fault::HangOpen).unwrap();
    let begun = Instant::now();
    let ended = users.try_client("ann", &join, None).await.unwrap();
    assert_eq!(ended.code, Some(7), "{ended:?}");
    assert!(ended.stdout.contains("does not end"), "{ended:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    card.mend(Fault::HangOpen).unwrap();

    // Nor does closing: before the room is entered, ...
    let wire = Wire::new().await.unwrap();
    wire.lead_to(audio.stage.fleet.control);
    let mut far = users.clone();
    far.server = wire.address.to_string();
    register(&far, "bea").await;
    wire.cut(Scope::Everyone);
    let mut bea = far.join("bea", &["room"]).unwrap();
    while !card.log().iter().any(|line| line.contains("start")) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    card.fail(Fault::HangClose).unwrap();
    let begun = Instant::now();
    assert_eq!(bea.end().await, Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    card.mend(Fault::HangClose).unwrap();

    // ... and in it.
    let mut ann = users
        .join("ann", &["room", "--stats-every", "200ms"])
        .unwrap();
    ann.wait_for("device_in_use").await.unwrap();
    card.fail(Fault::HangClose).unwrap();
    let begun = Instant::now();
    ann.leave().await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    card.mend(Fault::HangClose).unwrap();

    // In a call: unplugged, it can be closed no more and opened no more, and the call goes on and ends.
    let mut ann = users
        .join("ann", &["room", "--stats-every", "200ms"])
        .unwrap();
    ann.wait_for("device_in_use").await.unwrap();
    card.fail(Fault::HangClose).unwrap();
    card.fail(Fault::HangOpen).unwrap();
    card.fail(Fault::Unplugged).unwrap();
    ann.wait_until("device_lost", of_side("speakers", "cause", "gone"))
        .await
        .unwrap();
    for _ in 0..15 {
        ann.wait_within(Duration::from_secs(5), "stats", |_| true)
            .await
            .unwrap();
    }
    let begun = Instant::now();
    ann.leave().await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    audio.stage.fleet.end().await.unwrap();
}
