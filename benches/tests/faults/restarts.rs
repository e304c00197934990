//! Every process ends and starts again in a random order while people talk.

use std::time::Duration;

use confab_control::store::cql::CqlStore;
use confab_control::store::cql::config::CqlConfig;
use confab_control::store::sqlite::SqliteStore;
use confab_control::store::{HomeRecord, Store};
use confab_testdb as testdb;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

use super::figures::{Figures, print};
use super::talkers::{Talker, everyone_hears_everyone, leave, talking, try_join};
use super::world::{PATIENCE, Plan, World};

/// Fixes the order, when a failure is to be seen again. The short one always has the same, the long one its own each time.
const SEED: &str = "CONFAB_FAULTS_SEED";
/// Longest pause between two restarts, in milliseconds.
const PAUSE_MS: u64 = 3000;
/// After so many restarts there is a pause, until everyone hears everyone; and after the last.
const IN_A_ROW: u32 = 15;
/// Everyone hears everyone so long after a pause began. The table names no figure.
const WHOLE_AGAIN: Duration = Duration::from_secs(15);
const WHOLE_AGAIN_LOOSE: Duration = Duration::from_secs(60);
/// A room that everybody has left is let go by then.
const LET_GO: Duration = Duration::from_secs(5);

/// How many of everything.
struct Size {
    users: usize,
    time: Duration,
    plan: Plan,
    seed: u64,
}

/// What ends and starts again.
#[derive(Debug, Clone, Copy)]
enum Which {
    Node(usize),
    Relay(usize),
    Person(usize),
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_outlives_restarts_in_a_random_order() {
    let plan = Plan {
        relays: 2,
        ..Plan::default()
    };
    restarts(Size {
        users: 6,
        time: Duration::from_secs(30),
        plan,
        seed: 1,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-faults"]
async fn a_room_of_twenty_outlives_five_minutes_of_restarts() {
    let Some(database) = testdb::shared() else {
        return;
    };
    let plan = Plan {
        nodes: 3,
        relays: 3,
        store: Some(testdb::fresh_keyspace(&database.address)),
        ..Plan::default()
    };
    restarts(Size {
        users: 20,
        time: Duration::from_secs(300),
        plan,
        seed: rand::random(),
    })
    .await;
}

async fn restarts(size: Size) {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(size.seed);
    print(&format!("restarts in the order of {SEED}={seed}"));
    let mut random = SmallRng::seed_from_u64(seed);
    let mut figures = Figures::of("everything restarts");
    let mut world = World::start(size.plan.clone()).await;
    let names: Vec<String> = (0..size.users).map(|n| format!("person{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.register(0, &names).await;
    world.register(0, &["last"]).await;
    world
        .ok(0, names[0], &["conference", "create", "room"])
        .await;
    let mut talkers = talking(&world, 0, "room", &names).await;

    let began = Instant::now();
    let (mut count, mut worst) = (0, Duration::ZERO);
    while began.elapsed() < size.time {
        let which = match random.random_range(0..3) {
            0 => Which::Node(random.random_range(0..size.plan.nodes)),
            1 => Which::Relay(random.random_range(0..size.plan.relays)),
            _ => Which::Person(random.random_range(0..size.users)),
        };
        let in_order = random.random_bool(0.5);
        restart(&mut world, &mut talkers, which, in_order).await;
        count += 1;
        sleep(Duration::from_millis(random.random_range(0..PAUSE_MS))).await;
        if count % IN_A_ROW == 0 || began.elapsed() >= size.time {
            let whole = everyone_hears_everyone(&mut talkers, PATIENCE).await;
            print(&format!("    everyone hears everyone after {whole:.2?}"));
            worst = worst.max(whole);
        }
    }
    print(&format!("{count} restarts"));
    let what = "everyone hears everyone when it pauses";
    figures.within(what, worst, WHOLE_AGAIN, WHOLE_AGAIN_LOOSE);

    leave(&mut talkers).await;
    world.linked().await;
    let empty = world.relays_are_empty().await;
    print(&format!(
        "no session and no room was left over after {empty:?}"
    ));
    let users = world.users(0);
    let mut last = try_join(&world, &users, "room", "last", 0).await.unwrap();
    let joined = last.call.event("joined").unwrap();
    let is_alone = joined["participants"].as_array().is_some_and(Vec::is_empty);
    figures.holds("whoever comes then is alone", is_alone);
    last.call.leave().await.unwrap();
    sleep(LET_GO).await;
    let data = world.data_folder(0);
    world.end_servers().await;
    let home = home_of(size.plan.store.as_deref(), &data).await;
    let is_free = home.as_ref().is_none_or(|home| home.owner.is_none());
    print(&format!("the room's home is {home:?}"));
    figures.holds("no node keeps the room", is_free);
    figures.judge();
}

/// Ends one and starts it again.
async fn restart(world: &mut World, talkers: &mut [Talker], which: Which, in_order: bool) {
    print(&format!(
        "    {which:?} {}",
        if in_order { "ends" } else { "is killed" }
    ));
    let process = match which {
        Which::Node(at) => world.nodes[at].process.take(),
        Which::Relay(at) => world.relays[at].process.take(),
        Which::Person(_) => None,
    };
    match process {
        Some(process) if in_order => process.end().await.unwrap(),
        Some(process) => process.kill().await,
        None => {}
    }
    match which {
        Which::Node(at) => world.start_node(at).await,
        Which::Relay(at) => world.start_relay(at).await,
        Which::Person(at) => rejoin(world, talkers, at, in_order).await,
    }
}

/// Somebody goes and comes back.
async fn rejoin(world: &World, talkers: &mut [Talker], at: usize, in_order: bool) {
    let name = talkers[at].name.clone();
    let users = world.users(0);
    let began = Instant::now();
    match in_order {
        true => drop(talkers[at].call.leave().await.unwrap()),
        false => talkers[at].call.crash().await,
    }
    loop {
        match try_join(world, &users, "room", &name, at).await {
            Ok(talker) => {
                talkers[at] = talker;
                return;
            }
            Err(error) if began.elapsed() > PATIENCE => panic!("{name}: {error}"),
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Who owns the room, by what is stored.
async fn home_of(store: Option<&str>, data: &std::path::Path) -> Option<HomeRecord> {
    let store: Box<dyn Store> = match store {
        Some(address) => {
            let config = CqlConfig::local(address.parse().unwrap());
            Box::new(CqlStore::open(&config).await.unwrap())
        }
        None => Box::new(SqliteStore::open(&data.join("confab.sqlite")).unwrap()),
    };
    let room = store.conference_by_slug("room".parse().unwrap()).await;
    store.home(room.unwrap().unwrap().id).await.unwrap()
}
