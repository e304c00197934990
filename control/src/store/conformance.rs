//! A suite over any [`Store`], run by the tests of each implementation.
//!
//! Other checks may use the same store at the same time. Each check creates accounts and conferences of its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{AccountId, ConferenceId, Email, InvitationId};

use super::{
    AccountKind, AccountRecord, ConferenceChange, ConferenceRecord, Cursor, GUEST_BAN_LIFE,
    GuestBan, GuestOrigin, InvitationRecord, Name, Page, Rotation, ServerId, SessionId,
    SessionRecord, Standing, Store, StoreError,
};
use crate::clock::UnixMillis;
use crate::domain::PasswordHash;
use crate::random;

mod accounts;
mod conferences;
mod fixtures;
mod guest_bans;
mod homes;
mod invitations;
mod members;
mod sessions;

pub(super) use fixtures::{email_of, some_account, some_conference, some_session};
use fixtures::{make_account, make_conference, make_session, some_hash};

/// Tasks that claim one name at the same time.
const CLAIMANTS: usize = 50;
pub(super) const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs every check.
///
/// # Panics
///
/// If the store does not keep a promise of [`Store`].
pub async fn run(store: Arc<dyn Store>) {
    let store = &store;
    accounts::run(store).await;
    sessions::run(store).await;
    conferences::run(store).await;
    members::run(store).await;
    invitations::run(store).await;
    guest_bans::run(store).await;
    homes::run(store).await;
    a_store_belongs_to_one_server(store).await;
}

async fn a_store_belongs_to_one_server(store: &Arc<dyn Store>) {
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
    assert_eq!(owners.len(), 1, "all get the id of the same server");
    assert_eq!(store.server().await, Ok(Some(owners[0])));
}
