//! A store with a door: while it is shut, nobody gets through to it.

use std::sync::Arc;

use confab_control::accounts::hashing::PasswordHash;
use confab_control::clock::UnixMillis;
use confab_control::cluster::RelayName;
use confab_control::store::{
    AccountRecord, ConferenceRecord, Cursor, HomeRecord, MemberRecord, Membership, NodeRecord,
    NodeRun, Page, Rotation, SessionId, SessionRecord, Standing, Store, StoreError, StoreFuture,
};
use confab_protocol::control::{AccountId, ConferenceId, Email, Slug, Username};
use tokio::sync::watch;

/// One node's way to a store that all share.
#[derive(Clone)]
pub struct Gate {
    store: Arc<dyn Store>,
    door: Arc<watch::Sender<Door>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// Who comes is told so.
    Shut,
    /// Who comes waits until it is open or shut.
    Jammed,
}

impl Gate {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let door = Arc::new(watch::Sender::new(Door::Open));
        Self { store, door }
    }

    pub fn shut(&self) {
        self.door.send_replace(Door::Shut);
    }

    pub fn jam(&self) {
        self.door.send_replace(Door::Jammed);
    }

    pub fn open(&self) {
        self.door.send_replace(Door::Open);
    }

    async fn pass(&self) -> Result<(), StoreError> {
        let mut door = self.door.subscribe();
        let decided = door.wait_for(|door| *door != Door::Jammed).await;
        match decided.map(|door| *door) {
            Ok(Door::Open) => Ok(()),
            _ => Err(StoreError::Unavailable("the gate is shut".to_owned())),
        }
    }
}

macro_rules! through {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        impl Store for Gate {
            $(fn $name(&self, $($arg: $kind),*) -> StoreFuture<'_, $result> {
                Box::pin(async move {
                    self.pass().await?;
                    self.store.$name($($arg),*).await
                })
            })*
        }
    };
}

through! {
    fn create_account(account: AccountRecord) -> ();
    fn account(id: AccountId) -> Option<AccountRecord>;
    fn account_by_username(name: Username) -> Option<AccountRecord>;
    fn account_by_email(email: Email) -> Option<AccountRecord>;
    fn set_password(id: AccountId, old: PasswordHash, new: PasswordHash) -> ();
    fn delete_account(id: AccountId) -> ();
    fn create_session(session: SessionRecord) -> ();
    fn session(id: SessionId, now: UnixMillis) -> Option<SessionRecord>;
    fn rotate_session(id: SessionId, presented: u32, rotation: Rotation) -> ();
    fn mark_used(id: SessionId, generation: u32) -> ();
    fn end_session(account: AccountId, id: SessionId) -> bool;
    fn sessions_of(account: AccountId, now: UnixMillis) -> Vec<SessionRecord>;
    fn end_sessions_of(account: AccountId, keep: Option<SessionId>) -> Vec<SessionId>;
    fn create_conference(conference: ConferenceRecord) -> ();
    fn conference(id: ConferenceId) -> Option<ConferenceRecord>;
    fn conference_by_slug(slug: Slug) -> Option<ConferenceRecord>;
    fn count_owned(account: AccountId) -> u64;
    fn conferences_of(account: AccountId, after: Option<Cursor>, limit: u32) -> Page<Membership>;
    fn delete_conference(id: ConferenceId) -> ();
    fn member(conference: ConferenceId, account: AccountId) -> Option<Standing>;
    fn members(conference: ConferenceId, after: Option<Cursor>, limit: u32) -> Page<MemberRecord>;
    fn count_members(conference: ConferenceId) -> u64;
    fn add_member(conference: ConferenceId, account: AccountId, standing: Standing) -> ();
    fn change_member(conference: ConferenceId, account: AccountId, old: Standing, new: Standing) -> ();
    fn remove_member(conference: ConferenceId, account: AccountId, old: Standing) -> ();
    fn home(conference: ConferenceId) -> Option<HomeRecord>;
    fn write_home(conference: ConferenceId, old: Option<HomeRecord>, new: HomeRecord) -> ();
    fn beat(node: NodeRecord) -> ();
    fn nodes() -> Vec<NodeRecord>;
    fn forget_node(run: NodeRun) -> ();
    fn revoke_relay(relay: RelayName, until: UnixMillis) -> ();
    fn revoked_relays() -> Vec<(RelayName, UnixMillis)>;
    fn sweep(now: UnixMillis) -> u64;
}
