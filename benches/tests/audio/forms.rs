//! Cards of every form: what they offer is opened, and a voice is as loud as it is.

use std::time::Duration;

use confab_benches::card::{Card, Form, Format, Sounds};
use confab_benches::tone::Loudness;

use super::stage::Audio;

/// Everybody says a tone with this amplitude.
const AMPLITUDE: f32 = 0.25;

/// What a listener's tone is on the way to each card, in hertz.
const BEN: u32 = 300;

struct Case {
    name: &'static str,
    form: Form,
    /// Behind ALSA's own conversions.
    converted: bool,
}

fn cases() -> Vec<Case> {
    let case = |name, rate, channels, format| Case {
        name,
        form: Form {
            rate,
            channels,
            format,
            ..Form::default()
        },
        converted: false,
    };
    vec![
        case("cd", 44_100, 2, Format::S16),
        case("eight", 48_000, 8, Format::F64),
        case("studio", 96_000, 2, Format::S24),
        case("bytes", 48_000, 1, Format::U8),
        case("phone", 16_000, 1, Format::S16),
        case("high", 192_000, 2, Format::S32),
        Case {
            converted: true,
            ..case("desktop", 44_100, 2, Format::S16)
        },
        Case {
            form: Form {
                period: 1024,
                ..Form::default()
            },
            ..case("server", 48_000, 2, Format::F32)
        },
    ]
}

fn tone(hertz: u32, seconds: f32) -> Vec<f32> {
    let samples = (seconds * 48_000.0) as usize;
    (0..samples)
        .map(|n| AMPLITUDE * (std::f32::consts::TAU * hertz as f32 * n as f32 / 48_000.0).sin())
        .collect()
}

/// One after the other, so that a small machine can keep time.
#[tokio::test(flavor = "multi_thread")]
async fn cards_of_every_form_are_opened_and_heard_at_their_loudness() {
    let Some(audio) = Audio::new().await else {
        return;
    };
    audio.register(&["ann", "ben"]).await;
    let mut ben = audio.join_with_files("ben", &tone(BEN, 120.0));
    ben.wait_until("media", |event| event["state"] == "live")
        .await
        .unwrap();
    let mut failures = Vec::new();
    for (n, case) in cases().into_iter().enumerate() {
        let hertz = 500 + 100 * n as u32;
        let card = audio.card(case.name, case.form);
        // A voice on one channel of many is not quieter for that.
        card.hear_on(&tone(hertz, 30.0), |channel| {
            channel == case.form.channels - 1
        })
        .unwrap();
        let from = card.now();
        let sounds = match case.converted {
            true => Sounds::converted(&audio.plugin, &card),
            false => Sounds::default(&audio.plugin, &card),
        };
        let users = audio.at(&sounds, case.name);
        // A tone is noise to who listens for speech.
        let quiet = ["--noise-suppression", "off"];
        let args = [&["room", "--stats-every", "200ms"], &quiet[..]].concat();
        let mut ann = users.join("ann", &args).unwrap();
        ann.wait_until("media", |event| event["state"] == "live")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(5500)).await;
        let left = ann.leave().await.unwrap();
        let to = card.now();
        let state = &left["devices"]["speakers"]["state"];
        if state != "moving" {
            failures.push(format!("{}: {}", case.name, left["devices"]));
        }
        let heard = usual(BEN, &card.played().unwrap(), from, to);
        failures.extend(is_near(case.name, "played", heard));
        failures.extend(is_near(
            case.name,
            "heard",
            said(&audio, &mut ben, &card, hertz, from, to).await,
        ));
    }
    ben.leave().await.unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
    audio.stage.fleet.end().await.unwrap();
}

/// How loud ann's tone is in what ben heard.
async fn said(
    audio: &Audio,
    ben: &mut confab_benches::fleet::Call,
    card: &Card,
    hertz: u32,
    from: f64,
    to: f64,
) -> f64 {
    usual(hertz, &audio.heard(ben, card).await, from, to)
}

/// The usual amplitude of a tone in these seconds, but for the beginning and the end.
fn usual(hertz: u32, samples: &[f32], from: f64, to: f64) -> f64 {
    Loudness::of(hertz, samples).usual(from + 3.0..to - 0.7)
}

/// What is wrong, if it is not as loud as it was, to 2 dB.
fn is_near(name: &str, what: &str, loudness: f64) -> Option<String> {
    println!("{name}: {what} at {loudness:.3}");
    let is_near = (0.2..0.315).contains(&loudness);
    (!is_near).then(|| format!("{name}: {what} at {loudness} and not {AMPLITUDE}"))
}
