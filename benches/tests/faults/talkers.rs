//! People who say a tone, each one of their own, and record what they hear.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use confab_benches::fleet::{Call, FleetError, People};
use confab_benches::tone::{self, Loudness};
use serde_json::Value;
use tokio::time::Instant;

use super::common::received;
use super::figures::say;
use super::world::{PATIENCE, World};

/// The first one's tone; the others' are one step higher each.
const LOWEST_HERTZ: u32 = 400;
/// Frames that have to come before somebody is taken to be heard: no concealment is that long.
const HEARD_FRAMES: u64 = 25;
/// How often the client says its counts.
const STATS_EVERY: &str = "100ms";
const STATS_INTERVAL: Duration = Duration::from_millis(100);
/// A frame.
const FRAME: Duration = Duration::from_millis(20);
/// A voice that is missing is concealed for so long before it is half as loud: a gap in a recording began so much before.
const CONCEALED: Duration = Duration::from_millis(120);
/// The part of a recording that shows how loud everyone is: so long, up to the fault.
const UNDISTURBED: Duration = Duration::from_millis(1500);

/// Somebody in a room.
pub struct Talker {
    pub name: String,
    pub call: Call,
    hertz: u32,
    recording: PathBuf,
}

/// A moment by both clocks: recordings tell the time of day.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub at: Instant,
    time_of_day: SystemTime,
}

/// The worst that somebody missed of somebody else.
#[derive(Debug, Clone, Default)]
pub struct Missed {
    pub gap: Duration,
    who: String,
}

impl Moment {
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            time_of_day: SystemTime::now(),
        }
    }
}

/// Brings `names` into the room by the node `at`, and waits until everyone hears everyone.
pub async fn talking(world: &World, at: usize, slug: &str, names: &[&str]) -> Vec<Talker> {
    let people = world.people(at);
    let mut talkers = Vec::new();
    for name in names {
        talkers.push(join(world, &people, slug, name, talkers.len()).await);
    }
    everyone_hears_everyone(&mut talkers, PATIENCE).await;
    // So that there is something undisturbed in every recording.
    tokio::time::sleep(UNDISTURBED + Duration::from_millis(500)).await;
    talkers
}

/// Brings one more in, the `number`th.
pub async fn join(world: &World, people: &People, slug: &str, name: &str, number: usize) -> Talker {
    let joined = try_join(world, people, slug, name, number).await;
    joined.unwrap()
}

/// The same, where it may be refused.
pub async fn try_join(
    world: &World,
    people: &People,
    slug: &str,
    name: &str,
    number: usize,
) -> Result<Talker, FleetError> {
    let hertz = LOWEST_HERTZ + tone::STEP * number as u32;
    let recordings = world.scratch.path().join("recordings");
    std::fs::create_dir_all(&recordings).unwrap();
    let file = format!("{name}-{:08x}.wav", rand::random::<u32>());
    let recording = recordings.join(file);
    let tone = hertz.to_string();
    let args = [
        slug,
        "--tone",
        &tone,
        "--out",
        recording.to_str().unwrap(),
        "--stats-every",
        STATS_EVERY,
    ];
    let mut call = people.join(name, &args)?;
    call.wait_until("media", |event| event["state"] == "live")
        .await?;
    Ok(Talker {
        name: (*name).to_owned(),
        call,
        hertz,
        recording,
    })
}

/// Waits until everyone has received some frames of everyone else after now; how long the last one took.
pub async fn everyone_hears_everyone(talkers: &mut [Talker], deadline: Duration) -> Duration {
    let began = Instant::now();
    let names: Vec<String> = talkers.iter().map(|talker| talker.name.clone()).collect();
    for talker in talkers {
        let me = talker.name.clone();
        for speaker in names.iter().filter(|name| **name != me) {
            let left = deadline.saturating_sub(began.elapsed());
            talker.hears(speaker, began, left).await;
        }
    }
    began.elapsed()
}

/// The worst that anybody missed of anybody else between the two moments, by the recordings and the counts. A recording is
/// written a second late.
pub fn worst_missed(talkers: &mut [Talker], from: Moment, to: Moment) -> Missed {
    let mut worst = Missed::default();
    for talker in talkers.iter_mut() {
        talker.call.catch_up().unwrap();
    }
    for listener in talkers.iter() {
        let samples = tone::read(&listener.recording).unwrap();
        for speaker in talkers.iter().filter(|other| other.name != listener.name) {
            let silent = listener.silent(&samples, speaker, from, to);
            let concealed = listener.concealed(&speaker.name, from, to);
            // What is silent in the recording was concealed first, for a while.
            let hidden = if silent.is_zero() {
                concealed
            } else {
                concealed.min(CONCEALED)
            };
            let gap = silent + hidden;
            if gap > worst.gap {
                let still = [listener, speaker].map(|one| one.stood_still(from, to));
                let (listener, speaker) = (&listener.name, &speaker.name);
                let who = format!(
                    "{listener} missed {speaker}: silent {silent:?}, concealed in a row {concealed:?}; their own \
                     programs stood still for at most {still:?}"
                );
                worst = Missed { gap, who };
            }
        }
    }
    if worst.gap > Duration::ZERO {
        say(&format!("    the worst: {}", worst.who));
    }
    worst
}

/// Has everyone leave.
pub async fn leave(talkers: &mut [Talker]) {
    for talker in talkers {
        talker.call.leave().await.unwrap();
    }
}

impl Talker {
    /// Waits until frames of `speaker` come, counted from what had come at `since`.
    pub async fn hears(&mut self, speaker: &str, since: Instant, deadline: Duration) {
        self.call.catch_up().unwrap();
        let before = self.call.times.iter().rposition(|at| *at <= since);
        let earlier = &self.call.events[..before.map_or(0, |at| at + 1)];
        let stats = earlier.iter().rev().find(|event| event["event"] == "stats");
        let wanted = stats.map_or(0, |stats| received(stats, speaker)) + HEARD_FRAMES;
        let heard = |event: &Value| event["event"] == "stats" && received(event, speaker) >= wanted;
        if self.call.events.iter().any(heard) {
            return;
        }
        let waited = self.call.wait_within(deadline, "stats", heard).await;
        if let Err(error) = waited {
            panic!("{} does not hear {speaker}: {error}", self.name);
        }
    }

    /// How long after `since` frames of `speaker` came again.
    pub async fn hears_again_after(&mut self, speaker: &str, since: Moment) -> Duration {
        self.call.catch_up().unwrap();
        // What arrived until then has been counted by the first report after it.
        let count = |event: &Value| received(event, speaker);
        let is_stats = |event: &&Value| event["event"] == "stats";
        let before: Option<u64> = {
            let earlier = self.call.times.iter().zip(&self.call.events);
            let earlier = earlier
                .filter(|(at, _)| **at <= since.at)
                .map(|(_, event)| event);
            earlier.filter(is_stats).map(count).next_back()
        };
        let before = before.unwrap_or(0);
        let more =
            |event: &Value| event["event"] == "stats" && received(event, speaker) > before + 2;
        if !self
            .call
            .events_since(since.at)
            .any(|(_, event)| more(event))
        {
            let waited = self.call.wait_within(PATIENCE, "stats", more).await;
            if let Err(error) = waited {
                panic!("{} does not hear {speaker} again: {error}", self.name);
            }
        }
        let mut events = self.call.events_since(since.at);
        let (at, _) = events.find(|(_, event)| more(event)).unwrap();
        at - since.at
    }

    /// Whether more than what was under way at `since` has come of `speaker`, as far as the client has told.
    pub fn has_heard_since(&mut self, speaker: &str, since: Instant) -> bool {
        self.call.catch_up().unwrap();
        let stats = self.call.events_since(since);
        let mut stats = stats.filter(|(_, event)| event["event"] == "stats");
        let first = stats
            .next()
            .map_or(0, |(_, event)| received(event, speaker));
        let last = stats
            .last()
            .map_or(first, |(_, event)| received(event, speaker));
        last > first
    }

    /// The first event of this name, if it has come.
    pub fn said(&mut self, event: &str) -> Option<&Value> {
        self.call.catch_up().unwrap();
        self.call.event(event)
    }

    /// Whether an event of this name came since.
    pub fn said_since(&mut self, event: &str, since: Instant) -> bool {
        self.call.catch_up().unwrap();
        let mut events = self.call.events_since(since);
        events.any(|(_, said)| said["event"] == event)
    }

    /// The longest time for which `speaker` was not to be heard in the recording.
    fn silent(&self, samples: &[f32], speaker: &Self, from: Moment, to: Moment) -> Duration {
        let began = self.call.event("recording_started").unwrap();
        let began = began["unix_ns"].as_u64().unwrap();
        let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(began);
        let second =
            |time: SystemTime| time.duration_since(began).unwrap_or_default().as_secs_f64();
        let (from, to) = (second(from.time_of_day), second(to.time_of_day));
        let undisturbed = (from - UNDISTURBED.as_secs_f64()).max(0.0)..from;
        let gaps = Loudness::of(speaker.hertz, samples).gaps(from..to, undisturbed);
        let Some(gaps) = gaps else {
            panic!("{} was not heard by {} before", speaker.name, self.name);
        };
        let longest = gaps.iter().map(|gap| gap.length).fold(0.0, f64::max);
        Duration::from_secs_f64(longest)
    }

    /// The longest time for which the program did not get to saying its counts: for lack of time on this machine, perhaps.
    fn stood_still(&self, from: Moment, to: Moment) -> Duration {
        let said = self.call.times.iter().zip(&self.call.events);
        let said = said
            .filter(|(at, event)| event["event"] == "stats" && **at >= from.at && **at <= to.at);
        let times: Vec<Instant> = said.map(|(at, _)| *at).collect();
        let between = times.windows(2).map(|pair| pair[1] - pair[0]);
        between
            .max()
            .unwrap_or_default()
            .saturating_sub(STATS_INTERVAL)
    }

    /// The longest time for which frames of `speaker` were concealed in a row, as far as the counts tell.
    fn concealed(&self, speaker: &str, from: Moment, to: Moment) -> Duration {
        let (mut longest, mut run, mut last) = (0, 0, None);
        for (at, event) in self.call.times.iter().zip(&self.call.events) {
            if event["event"] != "stats" || *at > to.at {
                continue;
            }
            let now = concealed_frames(event, speaker);
            let more = now.saturating_sub(last.replace(now).unwrap_or(now));
            if *at < from.at {
                continue;
            }
            run = if more > 0 { run + more } else { 0 };
            longest = longest.max(run);
        }
        FRAME * u32::try_from(longest).unwrap_or(u32::MAX)
    }
}

fn concealed_frames(stats: &Value, speaker: &str) -> u64 {
    let speakers = stats["speakers"].as_array().unwrap();
    let of_speaker = speakers.iter().filter(|one| one["username"] == speaker);
    of_speaker
        .map(|one| one["concealed"].as_u64().unwrap())
        .sum()
}
