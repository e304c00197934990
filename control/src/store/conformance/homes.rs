//! Homes, nodes and revoked identities.

use std::collections::BTreeMap;

use confab_protocol::cluster::BootId;

use super::*;
use crate::domain::Peer;
use crate::store::{HomePlace, HomeRecord, NodeRecord, NodeRun};

/// Attempts of a claimant after a conflict.
const TRIES: usize = 3;

pub(super) async fn run(store: &Arc<dyn Store>) {
    a_home_is_written_by_condition(store).await;
    a_home_outlives_its_conference(store).await;
    an_era_has_one_owner(store).await;
    one_of_many_claimants_gets_the_era(store).await;
    every_era_is_won_once(store).await;
    nodes_are_listed_with_their_last_heartbeat(store).await;
    a_newer_run_of_a_node_stays(store).await;
    the_latest_revocation_counts(store).await;
}

async fn a_home_is_written_by_condition(store: &Arc<dyn Store>) {
    let conference = ConferenceId::new(random::bytes());
    assert_eq!(store.home(conference).await, Ok(None));
    let (one, other) = (owned(1, &some_run()), owned(1, &some_run()));
    let write = async |old: &Option<HomeRecord>, new: &HomeRecord| {
        let (old, new) = (old.clone(), new.clone());
        store.write_home(conference, old, new).await
    };
    assert_eq!(write(&None, &one).await, Ok(()));
    assert_eq!(write(&None, &one).await, Ok(()), "it may be repeated");
    assert_eq!(write(&None, &other).await, Err(StoreError::Conflict));
    assert_eq!(store.home(conference).await, Ok(Some(one.clone())));
    let placed = HomeRecord {
        place: Some(HomePlace {
            relay: "berlin-1".parse().expect("a name"),
            boot: BootId(random::bytes()),
            placement: 7,
        }),
        ..one.clone()
    };
    let (one, placed_before) = (Some(one), Some(placed.clone()));
    assert_eq!(write(&one, &placed).await, Ok(()));
    assert_eq!(write(&one, &placed).await, Ok(()), "it may be repeated");
    let late = HomeRecord {
        owner: None,
        ..placed.clone()
    };
    assert_eq!(write(&one, &late).await, Err(StoreError::Conflict));
    assert_eq!(store.home(conference).await, Ok(placed_before.clone()));
    assert_eq!(write(&placed_before, &late).await, Ok(()));
    assert_eq!(store.home(conference).await, Ok(Some(late)));
}

async fn a_home_outlives_its_conference(store: &Arc<dyn Store>) {
    let owner = make_account(store).await;
    let conference = make_conference(store, &owner).await.id;
    let home = owned(1, &some_run());
    let written = store.write_home(conference, None, home.clone()).await;
    assert_eq!(written, Ok(()));
    assert_eq!(store.delete_conference(conference, NOW).await, Ok(()));
    assert_eq!(store.home(conference).await, Ok(Some(home)));
}

async fn an_era_has_one_owner(store: &Arc<dyn Store>) {
    let conference = ConferenceId::new(random::bytes());
    let run = some_run();
    let early = store.write_home(conference, None, owned(0, &run)).await;
    assert_eq!(early, Err(StoreError::BadEra), "eras begin at 1");
    let home = owned(5, &run);
    let written = store.write_home(conference, None, home.clone()).await;
    assert_eq!(written, Ok(()));
    for bad in [owned(5, &some_run()), owned(4, &run)] {
        let written = store.write_home(conference, Some(home.clone()), bad).await;
        assert_eq!(written, Err(StoreError::BadEra));
    }
    assert_eq!(store.home(conference).await, Ok(Some(home)));
}

/// All claim the same era at the same time.
async fn one_of_many_claimants_gets_the_era(store: &Arc<dyn Store>) {
    let conference = ConferenceId::new(random::bytes());
    let mut old = None;
    for era in 1..=3 {
        let claims: Vec<_> = (0..CLAIMANTS)
            .map(|_| {
                let (store, old, new) = (store.clone(), old.clone(), owned(era, &some_run()));
                let write =
                    async move { (new.clone(), store.write_home(conference, old, new).await) };
                tokio::spawn(write)
            })
            .collect();
        let mut winners = Vec::new();
        for claim in claims {
            match claim.await.expect("a claim ends") {
                (home, Ok(())) => winners.push(home),
                (_, Err(error)) => assert_eq!(error, StoreError::Conflict),
            }
        }
        assert_eq!(winners.len(), 1, "of era {era}");
        old = winners.pop();
        assert_eq!(store.home(conference).await, Ok(old.clone()));
    }
}

/// Each claims the era after the one that it reads, and tries again after a conflict.
async fn every_era_is_won_once(store: &Arc<dyn Store>) {
    let conference = ConferenceId::new(random::bytes());
    let claims: Vec<_> = (0..CLAIMANTS)
        .map(|_| {
            let (store, run) = (store.clone(), some_run());
            tokio::spawn(async move {
                for _ in 0..TRIES {
                    let old = store.home(conference).await.expect("the store answers");
                    let new = owned(old.as_ref().map_or(0, |old| old.era) + 1, &run);
                    match store.write_home(conference, old, new.clone()).await {
                        Ok(()) => return Some(new),
                        Err(error) => assert_eq!(error, StoreError::Conflict),
                    }
                }
                None
            })
        })
        .collect();
    let mut eras = BTreeMap::new();
    for claim in claims {
        if let Some(home) = claim.await.expect("a claim ends") {
            let twice = eras.insert(home.era, home);
            assert_eq!(twice, None, "an era was given twice");
        }
    }
    let last = eras.values().next_back().cloned();
    assert!(eras.keys().copied().eq(1..=eras.len() as u64), "{eras:?}");
    assert_eq!(store.home(conference).await, Ok(last));
}

async fn nodes_are_listed_with_their_last_heartbeat(store: &Arc<dyn Store>) {
    let (one, other) = (some_node(), some_node());
    for node in [&one, &other] {
        assert_eq!(store.beat(node.clone()).await, Ok(()));
        assert_eq!(heard(store, node).await, Some(node.clone()));
    }
    let later = NodeRecord {
        counter: one.counter + 1,
        public: Vec::new(),
        ..one.clone()
    };
    assert_eq!(store.beat(later.clone()).await, Ok(()));
    assert_eq!(heard(store, &one).await, Some(later));
    for _ in 0..2 {
        assert_eq!(store.forget_node(one.run.clone()).await, Ok(()));
        assert_eq!(heard(store, &one).await, None);
    }
    assert_eq!(heard(store, &other).await, Some(other.clone()));
    assert_eq!(store.beat(one.clone()).await, Ok(()), "it comes back");
    assert_eq!(heard(store, &one).await, Some(one));
}

async fn a_newer_run_of_a_node_stays(store: &Arc<dyn Store>) {
    let old = some_node();
    for _ in 0..20 {
        assert_eq!(store.beat(old.clone()).await, Ok(()));
        let new = NodeRecord {
            run: NodeRun::new(old.run.name.clone()),
            counter: 0,
            ..old.clone()
        };
        // At the same moment: whichever comes first.
        let (forgotten, beaten) =
            tokio::join!(store.forget_node(old.run.clone()), store.beat(new.clone()));
        assert_eq!((forgotten, beaten), (Ok(()), Ok(())));
        assert_eq!(heard(store, &old).await, Some(new.clone()));
        assert_eq!(store.forget_node(old.run.clone()).await, Ok(()));
        assert_eq!(heard(store, &old).await, Some(new.clone()));
        assert_eq!(store.forget_node(new.run).await, Ok(()));
        assert_eq!(heard(store, &old).await, None);
    }
}

async fn the_latest_revocation_counts(store: &Arc<dyn Store>) {
    let node = Peer::Node(some_run().name);
    let relay = Peer::Relay(some_run().name.as_str().parse().expect("a relay's name"));
    for peer in [node, relay] {
        the_latest_counts(store, peer).await;
    }
}

async fn the_latest_counts(store: &Arc<dyn Store>, name: Peer) {
    let until = async || {
        let listed = store.revoked().await.expect("the store answers");
        let mut of_it = listed.into_iter().filter(|(peer, _)| *peer == name);
        let found = of_it.next().map(|(_, until)| until);
        assert_eq!(of_it.next(), None, "a name is there twice");
        found
    };
    assert_eq!(until().await, None);
    let at = |millis| UnixMillis(NOW.0 + millis);
    for (revoked, counts) in [
        (at(5), at(5)),
        (at(5), at(5)),
        (at(3), at(5)),
        (at(9), at(9)),
    ] {
        assert_eq!(store.revoke(name.clone(), revoked).await, Ok(()));
        assert_eq!(until().await, Some(counts));
    }
}

/// The stored heartbeat of the node with this name.
async fn heard(store: &Arc<dyn Store>, node: &NodeRecord) -> Option<NodeRecord> {
    let nodes = store.nodes().await.expect("the store answers");
    let mut found = nodes
        .into_iter()
        .filter(|found| found.run.name == node.run.name);
    let first = found.next();
    assert_eq!(found.next(), None, "a name is there twice");
    first
}

fn owned(era: u64, run: &NodeRun) -> HomeRecord {
    HomeRecord {
        era,
        owner: Some(run.clone()),
        place: None,
    }
}

fn some_run() -> NodeRun {
    let name = data_encoding::HEXLOWER.encode(&random::bytes::<8>());
    NodeRun::new(name.parse().expect("16 hexadecimal digits are a name"))
}

fn some_node() -> NodeRecord {
    NodeRecord {
        run: some_run(),
        counter: 41,
        cluster: "10.0.0.1:4433".to_owned(),
        public: vec![
            "voice.example.org:443".to_owned(),
            "[2001:db8::1]:443".to_owned(),
        ],
    }
}
