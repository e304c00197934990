//! Changes of the group and the voice of those who stay, on virtual time with 50 ± 30 ms of delay.

use std::time::{Duration, Instant};

use confab_e2ee::mls::ToMember;
use confab_e2ee::mls::delivery::Output;
use confab_protocol::control::JoinId;

use crate::figures::{Figure, Goal};

/// The laboratory of the tests of `e2ee`.
#[allow(dead_code, unreachable_pub, reason = "the tests use more of it")]
#[path = "../../../e2ee/tests/mls/lab.rs"]
mod lab;

use lab::{Network, Room};

/// Members that stay, seeds, and changes with each.
const STABLE: usize = 3;
const SEEDS: u64 = 20;
const CHANGES: usize = 30;
/// Participants that join within a second.
const BURST: usize = 100;
const SETTLED: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(1);

/// All figures.
pub fn figures() -> Vec<Figure> {
    let mut gaps: Vec<f64> = (0..SEEDS).flat_map(gaps).collect();
    gaps.sort_by(f64::total_cmp);
    let p99 = gaps.get(gaps.len() * 99 / 100).copied().unwrap_or(0.0);
    let (burst, epochs) = burst();
    let mut dead: Vec<f64> = (0..SEEDS).map(dead_committer).collect();
    dead.sort_by(f64::total_cmp);
    let slowest = dead.last().copied().unwrap_or(f64::INFINITY);
    vec![
        Figure::new("e2ee.epoch_gap_ms.p99", p99, "ms", Goal::AtMost(0.0)),
        Figure::new("e2ee.burst100_s", burst, "s", Goal::AtMost(2.0)),
        Figure::new("e2ee.burst100_epochs", epochs, "epochs", Goal::AtMost(12.0)),
        Figure::new("e2ee.dead_committer_ms", slowest, "ms", Goal::AtMost(700.0)),
    ]
}

/// For each change, the longest time in which one who stays missed another who stays, in milliseconds.
fn gaps(seed: u64) -> Vec<f64> {
    let (mut room, stable) = Room::of(seed, STABLE);
    let mut guests = Vec::new();
    let mut changes = Vec::new();
    for change in 0..CHANGES {
        let from = room.now;
        match change % 3 {
            2 => room.leave(guests.remove(0)),
            _ => guests.push(room.join()),
        }
        let wait = Duration::from_millis(100 + room.random.below(400));
        room.run(wait);
        changes.push((from, room.now));
    }
    room.run(SETTLED);
    let pairs = || {
        let other = |listener: JoinId| {
            let speakers = stable.clone().into_iter();
            speakers
                .filter(move |speaker| *speaker != listener)
                .map(move |speaker| (listener, speaker))
        };
        stable.iter().copied().flat_map(other)
    };
    let longest = |(from, to): (Instant, Instant)| {
        let gaps = pairs().map(|(listener, speaker)| room.longest_gap(listener, speaker, from, to));
        gaps.max().unwrap_or_default().as_secs_f64() * 1000.0
    };
    changes.into_iter().map(longest).collect()
}

/// Seconds until a hundred who joined within one are in, and the commits that it took.
fn burst() -> (f64, f64) {
    let mut room = Room::new(3, Network::WIDE);
    let first = room.join();
    room.run(Duration::from_secs(1));
    let epoch = |room: &Room| room.people[&first].member().epoch().unwrap_or(0);
    let (before, from) = (epoch(&room), room.now);
    for _ in 0..BURST {
        room.join();
        room.run(Duration::from_millis(10));
    }
    while !room.agrees() && room.now < from + Duration::from_secs(30) {
        room.run(Duration::from_millis(10));
    }
    let took = room.now.saturating_duration_since(from).as_secs_f64();
    (took, (epoch(&room) - before) as f64)
}

/// Milliseconds from the moment at which the member that was asked to commit dies until the others have the next epoch.
fn dead_committer(seed: u64) -> f64 {
    let (mut room, members) = Room::of(seed, 6);
    let asked = |room: &Room| {
        room.outputs.iter().rev().find_map(|output| match output {
            Output::Send(join, ToMember::CommitWanted { .. }) => Some(*join),
            _ => None,
        })
    };
    room.outputs.clear();
    let guest = room.join();
    while asked(&room).is_none() {
        room.run(TICK);
    }
    let dead = asked(&room);
    let from = room.now;
    if let Some(dead) = dead {
        room.unlink_unnoticed(dead);
    }
    let alive: Vec<JoinId> = members
        .into_iter()
        .filter(|join| Some(*join) != dead)
        .collect();
    let leaves = |room: &Room, join: JoinId| room.people[&join].member().leaves().count();
    while room.group(guest).is_none() || alive.iter().any(|join| leaves(&room, *join) < 7) {
        room.run(TICK);
        if room.now > from + Duration::from_secs(30) {
            break;
        }
    }
    room.now.saturating_duration_since(from).as_secs_f64() * 1000.0
}
