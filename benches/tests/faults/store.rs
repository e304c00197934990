//! The store that control nodes share is away for a while.

use std::time::Duration;

use confab_benches::fleet::{Call, Ended, FleetError};
use confab_testdb::{self as testdb, Node};
use tokio::time::{Instant, sleep, sleep_until};

use super::common::PASSWORD;
use super::figures::{Figures, HIDDEN, HIDDEN_LOOSE, print, strict};
use super::talkers::{Moment, everyone_hears_everyone, join, leave, talking, worst_missed};
use super::world::{PATIENCE, Plan, World};

const NAMES: [&str; 2] = ["ann", "ben"];
/// Exit code of the client for a server that is busy.
const BUSY: i32 = 6;
/// Nobody is kept waiting for longer by a server whose store is away.
const ANSWER: Duration = Duration::from_secs(16);
const ANSWER_LOOSE: Duration = Duration::from_secs(40);
/// Joins to live rooms: longer is not as usual.
const SOON: Duration = Duration::from_secs(5);
/// A relay was started again and has to be linked first.
const COMMANDED: Duration = Duration::from_secs(10);
/// The driver looks for a database that is gone each 11.5 s at least, and starts itself in a moment.
const WRITTEN_AGAIN: Duration = Duration::from_secs(13);
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
    let Some(database) = testdb::or_skip(Node::start_new()) else {
        return;
    };
    let away = Duration::from_secs(if strict() { 60 } else { 12 });
    let plan = Plan {
        nodes: 2,
        store: Some(testdb::fresh_keyspace(&database.address())),
        ..Plan::default()
    };
    let mut world = World::start(plan).await;
    world.register(0, &NAMES).await;
    world.register(0, &["cem", "dia"]).await;
    world.log_in(1, "ann").await;
    world.ok(0, "ann", &["conference", "create", "room"]).await;
    let mut talkers = talking(&world, 0, "room", &NAMES).await;
    // Has been here, and is signed in; will come again.
    let users = world.users(0);
    let mut cem = join(&world, &users, "room", "cem", 2).await;
    cem.call.leave().await.unwrap();
    sleep(Duration::from_secs(2)).await;

    let mut figures = Figures::of("the store is away");
    let fault = Moment::now();
    tokio::task::block_in_place(|| match how {
        Outage::Down => database.stop().unwrap(),
        Outage::Hang => database.freeze().unwrap(),
    });
    sleep(Duration::from_secs(2)).await;
    let came = requests(&world, &mut figures).await;
    sleep_until(fault.at + away).await;
    let calm = Moment::now();
    // The owner has to open every session anew, and it does.
    world.relays[0].kill().await;
    world.start_relay(0).await;
    let again = everyone_hears_everyone(&mut talkers, PATIENCE).await;
    let what = "the owner commands a relay that was started again";
    figures.within(what, again, COMMANDED, SOON_LOOSE);

    let heard = Moment::now();
    tokio::task::block_in_place(|| match how {
        Outage::Down => database.start().unwrap(),
        Outage::Hang => database.thaw().unwrap(),
    });
    let back = Instant::now();
    let create = ["conference", "create", "other"];
    world.ok_at_last(0, "ann", &create).await;
    figures.within(
        "it is written again",
        back.elapsed(),
        WRITTEN_AGAIN,
        SOON_LOOSE,
    );
    let info = ["conference", "info", "room"];
    world.ok_at_last(1, "ann", &info).await;
    world.log_in(1, "dia").await;
    everyone_hears_everyone(&mut talkers, PATIENCE).await;
    let end = Moment::now();
    leave(&mut talkers).await;
    for (what, from, to) in [
        ("while it is away", fault, calm),
        ("when it is back", heard, end),
    ] {
        let missed = worst_missed(&mut talkers, from, to);
        figures.within(
            &format!("gap in voice {what}"),
            missed.gap,
            HIDDEN,
            HIDDEN_LOOSE,
        );
    }
    if let Some(mut call) = came {
        call.leave().await.unwrap();
    }
    world.relays_are_empty().await;
    world.end().await;
    figures.judge();
}

/// What is asked of a node whose store is away; gives the call of whoever could join.
async fn requests(world: &World, figures: &mut Figures) -> Option<Call> {
    let (came, refused, muted) = tokio::join!(
        timed(join_or_not(world, "cem")),
        timed(tell(world, "dia", &["login", "dia"])),
        timed(tell(world, "ann", &["conference", "mute", "room", "cem"])),
    );
    for (what, (ended, time)) in [("a login", &refused), ("a mute", &muted)] {
        print(&format!("{what} meanwhile got {ended:?}"));
        figures.within(&format!("{what} is answered"), *time, ANSWER, ANSWER_LOOSE);
    }
    let (ended, _) = refused;
    let is_put_off = ended.code == Some(BUSY) && ended.stderr.contains("try again");
    figures.holds("a login is told to try again", is_put_off);
    let (came, time) = came;
    match &came {
        Ok(_) => figures.within("a join to a live room", time, SOON, SOON_LOOSE),
        Err(error) => print(&format!("a join to a live room got {error} after {time:?}")),
    }
    figures.holds("somebody signed in comes into a live room", came.is_ok());
    came.ok()
}

/// How it went, and how long it took.
async fn timed<T>(what: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    (what.await, began.elapsed())
}

/// A join by the first node; the error when it is refused.
async fn join_or_not(world: &World, name: &str) -> Result<Call, FleetError> {
    let args = ["room", "--in", "none", "--out", "none"];
    let mut call = world.users(0).join(name, &args)?;
    call.wait_for("joined").await?;
    Ok(call)
}

/// A command of the client by the first node; how it ended.
async fn tell(world: &World, name: &str, args: &[&str]) -> Ended {
    let users = world.users(0);
    users.try_client(name, args, Some(PASSWORD)).await.unwrap()
}
