//! The store in a file: the suite of all stores, a restart, and the size of a user.

use std::sync::Arc;

use crate::store::AccountKind;
use confab_protocol::control::room::Role;

use super::*;

#[tokio::test]
async fn it_passes_the_suite_of_all_stores() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("store")).unwrap();
    crate::store::conformance::run(Arc::new(store)).await;
}

#[tokio::test]
async fn acknowledged_writes_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let conference = ConferenceId::new([1; 16]);
    let mut old = None;
    for era in 1..=3 {
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(store.home(conference).await, Ok(old.clone()));
        let new = HomeRecord {
            era,
            owner: Some(NodeRun::new("local".parse().unwrap())),
            place: None,
        };
        let written = store.write_home(conference, old, new.clone()).await;
        assert_eq!(written, Ok(()));
        old = Some(new);
    }
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    drop(SqliteStore::open(&path).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    let opened = SqliteStore::open(&path).map(drop);
    assert_eq!(opened, Err(OpenError::Newer(path)));
    let version = db.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0));
    assert_eq!(version, Ok(99));
}

/// A user is an account with a session and a membership.
#[tokio::test]
async fn a_user_takes_428_bytes_at_most() {
    const USERS: u64 = 10_000;
    const CONFERENCES: u64 = 500;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = SqliteStore::open(&path).unwrap();
    let now = UnixMillis(1_790_000_000_000);
    let standing = Standing {
        revision: 0,
        role: Role::Member,
        muted: false,
        since: now,
    };
    let conference = |number: u64| {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        ConferenceId::new(id)
    };
    let mut size_before = 0;
    for number in 0..USERS {
        let now = UnixMillis(now.0 + number);
        let id = AccountId::new(crate::random::time_ordered_id(now));
        let hex = data_encoding::HEXLOWER.encode(&id.as_bytes()[11..]);
        let mut password = [1; 60];
        crate::random::fill(&mut password[12..]);
        let account = AccountRecord {
            id,
            email: Some(format!("{hex}@mail.example").parse().unwrap()),
            birthday: Some("1990-01-31".parse().unwrap()),
            ..AccountRecord::new(
                AccountKind::Person,
                format!("{}{hex}", number % 7).parse().unwrap(),
                PasswordHash::from_bytes(&password).unwrap(),
                now,
            )
        };
        if number < CONFERENCES {
            let made = ConferenceRecord {
                id: conference(number),
                slug: format!("conference-{number}").parse().unwrap(),
                title: "A conference".parse().unwrap(),
                visibility: confab_protocol::control::room::Visibility::Public,
                owner: id,
                owner_name: account.username.clone(),
                created: now,
                region: None,
                revision: 0,
            };
            store.create_account(account).await.unwrap();
            store.create_conference(made).await.unwrap();
            size_before = size(&path);
            continue;
        }
        let session = SessionRecord {
            id: SessionId(crate::random::time_ordered_id(now)),
            account: id,
            generation: 0,
            secret_hash: crate::random::bytes(),
            used: true,
            device: "windows".parse().unwrap(),
            created: now,
            rotated: now,
            expires: now,
        };
        // Written in one batch, in this order.
        let writes = (
            store.create_account(account),
            store.create_session(session),
            store.add_member(conference(number * 7919 % CONFERENCES), id, standing),
        );
        writes.0.await.unwrap();
        writes.1.await.unwrap();
        writes.2.await.unwrap();
    }
    let bytes = (size(&path) - size_before) / (USERS - CONFERENCES);
    assert!(bytes <= 428, "{bytes} bytes");
}

/// Bytes of the pages in use, those in the log included.
fn size(path: &Path) -> u64 {
    let db = rusqlite::Connection::open(path).unwrap();
    let pragma = |name: &str| -> u64 {
        db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, u32>(0))
            .unwrap()
            .into()
    };
    (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
}

#[tokio::test]
async fn a_sweep_takes_as_many_steps_as_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("store")).unwrap();
    let now = UnixMillis(1_790_000_000_000);
    let account = AccountRecord {
        id: AccountId::new([1; 16]),
        email: Some("ann@example.org".parse().unwrap()),
        birthday: Some("1990-01-31".parse().unwrap()),
        ..AccountRecord::new(
            AccountKind::Person,
            "ann".parse().unwrap(),
            PasswordHash::from_bytes(&[1; 60]).unwrap(),
            now,
        )
    };
    store.create_account(account.clone()).await.unwrap();
    let count = u64::from(SWEEP_STEP) * 2 + 10;
    let mut writes = Vec::new();
    for number in 0..count {
        let session = SessionRecord {
            id: SessionId(crate::random::bytes()),
            account: account.id,
            generation: 0,
            secret_hash: [0; 16],
            used: true,
            device: "phone".parse().unwrap(),
            created: now,
            rotated: now,
            // Every second one has expired.
            expires: UnixMillis(now.0 + number % 2),
        };
        writes.push(store.create_session(session));
        if writes.len() == 500 {
            for write in writes.drain(..) {
                write.await.unwrap();
            }
        }
    }
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(store.sweep(now).await, Ok(count / 2));
    assert_eq!(
        store.sessions_of(account.id, now).await.unwrap().len() as u64,
        count / 2
    );
}
