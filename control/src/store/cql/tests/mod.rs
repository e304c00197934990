//! The store against a real database.

mod crashes;
mod fleet;
mod homes;
mod late;
mod latencies;
mod pages;
mod secured;
pub(crate) mod server;
mod sweeps;

use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_testdb::{self as testdb, Node};
use scylla::statement::Consistency;

use self::server::{config_of, open, with_store, with_stores};
use super::db::Kind;
use super::faults::Fault;
use super::*;
use crate::store::batch::join_all;
use crate::store::conformance::{self, NOW, email_of, some_account, some_conference, some_session};

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_the_suite_of_all_stores() {
    with_store(async |store| conformance::run(Arc::new(store)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_nodes_may_create_the_tables_at_once() {
    let Some(config) = server::config() else {
        return;
    };
    let opens: Vec<_> = (0..3)
        .map(|_| {
            let config = config.clone();
            tokio::spawn(async move { CqlStore::open(&config).await.map(drop) })
        })
        .collect();
    for open in opens {
        assert_eq!(open.await.expect("it ends"), Ok(()));
    }
    let store = open(&config).await;
    // A newer program's tables are left alone.
    let newer = format!(
        "UPDATE {}.schema_version SET version = 99 WHERE key = 0 IF version = 1",
        config.address.keyspace
    );
    store
        .core
        .db
        .session
        .query_unpaged(newer, ())
        .await
        .expect("it is written");
    let error = CqlStore::open(&config).await.err().expect("it is refused");
    assert!(error.to_string().contains("newer program"), "{error}");
    server::drop_keyspace(&store, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_expire_in_the_database() {
    with_store(async |store| {
        let account = some_account();
        assert_eq!(store.create_account(account.clone()).await, Ok(()));
        let short = some_session(&account, NOW.after(Duration::from_secs(1)));
        let long = some_session(&account, NOW.after(Duration::from_secs(1)));
        for session in [&short, &long] {
            assert_eq!(store.create_session(session.clone()).await, Ok(()));
        }
        // A rotation extends the life of the row and of its entry in the list.
        let rotation = Rotation {
            secret_hash: [1; 16],
            rotated: NOW,
            expires: NOW.after(Duration::from_secs(60)),
        };
        assert_eq!(store.rotate_session(long.id, 0, rotation).await, Ok(()));
        assert_eq!(store.mark_used(long.id, 1).await, Ok(()));
        assert_eq!(
            store
                .sessions_of(account.id, NOW)
                .await
                .map(|found| found.len()),
            Ok(2)
        );
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(store.session(short.id, NOW).await, Ok(None));
        assert_eq!(store.end_session(account.id, short.id).await, Ok(false));
        let left = store
            .sessions_of(account.id, NOW)
            .await
            .expect("it answers");
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].id, left[0].used), (long.id, true));
    })
    .await;
}

/// Lost requests and answers do not change the result of an operation.
#[tokio::test(flavor = "multi_thread")]
async fn lost_requests_and_answers_are_settled() {
    with_store(async |store| {
        for fault in [Fault::LostRequest, Fault::LostAnswer] {
            let mut fired = 0;
            for statement in 0.. {
                let account = some_account();
                let conference = some_conference(&account);
                assert_eq!(store.create_account(account.clone()).await, Ok(()));
                store.faults().arm(fault, statement);
                let written = [
                    store.write_home(conference.id, None, owned(1)).await,
                    store
                        .write_home(conference.id, Some(owned(1)), owned(2))
                        .await,
                ];
                let found = store.home(conference.id).await;
                if !store.faults().disarm() {
                    break;
                }
                fired += 1;
                // A read that is lost is told; a conditional write never is.
                assert_eq!(written, [Ok(()), Ok(())]);
                assert!(found.is_err() || found == Ok(Some(owned(2))), "{found:?}");
                assert_eq!(store.home(conference.id).await, Ok(Some(owned(2))));
                store.faults().arm(fault, statement);
                let created = store.create_conference(conference.clone()).await;
                store.faults().disarm();
                if created.is_err() {
                    assert_eq!(store.create_conference(conference.clone()).await, Ok(()));
                }
                assert_eq!(store.conference(conference.id).await, Ok(Some(conference)));
            }
            assert!(fired >= 3, "{fired} statements");
        }
    })
    .await;
}

/// A home in that era; always of the same owner.
fn owned(era: u64) -> HomeRecord {
    let name = "one".parse().expect("a name");
    let owner = NodeRun {
        name,
        incarnation: 7,
    };
    HomeRecord {
        era,
        owner: Some(owner),
        place: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once() {
    with_store(async |store| {
        let all = u32::try_from(db::OPERATIONS).expect("it is small");
        let (operations, statements) = store.core.db.limits();
        let places = operations.try_acquire_many(all);
        let account = some_account();
        assert_eq!(store.account(account.id).await, Err(StoreError::Busy));
        assert_eq!(
            store.create_account(account.clone()).await,
            Err(StoreError::Busy)
        );
        drop(places);
        // An operation that gets no turn for its statement fails within the timeout of a request.
        let all = u32::try_from(db::STATEMENTS).expect("it is small");
        let turns = statements.try_acquire_many(all);
        let since = Instant::now();
        assert_eq!(store.account(account.id).await, Err(StoreError::Busy));
        assert!(since.elapsed() < Duration::from_secs(5));
        drop(turns);
        assert_eq!(store.create_account(account).await, Ok(()));
    })
    .await;
}

/// The driver repeats idempotent statements only, and sends only reads and urgent writes to two nodes.
#[tokio::test(flavor = "multi_thread")]
async fn the_kind_of_a_statement_decides_how_it_is_sent() {
    with_store(async |store| {
        let db = &store.core.db;
        for (kind, is_idempotent, may_be_two) in [
            (Kind::Read, true, true),
            (Kind::SerialRead, true, false),
            (Kind::Write, true, false),
            (Kind::UrgentWrite, true, true),
            (Kind::Conditional, false, false),
        ] {
            let cql = "SELECT key FROM system.local WHERE key = ?";
            let statement = db.prepare(cql, kind).await.expect("it is prepared");
            assert_eq!(statement.get_is_idempotent(), is_idempotent, "{kind:?}");
            let is_speculative = statement.get_execution_profile_handle().is_some();
            assert_eq!(is_speculative, may_be_two, "{kind:?}");
            let serial = (kind == Kind::SerialRead).then_some(Consistency::Serial);
            assert_eq!(statement.get_consistency(), serial, "{kind:?}");
        }
    })
    .await;
}

/// With one database node, a restart makes the whole database unavailable for a while.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_reconnects_when_the_database_is_back() {
    let Some(node) = testdb::or_skip(Node::start_new()) else {
        return;
    };
    let config = config_of(&node.address());
    let store = open(&config).await;
    let account = some_account();
    assert_eq!(store.create_account(account.clone()).await, Ok(()));
    node.stop().expect("it stops");
    let failed = store.account(account.id).await;
    assert!(
        matches!(failed, Err(StoreError::Unavailable(_))),
        "{failed:?}"
    );
    let failed = store.create_account(some_account()).await;
    assert!(
        matches!(failed, Err(StoreError::Unavailable(_))),
        "{failed:?}"
    );
    node.start().expect("it starts");
    let since = Instant::now();
    loop {
        match store.account(account.id).await {
            Ok(found) => {
                assert_eq!(found, Some(account), "acknowledged writes are there");
                break;
            }
            Err(error) => assert!(since.elapsed() < Duration::from_secs(40), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("back after {:?}", since.elapsed());
    assert_eq!(store.create_account(some_account()).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_names_a_database_that_cannot_be_used() {
    // Nobody listens there.
    let nowhere = config_of("127.0.0.1:9");
    let since = Instant::now();
    let error = CqlStore::open(&nowhere).await.err().expect("it fails");
    assert!(since.elapsed() < Duration::from_secs(15));
    assert!(error.to_string().contains("127.0.0.1:9"), "{error}");
    assert!(error.to_string().contains("--store"), "{error}");

    let Some(config) = server::config() else {
        return;
    };
    let replicas = CqlConfig {
        replication: 3,
        ..config.clone()
    };
    let error = CqlStore::open(&replicas).await.err().expect("it fails");
    assert!(
        error.to_string().contains("--store-replication 1"),
        "{error}"
    );
    let elsewhere = CqlConfig {
        datacenter: Some("nowhere".to_owned()),
        ..config
    };
    let error = CqlStore::open(&elsewhere).await.err().expect("it fails");
    assert!(error.to_string().contains("--store-datacenter"), "{error}");
}

/// An account is deleted while it signs in, is invited, and creates a conference: nothing of it stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_and_a_concurrent_creation_notice_each_other() {
    with_store(async |store| {
        let owner = some_account();
        assert_eq!(store.create_account(owner.clone()).await, Ok(()));
        let conference = some_conference(&owner);
        assert_eq!(store.create_conference(conference.clone()).await, Ok(()));
        for turn in 0..20 {
            let account = some_account();
            assert_eq!(store.create_account(account.clone()).await, Ok(()));
            let session = some_session(&account, NOW.after(Duration::from_secs(3600)));
            let own = some_conference(&account);
            let standing = Standing {
                revision: 0,
                role: confab_protocol::control::room::Role::Member,
                muted: false,
                since: NOW,
            };
            let (signed_in, added, opened, deleted) = tokio::join!(
                store.create_session(session.clone()),
                store.add_member(conference.id, account.id, standing),
                store.create_conference(own.clone()),
                async {
                    tokio::time::sleep(Duration::from_millis(turn % 10)).await;
                    store.delete_account(account.id, NOW).await
                },
            );
            let exists = store
                .account(account.id)
                .await
                .expect("it answers")
                .is_some();
            let session = store.session(session.id, NOW).await.expect("it answers");
            let member = store
                .member(conference.id, account.id)
                .await
                .expect("it answers");
            let own = store.conference(own.id).await.expect("it answers");
            match deleted {
                Ok(()) => {
                    assert!(!exists && session.is_none() && member.is_none() && own.is_none());
                }
                Err(StoreError::Conflict) => {
                    // It owns a conference, or was creating one. Acknowledged writes are there.
                    assert!(exists);
                    assert_eq!(session.is_some(), signed_in.is_ok());
                    assert_eq!(member.is_some(), added.is_ok());
                    assert_eq!(own.is_some(), opened.is_ok());
                }
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
}
