//! Three database nodes with three replicas of each row, under the load of two control servers: `make test-fleet`. One node is killed and
//! restarted, and one hangs for a while.
//!
//! At the end no acknowledged write is lost, and no name, slug or era has two owners.

mod checks;
mod ledger;
mod load;

use confab_testdb::NoDatabase;

use super::*;
use ledger::Ledger;

/// The least duration of a phase.
const PHASE: Duration = Duration::from_secs(10);
/// The time within which each kind of operation must be answered in a phase: the store recovers by itself.
const LONGEST_PHASE: Duration = Duration::from_secs(60);
/// The first tokens of three nodes, so that each has a third of the partitions.
const TOKENS: [i64; 3] = [i64::MIN, -3074457345618258603, 3074457345618258602];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes and three databases: make test-fleet"]
async fn acknowledged_writes_survive_the_loss_of_a_database_node() {
    let Some(servers) = testdb::or_skip(cluster()) else {
        return;
    };
    let addresses = servers.each_ref().map(Node::address);
    let config = CqlConfig {
        replication: 3,
        ..config_of(&addresses.join(","))
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
    phase("one is killed", &|| killed.stop().expect("it stops")).await;
    phase("it starts again", &|| killed.start().expect("it starts")).await;
    phase("another hangs", &|| {
        hangs.freeze().expect("it stands still")
    })
    .await;
    phase("it goes on", &|| hangs.thaw().expect("it goes on")).await;
    load.stop().await;

    println!("{}", ledger.told());
    for store in [&one, &other] {
        checks::nothing_is_lost_or_owned_twice(store, &ledger).await;
    }
}

fn cluster() -> Result<[Node; 3], NoDatabase> {
    Node::fetch()?;
    let hosts = [Node::free_host()?, Node::free_host()?, Node::free_host()?];
    let seeds = hosts.join(",");
    let node = |at: usize| {
        let token = TOKENS[at];
        Node::prepare(&hosts[at], &seeds, &format!("initial_token: {token}\n"))
    };
    let nodes = [node(0)?, node(1)?, node(2)?];
    let since = Instant::now();
    std::thread::scope(|scope| {
        let starting = nodes.each_ref().map(|node| scope.spawn(|| node.start()));
        starting
            .into_iter()
            .try_for_each(|starting| starting.join().expect("it ends"))
    })?;
    println!("three databases took {:?} to start", since.elapsed());
    Ok(nodes)
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
