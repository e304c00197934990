//! A relay dies, or is told to end.

use std::time::Duration;

use super::figures::{Figures, HIDDEN, HIDDEN_LOOSE};
use super::talkers::{
    Missed, Moment, Talker, everyone_hears_everyone, leave, talking, worst_missed,
};
use super::world::{PATIENCE, Plan, World};

const NAMES: [&str; 3] = ["ann", "ben", "cem"];

/// A room of three on one of two relays.
async fn room_on_one_of_two() -> (World, Vec<Talker>, usize) {
    let plan = Plan {
        relays: 2,
        ..Plan::default()
    };
    let world = World::start(plan).await;
    world.register(0, &NAMES).await;
    world.ok(0, "ann", &["conference", "create", "room"]).await;
    let talkers = talking(&world, 0, "room", &NAMES).await;
    let at = world.relay_with_sessions().await;
    (world, talkers, at)
}

/// What was missed until some time after everyone was heard again.
async fn missed_since(fault: Moment, mut talkers: Vec<Talker>) -> Missed {
    everyone_hears_everyone(&mut talkers, PATIENCE).await;
    // What a late move would break shows too.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let end = Moment::now();
    leave(&mut talkers).await;
    worst_missed(&mut talkers, fault, end)
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_hears_everyone_again_when_a_relay_is_killed() {
    let (mut world, talkers, at) = room_on_one_of_two().await;
    let fault = Moment::now();
    world.relays[at].kill().await;
    let missed = missed_since(fault, talkers).await;
    let (table, loose) = (Duration::from_secs(1), Duration::from_secs(5));
    let mut figures = Figures::of("a relay is killed");
    figures.within("gap in voice", missed.gap, table, loose);
    world.relays_are_empty().await;
    world.end().await;
    figures.judge();
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_a_relay_leaves_no_audible_gap() {
    let (mut world, mut talkers, at) = room_on_one_of_two().await;
    let fault = Moment::now();
    let drained = world.relays[at].process.take().unwrap();
    drained.end().await.unwrap();
    everyone_hears_everyone(&mut talkers, PATIENCE).await;
    let missed = missed_since(fault, talkers).await;
    let mut figures = Figures::of("a relay is drained");
    figures.within("gap in voice", missed.gap, HIDDEN, HIDDEN_LOOSE);
    world.relays_are_empty().await;
    world.end().await;
    figures.judge();
}
