//! Clocks that differ, for ten minutes.

use std::time::Duration;

use confab_benches::card::{Form, Sounds};
use confab_benches::voice::voice;

use super::stage::{Audio, Heard};

/// How long a call goes on, in seconds.
const SECONDS: f64 = 600.0;

/// By how much the clocks are wrong, in parts of a million: the microphone's too fast, the speakers' too slow.
const PPM: i32 = 200;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes: make test-audio"]
async fn delay_does_not_grow_in_ten_minutes_with_clocks_400_ppm_apart() {
    let Some(audio) = Audio::new().await else {
        return;
    };
    audio.register(&["ann", "ben"]).await;
    let form = |ppm| Form {
        ppm,
        ..Form::default()
    };
    let microphone = audio.card("microphone", form(PPM));
    let speakers = microphone
        .beside(&audio.path("speakers"), form(-PPM))
        .unwrap();
    let (spoken, said) = (voice(1, SECONDS + 30.0), voice(2, SECONDS + 30.0));
    microphone.hear(&spoken).unwrap();
    let mut ben = audio.join_with_files("ben", &said);
    ben.wait_until("media", |event| event["state"] == "live")
        .await
        .unwrap();
    let sounds = Sounds::apart(&audio.plugin, &microphone, &speakers);
    let mut ann = audio.at(&sounds, "ann").join("ann", &["room"]).unwrap();
    ann.wait_for("joined").await.unwrap();
    let joined = microphone.now();
    tokio::time::sleep(Duration::from_secs_f64(SECONDS)).await;
    let left = ann.leave().await.unwrap();
    ben.leave().await.unwrap();

    let devices = &left["devices"];
    println!("{devices}");
    let heard = audio.heard(&mut ben, &microphone).await;
    let to_ben = Heard::of(&spoken, &heard);
    let to_ann = Heard::of(
        &audio.said(&mut ben, &said, &microphone).await,
        &speakers.played().unwrap(),
    );
    for (what, heard, good) in [("ann to ben", to_ben, 0.7), ("ben to ann", to_ann, 0.85)] {
        let minutes = (SECONDS / 60.0) as u32;
        let at = |minute: u32| joined + 5.0 + f64::from(minute) * 58.0;
        let delays: Vec<f64> = (0..minutes)
            .map(|minute| heard.delay_ms(at(minute), at(minute + 1)))
            .collect();
        let correlation = heard.correlation(at(0), at(minutes));
        println!("{what}: delays by the minute {delays:.1?} ms, correlation {correlation:.3}");
        assert!(correlation > good, "{what}: {correlation}");
        // Without care it would grow by 120 ms. What a busy machine needs moves it by less.
        let (first, last) = (delays[1], delays[delays.len() - 1]);
        assert!(
            (last - first).abs() < 40.0,
            "{what}: {first} and then {last} ms"
        );
        assert!(
            delays.iter().all(|delay| *delay < 150.0),
            "{what}: {delays:?}"
        );
    }
    for (side, ppm) in [("microphone", PPM), ("speakers", -PPM)] {
        let found = devices[side]["drift_ppm"].as_f64().unwrap();
        assert!((found - f64::from(ppm)).abs() < 40.0, "{side}: {found} ppm");
    }
    audio.stage.fleet.end().await.unwrap();
}
