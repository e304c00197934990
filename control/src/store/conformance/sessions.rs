//! Sessions.

use super::*;

pub(super) async fn run(store: &Arc<dyn Store>) {
    sessions_rotate_by_condition(store).await;
    sessions_end_and_expire(store).await;
    expired_sessions_are_swept(store).await;
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
