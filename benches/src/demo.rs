//! A conference of four, from nothing to a report: the real programs, real voices, and what everyone heard of everyone.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::RATE;
use crate::align::align;
use crate::fleet::{Call, Fleet, FleetError};
use crate::speech::{self, SpeechError, Utterances};

/// Marks a folder that a demo has made and the next one may empty.
const MARKER: &str = ".confab-demo";
const SLUG: &str = "demo";
const PASSWORD: &str = "only for this demo";

/// Everyone, in the order in which they join. The first three speak.
const USERS: [&str; 4] = ["ann", "ben", "cem", "dee"];
const SPEAKERS: usize = 3;

/// When each speaker's pieces begin, in seconds: they talk in turn, and over each other from 3 s to 8 s and at 12 s.
const STARTS: [&[f64]; SPEAKERS] = [&[0.5, 10.5], &[3.0], &[5.0, 12.0, 15.5]];
/// Length of everyone's input, in seconds.
const LENGTH: f64 = 20.0;

/// Bytes before the samples of a WAV file of 16-bit samples.
const WAV_HEADER_LEN: usize = 44;

/// A listener may miss so many of a speaker's frames, in percent.
const MAX_MISSED_PERCENT: f64 = 1.0;
/// Smallest correlation of the recording with the input.
const MIN_CORRELATION: f64 = 0.9;

/// Where the demo finds and puts things.
pub struct Options {
    /// The folder of the programs.
    pub programs: PathBuf,
    /// The folder for the recordings and the report. What was there before is replaced.
    pub out: PathBuf,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A program did not do what it should.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error(transparent)]
    Speech(#[from] SpeechError),
    /// A folder or a file of the demo's own.
    #[error("cannot write {}: {error}", .file.display())]
    File {
        file: PathBuf,
        error: std::io::Error,
    },
    /// The folder is not empty and no folder of a demo.
    #[error("{} is not empty and not the folder of an earlier demo: give another one with --out", .0.display())]
    Folder(PathBuf),
}

/// Each listener's recording of each speaker.
#[derive(Debug, Serialize)]
pub struct Report {
    /// True when nobody missed too much of anybody.
    pub passed: bool,
    pub speech: &'static str,
    /// A match for each listener and speaker.
    pub pairs: Vec<Pair>,
    /// Where the recordings are: what each person said, heard, and heard of each other.
    pub recordings: PathBuf,
}

/// The recording of one speaker by one listener.
#[derive(Debug, Serialize)]
pub struct Pair {
    pub listener: String,
    pub speaker: String,
    /// Frames that the speaker sent.
    pub frames_sent: u64,
    /// Frames of those that the listener received, each once.
    pub frames_received: u64,
    /// Frames that the listener had to make up for.
    pub frames_concealed: u64,
    /// Correlation of what was said with what was heard.
    pub correlation: f64,
    /// From the speaker's microphone to the listener's speakers, in milliseconds.
    pub mouth_to_ear_ms: f64,
    /// True when the listener missed little enough.
    pub passed: bool,
}

/// Plays the demo and says what everyone heard. `progress` is told what goes on, a line each.
pub async fn run(options: &Options, progress: impl Fn(&str)) -> Result<Report, DemoError> {
    let scratch = tempfile::tempdir().map_err(|error| DemoError::File {
        file: std::env::temp_dir(),
        error,
    })?;
    make_empty(&options.out)?;
    let (inputs, speech) = prepare_inputs(&options.out, scratch.path())?;

    progress("starting a control server and a relay on free loopback ports");
    let fleet = Fleet::start(&options.programs, scratch.path()).await?;
    progress("registering ann, ben, cem and dee; ann opens the conference \"demo\"");
    for name in USERS {
        fleet.users().register(name, PASSWORD).await?;
    }
    let args = ["conference", "create", SLUG, "--title", "The demo"];
    fleet.users().client(USERS[0], &args, None).await?;

    progress("all four join");
    let mut calls = Vec::new();
    for (at, name) in USERS.iter().enumerate() {
        let heard = options.out.join(format!("{name}-heard.wav"));
        let each = each_folder(&options.out, name);
        let (heard, each) = (heard.to_string_lossy(), each.to_string_lossy());
        let mut args = vec![SLUG, "--out", &heard, "--record-dir", &each];
        let input = if at < SPEAKERS {
            ["--in", "-"]
        } else {
            ["--in", "none"]
        };
        args.extend(input);
        let mut call = fleet.users().join(name, &args)?;
        if let Some(input) = inputs.get(at) {
            // The client wants to see what it will play before it joins.
            call.feed(&input.wav[..WAV_HEADER_LEN]);
        }
        calls.push(call);
    }
    for call in &mut calls {
        call.wait_until("media", |event| event["state"] == "live")
            .await?;
    }
    progress(&format!(
        "{SPEAKERS} of them speak for {LENGTH} s, at times at once"
    ));
    for (call, input) in calls.iter_mut().zip(&inputs) {
        call.feed(&input.wav[WAV_HEADER_LEN..]);
        call.end_input();
    }
    for call in &mut calls[..SPEAKERS] {
        call.wait_for("input_ended").await?;
    }
    // What was said last is still on its way to the ears.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    progress("they leave");
    let mut left = Vec::new();
    for call in &mut calls {
        left.push(call.leave().await?);
    }
    fleet.end().await?;

    progress("comparing what was said with what was heard");
    let mut pairs = Vec::new();
    for (listener, call) in calls.iter().enumerate() {
        for (speaker, input) in inputs.iter().enumerate() {
            if listener != speaker {
                pairs.push(compare(
                    &Heard {
                        call,
                        left: &left[listener],
                        each: each_folder(&options.out, &call.name),
                    },
                    &Recorded {
                        call: &calls[speaker],
                        left: &left[speaker],
                        samples: &input.samples,
                    },
                )?);
            }
        }
    }
    let report = Report {
        passed: pairs.iter().all(|pair| pair.passed),
        speech,
        pairs,
        recordings: options.out.clone(),
    };
    let file = options.out.join("report.json");
    let json =
        serde_json::to_string_pretty(&report).expect("a report is made of names and numbers");
    fs::write(&file, json).map_err(|error| DemoError::File { file, error })?;
    Ok(report)
}

impl Report {
    /// True if every listener got the frames of every speaker, whatever became of them: then the calls were well, and a recording that is
    /// not has another reason.
    pub fn lost_nothing(&self) -> bool {
        self.pairs
            .iter()
            .all(|pair| pair.frames_sent > 0 && pair.frames_received == pair.frames_sent)
    }

    /// The report as a table for a person.
    pub fn table(&self) -> String {
        let mut out = format!(
            "{:<10}{:<10}{:>7}{:>10}{:>11}{:>13}{:>15}\n",
            "listener", "speaker", "sent", "received", "concealed", "correlation", "mouth to ear"
        );
        for pair in &self.pairs {
            out.push_str(&format!(
                "{:<10}{:<10}{:>7}{:>10}{:>11}{:>13.3}{:>12.0} ms{}\n",
                pair.listener,
                pair.speaker,
                pair.frames_sent,
                pair.frames_received,
                pair.frames_concealed,
                pair.correlation,
                pair.mouth_to_ear_ms,
                if pair.passed { "" } else { "   <- too little" },
            ));
        }
        out
    }
}

/// A speaker's input: the samples, and the WAV file for the client.
struct Input {
    samples: Vec<f32>,
    wav: Vec<u8>,
}

struct Heard<'a> {
    call: &'a Call,
    left: &'a Value,
    /// The folder with a recording of each speaker.
    each: PathBuf,
}

struct Recorded<'a> {
    call: &'a Call,
    left: &'a Value,
    samples: &'a [f32],
}

fn each_folder(out: &Path, listener: &str) -> PathBuf {
    out.join(format!("{listener}-heard"))
}

fn prepare_inputs(out: &Path, scratch: &Path) -> Result<(Vec<Input>, &'static str), DemoError> {
    let mut inputs = Vec::new();
    let mut source = "recording";
    for (number, starts) in STARTS.iter().enumerate() {
        let (utterances, from) = speech::voice(number, scratch)?;
        if from != "recording" {
            source = from;
        }
        let samples = place(&utterances, starts);
        let file = out.join(format!("{}-said.wav", USERS[number]));
        speech::write_wav(&file, &samples)?;
        let wav = fs::read(&file).map_err(|error| DemoError::File { file, error })?;
        inputs.push(Input { samples, wav });
    }
    Ok((inputs, source))
}

/// Puts each piece at its time, one after the other where they would overlap.
fn place(utterances: &Utterances, starts: &[f64]) -> Vec<f32> {
    let mut samples = vec![0.0; (LENGTH * f64::from(RATE)) as usize];
    let mut free = 0;
    for (piece, start) in utterances.iter().zip(starts) {
        let at = free.max((start * f64::from(RATE)) as usize);
        for (to, from) in samples.iter_mut().skip(at).zip(piece) {
            *to = *from;
        }
        free = at + piece.len();
    }
    samples
}

fn compare(heard: &Heard<'_>, said: &Recorded<'_>) -> Result<Pair, DemoError> {
    let (listener, speaker) = (&heard.call.name, &said.call.name);
    let stats = speaker_stats(heard, speaker)?;
    let frames_sent = number(said.call, said.left, "frames_sent")?;
    let count = |field| number(heard.call, stats, field);
    // What came too late to be played was received and still missed.
    let frames_received = count("frames_received")? - count("late")?;
    let missed = frames_sent.saturating_sub(frames_received);

    let began = time(said.call, "capture_started")?;
    let recorded = time(heard.call, "recording_started")?;
    let offset = (began - recorded) / 1e9 * f64::from(RATE);
    let label = number(heard.call, stats, "sender")?;
    let samples = speech::read(&heard.each.join(format!("{speaker}-{label}.wav")))?;
    let found = align(said.samples, &samples, offset.round() as i64);
    let (correlation, delay) = found.map_or((0.0, 0.0), |found| (found.correlation, found.delay));
    let missed_percent = missed as f64 * 100.0 / frames_sent.max(1) as f64;
    Ok(Pair {
        listener: listener.clone(),
        speaker: speaker.clone(),
        frames_sent,
        frames_received,
        frames_concealed: count("concealed")?,
        correlation,
        mouth_to_ear_ms: delay * 1e3,
        passed: frames_sent > 0
            && missed_percent <= MAX_MISSED_PERCENT
            && correlation >= MIN_CORRELATION,
    })
}

fn speaker_stats<'a>(heard: &Heard<'a>, speaker: &str) -> Result<&'a Value, DemoError> {
    heard.left["speakers"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["username"] == speaker))
        .ok_or_else(|| missing(heard.call, "speakers"))
}

fn number(call: &Call, value: &Value, field: &'static str) -> Result<u64, DemoError> {
    value[field].as_u64().ok_or_else(|| missing(call, field))
}

/// Wall time of an event, in nanoseconds since 1970.
fn time(call: &Call, event: &'static str) -> Result<f64, DemoError> {
    let time = call
        .event(event)
        .and_then(|event| event["unix_ns"].as_u64());
    time.map(|ns| ns as f64).ok_or_else(|| missing(call, event))
}

fn missing(call: &Call, field: &str) -> DemoError {
    FleetError::Program {
        program: format!("confab join as {}", call.name),
        what: format!("did not tell {field:?}"),
    }
    .into()
}

/// Creates the folder, or empties that of an earlier demo. Any other folder that is not empty is an error.
fn make_empty(folder: &Path) -> Result<(), DemoError> {
    let failed = |error| DemoError::File {
        file: folder.to_owned(),
        error,
    };
    let marker = folder.join(MARKER);
    if marker.is_file() {
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    fs::create_dir_all(folder).map_err(failed)?;
    let mut there = fs::read_dir(folder).map_err(failed)?;
    if there.next().is_some() {
        return Err(DemoError::Folder(folder.to_owned()));
    }
    fs::write(&marker, "").map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_of_an_earlier_demo_is_emptied() {
        let scratch = tempfile::tempdir().unwrap();
        let precious = scratch.path().join("letters");
        fs::write(&precious, "dear").unwrap();
        let refused = make_empty(scratch.path());
        assert!(matches!(refused, Err(DemoError::Folder(_))), "{refused:?}");
        assert!(precious.exists());
        let folder = scratch.path().join("demo");
        make_empty(&folder).unwrap();
        fs::write(folder.join("old.wav"), "x").unwrap();
        make_empty(&folder).unwrap();
        assert!(!folder.join("old.wav").exists());
    }
}
