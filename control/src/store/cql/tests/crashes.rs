//! A crash between any two statements of an operation. Repeating the operation repairs it, and so does a sweep.

use confab_protocol::control::room::Role;

use super::*;
use crate::store::Name;

/// Later than any operation of the test is under way.
const LATER: UnixMillis = UnixMillis(NOW.0 + 60 * 60 * 1000);
const CRASHES: [Fault; 2] = [Fault::CrashBefore, Fault::CrashAfter];

/// The action after the crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repair {
    Repeat,
    Sweep,
}

/// Calls `check` for a crash at every statement of `operation` and for both repairs. `prepare` creates the subject of the operation
/// before each.
pub(super) async fn crash_everywhere<T: Clone>(
    store: &CqlStore,
    prepare: impl AsyncFn() -> T,
    operation: impl AsyncFn(T) -> Result<(), StoreError>,
    check: impl AsyncFn(T, Repair, Result<(), StoreError>),
) {
    for repair in [Repair::Repeat, Repair::Sweep] {
        for fault in CRASHES {
            let mut statements = 0;
            loop {
                let subject = prepare().await;
                store.faults().arm(fault, statements);
                let outcome = operation(subject.clone()).await;
                let fired = store.faults().disarm();
                let outcome = match repair {
                    _ if !fired => outcome,
                    Repair::Repeat => operation(subject.clone()).await,
                    Repair::Sweep => {
                        let swept = store.sweep(LATER).await;
                        assert!(swept.is_ok(), "{swept:?}");
                        outcome
                    }
                };
                check(subject, repair, outcome).await;
                if !fired {
                    break;
                }
                statements += 1;
            }
            assert!(statements > 2, "only {statements} statements were seen");
        }
    }
    // The journal has no note for a later sweep.
    assert!(store.sweep(LATER).await.is_ok());
    assert_eq!(store.sweep(LATER).await, Ok(0));
}

/// Both names belong to the account, or both are free for another account.
async fn owned_by_one_or_free(store: &CqlStore, account: &AccountRecord) {
    let by_username = store.account_by_username(account.username.clone()).await;
    let by_email = store.account_by_email(email_of(account)).await;
    assert_eq!(by_username, by_email, "half an account");
    let by_id = store.account(account.id).await;
    assert_eq!(by_username, by_id, "a name and its account");
    let next = AccountRecord {
        id: some_account().id,
        ..account.clone()
    };
    let next_gets_it = store.create_account(next.clone()).await;
    match by_id.expect("it answers") {
        Some(found) => {
            assert_eq!(found, *account);
            assert_eq!(next_gets_it, Err(StoreError::Taken(Name::Username)));
        }
        None => {
            assert_eq!(next_gets_it, Ok(()));
            let found = store.account_by_email(email_of(account)).await;
            assert_eq!(found, Ok(Some(next)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_an_account_is_created_is_repaired() {
    with_store(async |store| {
        crash_everywhere(
            &store,
            async || some_account(),
            async |account| store.create_account(account).await,
            async |account, repair, outcome| {
                if repair == Repair::Repeat {
                    assert_eq!(outcome, Ok(()));
                }
                if outcome.is_ok() {
                    let found = store.account(account.id).await;
                    assert_eq!(found, Ok(Some(account.clone())), "it was acknowledged");
                }
                owned_by_one_or_free(&store, &account).await;
            },
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_an_account_is_refused_is_repaired() {
    with_store(async |store| {
        crash_everywhere(
            &store,
            async || {
                let holder = some_account();
                assert_eq!(store.create_account(holder.clone()).await, Ok(()));
                let claimant = AccountRecord {
                    email: holder.email.clone(),
                    ..some_account()
                };
                (holder, claimant)
            },
            async |(_, claimant)| store.create_account(claimant).await,
            async |(holder, claimant), _, outcome| {
                assert!(outcome.is_err());
                let found = store.account_by_email(email_of(&holder)).await;
                assert_eq!(found, Ok(Some(holder)));
                assert_eq!(store.account(claimant.id).await, Ok(None));
                // The name that it claimed first is free again.
                let next = AccountRecord {
                    username: claimant.username.clone(),
                    ..some_account()
                };
                assert_eq!(store.create_account(next).await, Ok(()));
            },
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_an_account_is_deleted_is_repaired() {
    with_store(async |store| {
        let owner = some_account();
        assert_eq!(store.create_account(owner.clone()).await, Ok(()));
        let conference = some_conference(&owner);
        assert_eq!(store.create_conference(conference.clone()).await, Ok(()));
        crash_everywhere(
            &store,
            async || {
                let account = some_account();
                assert_eq!(store.create_account(account.clone()).await, Ok(()));
                let session = some_session(&account, NOW.after(Duration::from_secs(3600)));
                assert_eq!(store.create_session(session.clone()).await, Ok(()));
                let added = store.add_member(conference.id, account.id, member());
                assert_eq!(added.await, Ok(()));
                (account, session)
            },
            async |(account, _)| store.delete_account(account.id, NOW).await,
            async |(account, session), repair, outcome| {
                if repair == Repair::Repeat {
                    assert_eq!(outcome, Ok(()));
                }
                let is_there = store
                    .account(account.id)
                    .await
                    .expect("it answers")
                    .is_some();
                assert!(!(is_there && outcome.is_ok()), "it was said to be deleted");
                let session = store.session(session.id, NOW).await;
                assert_eq!(session.map(|session| session.is_some()), Ok(is_there));
                let standing = store.member(conference.id, account.id).await;
                assert_eq!(standing.map(|standing| standing.is_some()), Ok(is_there));
                owned_by_one_or_free(&store, &account).await;
            },
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_an_address_is_changed_is_repaired() {
    with_store(async |store| {
        crash_everywhere(
            &store,
            async || {
                let account = some_account();
                assert_eq!(store.create_account(account.clone()).await, Ok(()));
                (account, email_of(&some_account()))
            },
            async |(account, new)| {
                let changed = store.change_email(account.id, account.email, Some(new), NOW);
                changed.await
            },
            async |(account, new), repair, outcome| {
                if repair == Repair::Repeat {
                    assert_eq!(outcome, Ok(()));
                }
                let found = store.account(account.id).await.expect("it answers");
                let has_new = found.expect("the account").email == Some(new.clone());
                assert!(has_new || outcome.is_err(), "it was acknowledged");
                let old = email_of(&account);
                let (held, free) = if has_new { (new, old) } else { (old, new) };
                let holder = store.account_by_email(held).await.expect("it answers");
                assert_eq!(holder.map(|holder| holder.id), Some(account.id));
                let next = AccountRecord {
                    email: Some(free),
                    ..some_account()
                };
                assert_eq!(store.create_account(next).await, Ok(()), "one stays free");
            },
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_conference_is_created_is_repaired() {
    with_store(async |store| {
        crash_everywhere(
            &store,
            async || {
                let owner = some_account();
                assert_eq!(store.create_account(owner.clone()).await, Ok(()));
                some_conference(&owner)
            },
            async |conference| store.create_conference(conference).await,
            async |conference, repair, outcome| {
                if repair == Repair::Repeat {
                    assert_eq!(outcome, Ok(()));
                }
                slug_owned_by_one_or_free(&store, &conference, outcome.is_ok()).await;
            },
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_conference_is_deleted_is_repaired() {
    with_store(async |store| {
        let member_account = some_account();
        assert_eq!(store.create_account(member_account.clone()).await, Ok(()));
        crash_everywhere(
            &store,
            async || {
                let owner = some_account();
                assert_eq!(store.create_account(owner.clone()).await, Ok(()));
                let conference = some_conference(&owner);
                assert_eq!(store.create_conference(conference.clone()).await, Ok(()));
                let added = store.add_member(conference.id, member_account.id, member());
                assert_eq!(added.await, Ok(()));
                conference
            },
            async |conference| store.delete_conference(conference.id, NOW).await,
            async |conference, repair, outcome| {
                if repair == Repair::Repeat {
                    assert_eq!(outcome, Ok(()));
                }
                let found = store.conference(conference.id).await.expect("it answers");
                assert!(
                    !(found.is_some() && outcome.is_ok()),
                    "it was said to be deleted"
                );
                let theirs = store.conferences_of(member_account.id, None, 100).await;
                let theirs = theirs.expect("it answers").items;
                let is_shown = theirs
                    .iter()
                    .any(|shown| shown.conference.id == conference.id);
                assert_eq!(is_shown, found.is_some());
                slug_owned_by_one_or_free(&store, &conference, found.is_some()).await;
            },
        )
        .await;
    })
    .await;
}

/// The owner can delete the account when no conference of it is there.
async fn slug_owned_by_one_or_free(
    store: &CqlStore,
    conference: &ConferenceRecord,
    has_to_be_there: bool,
) {
    let by_slug = store.conference_by_slug(conference.slug.clone()).await;
    let by_id = store.conference(conference.id).await;
    assert_eq!(by_slug, by_id, "a slug and its conference");
    let is_there = by_id.expect("it answers").is_some();
    assert!(is_there || !has_to_be_there, "it was acknowledged");
    let owned = store.count_owned(conference.owner).await;
    assert_eq!(owned, Ok(u64::from(is_there)));
    let other = some_account();
    assert_eq!(store.create_account(other.clone()).await, Ok(()));
    let next = ConferenceRecord {
        slug: conference.slug.clone(),
        ..some_conference(&other)
    };
    let next_gets_it = store.create_conference(next).await;
    let deleted = store.delete_account(conference.owner, NOW).await;
    if is_there {
        assert_eq!(next_gets_it, Err(StoreError::Taken(Name::Slug)));
        assert_eq!(deleted, Err(StoreError::Conflict));
    } else {
        assert_eq!(next_gets_it, Ok(()));
        assert_eq!(deleted, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_member_is_added_or_removed_is_repaired() {
    with_store(async |store| {
        let owner = some_account();
        assert_eq!(store.create_account(owner.clone()).await, Ok(()));
        let conference = some_conference(&owner).id;
        let made = ConferenceRecord {
            id: conference,
            ..some_conference(&owner)
        };
        assert_eq!(store.create_conference(made).await, Ok(()));
        let listed = async |account: AccountId| {
            let page = store.conferences_of(account, None, 10).await;
            !page.expect("it answers").items.is_empty()
        };
        crash_everywhere(
            &store,
            async || {
                let account = some_account();
                assert_eq!(store.create_account(account.clone()).await, Ok(()));
                account.id
            },
            async |account| store.add_member(conference, account, member()).await,
            async |account, repair, outcome| {
                if repair == Repair::Repeat {
                    assert_eq!(outcome, Ok(()));
                }
                let standing = store.member(conference, account).await.expect("it answers");
                assert_eq!(listed(account).await, standing.is_some());
                assert!(
                    standing.is_some() || outcome.is_err(),
                    "it was acknowledged"
                );
            },
        )
        .await;
        crash_everywhere(
            &store,
            async || {
                let account = some_account();
                assert_eq!(store.create_account(account.clone()).await, Ok(()));
                let added = store.add_member(conference, account.id, member()).await;
                assert_eq!(added, Ok(()));
                account.id
            },
            async |account| store.remove_member(conference, account, member()).await,
            async |account, _, outcome| {
                let standing = store.member(conference, account).await.expect("it answers");
                assert_eq!(listed(account).await, standing.is_some());
                assert!(
                    standing.is_none() || outcome.is_err(),
                    "it was acknowledged"
                );
                // Whatever it left behind, the account may come back, be shown again, and go for good.
                let back = Standing {
                    since: LATER,
                    ..member()
                };
                if standing.is_none() {
                    assert_eq!(store.add_member(conference, account, back).await, Ok(()));
                    assert!(listed(account).await);
                }
                assert_eq!(store.delete_account(account, NOW).await, Ok(()));
                assert_eq!(store.member(conference, account).await, Ok(None));
            },
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_session_begins_rotates_or_ends_is_repaired() {
    with_store(async |store| {
        let account = some_account();
        assert_eq!(store.create_account(account.clone()).await, Ok(()));
        let new = || some_session(&account, NOW.after(Duration::from_secs(3600)));
        let listed = async |id: SessionId| {
            let sessions = store
                .sessions_of(account.id, NOW)
                .await
                .expect("it answers");
            sessions.iter().any(|session| session.id == id)
        };
        let rotation = Rotation {
            secret_hash: [7; 16],
            rotated: NOW,
            expires: NOW.after(Duration::from_secs(7200)),
        };
        // Whatever is left of a session can be found by its account, so that it can be ended.
        let check = async |session: SessionRecord, _, _| {
            let found = store.session(session.id, NOW).await.expect("it answers");
            assert_eq!(listed(session.id).await, found.is_some());
            let ended = store
                .end_sessions_of(account.id, None)
                .await
                .expect("it answers");
            assert_eq!(ended.contains(&session.id), found.is_some());
            assert_eq!(store.session(session.id, NOW).await, Ok(None));
        };
        crash_everywhere(
            &store,
            async || new(),
            async |session| store.create_session(session).await,
            check,
        )
        .await;
        let begun = async || {
            let session = new();
            assert_eq!(store.create_session(session.clone()).await, Ok(()));
            session
        };
        crash_everywhere(
            &store,
            begun,
            async |session| store.rotate_session(session.id, 0, rotation).await,
            check,
        )
        .await;
        crash_everywhere(
            &store,
            begun,
            async |session| store.end_session(account.id, session.id).await.map(drop),
            check,
        )
        .await;
    })
    .await;
}

fn member() -> Standing {
    Standing {
        revision: 0,
        role: Role::Member,
        muted: false,
        since: NOW,
    }
}
