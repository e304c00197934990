//! A sweep or a deletion by another node between any two statements of an operation, with and without a lost answer: acknowledged
//! writes stay, and a name never has two owners.

use super::*;
use crate::store::Name;

/// Late enough for a sweep to settle an operation that began at [`NOW`].
const LATER: UnixMillis = UnixMillis(NOW.0 + 60 * 60 * 1000);
/// Late enough for a sweep to delete its note.
const MUCH_LATER: UnixMillis = UnixMillis(NOW.0 + 24 * 60 * 60 * 1000);
const FAULTS: [Option<Fault>; 3] = [None, Some(Fault::LostRequest), Some(Fault::LostAnswer)];

/// Runs the operation, and `meanwhile` before its statement with this number. Returns the outcome, or `None` if the operation has fewer
/// statements.
async fn with_a_pause<T: Send + 'static>(
    store: &CqlStore,
    statement: usize,
    fault: Option<Fault>,
    operation: impl Future<Output = T> + Send + 'static,
    meanwhile: impl AsyncFnOnce(),
) -> Option<T> {
    let held = store.faults().hold(statement);
    if let Some(fault) = fault {
        store.faults().arm(fault, statement);
    }
    let mut running = tokio::spawn(operation);
    tokio::select! {
        biased;
        () = held.reached() => {}
        _ = &mut running => {
            store.faults().disarm();
            return None;
        }
    }
    meanwhile().await;
    held.release();
    let outcome = running.await.expect("it ends");
    store.faults().disarm();
    Some(outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_while_an_account_is_created_leaves_one_owner() {
    with_stores(async |[store, other, _]| {
        for fault in FAULTS {
            let mut statement = 0;
            loop {
                let account = some_account();
                let create = {
                    let (store, account) = (store.clone(), account.clone());
                    async move { store.create_account(account).await }
                };
                // Somebody else wants the name, and gets it if the sweep has freed it.
                let rival = AccountRecord {
                    username: account.username.clone(),
                    ..some_account()
                };
                let mut rivals = Err(StoreError::Conflict);
                let outcome = with_a_pause(&store, statement, fault, create, async || {
                    assert!(other.sweep(LATER).await.is_ok());
                    rivals = other.create_account(rival.clone()).await;
                })
                .await;
                let Some(outcome) = outcome else { break };
                assert!(other.sweep(LATER).await.is_ok());
                let (ours, theirs) = (outcome.is_ok(), rivals.is_ok());
                assert!(
                    !(ours && theirs),
                    "statement {statement}, {fault:?}: owned twice"
                );
                let by_username = store.account_by_username(account.username.clone()).await;
                let by_email = store.account_by_email(email_of(&account)).await;
                let by_id = store.account(account.id).await;
                if ours {
                    let found = Ok(Some(account));
                    assert_eq!((&by_username, &by_email, &by_id), (&found, &found, &found));
                } else {
                    assert_eq!((by_email, by_id), (Ok(None), Ok(None)));
                    let found = theirs.then_some(rival);
                    assert_eq!(by_username, Ok(found), "statement {statement}, {fault:?}");
                    // The names that it does not have are free.
                    let next = AccountRecord {
                        email: account.email.clone(),
                        ..some_account()
                    };
                    assert_eq!(store.create_account(next).await, Ok(()));
                }
                statement += 1;
            }
            assert!(statement > 4, "only {statement} statements were seen");
        }
        assert!(other.sweep(MUCH_LATER).await.is_ok());
        assert_eq!(other.sweep(MUCH_LATER).await, Ok(0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_while_a_conference_is_created_leaves_all_of_it_or_nothing() {
    with_stores(async |[store, other, _]| {
        for fault in FAULTS {
            let mut statement = 0;
            loop {
                let owner = some_account();
                assert_eq!(store.create_account(owner.clone()).await, Ok(()));
                let conference = some_conference(&owner);
                let create = {
                    let (store, conference) = (store.clone(), conference.clone());
                    async move { store.create_conference(conference).await }
                };
                let outcome = with_a_pause(&store, statement, fault, create, async || {
                    assert!(other.sweep(LATER).await.is_ok());
                })
                .await;
                let Some(outcome) = outcome else { break };
                assert!(other.sweep(LATER).await.is_ok());
                let found = store.conference(conference.id).await;
                let by_slug = store.conference_by_slug(conference.slug.clone()).await;
                assert_eq!(by_slug, found);
                let is_there = found.expect("it answers").is_some();
                assert!(is_there || outcome.is_err(), "it was acknowledged");
                let owned = store.count_owned(owner.id).await;
                assert_eq!(owned, Ok(u64::from(is_there)));
                let standing = store.member(conference.id, owner.id).await;
                assert_eq!(standing.map(|standing| standing.is_some()), Ok(is_there));
                let next = ConferenceRecord {
                    slug: conference.slug,
                    ..some_conference(&owner)
                };
                let next = store.create_conference(next).await;
                let taken = Err(StoreError::Taken(Name::Slug));
                assert_eq!(next, if is_there { taken } else { Ok(()) });
                statement += 1;
            }
            assert!(statement > 5, "only {statement} statements were seen");
        }
    })
    .await;
}

/// The creator is suspended until a sweep has given the conference up, then writes more, and crashes. The next sweep removes that, too.
#[tokio::test(flavor = "multi_thread")]
async fn writes_after_a_sweep_are_removed_by_the_next_one() {
    with_stores(async |[store, other, _]| {
        let owner = some_account();
        assert_eq!(store.create_account(owner.clone()).await, Ok(()));
        for statement in 2..8 {
            let conference = some_conference(&owner);
            let create = {
                let (store, conference) = (store.clone(), conference.clone());
                async move { store.create_conference(conference).await }
            };
            let crash = Some(Fault::CrashAfter);
            let outcome = with_a_pause(&store, statement, crash, create, async || {
                assert!(other.sweep(LATER).await.is_ok());
            })
            .await;
            let Some(outcome) = outcome else { break };
            assert!(other.sweep(LATER).await.is_ok());
            if outcome.is_err() && store.conference(conference.id).await == Ok(None) {
                assert_eq!(store.count_owned(owner.id).await, Ok(0), "{statement}");
                let account = some_account();
                assert_eq!(store.create_account(account.clone()).await, Ok(()));
                let next = ConferenceRecord {
                    slug: conference.slug,
                    ..some_conference(&account)
                };
                assert_eq!(store.create_conference(next).await, Ok(()), "{statement}");
            } else {
                assert_eq!(store.delete_conference(conference.id, NOW).await, Ok(()));
            }
        }
    })
    .await;
}

/// A deletion that ends before it has changed anything is forgotten ten minutes after the time that it was given.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_dated_by_the_time_that_it_is_given() {
    const LONG_AGO: UnixMillis = UnixMillis(1_000_000);
    with_store(async |store| {
        let account = some_account();
        assert_eq!(store.create_account(account.clone()).await, Ok(()));
        let conference = some_conference(&account);
        assert_eq!(store.create_conference(conference.clone()).await, Ok(()));
        // The statement after the note: the first that looks whether the conference is live.
        store.faults().arm(Fault::CrashBefore, 2);
        let deleted = store.delete_conference(conference.id, LONG_AGO).await;
        assert!(deleted.is_err() && store.faults().disarm());
        let swept = store.sweep(LONG_AGO.after(Duration::from_secs(11 * 60)));
        assert_eq!(swept.await, Ok(1));
        assert_eq!(store.conference(conference.id).await, Ok(Some(conference)));
    })
    .await;
}

/// An account is deleted, and a sweep continues that, while another device creates a conference: either the account goes with all that
/// belongs to it, or it stays with its names.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_of_an_account_that_creates_a_conference_is_all_or_nothing() {
    /// After the look whether the owner is there.
    const BEGUN: usize = 1;
    /// From there: before the write that makes it live. Its owner's list has it already.
    const HALF_MADE: usize = 3;
    with_stores(async |[store, other, third]| {
        let mut statement = 0;
        loop {
            let account = some_account();
            assert_eq!(store.create_account(account.clone()).await, Ok(()));
            let conference = some_conference(&account);
            let begun = third.faults().hold(BEGUN);
            let making = {
                let (third, conference) = (third.clone(), conference.clone());
                tokio::spawn(async move { third.create_conference(conference).await })
            };
            begun.reached().await;
            let delete = {
                let (store, id) = (store.clone(), account.id);
                async move { store.delete_account(id, NOW).await }
            };
            let half_made = third.faults().hold(HALF_MADE);
            let deleted = with_a_pause(&store, statement, None, delete, async || {
                begun.release();
                half_made.reached().await;
                assert!(other.sweep(NOW).await.is_ok());
            })
            .await;
            begun.release();
            half_made.release();
            let made = making.await.expect("it ends");
            let Some(deleted) = deleted else { break };
            let found = store.account(account.id).await;
            let by_username = store.account_by_username(account.username.clone()).await;
            let by_email = store.account_by_email(email_of(&account)).await;
            assert_eq!((&by_username, &by_email), (&found, &found), "{statement}");
            let is_there = found.expect("it answers").is_some();
            assert_eq!(deleted.is_ok(), !is_there, "{statement}: {deleted:?}");
            let conference = store.conference(conference.id).await;
            let conference = conference.expect("it answers").is_some();
            assert_eq!(conference, made.is_ok(), "{statement}: {made:?}");
            assert!(is_there || !conference, "{statement}: nobody owns it");
            statement += 1;
        }
        assert!(statement > 8, "only {statement} statements were seen");
    })
    .await;
}
