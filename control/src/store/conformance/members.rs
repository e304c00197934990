//! Standings, and lists by the page.

use super::*;

pub(super) async fn run(store: &Arc<dyn Store>) {
    standings_change_by_condition(store).await;
    pages_show_everything_once(store).await;
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
    // The rights are the first ones again, but the revision differs: a change that was decided by the first standing is late.
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
