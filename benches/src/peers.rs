//! The relay beside a peer: the same room, the same frames, in turn in one run.

use std::path::Path;
use std::time::Duration;

use crate::figures::{Figure, Goal, median};
use crate::load::Shape;
use crate::load::cpu;
use crate::load::crowd::{Crowd, Ears, Manner};
use crate::load::rig::{Rig, RigError};
use crate::mumble;
use crate::relay::SFRAME_LEN;

/// Interleaved pairs of a ratio.
const PAIRS: usize = 7;
/// Time of one measurement.
const TIME: Duration = Duration::from_secs(3);
/// What is not counted before it.
const WARM_UP: Duration = Duration::from_millis(500);
/// 100 people, 10 of whom speak at random phases.
const SHAPE: Shape = Shape {
    rooms: 1,
    members: 100,
    speakers: 10,
};
/// Opus of 24 kbit/s in frames of 20 ms.
const OPUS_LEN: usize = 60;
const SOCKETS: usize = 100;

/// Measures the relay without a window and with one of 10 ms against `mumble-server`.
pub async fn figures(programs: &Path, progress: impl Fn(&str)) -> Result<Vec<Figure>, RigError> {
    progress("100 members, 10 speakers: mumble-server, and the relay with and without a window");
    let peer = mumble::Server::start(SHAPE.members).await?;
    let speech = (SHAPE.speakers, OPUS_LEN, 1);
    let members = peer.fill(SHAPE.members, speech).await?;
    let plain = Ours::start(programs, &["--workers", "1"]).await?;
    let window = [
        "--workers",
        "1",
        "--coalesce-min",
        "10ms",
        "--coalesce-max",
        "10ms",
    ];
    let waiting = Ours::start(programs, &window).await?;
    tokio::time::sleep(WARM_UP).await;
    let (mut theirs, mut ours, mut waited) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        progress(&format!("pair {} of {PAIRS}", pair + 1));
        theirs.push(cost(peer.pid, || members.frames_sent()).await?);
        ours.push(cost(plain.rig.pid, || plain.frames_sent()).await?);
        waited.push(cost(waiting.rig.pid, || waiting.frames_sent()).await?);
    }
    let ratio = |ours: &[f64]| median(ours.iter().zip(&theirs).map(|(a, b)| a / b).collect());
    let window0 = ratio(&ours);
    let window10 = ratio(&waited);
    let us = |values: Vec<f64>| median(values) * 1e6;
    Ok(vec![
        Figure::new(
            "peers.cpu_per_frame_vs_mumble.window0",
            window0,
            "ratio",
            Goal::AtMost(0.55),
        ),
        Figure::new(
            "peers.cpu_per_frame_vs_mumble.window10ms",
            window10,
            "ratio",
            Goal::AtMost(0.15),
        ),
        Figure::new("mumble.cpu_per_frame_us", us(theirs), "us", Goal::None),
        Figure::new("relay.cpu_per_frame_us.window0", us(ours), "us", Goal::None),
        Figure::new(
            "relay.cpu_per_frame_us.window10ms",
            us(waited),
            "us",
            Goal::None,
        ),
    ])
}

/// A relay of ours with the room in it.
struct Ours {
    rig: Rig,
    crowd: Crowd,
}

impl Ours {
    async fn start(programs: &Path, flags: &[&str]) -> Result<Self, RigError> {
        let rig = Rig::start(programs, flags).await?;
        let sessions = rig.open(SHAPE, 0).await?;
        let speech = Manner {
            speakers: SHAPE.speakers,
            sframe_len: SFRAME_LEN,
            seed: 1,
            sockets: SOCKETS,
            ears: Ears::Shut,
        };
        let crowd = Crowd::start(sessions, speech)?;
        Ok(Self { rig, crowd })
    }

    fn frames_sent(&self) -> u64 {
        self.crowd.counts().frames_sent
    }
}

/// Seconds of processor time for each frame that reaches a member.
async fn cost(pid: u32, frames_sent: impl Fn() -> u64) -> Result<f64, RigError> {
    let before = (cpu::used(pid)?, frames_sent());
    tokio::time::sleep(TIME).await;
    let frames = (frames_sent() - before.1) * u64::from(SHAPE.members - 1);
    let used = cpu::used(pid)? - before.0;
    Ok(used.as_secs_f64() / frames.max(1) as f64)
}
