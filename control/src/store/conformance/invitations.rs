//! Invitations.

use super::*;

pub(super) async fn run(store: &Arc<dyn Store>) {
    an_invitation_is_kept_until_it_expires_or_is_revoked(store).await;
    uses_are_counted_once_for_each_account(store).await;
    invitations_go_with_their_conference(store).await;
}

fn some_invitation(conference: &ConferenceRecord) -> InvitationRecord {
    InvitationRecord {
        conference: conference.id,
        id: InvitationId(random::bytes()),
        role: Role::Member,
        author: conference.owner,
        author_name: conference.owner_name.clone(),
        created: NOW,
        expires: NOW.after(DAY),
        uses: 3,
        used: 0,
        last_user: None,
    }
}

async fn an_invitation_is_kept_until_it_expires_or_is_revoked(store: &Arc<dyn Store>) {
    let owner = make_account(store).await;
    let conference = make_conference(store, &owner).await;
    let (one, two) = (some_invitation(&conference), some_invitation(&conference));
    for invitation in [&one, &two, &one] {
        let created = store.create_invitation(invitation.clone());
        assert_eq!(created.await, Ok(()), "it may be repeated");
    }
    let mut both = vec![one.clone(), two.clone()];
    both.sort_by_key(|invitation| invitation.id);
    assert_eq!(store.invitations(conference.id, NOW).await, Ok(both));
    let id = conference.id;
    let found = Ok(Some(one.clone()));
    assert_eq!(store.invitation(id, one.id, NOW).await, found);
    let end = NOW.after(DAY);
    assert_eq!(store.invitation(id, one.id, end).await, Ok(None));
    assert_eq!(store.invitations(id, end).await, Ok(Vec::new()));
    assert_eq!(store.revoke_invitation(id, one.id).await, Ok(true));
    assert_eq!(store.revoke_invitation(id, one.id).await, Ok(false));
    assert_eq!(store.invitation(id, one.id, NOW).await, Ok(None));
    assert_eq!(store.invitations(id, NOW).await, Ok(vec![two]));
    let used = store.use_invitation(one, owner.id, NOW).await;
    assert_eq!(used, Err(StoreError::NotFound));
}

async fn uses_are_counted_once_for_each_account(store: &Arc<dyn Store>) {
    let owner = make_account(store).await;
    let conference = make_conference(store, &owner).await;
    let invitation = some_invitation(&conference);
    let created = store.create_invitation(invitation.clone()).await;
    assert_eq!(created, Ok(()));
    let (ann, ben) = (some_account().id, some_account().id);
    let use_it = async |by| store.use_invitation(invitation.clone(), by, NOW).await;
    assert_eq!(use_it(ann).await, Ok(()));
    assert_eq!(use_it(ann).await, Ok(()), "the answer was lost");
    assert_eq!(use_it(ben).await, Err(StoreError::Conflict));
    let found = store.invitation(conference.id, invitation.id, NOW).await;
    let once = InvitationRecord {
        used: 1,
        last_user: Some(ann),
        ..invitation
    };
    assert_eq!(found, Ok(Some(once.clone())));
    // Of many that see the same record one counts.
    let users = (0..CLAIMANTS).map(|_| {
        let (store, once) = (store.clone(), once.clone());
        let user = some_account().id;
        tokio::spawn(async move { store.use_invitation(once, user, NOW).await })
    });
    let mut counted = 0;
    for user in users.collect::<Vec<_>>() {
        match user.await.expect("it ends") {
            Ok(()) => counted += 1,
            Err(error) => assert_eq!(error, StoreError::Conflict),
        }
    }
    assert_eq!(counted, 1);
}

async fn invitations_go_with_their_conference(store: &Arc<dyn Store>) {
    let owner = make_account(store).await;
    let conference = make_conference(store, &owner).await;
    let invitation = some_invitation(&conference);
    let created = store.create_invitation(invitation.clone()).await;
    assert_eq!(created, Ok(()));
    assert_eq!(store.delete_conference(conference.id, NOW).await, Ok(()));
    assert_eq!(
        store.invitation(conference.id, invitation.id, NOW).await,
        Ok(None)
    );
    let late = store.create_invitation(invitation).await;
    assert_eq!(late, Err(StoreError::NotFound));
}
