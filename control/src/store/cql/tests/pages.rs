//! Lists that are longer than the chunks in which the store reads them.

use confab_protocol::control::room::Role;

use super::*;
use crate::store::cql::journal::{self, Work};

/// More than two chunks of any list of an account.
const MANY: usize = 150;
/// Concurrent writes: writes to one partition wait for one another.
const AT_ONCE: usize = 6;

/// Runs `count` operations, a few at a time.
async fn many<T>(count: usize, work: impl AsyncFn() -> T) -> Vec<T> {
    let mut done = Vec::new();
    while done.len() < count {
        done.extend(join_all((0..AT_ONCE).map(|_| work())).await);
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_and_conferences_of_an_account_are_all_listed_and_all_deleted() {
    with_store(async |store| {
        let (account, owner) = (some_account(), some_account());
        for account in [&account, &owner] {
            assert_eq!(store.create_account(account.clone()).await, Ok(()));
        }
        let standing = Standing {
            revision: 0,
            role: Role::Member,
            muted: false,
            since: NOW,
        };
        let conferences = many(MANY, async || {
            let session = some_session(&account, NOW.after(Duration::from_secs(3600)));
            assert_eq!(store.create_session(session).await, Ok(()));
            let conference = some_conference(&owner);
            assert_eq!(store.create_conference(conference.clone()).await, Ok(()));
            let added = store.add_member(conference.id, account.id, standing).await;
            assert_eq!(added, Ok(()));
            conference.id
        })
        .await;
        let sessions = store.sessions_of(account.id, NOW).await;
        assert_eq!(sessions.map(|sessions| sessions.len()), Ok(MANY));
        assert_eq!(store.count_owned(owner.id).await, Ok(MANY as u64));
        assert_eq!(store.delete_account(account.id, NOW).await, Ok(()));
        let left = store.sessions_of(account.id, NOW).await;
        assert_eq!(left.map(|sessions| sessions.len()), Ok(0));
        let standings = conferences
            .iter()
            .map(|conference| store.member(*conference, account.id));
        for standing in join_all(standings).await {
            assert_eq!(standing, Ok(None));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_members_of_a_conference_are_all_listed_and_all_deleted() {
    with_store(async |store| {
        let owner = some_account();
        assert_eq!(store.create_account(owner.clone()).await, Ok(()));
        let conference = some_conference(&owner);
        assert_eq!(store.create_conference(conference.clone()).await, Ok(()));
        let standing = Standing {
            revision: 0,
            role: Role::Listener,
            muted: false,
            since: NOW,
        };
        // More in each bucket than are removed at a time.
        let members = many(2 * MANY, async || {
            let account = some_account();
            assert_eq!(store.create_account(account.clone()).await, Ok(()));
            let added = store.add_member(conference.id, account.id, standing).await;
            assert_eq!(added, Ok(()));
            account.id
        })
        .await;
        let count = members.len() as u64 + 1;
        assert_eq!(store.count_members(conference.id).await, Ok(count));
        let (mut seen, mut cursor) = (0, None);
        loop {
            let page = store.members(conference.id, cursor, 100).await;
            let page = page.expect("a page");
            seen += page.items.len() as u64;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, count);
        assert_eq!(store.delete_conference(conference.id, NOW).await, Ok(()));
        assert_eq!(store.count_members(conference.id).await, Ok(0));
        for member in members.into_iter().take(10) {
            let theirs = store.conferences_of(member, None, 10).await;
            assert_eq!(theirs.map(|page| page.items.len()), Ok(0));
        }
    })
    .await;
}

/// Deletions of accounts that do not exist: all in one partition of the journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_reads_the_whole_journal() {
    with_store(async |store| {
        let core = &store.core;
        let notes = 2 * journal::CHUNK + 10;
        let begun = (0..notes).map(|number| async move {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let work = Work::DeleteAccount(AccountId::new(id));
            core.journal.begin(&core.db, work, UnixMillis(0)).await
        });
        for note in join_all(begun).await {
            assert!(note.is_ok());
        }
        assert_eq!(store.sweep(NOW).await, Ok(notes as u64));
        assert_eq!(store.sweep(NOW).await, Ok(0));
    })
    .await;
}
