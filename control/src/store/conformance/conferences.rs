//! Conferences, their slugs, and deletion.

use super::*;
use crate::store::batch::join_all;

pub(super) async fn run(store: &Arc<dyn Store>) {
    a_slug_has_one_conference(store).await;
    one_of_many_claimants_gets_the_slug(store).await;
    what_is_deleted_is_gone(store).await;
    all_conferences_are_listed_once(store).await;
    a_conference_changes_its_owner(store).await;
    title_and_visibility_change(store).await;
}

async fn title_and_visibility_change(store: &Arc<dyn Store>) {
    let owner = make_account(store).await;
    let before = make_conference(store, &owner).await;
    let change = async |title: Option<&str>, visibility| {
        let title = title.map(|title| title.parse().expect("a title"));
        let change = ConferenceChange { title, visibility };
        store.change_conference(before.id, owner.id, change).await
    };
    let opened = ConferenceRecord {
        visibility: Visibility::Public,
        revision: before.revision + 1,
        ..before.clone()
    };
    for _ in 0..2 {
        let changed = change(None, Some(Visibility::Public)).await;
        assert_eq!(changed, Ok(opened.clone()), "it may be repeated");
    }
    let named = ConferenceRecord {
        title: "Other".parse().expect("a title"),
        revision: opened.revision + 1,
        ..opened.clone()
    };
    assert_eq!(change(Some("Other"), None).await, Ok(named.clone()));
    assert_eq!(store.conference(before.id).await, Ok(Some(named.clone())));
    let by_slug = store.conference_by_slug(before.slug.clone()).await;
    assert_eq!(by_slug, Ok(Some(named)));
    let listed = store.conferences_of(owner.id, None, 10).await;
    let listed = listed.expect("a page").items;
    assert_eq!(listed[0].conference.title.as_str(), "Other");
    // None of those at the same time is lost.
    let (others, closing) = tokio::join!(
        join_all((0..3).map(|number| {
            let title = format!("title {number}");
            let change = &change;
            async move { change(Some(&title), None).await }
        })),
        change(None, Some(Visibility::Invite))
    );
    let changed = others.into_iter().chain([closing]);
    let revisions: HashSet<u16> = changed
        .map(|changed| changed.expect("it is changed").revision)
        .collect();
    let first = opened.revision + 1;
    assert_eq!(revisions, (first + 1..=first + 4).collect());
    let last = store.conference(before.id).await;
    let last = last.expect("an answer").expect("it is there");
    assert_eq!(last.visibility, Visibility::Invite);
    assert!(last.title.as_str().starts_with("title "), "{last:?}");

    let stranger = make_account(store).await;
    let by_stranger = ConferenceChange {
        visibility: Some(Visibility::Public),
        ..ConferenceChange::default()
    };
    let refused = store
        .change_conference(before.id, stranger.id, by_stranger)
        .await;
    assert_eq!(refused, Err(StoreError::Conflict), "not its owner");
    assert_eq!(store.delete_conference(before.id, NOW).await, Ok(()));
    let gone = change(Some("Gone"), None).await;
    assert_eq!(gone, Err(StoreError::NotFound));
}

async fn all_conferences_are_listed_once(store: &Arc<dyn Store>) {
    let owner = make_account(store).await;
    let (one, other) = (
        make_conference(store, &owner).await,
        make_conference(store, &owner).await,
    );
    assert_eq!(store.delete_conference(other.id, NOW).await, Ok(()));
    let (mut cursor, mut found) = (None, Vec::new());
    loop {
        let page = store.all_conferences(cursor, 2).await.expect("a page");
        assert!(page.items.len() <= 2);
        found.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found.iter().filter(|listed| **listed == one).count(), 1);
    assert!(found.iter().all(|listed| listed.id != other.id));
}

async fn a_conference_changes_its_owner(store: &Arc<dyn Store>) {
    let (ann, ben, eve) = (
        make_account(store).await,
        make_account(store).await,
        make_account(store).await,
    );
    let conference = make_conference(store, &ann).await;
    let id = conference.id;
    let set =
        async |old: &AccountRecord, new: &AccountRecord| store.set_owner(id, old.id, new.id).await;
    assert_eq!(
        set(&ann, &ben).await,
        Err(StoreError::NotFound),
        "a stranger"
    );
    for account in [&ben, &eve] {
        let standing = Standing {
            revision: 0,
            role: Role::Member,
            muted: false,
            since: NOW.after(DAY),
        };
        assert_eq!(store.add_member(id, account.id, standing).await, Ok(()));
    }
    for _ in 0..2 {
        assert_eq!(set(&ann, &ben).await, Ok(()), "it may be repeated");
    }
    assert_eq!(set(&ann, &eve).await, Err(StoreError::Conflict));
    let changed = ConferenceRecord {
        owner: ben.id,
        owner_name: ben.username.clone(),
        revision: 1,
        ..conference
    };
    assert_eq!(store.conference(id).await, Ok(Some(changed)));
    for (account, owned) in [(&ann, 0), (&ben, 1), (&eve, 0)] {
        assert_eq!(store.count_owned(account.id).await, Ok(owned));
        let page = store.conferences_of(account.id, None, 10).await;
        assert_eq!(page.expect("a page").items.len(), 1, "it stays listed");
    }
    assert_eq!(
        store.delete_account(ben.id, NOW).await,
        Err(StoreError::Conflict)
    );
    assert_eq!(set(&ben, &ann).await, Ok(()), "and back");
    assert_eq!(store.delete_account(ben.id, NOW).await, Ok(()));
    assert_eq!(store.delete_conference(id, NOW).await, Ok(()));
    assert_eq!(store.delete_account(ann.id, NOW).await, Ok(()));
    assert_eq!(set(&ann, &eve).await, Err(StoreError::NotFound));
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
