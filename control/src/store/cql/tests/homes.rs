//! Homes and nodes, beyond the suite of all stores.

use confab_protocol::cluster::BootId;

use super::crashes::{Repair, crash_everywhere};
use super::*;
use crate::store::HomePlace;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_home_is_claimed_and_placed_is_repaired() {
    let place = || HomePlace {
        relay: "berlin-1".parse().expect("a name"),
        boot: BootId([3; 16]),
        placement: 1,
    };
    let claim = async |store: &CqlStore, conference, run: &NodeRun| {
        let old: Option<HomeRecord> = store.home(conference).await?;
        let new = HomeRecord {
            era: old.as_ref().map_or(0, |old| old.era) + 1,
            owner: Some(run.clone()),
            place: None,
        };
        let written = store.write_home(conference, old, new.clone()).await;
        written.map(|()| new)
    };
    with_store(async |store| {
        crash_everywhere(
            &store,
            async || {
                let conference = ConferenceId::new(crate::random::bytes());
                (conference, NodeRun::new("one".parse().expect("a name")))
            },
            async |(conference, run)| {
                let home = claim(&store, conference, &run).await?;
                let placed = HomeRecord {
                    place: Some(place()),
                    ..home.clone()
                };
                store.write_home(conference, Some(home), placed).await
            },
            async |(conference, run), repair, outcome| {
                if repair == Repair::Repeat {
                    assert_eq!(outcome, Ok(()));
                }
                let found = store.home(conference).await.expect("it answers");
                if outcome.is_ok() {
                    let found = found.clone().expect("it was acknowledged");
                    assert_eq!(
                        (found.owner, found.place),
                        (Some(run.clone()), Some(place()))
                    );
                }
                // Another one takes it in an era of its own, and what the first one still wants to write is refused.
                let next = NodeRun::new("two".parse().expect("a name"));
                let taken = claim(&store, conference, &next).await.expect("it is taken");
                assert_eq!(taken.era, found.as_ref().map_or(0, |found| found.era) + 1);
                let late = HomeRecord {
                    era: taken.era,
                    owner: Some(run),
                    place: None,
                };
                let late = store.write_home(conference, found, late).await;
                assert_eq!(late, Err(StoreError::Conflict));
                assert_eq!(store.home(conference).await, Ok(Some(taken)));
            },
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_forgotten_after_a_day() {
    const DAY: i32 = 24 * 60 * 60;
    let Some(config) = server::config() else {
        return;
    };
    let store = open(&config).await;
    let node = NodeRecord {
        run: NodeRun::new("one".parse().expect("a name")),
        counter: 1,
        cluster: "10.0.0.1:4433".to_owned(),
        public: Vec::new(),
    };
    assert_eq!(store.beat(node).await, Ok(()));
    let look = format!(
        "SELECT TTL(incarnation) FROM {}.nodes WHERE bucket = 0",
        config.address.keyspace
    );
    let answer = store.core.db.session.query_unpaged(look, ()).await;
    let rows = answer.expect("it answers").into_rows_result();
    let (left,) = rows.expect("rows").first_row::<(i32,)>().expect("a row");
    assert!(left <= DAY && left > DAY - 60, "{left} s");
    server::drop_keyspace(&store, &config).await;
}
