//! The relay beside a peer: the same room, the same frames, in turn in one run.

use std::path::Path;
use std::time::Duration;

use crate::figures::{Figure, Goal, median};
use crate::load::Shape;
use crate::load::cpu::{self, Usage};
use crate::load::crowd::{Crowd, Reading, TalkPattern};
use crate::load::metrics::{self, RelayMetrics};
use crate::load::network::Network;
use crate::load::rig::{Rig, RigError};
use crate::load::target::LoadError;
use crate::mumble;
use crate::relay::SFRAME_LEN;

/// Interleaved pairs of a ratio.
const PAIRS: usize = 7;
/// Time of one measurement.
const TIME: Duration = Duration::from_secs(3);
/// Time that is not counted, before it.
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

/// The window that frames of different speakers wait in, and its goal.
const WINDOWS: [(&str, &str, f64); 2] = [("window0", "0ms", 0.55), ("window10ms", "10ms", 0.15)];

/// Measures the relay without a window and with one of 10 ms against `mumble-server`, in each way of sending that there is.
pub async fn figures(programs: &Path, progress: impl Fn(&str)) -> Result<Vec<Figure>, LoadError> {
    progress("100 members, 10 speakers: mumble-server, and the relay with and without a window");
    let network = Network::lay()?;
    let mut figures = over(&network, programs, &progress).await?;
    if network.is_cable() {
        // Where earlier figures came from.
        let again = over(&Network::loopback(), programs, &progress).await?;
        figures.extend(again.into_iter().map(Figure::over_loopback));
    }
    Ok(figures)
}

/// Measures it over one network.
async fn over(
    network: &Network,
    programs: &Path,
    progress: &impl Fn(&str),
) -> Result<Vec<Figure>, LoadError> {
    progress(&format!("over {}", network.name()));
    let peer = mumble::Server::start(network, SHAPE.members).await?;
    let speech = (SHAPE.speakers, OPUS_LEN, 1);
    let members = peer.fill(SHAPE.members, speech).await?;
    let mut relays = Vec::new();
    for &way in network.ways() {
        for window in WINDOWS {
            relays.push(Ours::start(network, programs, way, window).await?);
        }
    }
    let mut theirs = Vec::new();
    let before = Counts::now(network, &relays, (&peer, &members)).await?;
    for pair in 0..PAIRS {
        progress(&format!("pair {} of {PAIRS}", pair + 1));
        for relay in &mut relays {
            relay.renew_crowd().await?;
        }
        tokio::time::sleep(WARM_UP).await;
        theirs.push(cost(peer.pid, || members.frames_sent()).await?);
        for relay in &mut relays {
            let crowd = &relay.crowd;
            let cost = cost(relay.rig.pid, || crowd.counts().frames_sent).await?;
            relay.costs.push(cost);
        }
    }
    let after = Counts::now(network, &relays, (&peer, &members)).await?;

    let best = network.ways().last();
    let mut figures = Vec::new();
    for relay in &relays {
        let is_best = Some(&relay.way) == best;
        figures.extend(relay.figures(&theirs, is_best));
    }
    let us = median(theirs) * 1e6;
    figures.push(Figure::new("mumble.cpu_per_frame_us", us, "us", Goal::None));
    // What does not arrive costs too little: figures of servers that deliver different shares cannot be compared.
    figures.push(Figure::new(
        "mumble.share_arrived",
        after.peer.share_since(before.peer),
        "share",
        Goal::None,
    ));
    let counts = after.relays.iter().zip(&before.relays);
    for (relay, (after, before)) in relays.iter().zip(counts) {
        figures.extend(relay.shares(after, before));
    }
    Ok(figures)
}

/// A relay of ours with the room in it.
struct Ours {
    rig: Rig,
    crowd: Crowd,
    way: &'static str,
    window: (&'static str, &'static str, f64),
    /// Seconds per frame, in each pair.
    costs: Vec<f64>,
}

impl Ours {
    async fn start(
        network: &Network,
        programs: &Path,
        way: &'static str,
        window: (&'static str, &'static str, f64),
    ) -> Result<Self, RigError> {
        let flags = [
            ["--workers", "1"],
            ["--transmit", way],
            ["--coalesce-min", window.1],
            ["--coalesce-max", window.1],
        ];
        let rig = Rig::start(network, programs, flags.as_flattened()).await?;
        Ok(Self {
            crowd: Self::crowd(&rig).await?,
            rig,
            way,
            window,
            costs: Vec::new(),
        })
    }

    /// The datagrams are not answered, so the relay stops sending after a while: new sessions replace those before.
    async fn renew_crowd(&mut self) -> Result<(), RigError> {
        let before = std::mem::replace(&mut self.crowd, Self::crowd(&self.rig).await?);
        Ok(before.end()?)
    }

    async fn crowd(rig: &Rig) -> Result<Crowd, RigError> {
        let speech = TalkPattern {
            speakers: SHAPE.speakers,
            sframe_len: SFRAME_LEN,
            seed: 1,
            sockets: SOCKETS,
            reading: Reading::Dropped,
        };
        Ok(Crowd::start(rig.open(SHAPE, 0).await?, speech)?)
    }

    /// Share of its datagrams that arrived, and of those that went by the packet socket.
    fn shares(
        &self,
        after: &(RelayMetrics, Delivery),
        before: &(RelayMetrics, Delivery),
    ) -> Vec<Figure> {
        let (window, _, _) = self.window;
        let sent = after.1.sent - before.1.sent;
        let frames = after.0.grown(&before.0, "datagrams_out_by_packet");
        let by_packet = frames as f64 / sent.max(1) as f64;
        let arrived = after.1.share_since(before.1);
        let figure = |what: &str, share, goal| {
            let name = format!("relay.{what}.{window}.{}", self.way);
            Figure::new(&name, share, "share", goal).by(self.way)
        };
        let mut figures = vec![figure("share_arrived", arrived, Goal::AtLeast(0.99))];
        if self.way == "packet" {
            figures.push(figure("share_by_packet", by_packet, Goal::AtLeast(0.99)));
        }
        figures
    }

    /// Against what a frame cost the peer in the same pairs. The goals are for the best way to send.
    fn figures(&self, theirs: &[f64], is_best: bool) -> [Figure; 2] {
        let (window, _, goal) = self.window;
        let (suffix, goal) = match is_best {
            true => (String::new(), Goal::AtMost(goal)),
            false => (format!(".{}", self.way), Goal::None),
        };
        let ratios = self.costs.iter().zip(theirs).map(|(a, b)| a / b);
        let ratio = format!("peers.cpu_per_frame_vs_mumble.{window}{suffix}");
        let us = format!("relay.cpu_per_frame_us.{window}{suffix}");
        [
            Figure::new(&ratio, median(ratios.collect()), "ratio", goal).by(self.way),
            Figure::new(&us, median(self.costs.clone()) * 1e6, "us", Goal::None).by(self.way),
        ]
    }
}

/// Counts of sent and arrived frames so far.
struct Counts {
    relays: Vec<(RelayMetrics, Delivery)>,
    peer: Delivery,
}

/// Datagrams of a server.
#[derive(Clone, Copy)]
struct Delivery {
    sent: u64,
    arrived: u64,
}

impl Counts {
    async fn now(
        network: &Network,
        relays: &[Ours],
        (peer, members): (&mumble::Server, &mumble::Members),
    ) -> Result<Self, LoadError> {
        let mut counts = Vec::new();
        for relay in relays {
            let told = metrics::read(relay.rig.metrics).await?;
            let delivery = Delivery {
                sent: told.counter("datagrams_out"),
                arrived: network.arrived_from(relay.rig.relay)?,
            };
            counts.push((told, delivery));
        }
        Ok(Self {
            relays: counts,
            peer: Delivery {
                sent: members.frames_sent() * u64::from(SHAPE.members - 1),
                arrived: network.arrived_from(peer.address)?,
            },
        })
    }
}

impl Delivery {
    fn share_since(self, before: Self) -> f64 {
        (self.arrived - before.arrived) as f64 / (self.sent - before.sent).max(1) as f64
    }
}

/// Seconds of processor time for each frame that reaches a member.
async fn cost(pid: u32, frames_sent: impl Fn() -> u64) -> Result<f64, RigError> {
    let before = (Usage::now(pid)?, frames_sent());
    tokio::time::sleep(TIME).await;
    let frames = (frames_sent() - before.1) * u64::from(SHAPE.members - 1);
    let used = cpu::used_since(&before.0, pid)?;
    Ok(used.as_secs_f64() / frames.max(1) as f64)
}
