//! Conferences, their slugs, and deletion.

use super::*;

pub(super) async fn run(store: &Arc<dyn Store>) {
    a_slug_has_one_conference(store).await;
    one_of_many_claimants_gets_the_slug(store).await;
    what_is_deleted_is_gone(store).await;
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
