//! The database carries a conditional statement out long after its sender gave up.

use confab_protocol::control::room::Role;

use super::*;
use crate::store::Name;

/// More statements than any operation has.
const MOST: usize = 40;

/// Makes each statement of `operation` late once: the operation completes, then `undo`, and then the statement is carried out. `check` runs
/// after that.
async fn late_everywhere<T: Clone>(
    store: &CqlStore,
    prepare: impl AsyncFn() -> T,
    operation: impl AsyncFn(T) -> Result<(), StoreError>,
    undo: impl AsyncFn(T),
    check: impl AsyncFn(T),
) {
    let mut seen = 0;
    for number in 0..MOST {
        let subject = prepare().await;
        store.faults().arm(Fault::Late, number);
        let mut outcome = operation(subject.clone()).await;
        store.faults().disarm();
        if matches!(outcome, Err(StoreError::Unavailable(_))) {
            outcome = operation(subject.clone()).await;
        }
        assert_eq!(outcome, Ok(()), "statement {number}");
        undo(subject.clone()).await;
        let Some((statement, values)) = store.faults().late() else {
            break;
        };
        seen += 1;
        let session = &store.core.db.session;
        let carried_out = session.execute_unpaged(&statement, values).await;
        assert!(carried_out.is_ok(), "{carried_out:?}");
        check(subject).await;
    }
    assert!((2..MOST).contains(&seen), "{seen} statements were late");
}

/// A conference with its owner as the only member.
async fn some_room(store: &CqlStore) -> ConferenceId {
    let owner = some_account();
    assert_eq!(store.create_account(owner.clone()).await, Ok(()));
    let conference = some_conference(&owner);
    assert_eq!(store.create_conference(conference.clone()).await, Ok(()));
    conference.id
}

fn member(muted: bool) -> Standing {
    Standing {
        role: Role::Member,
        muted,
        since: NOW,
        revision: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_stays_ended() {
    with_store(async |store| {
        let account = some_account();
        assert_eq!(store.create_account(account.clone()).await, Ok(()));
        late_everywhere(
            &store,
            async || some_session(&account, NOW.after(Duration::from_secs(3600))),
            async |session| store.create_session(session).await,
            async |session| {
                let ended = store.end_session(session.account, session.id).await;
                assert_eq!(ended, Ok(true));
            },
            async |session| {
                assert_eq!(store.session(session.id, NOW).await, Ok(None));
            },
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_stays_removed_and_may_be_added_again() {
    with_store(async |store| {
        let room = some_room(&store).await;
        late_everywhere(
            &store,
            async || {
                let account = some_account();
                assert_eq!(store.create_account(account.clone()).await, Ok(()));
                account.id
            },
            async |who| store.add_member(room, who, member(false)).await,
            async |who| {
                let removed = store.remove_member(room, who, member(false)).await;
                assert_eq!(removed, Ok(()));
            },
            async |who| {
                assert_eq!(store.member(room, who).await, Ok(None));
                let listed = store.conferences_of(who, None, 10).await;
                assert_eq!(listed.map(|page| page.items), Ok(Vec::new()));
                assert_eq!(store.count_members(room).await, Ok(1), "the owner");
                let back = Standing {
                    since: NOW.after(Duration::from_secs(1)),
                    ..member(false)
                };
                assert_eq!(store.add_member(room, who, back).await, Ok(()));
                assert_eq!(store.member(room, who).await, Ok(Some(back)));
                let listed = store.conferences_of(who, None, 10).await;
                assert_eq!(listed.map(|page| page.items.len()), Ok(1));
                assert_eq!(store.remove_member(room, who, back).await, Ok(()));
            },
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_was_banned_again_stays_banned() {
    with_store(async |store| {
        let room = some_room(&store).await;
        let free = member(false);
        let banned = free.changed_to(Role::Banned, false);
        let lifted = banned.changed_to(Role::Member, false);
        let again = lifted.changed_to(Role::Banned, false);
        let account = some_account();
        assert_eq!(store.create_account(account.clone()).await, Ok(()));
        let who = account.id;
        assert_eq!(store.add_member(room, who, free).await, Ok(()));
        assert_eq!(store.change_member(room, who, free, banned).await, Ok(()));
        store.faults().arm(Fault::Late, 0);
        assert_eq!(store.change_member(room, who, banned, lifted).await, Ok(()));
        store.faults().disarm();
        assert_eq!(store.change_member(room, who, lifted, again).await, Ok(()));
        let (statement, values) = store.faults().late().expect("it is late");
        let session = &store.core.db.session;
        assert!(session.execute_unpaged(&statement, values).await.is_ok());
        assert_eq!(store.member(room, who).await, Ok(Some(again)));
    })
    .await;
}

/// A registration that was refused for its e-mail address leaves its username free.
#[tokio::test(flavor = "multi_thread")]
async fn a_freed_name_stays_free() {
    with_store(async |store| {
        let holder = some_account();
        assert_eq!(store.create_account(holder.clone()).await, Ok(()));
        for number in 0..MOST {
            let refused = AccountRecord {
                email: holder.email.clone(),
                ..some_account()
            };
            store.faults().arm(Fault::Late, number);
            let outcome = store.create_account(refused.clone()).await;
            store.faults().disarm();
            if outcome != Err(StoreError::Taken(Name::Email)) {
                let again = store.create_account(refused.clone()).await;
                assert!(
                    matches!(
                        again,
                        Err(StoreError::Taken(Name::Email) | StoreError::Conflict)
                    ),
                    "{again:?}"
                );
            }
            let Some((statement, values)) = store.faults().late() else {
                assert!(number > 3, "only {number} statements were late");
                break;
            };
            let session = &store.core.db.session;
            assert!(session.execute_unpaged(&statement, values).await.is_ok());
            let next = AccountRecord {
                username: refused.username.clone(),
                ..some_account()
            };
            assert_eq!(
                store.create_account(next).await,
                Ok(()),
                "statement {number}"
            );
        }
    })
    .await;
}
