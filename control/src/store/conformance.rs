//! What every store has to do: a suite over any [`Store`], run by the tests of each implementation.
//!
//! Each check takes a store that other checks may use at the same moment, and makes its own accounts and conferences.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{AccountId, ConferenceId};

use super::{
    AccountRecord, ConferenceRecord, Cursor, Name, Page, Rotation, ServerId, SessionId,
    SessionRecord, Standing, Store, StoreError,
};
use crate::clock::UnixMillis;
use crate::domain::PasswordHash;
use crate::random;

mod homes;

/// Claimants of one name at the same moment.
const CLAIMANTS: usize = 50;
pub(super) const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs every check.
///
/// # Panics
///
/// When the store does not do what [`Store`] promises.
pub async fn run(store: Arc<dyn Store>) {
    let store = &store;
    accounts_are_found_by_every_name(store).await;
    a_name_has_one_holder(store).await;
    one_of_many_claimants_gets_the_name(store).await;
    a_password_is_set_by_condition(store).await;
    sessions_rotate_by_condition(store).await;
    sessions_end_and_expire(store).await;
    expired_sessions_are_swept(store).await;
    a_slug_has_one_conference(store).await;
    one_of_many_claimants_gets_the_slug(store).await;
    standings_change_by_condition(store).await;
    pages_show_everything_once(store).await;
    what_is_deleted_is_gone(store).await;
    homes::run(store).await;
    a_store_is_one_servers(store).await;
}

async fn a_store_is_one_servers(store: &Arc<dyn Store>) {
    let claims = (0..CLAIMANTS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.claim(ServerId(random::bytes())).await })
    });
    let mut owners = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        owners.push(
            claim
                .await
                .expect("it does not panic")
                .expect("the store answers"),
        );
    }
    owners.dedup();
    assert_eq!(owners.len(), 1, "all hear of the same server");
    assert_eq!(store.server().await, Ok(Some(owners[0])));
}

async fn accounts_are_found_by_every_name(store: &Arc<dyn Store>) {
    let account = make_account(store).await;
    let found = Ok(Some(account.clone()));
    assert_eq!(store.account(account.id).await, found);
    assert_eq!(
        store.account_by_username(account.username.clone()).await,
        found
    );
    assert_eq!(store.account_by_email(account.email.clone()).await, found);
    assert_eq!(
        store.create_account(account).await,
        Ok(()),
        "it may be repeated"
    );
    let nobody = some_account();
    assert_eq!(store.account(nobody.id).await, Ok(None));
    assert_eq!(store.account_by_username(nobody.username).await, Ok(None));
    assert_eq!(store.account_by_email(nobody.email).await, Ok(None));
}

async fn a_name_has_one_holder(store: &Arc<dyn Store>) {
    let account = make_account(store).await;
    let same_name = AccountRecord {
        username: account.username.clone(),
        ..some_account()
    };
    let same_email = AccountRecord {
        email: account.email.clone(),
        ..some_account()
    };
    let taken = |name| Err(StoreError::Taken(name));
    assert_eq!(
        store.create_account(same_name.clone()).await,
        taken(Name::Username)
    );
    assert_eq!(
        store.create_account(same_email.clone()).await,
        taken(Name::Email)
    );
    // What failed has claimed nothing.
    let with_freed = AccountRecord {
        username: same_email.username,
        email: same_name.email,
        ..some_account()
    };
    assert_eq!(store.create_account(with_freed).await, Ok(()));
    assert_eq!(
        store.account_by_username(account.username.clone()).await,
        Ok(Some(account))
    );
}

async fn one_of_many_claimants_gets_the_name(store: &Arc<dyn Store>) {
    let template = some_account();
    let claim = |turn: usize| {
        let mut account = some_account();
        // Half of them want the name, half the address, and one account wants both.
        match turn {
            0 => {
                (account.username, account.email) =
                    (template.username.clone(), template.email.clone())
            }
            turn if turn % 2 == 0 => account.username = template.username.clone(),
            _ => account.email = template.email.clone(),
        }
        let store = store.clone();
        tokio::spawn(async move { (account.clone(), store.create_account(account).await) })
    };
    let claims: Vec<_> = (0..CLAIMANTS).map(claim).collect();
    let mut winners = Vec::new();
    for claim in claims {
        let (account, result) = claim.await.expect("a claim ends");
        match result {
            Ok(()) => winners.push(account),
            Err(error) => assert!(matches!(error, StoreError::Taken(_)), "{error}"),
        }
    }
    let holders = |is_it: fn(&AccountRecord, &AccountRecord) -> bool| {
        winners
            .iter()
            .filter(|winner| is_it(winner, &template))
            .count()
    };
    assert_eq!(holders(|one, other| one.username == other.username), 1);
    assert_eq!(holders(|one, other| one.email == other.email), 1);
}

async fn a_password_is_set_by_condition(store: &Arc<dyn Store>) {
    let account = make_account(store).await;
    let (one, other) = (some_hash(), some_hash());
    assert_eq!(
        store
            .set_password(account.id, account.password.clone(), one.clone())
            .await,
        Ok(())
    );
    let late = store
        .set_password(account.id, account.password, other.clone())
        .await;
    assert_eq!(late, Err(StoreError::Conflict));
    let found = store
        .account(account.id)
        .await
        .map(|found| found.map(|found| found.password));
    assert_eq!(found, Ok(Some(one.clone())));
    let nobody = store.set_password(some_account().id, one, other).await;
    assert_eq!(nobody, Err(StoreError::NotFound));
}

async fn sessions_rotate_by_condition(store: &Arc<dyn Store>) {
    let account = make_account(store).await;
    let session = make_session(store, &account, NOW.after(DAY)).await;
    assert_eq!(
        store.session(session.id, NOW).await,
        Ok(Some(session.clone()))
    );
    let orphan = SessionRecord {
        account: some_account().id,
        ..some_session(&account, NOW.after(DAY))
    };
    assert_eq!(
        store.create_session(orphan).await,
        Err(StoreError::NotFound)
    );

    let rotation = |secret: u8| Rotation {
        secret_hash: [secret; 16],
        rotated: NOW.after(DAY / 2),
        expires: NOW.after(DAY * 2),
    };
    assert_eq!(
        store.rotate_session(session.id, 0, rotation(1)).await,
        Ok(())
    );
    assert_eq!(
        store.rotate_session(session.id, 0, rotation(1)).await,
        Ok(()),
        "it may be repeated"
    );
    assert_eq!(
        store.rotate_session(session.id, 0, rotation(2)).await,
        Err(StoreError::Conflict)
    );
    assert_eq!(
        store.rotate_session(session.id, 5, rotation(2)).await,
        Err(StoreError::Conflict)
    );
    let unknown = store
        .rotate_session(SessionId(random::bytes()), 0, rotation(1))
        .await;
    assert_eq!(unknown, Err(StoreError::NotFound));
    let rotated = SessionRecord {
        generation: 1,
        secret_hash: [1; 16],
        used: false,
        rotated: NOW.after(DAY / 2),
        expires: NOW.after(DAY * 2),
        ..session.clone()
    };
    assert_eq!(store.session(session.id, NOW).await, Ok(Some(rotated)));

    let is_used = async || {
        let found = store
            .session(session.id, NOW)
            .await
            .expect("the store answers");
        found.expect("it lives").used
    };
    assert_eq!(store.mark_used(session.id, 0).await, Ok(()));
    assert!(!is_used().await, "an old generation marks nothing");
    assert_eq!(store.mark_used(session.id, 1).await, Ok(()));
    assert!(is_used().await);

    let rotations: Vec<_> = (0..CLAIMANTS)
        .map(|turn| {
            let (store, id) = (store.clone(), session.id);
            let rotation = rotation(100 + u8::try_from(turn).expect("few turns"));
            tokio::spawn(async move { store.rotate_session(id, 1, rotation).await })
        })
        .collect();
    let mut winners = 0;
    for rotation in rotations {
        match rotation.await.expect("a rotation ends") {
            Ok(()) => winners += 1,
            Err(error) => assert_eq!(error, StoreError::Conflict),
        }
    }
    assert_eq!(winners, 1);
}

async fn sessions_end_and_expire(store: &Arc<dyn Store>) {
    let (account, other) = (make_account(store).await, make_account(store).await);
    let mut sessions = Vec::new();
    for days in 1..=4 {
        sessions.push(make_session(store, &account, NOW.after(DAY * days)).await);
    }
    let ids = async |now| -> Vec<SessionId> {
        let found = store
            .sessions_of(account.id, now)
            .await
            .expect("the store answers");
        found.into_iter().map(|session| session.id).collect()
    };
    let all: Vec<SessionId> = sessions.iter().map(|session| session.id).collect();
    assert_eq!(ids(NOW).await, all);
    assert_eq!(
        ids(NOW.after(DAY)).await,
        all[1..],
        "it ends at its time, not after"
    );
    assert_eq!(store.session(all[0], NOW.after(DAY)).await, Ok(None));
    assert_eq!(
        store.end_session(other.id, all[1]).await,
        Ok(false),
        "it is not the other's"
    );
    assert_eq!(store.end_session(account.id, all[1]).await, Ok(true));
    assert_eq!(store.end_session(account.id, all[1]).await, Ok(false));
    let ended = store
        .end_sessions_of(account.id, Some(all[2]))
        .await
        .expect("the store answers");
    assert_eq!(HashSet::from_iter(ended), HashSet::from([all[0], all[3]]));
    assert_eq!(ids(NOW).await, [all[2]]);
    assert_eq!(
        store.end_sessions_of(account.id, None).await,
        Ok(vec![all[2]])
    );
    assert_eq!(ids(NOW).await, []);
}

async fn expired_sessions_are_swept(store: &Arc<dyn Store>) {
    let account = make_account(store).await;
    // Long before the sessions of the other checks expire.
    let early = UnixMillis(1_000_000);
    let session = |expires| SessionRecord {
        created: UnixMillis(0),
        rotated: UnixMillis(0),
        ..some_session(&account, expires)
    };
    let (gone, stays) = (session(early), session(early.after(DAY)));
    for session in [&gone, &stays] {
        assert_eq!(store.create_session(session.clone()).await, Ok(()));
    }
    assert!(store.sweep(early).await.is_ok());
    assert_eq!(store.session(gone.id, early).await, Ok(None));
    assert_eq!(
        store.sessions_of(account.id, early).await,
        Ok(vec![stays.clone()])
    );
    assert_eq!(store.session(stays.id, early).await, Ok(Some(stays)));
}

async fn a_slug_has_one_conference(store: &Arc<dyn Store>) {
    let owner = make_account(store).await;
    assert_eq!(store.count_owned(owner.id).await, Ok(0));
    let conference = make_conference(store, &owner).await;
    assert_eq!(store.count_owned(owner.id).await, Ok(1));
    let found = Ok(Some(conference.clone()));
    assert_eq!(store.conference(conference.id).await, found);
    assert_eq!(
        store.conference_by_slug(conference.slug.clone()).await,
        found
    );
    assert_eq!(
        store.create_conference(conference.clone()).await,
        Ok(()),
        "it may be repeated"
    );
    let same_slug = ConferenceRecord {
        slug: conference.slug.clone(),
        ..some_conference(&owner)
    };
    assert_eq!(
        store.create_conference(same_slug).await,
        Err(StoreError::Taken(Name::Slug))
    );
    let orphan = some_conference(&some_account());
    assert_eq!(
        store.create_conference(orphan.clone()).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(store.conference_by_slug(orphan.slug).await, Ok(None));
    let standing = store.member(conference.id, owner.id).await;
    assert_eq!(
        standing,
        Ok(Some(Standing {
            revision: 0,
            role: Role::Owner,
            muted: false,
            since: conference.created
        }))
    );
}

async fn one_of_many_claimants_gets_the_slug(store: &Arc<dyn Store>) {
    let owner = make_account(store).await;
    let slug = some_conference(&owner).slug;
    let claims: Vec<_> = (0..CLAIMANTS)
        .map(|_| {
            let conference = ConferenceRecord {
                slug: slug.clone(),
                ..some_conference(&owner)
            };
            let store = store.clone();
            tokio::spawn(async move { store.create_conference(conference).await })
        })
        .collect();
    let mut winners = 0;
    for claim in claims {
        match claim.await.expect("a claim ends") {
            Ok(()) => winners += 1,
            Err(error) => assert_eq!(error, StoreError::Taken(Name::Slug)),
        }
    }
    assert_eq!(winners, 1);
    assert_eq!(store.count_owned(owner.id).await, Ok(1));
}

async fn standings_change_by_condition(store: &Arc<dyn Store>) {
    let (owner, account) = (make_account(store).await, make_account(store).await);
    let conference = make_conference(store, &owner).await.id;
    let standing = |role, muted| Standing {
        revision: 0,
        role,
        muted,
        since: NOW,
    };
    let member = standing(Role::Member, false);
    let muted = standing(Role::Member, true);
    let banned = standing(Role::Banned, true);
    let id = account.id;
    assert_eq!(store.member(conference, id).await, Ok(None));
    assert_eq!(
        store.change_member(conference, id, member, muted).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(
        store.remove_member(conference, id, member).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(store.add_member(conference, id, member).await, Ok(()));
    assert_eq!(
        store.add_member(conference, id, member).await,
        Ok(()),
        "it may be repeated"
    );
    assert_eq!(
        store.add_member(conference, id, banned).await,
        Err(StoreError::Conflict)
    );
    assert_eq!(
        store.change_member(conference, id, member, muted).await,
        Ok(())
    );
    assert_eq!(
        store.change_member(conference, id, member, muted).await,
        Ok(()),
        "it may be repeated"
    );
    assert_eq!(
        store.change_member(conference, id, member, banned).await,
        Err(StoreError::Conflict)
    );
    assert_eq!(store.member(conference, id).await, Ok(Some(muted)));
    // There and back again: whoever decided by what was there at first is late.
    let unmuted = muted.changed_to(Role::Member, false);
    assert_eq!(
        store.change_member(conference, id, muted, unmuted).await,
        Ok(())
    );
    assert_eq!(
        store.change_member(conference, id, member, muted).await,
        Err(StoreError::Conflict)
    );
    assert_eq!(
        store.remove_member(conference, id, member).await,
        Err(StoreError::Conflict)
    );
    let banned = unmuted.changed_to(Role::Banned, true);
    assert_eq!(
        store.change_member(conference, id, unmuted, banned).await,
        Ok(())
    );
    assert_eq!(store.member(conference, id).await, Ok(Some(banned)));
    assert_eq!(store.count_members(conference).await, Ok(2));
    assert_eq!(
        store.remove_member(conference, id, member).await,
        Err(StoreError::Conflict)
    );
    assert_eq!(store.remove_member(conference, id, banned).await, Ok(()));
    assert_eq!(store.member(conference, id).await, Ok(None));
    let nowhere = ConferenceId::new(random::bytes());
    assert_eq!(
        store.add_member(nowhere, id, member).await,
        Err(StoreError::NotFound)
    );
    let nobody = some_account().id;
    assert_eq!(
        store.add_member(conference, nobody, member).await,
        Err(StoreError::NotFound)
    );
}

async fn pages_show_everything_once(store: &Arc<dyn Store>) {
    const PAGE: u32 = 10;
    let owner = make_account(store).await;
    let first = make_conference(store, &owner).await;
    let standing = Standing {
        revision: 0,
        role: Role::Listener,
        muted: true,
        since: NOW,
    };
    let mut members = HashSet::from([owner.id]);
    let mut conferences = HashSet::from([first.id]);
    // Two full pages and then some; then exactly full ones.
    for _ in 0..24 {
        let account = make_account(store).await;
        assert_eq!(
            store.add_member(first.id, account.id, standing).await,
            Ok(())
        );
        members.insert(account.id);
        conferences.insert(make_conference(store, &owner).await.id);
    }
    let (mut seen_members, mut seen_conferences) = (HashSet::new(), HashSet::new());
    let mut cursor = None;
    loop {
        let page = store.members(first.id, cursor, PAGE).await.expect("a page");
        assert!(page.items.len() <= PAGE as usize);
        for member in page.items {
            let is_owner = member.account == owner.id;
            assert!(is_owner || member.standing == standing);
            assert!(seen_members.insert(member.account), "twice");
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    loop {
        let page = store
            .conferences_of(owner.id, cursor, PAGE)
            .await
            .expect("a page");
        for membership in page.items {
            assert_eq!(membership.standing.role, Role::Owner);
            assert!(seen_conferences.insert(membership.conference.id), "twice");
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((seen_members, seen_conferences), (members, conferences));
    let whole = store.members(first.id, None, 25).await.expect("a page");
    assert_eq!((whole.items.len(), whole.next), (25, None));
    let bad = Some(Cursor(bytes::Bytes::from_static(b"?")));
    assert_eq!(
        store.members(first.id, bad.clone(), PAGE).await,
        Err(StoreError::BadCursor)
    );
    assert_eq!(
        store.conferences_of(owner.id, bad, PAGE).await,
        Err(StoreError::BadCursor)
    );
}

async fn what_is_deleted_is_gone(store: &Arc<dyn Store>) {
    let (owner, member) = (make_account(store).await, make_account(store).await);
    let conference = make_conference(store, &owner).await;
    let standing = Standing {
        revision: 0,
        role: Role::Member,
        muted: false,
        since: NOW,
    };
    assert_eq!(
        store.add_member(conference.id, member.id, standing).await,
        Ok(())
    );
    assert_eq!(
        store.delete_account(owner.id, NOW).await,
        Err(StoreError::Conflict),
        "it owns one"
    );
    let session = make_session(store, &member, NOW.after(DAY)).await;
    assert_eq!(store.delete_account(member.id, NOW).await, Ok(()));
    assert_eq!(
        store.delete_account(member.id, NOW).await,
        Ok(()),
        "it may be repeated"
    );
    assert_eq!(store.session(session.id, NOW).await, Ok(None));
    assert_eq!(store.member(conference.id, member.id).await, Ok(None));
    let again = AccountRecord {
        id: some_account().id,
        ..member
    };
    assert_eq!(
        store.create_account(again.clone()).await,
        Ok(()),
        "its names are free"
    );
    assert_eq!(
        store.add_member(conference.id, again.id, standing).await,
        Ok(())
    );

    assert_eq!(store.delete_conference(conference.id, NOW).await, Ok(()));
    assert_eq!(
        store.delete_conference(conference.id, NOW).await,
        Ok(()),
        "it may be repeated"
    );
    assert_eq!(store.conference(conference.id).await, Ok(None));
    assert_eq!(
        store.conference_by_slug(conference.slug.clone()).await,
        Ok(None)
    );
    let none = Page {
        items: Vec::new(),
        next: None,
    };
    assert_eq!(store.conferences_of(again.id, None, 10).await, Ok(none));
    let again = ConferenceRecord {
        slug: conference.slug,
        ..some_conference(&owner)
    };
    assert_eq!(
        store.create_conference(again.clone()).await,
        Ok(()),
        "its slug is free"
    );
    assert_eq!(store.delete_conference(again.id, NOW).await, Ok(()));
    assert_eq!(store.delete_account(owner.id, NOW).await, Ok(()));
}

async fn make_account(store: &Arc<dyn Store>) -> AccountRecord {
    let account = some_account();
    assert_eq!(store.create_account(account.clone()).await, Ok(()));
    account
}

async fn make_session(
    store: &Arc<dyn Store>,
    account: &AccountRecord,
    expires: UnixMillis,
) -> SessionRecord {
    let session = some_session(account, expires);
    assert_eq!(store.create_session(session.clone()).await, Ok(()));
    session
}

async fn make_conference(store: &Arc<dyn Store>, owner: &AccountRecord) -> ConferenceRecord {
    let conference = some_conference(owner);
    assert_eq!(store.create_conference(conference.clone()).await, Ok(()));
    conference
}

pub(super) fn some_account() -> AccountRecord {
    let id: [u8; 16] = random::time_ordered_id(NOW);
    let name = data_encoding::HEXLOWER.encode(&id[6..]);
    AccountRecord {
        id: AccountId::new(id),
        username: name.parse().expect("20 hexadecimal digits are a name"),
        email: format!("{name}@example.org")
            .parse()
            .expect("it is an address"),
        password: some_hash(),
        birthday: "2004-02-29".parse().expect("a day"),
        created: NOW,
    }
}

fn some_hash() -> PasswordHash {
    let mut bytes = [1; 60];
    random::fill(&mut bytes[12..]);
    PasswordHash::from_bytes(&bytes).expect("the form is right")
}

pub(super) fn some_session(account: &AccountRecord, expires: UnixMillis) -> SessionRecord {
    SessionRecord {
        id: SessionId(random::time_ordered_id(expires)),
        account: account.id,
        generation: 0,
        secret_hash: random::bytes(),
        used: true,
        device: "a phone – Ann's".parse().expect("a name"),
        created: NOW,
        rotated: NOW,
        expires,
    }
}

pub(super) fn some_conference(owner: &AccountRecord) -> ConferenceRecord {
    let id: [u8; 16] = random::time_ordered_id(NOW);
    ConferenceRecord {
        id: ConferenceId::new(id),
        slug: data_encoding::HEXLOWER
            .encode(&id[6..])
            .parse()
            .expect("a slug"),
        title: "Пятничный вечер".parse().expect("a title"),
        visibility: Visibility::Invite,
        owner: owner.id,
        owner_name: owner.username.clone(),
        created: NOW,
        region: Some("eu-west".parse().expect("a region")),
    }
}
