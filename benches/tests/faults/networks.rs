//! A client's network changes, fails for a while, or its computer sleeps.

use std::time::Duration;

use confab_benches::wire::Scope;
use tokio::time::sleep;

use super::figures::{Figures, strict};
use super::talkers::{Moment, Talker, leave, talking, worst_missed};
use super::world::{Plan, World};

const NAMES: [&str; 2] = ["ann", "ben"];
/// Somebody hears again within this time of having a network.
const HEARS_AGAIN: Duration = Duration::from_secs(1);
const HEARS_AGAIN_LOOSE: Duration = Duration::from_secs(8);

/// Ann and ben in a room, behind wires.
async fn room() -> (World, [Talker; 2]) {
    let mut plan = Plan {
        wires: true,
        ..Plan::default()
    };
    if !strict() {
        // So that a sleep need not be that long.
        plan.relay_flags = vec!["--idle-timeout".to_owned(), "20s".to_owned()];
    }
    let world = World::start(plan).await;
    world.register(0, &NAMES).await;
    world.ok(0, "ann", &["conference", "create", "room"]).await;
    let talkers = talking(&world, 0, "room", &NAMES).await;
    let Ok(talkers) = talkers.try_into() else {
        panic!("two")
    };
    (world, talkers)
}

/// Both hear each other again; how long after `since` the later one did.
async fn both_hear(ann: &mut Talker, ben: &mut Talker, since: Moment) -> Duration {
    let ann_hears = ann.hears_again_after("ben", since).await;
    let ben_hears = ben.hears_again_after("ann", since).await;
    ann_hears.max(ben_hears)
}

async fn end(world: World, mut talkers: [Talker; 2]) {
    leave(&mut talkers).await;
    world.relays_are_empty().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_from_another_address() {
    let (world, [mut ann, mut ben]) = room().await;
    let ann_is = Scope::Process(ann.call.id().unwrap());
    let fault = Moment::now();
    for wire in [&world.relays[0].wire, &world.nodes[0].wire] {
        wire.as_ref().unwrap().rebind(ann_is);
    }
    sleep(Duration::from_secs(4)).await;
    both_hear(&mut ann, &mut ben, Moment::now()).await;
    let until = Moment::now();
    let mut talkers = [ann, ben];
    leave(&mut talkers).await;
    let missed = worst_missed(&mut talkers, fault, until);
    let mut figures = Figures::of("a client's address changes");
    figures.within("gap in voice", missed.gap, HEARS_AGAIN, HEARS_AGAIN_LOOSE);
    world.relays_are_empty().await;
    world.end().await;
    figures.judge();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_after_ten_seconds_without_a_network() {
    let (world, [mut ann, mut ben]) = room().await;
    let ann_is = Scope::Process(ann.call.id().unwrap());
    let wires = [&world.relays[0].wire, &world.nodes[0].wire];
    for wire in wires {
        wire.as_ref().unwrap().cut(ann_is);
    }
    sleep(Duration::from_secs(10)).await;
    let mended = Moment::now();
    for wire in wires {
        wire.as_ref().unwrap().mend(ann_is);
    }
    let heard = both_hear(&mut ann, &mut ben, mended).await;
    let mut figures = Figures::of("a client's network fails for 10 s");
    figures.within("both hear again", heard, HEARS_AGAIN, HEARS_AGAIN_LOOSE);
    // The connection to control, which may have been lost as well, is there again or still.
    world
        .ok(0, "ann", &["conference", "mute", "room", "ben"])
        .await;
    let is_muted = |event: &serde_json::Value| event["username"] == "ben" && event["muted"] == true;
    let told = ann.call.wait_until("participant_changed", is_muted);
    told.await.unwrap();
    end(world, [ann, ben]).await;
    figures.judge();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_slept_comes_back_by_itself() {
    let (world, [mut ann, mut ben]) = room().await;
    // Longer than the relay keeps a session of which nothing is heard.
    let sleeping = Duration::from_secs(if strict() { 300 } else { 26 });
    ann.call.stall();
    let lost = |event: &serde_json::Value| event["username"] == "ann";
    let told = ben.call.wait_within(sleeping, "participant_left", lost);
    let told = tokio::join!(told, sleep(sleeping)).0;
    assert_eq!(told.unwrap()["reason"], "lost");
    let woke = Moment::now();
    ann.call.wake();
    let heard = both_hear(&mut ann, &mut ben, woke).await;
    let mut figures = Figures::of("a client sleeps");
    figures.within("both hear again", heard, HEARS_AGAIN, HEARS_AGAIN_LOOSE);
    end(world, [ann, ben]).await;
    figures.judge();
}
