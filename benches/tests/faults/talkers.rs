//! Users who say a tone, each one of their own, and record what they hear.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use confab_benches::fleet::{Call, Counts, FleetError, Users};
use confab_benches::tone::{self, Loudness};
use serde_json::Value;
use tokio::time::Instant;

use super::common::received;
use super::figures::print;
use super::world::{PATIENCE, World};

/// The first one's tone; the others' are one step higher each.
const LOWEST_HERTZ: u32 = 400;
/// Frames that have to come before somebody is taken to be heard: no concealment is that long.
const HEARD_FRAMES: u64 = 25;
/// Whoever waits for longer for somebody is named.
const WORTH_TELLING: Duration = Duration::from_secs(2);
/// What happened so long before may be why.
const BEFORE: Duration = Duration::from_secs(15);
/// The first of them may have been under way.
const FIRST_FRAMES: u64 = 3;
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
    let users = world.users(at);
    let mut talkers = Vec::new();
    for name in names {
        talkers.push(join(world, &users, slug, name, talkers.len()).await);
    }
    everyone_hears_everyone(&mut talkers, PATIENCE).await;
    // So that there is something undisturbed in every recording.
    tokio::time::sleep(UNDISTURBED + Duration::from_millis(500)).await;
    talkers
}

/// Brings one more in, the `number`th.
pub async fn join(world: &World, users: &Users, slug: &str, name: &str, number: usize) -> Talker {
    let joined = try_join(world, users, slug, name, number).await;
    joined.unwrap()
}

/// The same, where it may be refused.
pub async fn try_join(
    world: &World,
    users: &Users,
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
    let mut call = users.join(name, &args)?;
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
            let waiting = Instant::now();
            let left = deadline.saturating_sub(began.elapsed());
            talker.hears(speaker, began, left).await;
            if waiting.elapsed() > WORTH_TELLING {
                print(&format!(
                    "    {me} waited {:?} for {speaker}; from {BEFORE:?} before on it told:{}",
                    waiting.elapsed(),
                    talker.call.told_since(began - BEFORE)
                ));
            }
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
            let (silent, at) = listener.silent(&samples, speaker, from, to);
            let concealed = listener.concealed(&speaker.name, from, to);
            // A short loss is concealed, and may be heard as a dip of the same length; a long one is concealed first and
            // silent then.
            let gap = if concealed < CONCEALED {
                silent.max(concealed)
            } else {
                silent + CONCEALED
            };
            if gap > worst.gap {
                let still = [listener, speaker].map(|one| one.stood_still(from, to));
                let (listener, speaker) = (&listener.name, &speaker.name);
                let who = format!(
                    "{listener} missed {speaker}: silent {silent:?} at {at:.2} s, concealed in a row {concealed:?}; their own \
                     programs stood still for at most {still:?}"
                );
                worst = Missed { gap, who };
            }
        }
    }
    if worst.gap > Duration::ZERO {
        print(&format!("    the worst: {}", worst.who));
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
        self.hears_after(speaker, since, HEARD_FRAMES, deadline)
            .await;
    }

    /// How long after `since` frames of `speaker` came again.
    pub async fn hears_again_after(&mut self, speaker: &str, since: Moment) -> Duration {
        self.hears_after(speaker, since.at, FIRST_FRAMES, PATIENCE)
            .await
    }

    /// Whether more of `speaker` has come than was under way at `since`, as far as the client has told.
    pub fn has_heard_since(&mut self, speaker: &str, since: Instant) -> bool {
        self.call.catch_up().unwrap();
        match self.call.counts_since(since) {
            [first, .., last] => last.of(speaker).received > first.of(speaker).received,
            _ => false,
        }
    }

    /// The first event of this name, if it has come.
    pub fn said(&mut self, event: &str) -> Option<&Value> {
        self.call.catch_up().unwrap();
        self.call.event(event)
    }

    /// Whether an event of this name came since.
    pub fn said_since(&mut self, event: &str, since: Instant) -> bool {
        self.call.catch_up().unwrap();
        self.call.event_since(event, Some(since)).is_some()
    }

    /// How long after `since` so many frames of `speaker` had come.
    async fn hears_after(
        &mut self,
        speaker: &str,
        since: Instant,
        frames: u64,
        deadline: Duration,
    ) -> Duration {
        self.call.catch_up().unwrap();
        let counts = &self.call.counts;
        let before = counts.partition_point(|counts| counts.at < since);
        let before = before.checked_sub(1).map(|last| counts[last].of(speaker));
        let wanted = before.unwrap_or_default().received + frames;
        let heard = |counts: &Counts| counts.of(speaker).received >= wanted;
        if !self.call.counts_since(since).iter().any(heard) {
            let enough = |stats: &Value| received(stats, speaker) >= wanted;
            let waited = self.call.wait_within(deadline, "stats", enough).await;
            if let Err(error) = waited {
                panic!("{} does not hear {speaker}: {error}", self.name);
            }
        }
        let counts = self.call.counts_since(since);
        let heard = counts.iter().find(|counts| heard(counts)).unwrap();
        heard.at - since
    }

    /// The longest time for which `speaker` was not to be heard in the recording, and when that was, in seconds from `from`.
    fn silent(&self, samples: &[f32], speaker: &Self, from: Moment, to: Moment) -> (Duration, f64) {
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
        let longest = gaps.iter().max_by(|a, b| a.length.total_cmp(&b.length));
        longest.map_or((Duration::ZERO, 0.0), |gap| {
            (Duration::from_secs_f64(gap.length), gap.from - from)
        })
    }

    /// The longest time for which the program did not get to saying its counts: for lack of time on this machine, perhaps.
    fn stood_still(&self, from: Moment, to: Moment) -> Duration {
        let counts = self.call.counts_since(from.at);
        let counts = &counts[..counts.partition_point(|counts| counts.at <= to.at)];
        let between = counts.windows(2).map(|pair| pair[1].at - pair[0].at);
        let longest = between.max().unwrap_or_default();
        longest.saturating_sub(STATS_INTERVAL)
    }

    /// The longest time for which frames of `speaker` were concealed in a row, as far as the counts tell.
    fn concealed(&self, speaker: &str, from: Moment, to: Moment) -> Duration {
        let (mut longest, mut run) = (0, 0);
        for pair in self.call.counts.windows(2) {
            let [before, now] = pair else { continue };
            if now.at < from.at || now.at > to.at {
                continue;
            }
            let counted = [before, now].map(|counts| counts.of(speaker).concealed);
            let more = counted[1].saturating_sub(counted[0]);
            run = if more > 0 { run + more } else { 0 };
            longest = longest.max(run);
        }
        FRAME * u32::try_from(longest).unwrap_or(u32::MAX)
    }
}
