//! The programs, cards, people at cards and people with files.

use std::path::{Path, PathBuf};

use confab_benches::RATE;
use confab_benches::align::{Piece, pieces};
use confab_benches::card::{Card, Form, Plugin, Sounds};
use confab_benches::fleet::{Call, Users};
use confab_benches::speech::write_wav;
use confab_benches::tone::read;
use serde_json::Value;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::common::{Stage, programs};

/// Set where the tests must not be skipped.
const REQUIRE: &str = "CONFAB_REQUIRE_AUDIO";

/// The client with a sound card, if it is not where `make test` puts it.
const CLIENT: &str = "CONFAB_AUDIO_CLIENT";

/// Tests of this program that run at the same time share the machine, unless one asks for the whole of it.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// Servers, and what a client with a sound card needs.
pub struct Audio {
    pub stage: Stage,
    pub plugin: Plugin,
    client: PathBuf,
    _share: Share,
}

/// A test's share of the machine.
enum Share {
    Some(#[allow(dead_code, reason = "held")] RwLockReadGuard<'static, ()>),
    All(#[allow(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
}

impl Audio {
    /// `None` where there is no client with a sound card or no plugin for it: then it was said.
    pub async fn new() -> Option<Self> {
        Self::with(Share::Some(MACHINE.read().await)).await
    }

    /// The same while no other test of this program runs: for what a voice sounds like, which suffers where calls beside it take the time
    /// of the processors.
    pub async fn alone() -> Option<Self> {
        Self::with(Share::All(MACHINE.write().await)).await
    }

    async fn with(share: Share) -> Option<Self> {
        let client = std::env::var_os(CLIENT).map_or_else(built_client, PathBuf::from);
        if !client.is_file() {
            return missing(&format!("{} is not built", client.display()));
        }
        let stage = Stage::new().await;
        match Plugin::compile(stage.scratch.path()) {
            Ok(plugin) => Some(Self {
                stage,
                plugin,
                client,
                _share: share,
            }),
            Err(error) => missing(&error.to_string()),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.stage.scratch.path().join(name)
    }

    pub fn card(&self, name: &str, form: Form) -> Card {
        Card::new(&self.path(name), form).unwrap()
    }

    /// Users whose computers have these sounds.
    pub fn at(&self, sounds: &Sounds, name: &str) -> Users {
        let variable = sounds.write(&self.path(&format!("{name}.conf"))).unwrap();
        self.stage.fleet.users().with(&self.client, &[variable])
    }

    /// Registers people, the first of whom opens the room.
    pub async fn register(&self, names: &[&str]) {
        for name in names {
            self.stage.register(name).await;
        }
        self.stage
            .ok(names[0], &["conference", "create", "room"])
            .await;
    }

    /// Joins as somebody who says these samples, and records what is heard.
    pub fn join_with_files(&self, name: &str, said: &[f32]) -> Call {
        write_wav(&self.path(&format!("{name}-says.wav")), said).unwrap();
        let says = self.path(&format!("{name}-says.wav"));
        let heard = self.path(&format!("{name}-heard.wav"));
        let args = [
            "room",
            "--in",
            &says.to_string_lossy(),
            "--out",
            &heard.to_string_lossy(),
            "--stats-every",
            "500ms",
        ];
        self.stage.fleet.users().join(name, &args).unwrap()
    }

    /// What somebody with files heard, as samples from the beginning of the card's clock on.
    pub async fn heard(&self, call: &mut Call, card: &Card) -> Vec<f32> {
        let file = self.path(&format!("{}-heard.wav", call.name));
        let began = card.at(unix_ns(&call.first("recording_started").await.unwrap()));
        shifted(&read(Path::new(&file)).unwrap(), began)
    }

    /// What somebody with files said, likewise.
    pub async fn said(&self, call: &mut Call, said: &[f32], card: &Card) -> Vec<f32> {
        let began = call.first("capture_started").await.unwrap();
        shifted(said, card.at(unix_ns(&began)))
    }
}

/// What came of a voice in some seconds.
#[derive(Debug)]
pub struct Heard {
    pieces: Vec<Piece>,
}

impl Heard {
    pub fn of(said: &[f32], heard: &[f32]) -> Self {
        Self {
            pieces: pieces(said, heard, 0),
        }
    }

    /// The pieces that were said wholly within these seconds.
    pub fn within(&self, from: f64, to: f64) -> impl Iterator<Item = &Piece> {
        let within = move |piece: &&Piece| piece.at >= from && piece.at + 0.5 <= to;
        self.pieces.iter().filter(within)
    }

    /// Median correlation within these seconds.
    pub fn correlation(&self, from: f64, to: f64) -> f64 {
        median(self.within(from, to).map(|piece| piece.correlation))
    }

    /// How many pieces of these seconds correlate with what was said by more than `least`, and how many there are.
    pub fn known(&self, from: f64, to: f64, least: f64) -> (usize, usize) {
        let known = self
            .within(from, to)
            .filter(|piece| piece.correlation > least);
        (known.count(), self.within(from, to).count())
    }

    /// Median delay of what was recognised within these seconds, in milliseconds.
    pub fn delay_ms(&self, from: f64, to: f64) -> f64 {
        let known = self
            .within(from, to)
            .filter(|piece| piece.correlation > 0.6);
        median(known.map(|piece| piece.delay * 1000.0))
    }

    /// Seconds of what was said within these that nobody recognises.
    pub fn lost(&self, from: f64, to: f64) -> f64 {
        let lost = self
            .within(from, to)
            .filter(|piece| piece.correlation < 0.5);
        lost.count() as f64 * 0.5
    }
}

/// NaN for nothing.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The samples so many seconds later, or cut off at the beginning.
pub fn shifted(samples: &[f32], seconds: f64) -> Vec<f32> {
    let by = (seconds * f64::from(RATE)).round() as i64;
    match usize::try_from(by) {
        Ok(by) => [&vec![0.0; by], samples].concat(),
        Err(_) => samples[(-by as usize).min(samples.len())..].to_vec(),
    }
}

pub fn sum(one: &[f32], other: &[f32]) -> Vec<f32> {
    let at = |samples: &[f32], n: usize| samples.get(n).copied().unwrap_or(0.0);
    (0..one.len().max(other.len()))
        .map(|n| at(one, n) + at(other, n))
        .collect()
}

/// True for an event about one side's device.
pub fn of_side<'a>(side: &'a str, field: &'a str, value: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |event| event["side"] == side && event[field] == value
}

fn unix_ns(event: &Value) -> u64 {
    event["unix_ns"].as_u64().unwrap()
}

/// Where `make test` puts it: beside the folder of the clients without sound.
fn built_client() -> PathBuf {
    programs().join("../../device/confab")
}

fn missing<T>(what: &str) -> Option<T> {
    let required = std::env::var(REQUIRE).is_ok_and(|value| value == "1");
    assert!(!required, "no sound card to test with: {what}");
    eprintln!("SKIPPED, there is no sound card to test with: {what}");
    None
}
