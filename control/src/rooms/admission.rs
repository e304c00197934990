//! What an account is in a conference, looked up and stored for its room.

use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{AccountId, ConferenceId};

use super::errors::JoinError;
use super::shared::Shared;
use crate::store::{ConferenceRecord, Standing, Store, StoreError};

/// Looks the account's standing up; a public conference takes in whoever comes.
pub(super) async fn admit(
    shared: &Shared,
    conference: ConferenceId,
    account: AccountId,
) -> Result<(ConferenceRecord, Standing), JoinError> {
    let store = &shared.store;
    // The room is this node's and live: who was a member a moment ago gets in while the store does not answer.
    let record = store.recall_conference(conference).await?;
    let record = record.ok_or(JoinError::NoConference)?.value;
    if let Some(standing) = store.recall_member(conference, account).await? {
        return Ok((record, standing.value));
    }
    if record.visibility != Visibility::Public {
        return Err(JoinError::InvitationOnly);
    }
    let most = shared.limits.max_members;
    if store.count_members(conference).await? >= most {
        return Err(JoinError::MembersFull { most });
    }
    let standing = Standing {
        role: Role::Member,
        muted: false,
        since: shared.clock.now(),
        revision: 0,
    };
    match store.add_member(conference, account, standing).await {
        Ok(()) => Ok((record, standing)),
        // Invited, or in by another device, at the same moment.
        Err(StoreError::Conflict) => {
            let standing = store.member(conference, account).await?;
            Ok((record, standing.ok_or(StoreError::Conflict)?))
        }
        Err(error) => Err(error.into()),
    }
}

/// Stores an account's standing if it still is `old`.
pub(super) async fn change(
    store: &dyn Store,
    conference: ConferenceId,
    account: AccountId,
    old: Option<Standing>,
    new: Option<Standing>,
) -> Result<(), StoreError> {
    match (old, new) {
        (None, None) => Ok(()),
        (None, Some(new)) => store.add_member(conference, account, new).await,
        (Some(old), Some(new)) => store.change_member(conference, account, old, new).await,
        (Some(old), None) => store.remove_member(conference, account, old).await,
    }
}
