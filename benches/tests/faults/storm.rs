//! Everyone's connection to control is lost, and everyone comes back at once.

use std::path::Path;
use std::time::{Duration, Instant};

use confab::net::sign_in::Access;
use confab::net::{Server, Trust};
use confab::store::Store;
use confab_benches::listeners::Listeners;
use confab_benches::wire::Scope;
use confab_protocol::control::Slug;

use super::figures::{Figures, print};
use super::world::{Plan, World};

/// Devices of one account that may be in a room.
const DEVICES: usize = 8;
/// Users in a room.
const ROOM: usize = 10;
/// Accounts that register at a time: each takes a core for a while.
const REGISTER_AT_ONCE: usize = 4;

const BACK: Duration = Duration::from_secs(10);
const BACK_LOOSE: Duration = Duration::from_secs(60);
/// More than that, against the first two storms, is growth.
const GROWTH: f64 = 1.25;
/// Bytes by which memory may differ by chance.
const CHANCE: u64 = 8 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_clients_are_back_together() {
    storm("100 clients come back at once", 100, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-faults"]
async fn a_thousand_clients_are_back_together_again_and_again() {
    storm("1000 clients come back at once", 1000, 4).await;
}

/// `clients` come back to a node that was started anew, then so many times to one that was out of reach.
async fn storm(row: &'static str, clients: usize, times: usize) {
    let plan = Plan {
        wires: true,
        control_flags: [
            // All of them come from one address.
            ["--max-strangers-per-address", "4096"],
            ["--handshake-burst", "4096"],
            ["--login-burst", "10000"],
            ["--max-conferences", "10000"],
        ]
        .concat()
        .iter()
        .map(ToString::to_string)
        .collect(),
        ..Plan::default()
    };
    let mut world = World::start(plan).await;
    let listeners = join(&world, clients).await;
    let mut figures = Figures::of(row);
    assert_eq!(listeners.in_their_rooms(), clients);

    let fault = Instant::now();
    world.nodes[0].process.take().unwrap().end().await.unwrap();
    world.start_node(0).await;
    let up = Instant::now();
    let back = listeners.all_back(fault, 2 * BACK_LOOSE).await.unwrap();
    let took = back.last.saturating_duration_since(up);
    figures.within("all are back after a restart", took, BACK, BACK_LOOSE);

    let mut highest = 0;
    for time in 1..=times {
        let wire = world.nodes[0].wire.as_ref().unwrap();
        let fault = Instant::now();
        wire.cut(Scope::Everyone);
        listeners.all_lost(fault, BACK_LOOSE).await.unwrap();
        wire.mend(Scope::Everyone);
        let mended = Instant::now();
        let back = listeners.all_back(fault, 2 * BACK_LOOSE).await.unwrap();
        let took = back.last.saturating_duration_since(mended);
        figures.within("all are back after an outage", took, BACK, BACK_LOOSE);
        let process = world.nodes[0].process.as_ref().unwrap();
        let (memory, most) = process.memory().unwrap();
        print(&format!(
            "memory after outage {time}: {memory} bytes, at most {most}"
        ));
        // How many lost connections there are beside the new ones differs between the first two.
        if time > 2 {
            let bound = (highest as f64 * GROWTH) as u64 + CHANCE;
            figures.holds("memory does not grow from storm to storm", most <= bound);
        } else {
            highest = highest.max(most);
        }
    }
    assert_eq!(listeners.in_their_rooms(), clients);
    listeners.leave().await;
    world.relays_are_empty().await;
    world.end().await;
    figures.judge();
}

/// So many clients, in rooms of ten, several of them devices of one account.
async fn join(world: &World, clients: usize) -> Listeners {
    let accounts: Vec<String> = (0..clients.div_ceil(DEVICES))
        .map(|account| format!("account{account}"))
        .collect();
    let began = Instant::now();
    for some in accounts.chunks(REGISTER_AT_ONCE) {
        let registering = some.iter().map(|name| {
            let (world, name) = (world.users(0), name.clone());
            tokio::spawn(async move { super::world::register(&world, &name).await })
        });
        for registered in registering.collect::<Vec<_>>() {
            registered.await.unwrap();
        }
    }
    for room in 0..clients.div_ceil(ROOM) {
        let slug = format!("room-{room}");
        world
            .ok(0, &accounts[0], &["conference", "create", &slug])
            .await;
    }
    print(&format!(
        "{clients} clients are prepared after {:?}",
        began.elapsed()
    ));
    let users = world.users(0);
    let trust = Trust::from_pem_file(&world.authority()).unwrap();
    let server: Server = users.server.parse().unwrap();
    let mut joins: Vec<(Access, Slug)> = Vec::new();
    for client in 0..clients {
        let account = &accounts[client / DEVICES];
        let home = users.home(&format!("{account}-{}", client % DEVICES));
        copy_session(&users.home(account), &home);
        let store = Store::open(Some(home)).await.unwrap();
        let access = Access::new(server.clone(), trust.clone(), store);
        let slug = format!("room-{}", client / ROOM).parse().unwrap();
        joins.push((access.await.unwrap(), slug));
    }
    let began = Instant::now();
    let listeners = Listeners::join(joins).await.unwrap();
    print(&format!(
        "{clients} clients are in after {:?}",
        began.elapsed()
    ));
    listeners
}

/// Another device with the same session: it has no turn to wait for the first one's.
fn copy_session(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::copy(from.join("sessions.json"), to.join("sessions.json")).unwrap();
}
