//! The relay's costs, with the real program and real sockets, in each way of sending that there is, held against the
//! goals.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bench_room::BenchRoom;
use crate::cases::Case;
use crate::figures::{Figure, Goal, median};
use crate::load::Shape;
use crate::load::climb::Climb;
use crate::load::cores::{Cores, Placement};
use crate::load::cpu::{self, Usage};
use crate::load::crowd::{Crowd, Reading, TalkPattern};
use crate::load::network::Network;
use crate::load::ramp::{Limits, Ramp};
use crate::load::rig::{Rig, RigError};
use crate::load::step::Measured;
use crate::load::target::{LoadError, Target};

/// Interleaved pairs of a ratio, and windows of a latency.
const PAIRS: usize = 7;
/// Time of one measurement.
const TIME: Duration = Duration::from_secs(3);
/// Time that is not counted, before it.
const WARM_UP: Duration = Duration::from_millis(500);
/// Bytes of SFrame: 24 kbit/s in frames of 20 ms, with header and AEAD tag.
pub const SFRAME_LEN: usize = 85;
/// Bytes of a record before its SFrame.
const RECORD_HEADER: usize = 5;
/// Rooms with which the search for the knee begins, and those with which it would end.
const TRIAL_ROOMS: u32 = 100;
const MAX_ROOMS: u32 = 5000;
/// A worker's capacity is measured within these limits.
const KNEE: Limits = Limits {
    loss: 0.005,
    latency: Duration::from_millis(20),
};
/// How long a worker that has a core to itself asks for the next datagram before it waits.
const BUSY_POLL: &str = "200us";
/// Rounds in which allocations are counted.
const ALLOCATION_ROUNDS: u64 = 200;
/// Sockets that stand for all members.
const SOCKETS: usize = 4;

/// Measures everything. `allocations` says how often this program has allocated so far; `progress` is told what goes on.
pub async fn figures(
    programs: &Path,
    allocations: fn() -> usize,
    progress: impl Fn(&str),
) -> Result<Vec<Figure>, LoadError> {
    let network = Network::lay()?;
    let mut figures = vec![user_time(), allocations_per_packet(allocations)];
    progress(&format!("over {}", network.name()));
    progress("1 speaker, 1000 receivers, against a bare sendmmsg loop");
    figures.extend(against_sendmmsg(&network, programs).await?);
    progress("10 speakers of 100, with a window of 10 ms");
    figures.push(frames_per_datagram(&network, programs).await?);
    progress("latency in rooms of 10, at half load, no window");
    figures.extend(added_latency(&network, programs, &progress).await?);
    progress("memory of 20 000 sessions");
    figures.push(memory(&network, programs).await?);
    progress("two workers against one");
    figures.push(two_workers(&network, programs).await?);
    Ok(figures)
}

/// User space for one receiver of a room of 1000, tag included, nothing sent.
fn user_time() -> Figure {
    let mut room = BenchRoom::new(1000);
    let rounds = (0..2000).map(|_| {
        let frames = room.frames(1);
        let start = Instant::now();
        room.forward(&frames);
        start.elapsed().as_secs_f64() * 1e9 / 999.0
    });
    let value = median(rounds.collect());
    Figure::new(
        "relay.user_ns_per_receiver",
        value,
        "ns",
        Goal::AtMost(80.0),
    )
}

/// Allocations of the relay's core for a forwarded packet, after warm-up.
fn allocations_per_packet(allocations: fn() -> usize) -> Figure {
    let (mut counted, mut packets) = (0, 0);
    for case in Case::ALL.iter().filter(|case| case.forwards) {
        let mut round = case.start();
        for at in 0..2 * ALLOCATION_ROUNDS {
            round(&mut |work| {
                let before = allocations();
                work();
                // What is made in the first half is kept and used again.
                if at >= ALLOCATION_ROUNDS {
                    counted += allocations() - before;
                    packets += case.times;
                }
            });
        }
    }
    let value = counted as f64 / packets as f64;
    Figure::new("relay.allocs_per_packet", value, "count", Goal::AtMost(0.0))
}

async fn against_sendmmsg(network: &Network, programs: &Path) -> Result<Vec<Figure>, RigError> {
    let shape = Shape {
        rooms: 1,
        members: 1001,
        speakers: 1,
    };
    let mut relays = Vec::new();
    for &way in network.ways() {
        let flags = ["--workers", "1", "--transmit", way];
        let rig = Rig::start(network, programs, &flags).await?;
        relays.push((way, rig, Vec::new()));
    }
    let datagrams = shape.frames_out_per_second() as f64 / 50.0;
    let mut bare = Vec::new();
    for _ in 0..PAIRS {
        for (_, rig, costs) in &mut relays {
            // Who hears nothing is not sent to for long: the sessions of the pair before make way for new ones.
            let crowd = Crowd::start(rig.open(shape, 0).await?, pattern(1, Reading::Dropped))?;
            tokio::time::sleep(WARM_UP).await;
            let before = (Usage::now(rig.pid)?, crowd.counts().frames_sent);
            tokio::time::sleep(TIME).await;
            let frames = (crowd.counts().frames_sent - before.1) as f64;
            let used = cpu::used_since(&before.0, rig.pid)?;
            costs.push(used.as_secs_f64() / (frames * datagrams));
            crowd.end()?;
        }
        let body = SFRAME_LEN + RECORD_HEADER;
        bare.push(bare_loop(network, programs, datagrams as usize, body).await?);
    }
    let mut figures = Vec::new();
    for (way, _, costs) in relays {
        // The goal is held against what does the same: the other way does less than the loop.
        let (suffix, goal) = match way {
            "socket" => (String::new(), Goal::AtMost(1.15)),
            way => (format!(".{way}"), Goal::None),
        };
        let ratios = costs.iter().zip(&bare).map(|(ours, bare)| ours / bare);
        let name = format!("relay.cpu_per_datagram_vs_sendmmsg{suffix}");
        figures.push(Figure::new(&name, median(ratios.collect()), "ratio", goal).by(way));
        let name = format!("relay.cpu_per_datagram_us{suffix}");
        figures.push(Figure::new(&name, median(costs) * 1e6, "us", Goal::None).by(way));
    }
    figures.push(Figure::new(
        "sendmmsg.cpu_per_datagram_us",
        median(bare) * 1e6,
        "us",
        Goal::None,
    ));
    Ok(figures)
}

/// Processor time of one datagram of the bare loop, in seconds: a process of its own, as the relay is.
async fn bare_loop(
    network: &Network,
    programs: &Path,
    datagrams: usize,
    body: usize,
) -> Result<f64, RigError> {
    // Nobody reads these, as nobody reads what the relay sends.
    let sockets: Vec<UdpSocket> = (0..SOCKETS)
        .map(|_| {
            let socket = UdpSocket::bind((network.near, 0))?;
            socket2::SockRef::from(&socket).set_recv_buffer_size(4096)?;
            Ok(socket)
        })
        .collect::<std::io::Result<_>>()?;
    let targets: Vec<SocketAddr> = sockets
        .iter()
        .map(UdpSocket::local_addr)
        .collect::<std::io::Result<_>>()?;
    let mut command = network.command(own_program(programs));
    command.args([
        "bare",
        "--from",
        &network.far.to_string(),
        "--datagrams",
        &datagrams.to_string(),
        "--body",
        &body.to_string(),
    ]);
    command.args(["--seconds", &TIME.as_secs().to_string()]);
    for target in targets {
        command.args(["--to", &target.to_string()]);
    }
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let nanoseconds: Option<f64> = said.trim().parse().ok();
    nanoseconds.map(|ns| ns / 1e9).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        RigError::Io(std::io::Error::other(said))
    })
}

async fn frames_per_datagram(network: &Network, programs: &Path) -> Result<Figure, RigError> {
    let shape = Shape {
        rooms: 1,
        members: 100,
        speakers: 10,
    };
    let window = [
        "--workers",
        "1",
        "--coalesce-min",
        "10ms",
        "--coalesce-max",
        "10ms",
    ];
    let rig = Rig::start(network, programs, &window).await?;
    let sessions = rig.open(shape, 0).await?;
    let crowd = Crowd::start(sessions, pattern(10, Reading::Checked))?;
    tokio::time::sleep(WARM_UP).await;
    let before = crowd.counts();
    tokio::time::sleep(TIME).await;
    let counts = crowd.counts().since(before);
    let value = counts.frames as f64 / counts.datagrams.max(1) as f64;
    Ok(Figure::new(
        "relay.frames_per_datagram",
        value,
        "frames",
        Goal::AtLeast(4.0),
    ))
}

/// Time from the kernel's receive timestamp to the end of the send, in rooms of 10 with one speaker each: half as many as
/// one worker holds. The relay has a core of its own, where there are two.
async fn added_latency(
    network: &Network,
    programs: &Path,
    progress: &impl Fn(&str),
) -> Result<Vec<Figure>, LoadError> {
    let everywhere = Cores::available()?;
    let placement = Placement::halves()?;
    placement.load.pin_process(std::process::id())?;
    let mut figures = Vec::new();
    for &way in network.ways() {
        let measured = latency_by(network, programs, &placement.relay, way, progress).await;
        if measured.is_err() {
            everywhere.pin_process(std::process::id())?;
        }
        let is_best = Some(&way) == network.ways().last();
        figures.extend(measured?.figures(way, is_best));
    }
    everywhere.pin_process(std::process::id())?;
    Ok(figures)
}

/// What one worker on these cores holds, and how it does with half of that: as it is, and asking for the next datagram again
/// and again before it waits.
struct Latency {
    knee: Measured,
    half: Vec<Measured>,
    half_with_busy_poll: Vec<Measured>,
}

impl Latency {
    fn figures(&self, way: &'static str, is_best: bool) -> Vec<Figure> {
        let name = |name: &str| match is_best {
            true => format!("relay.{name}"),
            false => format!("relay.{name}.{way}"),
        };
        let mut figures = Vec::new();
        for (windows, with) in [
            (&self.half_with_busy_poll, ""),
            (&self.half, ".no_busy_poll"),
        ] {
            let is_goal = is_best && with.is_empty();
            let goal = |goal| if is_goal { goal } else { Goal::None };
            let mut push = |what: &str, value, unit, goal| {
                let name = format!("{}{with}", name(what));
                figures.push(Figure::new(&name, value, unit, goal).by(way));
            };
            let p50 = middle(windows, |one| one.relay_p50_us);
            let p99 = middle(windows, |one| one.relay_p99_us);
            push("added_latency_us.p50", p50, "us", goal(Goal::Below(50.0)));
            push("added_latency_us.p99", p99, "us", goal(Goal::Below(250.0)));
            // What else ran on the relay's core is in the latency, too.
            let waited = middle(windows, |one| Some(one.relay_waited()));
            push("added_latency_waited", waited, "share", Goal::None);
        }
        for (what, rooms) in [
            ("added_latency_rooms", self.knee.rooms / 2),
            ("knee_rooms", self.knee.rooms),
        ] {
            let figure = Figure::new(&name(what), rooms.into(), "rooms", Goal::None);
            figures.push(figure.by(way));
        }
        figures
    }
}

/// The median over windows. Of one without frames nothing is known.
fn middle(windows: &[Measured], of: fn(&Measured) -> Option<f64>) -> f64 {
    let values = windows.iter().map(|one| of(one).unwrap_or(f64::NAN));
    median(values.collect())
}

async fn latency_by(
    network: &Network,
    programs: &Path,
    cores: &Cores,
    way: &str,
    progress: &impl Fn(&str),
) -> Result<Latency, LoadError> {
    let flags = ["--workers", "1", "--transmit", way];
    let shape = |rooms| Shape {
        rooms,
        members: 10,
        speakers: 1,
    };
    let rig = Rig::start_on(Some(cores), network, programs, &flags).await?;
    let target = Target::Own(Box::new(rig));
    let few = target.open(shape(TRIAL_ROOMS), 0).await?;
    let mut crowd =
        tokio::task::block_in_place(|| Crowd::start(few, pattern(1, Reading::Checked)))?;
    let climb = Climb {
        from: shape(TRIAL_ROOMS),
        ramp: Ramp::new(1.25, MAX_ROOMS, KNEE),
        warm_up: WARM_UP,
        step_time: TIME,
    };
    let told = |step: &Measured| {
        progress(&format!("by {way}: {} rooms", step.rooms));
        Ok(())
    };
    let (_, knee) = climb.run(&target, &mut crowd, told).await?;
    crowd.end()?;
    drop(target);
    let no_knee = || std::io::Error::other("a hundred rooms are too many for this machine now");
    let knee = knee.ok_or_else(no_knee)?;

    let half = shape(knee.rooms / 2);
    let with_busy_poll = [&flags[..], &["--busy-poll", BUSY_POLL]].concat();
    let mut both = Vec::new();
    for flags in [&flags[..], &with_busy_poll] {
        progress(&format!(
            "by {way}: half of {} rooms, with {}",
            knee.rooms,
            flags.join(" ")
        ));
        let rig = Rig::start_on(Some(cores), network, programs, flags).await?;
        both.push(windows_of(&Target::Own(Box::new(rig)), half).await?);
    }
    let half_with_busy_poll = both.pop().unwrap_or_default();
    Ok(Latency {
        knee,
        half: both.pop().unwrap_or_default(),
        half_with_busy_poll,
    })
}

/// Windows of a load that stays as it is.
async fn windows_of(target: &Target, shape: Shape) -> Result<Vec<Measured>, LoadError> {
    let sessions = target.open(shape, 0).await?;
    let crowd =
        tokio::task::block_in_place(|| Crowd::start(sessions, pattern(1, Reading::Checked)))?;
    tokio::time::sleep(WARM_UP).await;
    let mut windows = Vec::new();
    for _ in 0..PAIRS {
        windows.push(Measured::over(TIME, &crowd, &target.sources(), shape).await?);
    }
    crowd.end()?;
    Ok(windows)
}

/// Resident memory of a relay for each of many sessions in rooms of 10, when all have proved their addresses.
async fn memory(network: &Network, programs: &Path) -> Result<Figure, RigError> {
    let shape = |rooms| Shape {
        rooms,
        members: 10,
        speakers: 0,
    };
    let rig = Rig::start(network, programs, &["--workers", "1"]).await?;
    let few = rig.open(shape(100), 0).await?;
    let crowd = Crowd::start(few, pattern(0, Reading::Dropped))?;
    tokio::time::sleep(WARM_UP).await;
    let before = cpu::resident(rig.pid)?;
    let many = rig.open(shape(2000), 100).await?;
    let sessions = many.len() as f64;
    let more = Crowd::start(many, pattern(0, Reading::Dropped))?;
    tokio::time::sleep(WARM_UP).await;
    let after = cpu::resident(rig.pid)?;
    drop((crowd, more));
    let value = after.saturating_sub(before) as f64 / sessions;
    Ok(Figure::new(
        "relay.memory_bytes_per_session",
        value,
        "bytes",
        Goal::AtMost(1024.0),
    ))
}

/// Processor time of a delivered frame with two workers, against one: 20 rooms of 20, 4 of them speaking.
async fn two_workers(network: &Network, programs: &Path) -> Result<Figure, RigError> {
    let shape = Shape {
        rooms: 20,
        members: 20,
        speakers: 4,
    };
    let mut rigs = Vec::new();
    for workers in ["1", "2"] {
        let rig = Rig::start(network, programs, &["--workers", workers]).await?;
        rigs.push(rig);
    }
    let mut ratios = Vec::new();
    for pair in 0..PAIRS {
        let mut costs = Vec::new();
        for rig in &rigs {
            costs.push(cost_of_frame(rig, shape, pair).await?);
        }
        ratios.push(costs[1] / costs[0]);
    }
    let value = median(ratios);
    Ok(Figure::new(
        "relay.cpu_per_frame_2_workers_vs_1",
        value,
        "ratio",
        Goal::AtMost(1.1),
    ))
}

/// Seconds of processor time for a delivered frame. The sessions of the measurement before make way for new ones.
async fn cost_of_frame(rig: &Rig, shape: Shape, pair: usize) -> Result<f64, RigError> {
    let sessions = rig.open(shape, 0).await?;
    let speech = TalkPattern {
        seed: pair as u64,
        ..pattern(shape.speakers, Reading::Dropped)
    };
    let crowd = Crowd::start(sessions, speech)?;
    tokio::time::sleep(WARM_UP).await;
    let before = (Usage::now(rig.pid)?, crowd.counts().frames_sent);
    tokio::time::sleep(TIME).await;
    let frames = crowd.counts().frames_sent - before.1;
    let used = cpu::used_since(&before.0, rig.pid)?;
    crowd.end()?;
    Ok(used.as_secs_f64() / (frames as f64 * f64::from(shape.members - 1)))
}

/// How every crowd here speaks.
fn pattern(speakers: u16, reading: Reading) -> TalkPattern {
    TalkPattern {
        speakers,
        sframe_len: SFRAME_LEN,
        seed: 1,
        sockets: SOCKETS,
        reading,
    }
}

fn own_program(programs: &Path) -> PathBuf {
    programs.join("confab-bench")
}
