//! The program `confab-load`: a relay or a deployment, a crowd that grows, and what came of it.

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use confab_console::values::show_duration;
use serde::Serialize;

use super::Shape;
use super::climb::Climb;
use super::crowd::{Crowd, Reading, TalkPattern};
use super::flags::Flags;
use super::ramp::{End, Limit, Ramp, StepVerdict};
use super::step::{Measured, Moment};
use super::target::{LoadError, Target};
use crate::program::{Outcome, print};

/// Time after which the last frames have arrived or are lost.
const LAST_FRAMES: Duration = Duration::from_millis(500);

/// Runs until there is an answer or `interrupted` is over; nothing is left running.
pub async fn run(
    flags: &Flags,
    interrupted: impl Future<Output = ()>,
) -> Result<Outcome, LoadError> {
    flags.check().map_err(LoadError::Flags)?;
    let mut out = Out::open(flags.out.as_ref())?;
    print(&intention(flags));
    let mut interrupted = std::pin::pin!(interrupted);
    let mut target = tokio::select! {
        target = Target::start(flags) => target?,
        () = &mut interrupted => return Err(LoadError::Interrupted),
    };
    let work = async {
        target.sign_in(flags).await?;
        measure(flags, &target, &mut out).await
    };
    let measured = tokio::select! {
        measured = work => measured,
        () = &mut interrupted => Err(LoadError::Interrupted),
    };
    target.end().await;
    measured
}

async fn measure(flags: &Flags, target: &Target, out: &mut Out) -> Result<Outcome, LoadError> {
    let shape = flags.shape();
    print(
        "rates are of a second, times in microseconds: p50, p99 in the relay, heard50, heard99 from speaking to arrival, \
         late99 of the load generator itself; cores: that the relay used, and for which it waited because of what else \
         runs there",
    );
    print(&Measured::head().to_string());
    let pattern = TalkPattern {
        speakers: flags.speakers,
        sframe_len: flags.frame_size.0 as usize,
        seed: flags.seed,
        sockets: flags.sockets.into(),
        reading: Reading::Checked,
    };
    let sessions = target.open(shape, 0).await?;
    let crowd = tokio::task::block_in_place(|| Crowd::start(sessions, pattern))?;
    match flags.hold {
        Some(time) => hold(flags, target, crowd, time, out).await,
        None => climb(flags, target, crowd, out).await,
    }
}

/// More rooms with each step, until it is enough.
async fn climb(
    flags: &Flags,
    target: &Target,
    mut crowd: Crowd,
    out: &mut Out,
) -> Result<Outcome, LoadError> {
    let climb = Climb {
        from: flags.shape(),
        ramp: Ramp::new(flags.step.0, flags.max_rooms, flags.limits()),
        warm_up: flags.warm_up,
        step_time: flags.step_time,
    };
    let (end, knee) = climb
        .run(target, &mut crowd, |measured| {
            print(&measured.row().to_string());
            out.write(&Line::Step(measured))
        })
        .await?;
    crowd.end()?;
    let knee = knee.as_ref();
    out.write(&Line::End { end, knee })?;
    print(&format!("\n{}", conclusion(end, knee)));
    Ok(match (end, knee) {
        (End::Knee(Limit::BadTags), _) => Outcome::Bad,
        (End::Strained(_), _) | (_, None) => Outcome::Unknown,
        (End::Knee(_) | End::MaxRooms, Some(_)) => Outcome::Good,
    })
}

/// The same rooms all the time. Every frame is accounted for, from the first to the last.
async fn hold(
    flags: &Flags,
    target: &Target,
    crowd: Crowd,
    time: Duration,
    out: &mut Out,
) -> Result<Outcome, LoadError> {
    let sources = target.sources();
    let before = Moment::start(&crowd, &sources).await?;
    tokio::time::sleep(time).await;
    crowd.silence();
    let spoken = std::time::Instant::now();
    tokio::time::sleep(LAST_FRAMES).await;
    let after = Moment::now(&crowd, &sources).await?.at(spoken);
    let measured = after.since(&before, flags.shape());
    target.check()?;
    crowd.end()?;
    print(&measured.row().to_string());
    out.write(&Line::Held(&measured))?;
    print(&format!(
        "\n{} of {} frames arrived; {} tags were checked, {} were wrong",
        measured.frames_arrived, measured.frames_expected, measured.tags_checked, measured.bad_tags
    ));
    let (outcome, why) = match flags.limits().judge(&measured) {
        StepVerdict::Good => (Outcome::Good, "within all limits".to_owned()),
        StepVerdict::Over(limit) => (Outcome::Bad, format!("over a limit: {limit}")),
        StepVerdict::Strained(strain) => (Outcome::Unknown, strain.to_string()),
    };
    print(&why);
    Ok(outcome)
}

/// The work that is about to be done, for a person.
fn intention(flags: &Flags) -> String {
    let Shape {
        rooms,
        members,
        speakers,
    } = flags.shape();
    let place = match &flags.control {
        Some(server) => format!(
            "registers {members} accounts at {server}, whose names begin with {}, and deletes them at the end, after Ctrl-C too",
            flags.user_prefix
        ),
        None => "starts a relay on this machine, and ends it".to_owned(),
    };
    let rooms = format!("{rooms} rooms of {members}, {speakers} speaking in each");
    let course = match flags.hold {
        Some(time) => format!("{rooms}, for {}", show_duration(time)),
        None => format!(
            "{rooms}; {} times as many with each step of {}, until more than {}% of the frames are lost or one of a hundred \
             takes longer than {}; {} rooms at most",
            flags.step.0,
            show_duration(flags.warm_up + flags.step_time),
            flags.max_loss.0 * 100.0,
            show_duration(flags.max_latency),
            flags.max_rooms
        ),
    };
    format!("{place}\n{course}\n")
}

/// The result of the ramp, for a person.
fn conclusion(end: End, knee: Option<&Measured>) -> String {
    let head = match end {
        End::Knee(_) => "the knee",
        End::Strained(_) | End::MaxRooms => "the last good step, which is not the knee",
    };
    let why = match end {
        End::Knee(limit) => format!("with more rooms, {limit}"),
        End::Strained(strain) => strain.to_string(),
        End::MaxRooms => "--max-rooms is reached; the relay holds more".to_owned(),
    };
    let Some(knee) = knee else {
        return format!("no step was good: {why}; start with fewer --rooms");
    };
    let cores = knee
        .relay_cores
        .map_or_else(String::new, |cores| format!(", {cores:.2} of a core"));
    format!(
        "{head}: {} people in {} rooms, {:.0} frames/s in, {:.0} frames/s out in {:.0} datagrams/s{cores}\n{why}",
        knee.people,
        knee.rooms,
        knee.frames_in_per_second,
        knee.frames_out_per_second,
        knee.datagrams_out_per_second,
    )
}

/// A line of the file with the measurements.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    /// A step of the ramp.
    Step(&'a Measured),
    Held(&'a Measured),
    /// The ramp's end, with its last good step.
    End {
        end: End,
        knee: Option<&'a Measured>,
    },
}

/// The file with the measurements, if there is to be one.
struct Out(Option<File>);

impl Out {
    fn open(path: Option<&PathBuf>) -> Result<Self, LoadError> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let made = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| File::create(path));
        let file = made.map_err(|error| {
            LoadError::Flags(format!("cannot write {}: {error}", path.display()))
        })?;
        Ok(Self(Some(file)))
    }

    /// Written at once: who interrupts keeps what was measured.
    fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        if let Some(file) = &mut self.0 {
            writeln!(file, "{}", serde_json::to_string(line)?)?;
        }
        Ok(())
    }
}
