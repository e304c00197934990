//! The store that control nodes share is away for a while.

use std::time::Duration;

use confab_benches::fleet::{Call, Ended, FleetError};
use tokio::time::{Instant, sleep, sleep_until};

use super::common::PASSWORD;
use super::database::Database;
use super::figures::{Figures, HIDDEN, say, strict};
use super::talkers::{Moment, everyone_hears_everyone, join, leave, talking, worst_missed};
use super::world::{PATIENCE, Plan, World};

const NAMES: [&str; 2] = ["ann", "ben"];
/// Exit code of the client for a server that is busy.
const BUSY: i32 = 6;
/// Nobody is kept waiting for longer by a server whose store is away.
const ANSWER: Duration = Duration::from_secs(16);
const ANSWER_LOOSE: Duration = Duration::from_secs(40);
/// Joins to live rooms, and what comes back by itself: longer is not as usual.
const SOON: Duration = Duration::from_secs(5);
const SOON_LOOSE: Duration = Duration::from_secs(40);

/// How the store goes away, and comes back.
enum Outage {
    /// As if the power had failed.
    Down,
    /// It takes requests and answers none.
    Hang,
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_joins_go_on_while_the_store_is_down() {
    outage(&Outage::Down).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-faults"]
async fn calls_and_joins_go_on_while_the_store_hangs() {
    outage(&Outage::Hang).await;
}

async fn outage(how: &Outage) {
    let Some(database) = Database::own() else {
        return;
    };
    let away = Duration::from_secs(if strict() { 60 } else { 12 });
    let plan = Plan {
        nodes: 2,
        store: Some(database.keyspace()),
        ..Plan::default()
    };
    let world = World::start(plan).await;
    world.register(0, &NAMES).await;
    world.register(0, &["cem", "dia"]).await;
    world.log_in(1, "ann").await;
    world.ok(0, "ann", &["conference", "create", "room"]).await;
    let mut talkers = talking(&world, 0, "room", &NAMES).await;
    // Has been here, and is signed in; will come again.
    let people = world.people(0);
    let mut cem = join(&world, &people, "room", "cem", 2).await;
    cem.call.leave().await.unwrap();
    sleep(Duration::from_secs(2)).await;

    let fault = Moment::now();
    tokio::task::block_in_place(|| match how {
        Outage::Down => database.stop(),
        Outage::Hang => database.freeze(),
    });
    sleep(Duration::from_secs(2)).await;
    let joining = Instant::now();
    let (came, refused) = tokio::join!(
        async { (join_or_not(&world, "cem").await, joining.elapsed()) },
        try_to_log_in(&world, "dia"),
    );
    let (came, joined_after) = came;
    sleep_until(fault.at + away).await;
    everyone_hears_everyone(&mut talkers, PATIENCE).await;
    let back = Instant::now();
    tokio::task::block_in_place(|| match how {
        Outage::Down => database.restart(),
        Outage::Hang => database.thaw(),
    });
    let restarted = Instant::now();
    say(&format!("the store was back after {:?}", restarted - back));
    world
        .ok_at_last(0, "ann", &["conference", "create", "other"])
        .await;
    let recovered = restarted.elapsed();
    world
        .ok_at_last(1, "ann", &["conference", "info", "room"])
        .await;
    world.log_in(1, "dia").await;
    everyone_hears_everyone(&mut talkers, PATIENCE).await;
    let end = Moment::now();
    leave(&mut talkers).await;

    let missed = worst_missed(&mut talkers, fault, end);
    let mut figures = Figures::of("the store is away");
    let loose = Duration::from_millis(500);
    figures.within("gap in voice", missed.gap, HIDDEN, loose);
    let (ended, time) = refused;
    say(&format!("a login meanwhile got {ended:?}"));
    figures.within("a login is answered", time, ANSWER, ANSWER_LOOSE);
    let is_put_off = ended.code == Some(BUSY) && ended.stderr.contains("try again");
    figures.holds("a login is told to try again", is_put_off);
    figures.within("it is written again", recovered, SOON, SOON_LOOSE);
    match came {
        Ok(mut call) => {
            figures.within("a join to a live room", joined_after, SOON, SOON_LOOSE);
            call.leave().await.unwrap();
        }
        Err(error) => {
            say(&format!(
                "a join to a live room got {error} after {joined_after:?}"
            ));
            figures.holds("somebody signed in comes into a live room", false);
        }
    }
    world.relays_are_empty().await;
    world.end().await;
    figures.judge();
}

/// A join by the first node; the error when it is refused.
async fn join_or_not(world: &World, name: &str) -> Result<Call, FleetError> {
    let args = ["room", "--in", "none", "--out", "none"];
    let mut call = world.people(0).join(name, &args)?;
    call.wait_for("joined").await?;
    Ok(call)
}

/// A login by a password; how it ended, and after what time.
async fn try_to_log_in(world: &World, name: &str) -> (Ended, Duration) {
    let began = Instant::now();
    let people = world.people(0);
    let args = ["login", name];
    let ended = people.try_client(name, &args, Some(PASSWORD)).await;
    (ended.unwrap(), began.elapsed())
}
