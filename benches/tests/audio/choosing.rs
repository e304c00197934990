//! A person chooses devices: before a call, during it, and for the next one.

use confab_benches::card::{Card, Fault, Form, Sounds};
use confab_benches::fleet::{Call, Users};
use confab_benches::voice::voice;
use serde_json::Value;

use super::common::received;
use super::stage::Audio;

/// A computer with two cards, and the room.
struct Desk {
    audio: Audio,
    built_in: Card,
    headset: Card,
    users: Users,
}

impl Desk {
    async fn new() -> Option<Self> {
        let audio = Audio::new().await?;
        audio.register(&["ann", "ben"]).await;
        let built_in = audio.card("built_in", Form::default());
        let headset = audio.card("headset", Form::default());
        built_in.hear(&voice(1, 90.0)).unwrap();
        headset.hear(&voice(2, 90.0)).unwrap();
        let sounds = Sounds::default(&audio.plugin, &built_in).and("headset", &headset);
        let users = audio.at(&sounds, "ann");
        Some(Self {
            audio,
            built_in,
            headset,
            users,
        })
    }

    async fn join(&self, more: &[&str]) -> Call {
        let args = [&["room", "--stats-every", "200ms", "--commands"], more].concat();
        let mut call = self.users.join("ann", &args).unwrap();
        call.wait_for("device_in_use").await.unwrap();
        call
    }
}

fn starts(card: &Card, side: &str) -> usize {
    let is_start = |line: &&String| line.contains(side) && line.contains("start");
    card.log().iter().filter(is_start).count()
}

async fn uses(call: &mut Call, side: &str, device: &str) {
    let is_it = |stats: &Value| {
        let of_side = &stats["devices"][side];
        of_side["state"] == "moving" && of_side["device"].as_str().unwrap_or("").contains(device)
    };
    call.wait_until("stats", is_it).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_listed_chosen_changed_in_a_call_and_remembered() {
    let Some(desk) = Desk::new().await else {
        return;
    };
    let listed = desk.users.client("ann", &["--json", "devices"], None).await;
    let listed: Value = serde_json::from_str(listed.unwrap().trim()).unwrap();
    let ids: Vec<_> = listed["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert!(ids.contains(&"headset"), "{listed}");
    assert_eq!(listed["input"], "default");

    // By its name before the call, ...
    let mut ben = desk.audio.join_with_files("ben", &[0.0; 48_000]);
    ben.wait_until("media", |event| event["state"] == "live")
        .await
        .unwrap();
    let mut ann = desk.join(&["--input-device", "headset"]).await;
    uses(&mut ann, "microphone", "headset").await;
    assert_eq!(starts(&desk.built_in, "microphone"), 0);
    let hears = |stats: &Value| received(stats, "ann") > 50;
    ben.wait_until("stats", hears).await.unwrap();

    // ... by a command in it, for the speakers too, ...
    ann.feed(b"/output HEADset\n/input default\n");
    uses(&mut ann, "speakers", "headset").await;
    let begun = received(&ben.wait_for("stats").await.unwrap(), "ann");
    let hears = |stats: &Value| received(stats, "ann") > begun + 50;
    ben.wait_until("stats", hears).await.unwrap();
    assert!(starts(&desk.built_in, "microphone") > 0);
    ann.feed(b"/input gramophone\n");
    let says = |event: &Value| event["message"].as_str().unwrap().contains("gramophone");
    ann.wait_until("warning", says).await.unwrap();
    ann.leave().await.unwrap();

    // ... and the next time without a word, also where it is gone.
    desk.headset.fail(Fault::Unplugged).unwrap();
    let mut ann = desk.join(&[]).await;
    let stands_in = |stats: &Value| stats["devices"]["speakers"]["stands_in"] == true;
    ann.wait_until("stats", stands_in).await.unwrap();
    desk.headset.mend(Fault::Unplugged).unwrap();
    uses(&mut ann, "speakers", "headset").await;
    ann.leave().await.unwrap();
    ben.leave().await.unwrap();
    desk.audio.stage.fleet.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_there_is_no_reason_to_begin_with_another() {
    let Some(desk) = Desk::new().await else {
        return;
    };
    let args = ["join", "room", "--output-device", "gramophone"];
    let ended = desk.users.try_client("ann", &args, None).await.unwrap();
    assert_eq!(ended.code, Some(7), "{ended:?}");
    assert!(ended.stderr.contains("confab devices"), "{ended:?}");
    desk.audio.stage.fleet.end().await.unwrap();
}
