//! Three databases with three replicas of each row, of which one is killed and comes back, and one hangs for a while, under
//! the load of two control servers: `make test-fleet`.
//!
//! At the end nothing that was acknowledged is lost, and no name, slug or era has two owners.

mod checks;
mod ledger;
mod load;

use super::*;
use ledger::Ledger;

/// How long each phase lasts, at least.
const PHASE: Duration = Duration::from_secs(10);
/// Where some kind of operation has not been answered in a phase by then, the store has not recovered by itself.
const LONGEST_PHASE: Duration = Duration::from_secs(60);
/// Where the partitions of three nodes begin, so that each has a third.
const TOKENS: [i64; 3] = [i64::MIN, -3074457345618258603, 3074457345618258602];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes and three databases: make test-fleet"]
async fn what_is_acknowledged_outlives_a_node_of_the_database() {
    let Some(servers) = cluster() else { return };
    let nodes: Vec<_> = servers
        .iter()
        .map(|server| server.address.as_str())
        .collect();
    let config = CqlConfig {
        replication: 3,
        ..server::config_of(&nodes.join(","))
    };
    let one = open_patiently(&config).await;
    let other = open_patiently(&config).await;
    replicas_are_three(&one, &config).await;

    let ledger = Arc::new(Ledger::default());
    let load = load::start(&[one.clone(), other.clone()], &ledger).await;
    let phase = async |name: &'static str, change: &dyn Fn()| {
        ledger.begin(name);
        // It waits for a process.
        tokio::task::block_in_place(change);
        let since = Instant::now();
        while since.elapsed() < PHASE || !ledger.all_are_answered() {
            assert!(since.elapsed() < LONGEST_PHASE, "{}", ledger.told());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    // A database that has just started takes several times as long for everything.
    phase("all have just started", &|| {}).await;
    let [_, killed, hangs] = &servers;
    phase("all run", &|| {}).await;
    phase("one is killed", &|| killed.stop()).await;
    phase("it starts again", &|| killed.start()).await;
    phase("another hangs", &|| hangs.freeze()).await;
    phase("it goes on", &|| hangs.thaw()).await;
    load.stop().await;

    println!("{}", ledger.told());
    for store in [&one, &other] {
        checks::nothing_is_lost_or_owned_twice(store, &ledger).await;
    }
}

/// `None` where there can be none.
fn cluster() -> Option<[Server; 3]> {
    if let Err(reason) = Server::fetch() {
        server::missing(&reason);
        return None;
    }
    let addresses = TOKENS.map(|_| Server::free_address());
    let seeds = addresses.join(",");
    let mut addresses = addresses.into_iter();
    let servers = TOKENS.map(|token| {
        let address = addresses.next().expect("one for each");
        Server::prepare(address, seeds.clone(), &format!("initial_token: {token}\n"))
    });
    let since = Instant::now();
    std::thread::scope(|scope| {
        for server in &servers {
            scope.spawn(|| server.start());
        }
    });
    println!("three databases took {:?} to start", since.elapsed());
    Some(servers)
}

/// The nodes find one another some time after they have opened their ports.
async fn open_patiently(config: &CqlConfig) -> CqlStore {
    let since = Instant::now();
    loop {
        match CqlStore::open(config).await {
            Ok(store) => return store,
            Err(error) => assert!(since.elapsed() < Duration::from_secs(90), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn replicas_are_three(store: &CqlStore, config: &CqlConfig) {
    let look = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let name = (config.address.keyspace.as_str(),);
    let answer = store.core.db.session.query_unpaged(look, name).await;
    let rows = answer.expect("it answers").into_rows_result();
    let rows = rows.expect("rows");
    let (replication,) = rows
        .first_row::<(std::collections::HashMap<String, String>,)>()
        .expect("a row");
    assert!(replication["class"].ends_with("NetworkTopologyStrategy"));
    assert!(
        replication.values().any(|value| value == "3"),
        "{replication:?}"
    );
}
