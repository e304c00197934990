//! Data that outlives the process: accounts, sessions, conferences, memberships, invitations, homes of rooms, and nodes.
//!
//! [`Store`] has operations of the domain. Each is atomic by itself (a conditional write) or may be repeated, and none needs a
//! transaction over several, so that a database without transactions can implement it. [`sqlite`] is one file, [`cql`] a database on
//! many machines. Every implementation passes `conformance`. [`remembering`] answers from memory while a database is down,
//! [`metered`] measures operations, [`turns`] and [`batch`] limit how many of them an account and a request have under way.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, ConferenceId, Email, InvitationId, Slug, Username};

use crate::clock::UnixMillis;
use crate::domain::{PasswordHash, Peer};

pub mod batch;
mod changes;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod cql;
mod errors;
mod lookups;
pub mod metered;
mod operations;
pub mod records;
pub mod remembering;
pub mod sqlite;
pub mod turns;

pub use changes::ConferenceChange;
pub use errors::{Name, StoreError};
pub use lookups::{ended_of, look_up_all};
pub use records::{
    AccountKind, AccountRecord, ConferenceRecord, GUEST_BAN_LIFE, GUEST_SESSION_LIFE, GuestBan,
    GuestOrigin, HomePlace, HomeRecord, InvitationRecord, MemberRecord, Membership, NodeRecord,
    NodeRun, Rotation, SecretHash, ServerId, SessionId, SessionRecord, Standing, invitation_id,
};

/// The future of an operation; boxed, so that the program chooses its store when it starts.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A value, and whether it is the store's current answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled<T> {
    /// The value.
    pub value: T,
    /// Whether the store did not answer, and the value was read within the last five minutes.
    pub from_memory: bool,
}

impl<T> Recalled<T> {
    pub(crate) fn fresh(value: T) -> Self {
        Self {
            value,
            from_memory: false,
        }
    }
}

/// The start of the next page; only the store that returned it can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Bytes);

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the store's order, without duplicates.
    pub items: Vec<T>,
    /// The start of the next page; `None` on the last one.
    pub next: Option<Cursor>,
}

/// Stores data that outlives the process.
///
/// A write that returned `Ok` is durable. Repeating a write with the same id and values succeeds, so that a caller may repeat a write
/// whose outcome it did not learn.
pub trait Store: Send + Sync + 'static {
    /// The server that owns the store; `None` before [`Self::claim`].
    fn server(&self) -> StoreFuture<'_, Option<ServerId>>;

    /// Makes `server` the owner for ever if there is none. Returns the owner.
    fn claim(&self, server: ServerId) -> StoreFuture<'_, ServerId>;

    /// Claims the username and the e-mail address for the account, and stores it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] if either belongs to another account; nothing is stored then.
    fn create_account(&self, account: AccountRecord) -> StoreFuture<'_, ()>;

    /// The account with this id.
    fn account(&self, id: AccountId) -> StoreFuture<'_, Option<AccountRecord>>;

    /// The account with this username.
    fn account_by_username(&self, name: Username) -> StoreFuture<'_, Option<AccountRecord>>;

    /// The account with this e-mail address.
    fn account_by_email(&self, email: Email) -> StoreFuture<'_, Option<AccountRecord>>;

    /// Replaces the password hash `old` by `new`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the hash is no longer `old`, [`StoreError::NotFound`] without the account.
    fn set_password(
        &self,
        id: AccountId,
        old: PasswordHash,
        new: PasswordHash,
    ) -> StoreFuture<'_, ()>;

    /// Disables or enables the account: [`StoreError::NotFound`] without it.
    fn set_disabled(&self, id: AccountId, disabled: bool) -> StoreFuture<'_, ()>;

    /// Marks the account's e-mail address as verified.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if its address is not `email`, [`StoreError::NotFound`] without the account.
    fn verify_email(&self, id: AccountId, email: Email) -> StoreFuture<'_, ()>;

    /// Replaces the account's e-mail address `old` by `new`, which nobody has verified, and frees `old`. `now` dates the change for
    /// [`Self::sweep`]. Does nothing if the address is `new` already.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] if `new` belongs to another account, [`StoreError::Conflict`] if the address is no longer `old`,
    /// [`StoreError::NotFound`] without the account.
    fn change_email(
        &self,
        id: AccountId,
        old: Option<Email>,
        new: Option<Email>,
        now: UnixMillis,
    ) -> StoreFuture<'_, ()>;

    /// All accounts. A page may have fewer than `limit`, and none, before the last one.
    fn accounts(&self, after: Option<Cursor>, limit: u32) -> StoreFuture<'_, Page<AccountRecord>>;

    /// Deletes the account, its sessions and memberships, and frees its username and e-mail address. `now` dates the deletion for
    /// [`Self::sweep`]. Succeeds when there is no such account.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] while it owns a conference.
    fn delete_account(&self, id: AccountId, now: UnixMillis) -> StoreFuture<'_, ()>;

    /// Stores a new session.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] without its account.
    fn create_session(&self, session: SessionRecord) -> StoreFuture<'_, ()>;

    /// The session with this id, unless it has expired by `now`.
    fn session(&self, id: SessionId, now: UnixMillis) -> StoreFuture<'_, Option<SessionRecord>>;

    /// Advances the session by one generation.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if its generation is not `presented`, [`StoreError::NotFound`] if it has ended.
    fn rotate_session(
        &self,
        id: SessionId,
        presented: u32,
        rotation: Rotation,
    ) -> StoreFuture<'_, ()>;

    /// Records that the token of this generation was presented. No effect if the session has another generation, or has ended.
    fn mark_used(&self, id: SessionId, generation: u32) -> StoreFuture<'_, ()>;

    /// Ends a session of the account. Returns false if the account has no such session.
    fn end_session(&self, account: AccountId, id: SessionId) -> StoreFuture<'_, bool>;

    /// The account's sessions that have not expired by `now`, oldest first.
    fn sessions_of(
        &self,
        account: AccountId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Vec<SessionRecord>>;

    /// Ends the account's sessions except `keep`. Returns the ids of the ended sessions.
    fn end_sessions_of(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
    ) -> StoreFuture<'_, Vec<SessionId>>;

    /// Claims the slug, stores the conference and makes its owner a member.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] if another conference has the slug, [`StoreError::NotFound`] without the owner's account.
    fn create_conference(&self, conference: ConferenceRecord) -> StoreFuture<'_, ()>;

    /// The conference with this id.
    fn conference(&self, id: ConferenceId) -> StoreFuture<'_, Option<ConferenceRecord>>;

    /// The conference with this slug.
    fn conference_by_slug(&self, slug: Slug) -> StoreFuture<'_, Option<ConferenceRecord>>;

    /// The number of conferences that the account owns.
    fn count_owned(&self, account: AccountId) -> StoreFuture<'_, u64>;

    /// The conferences in which the account has a standing, bans included.
    fn conferences_of(
        &self,
        account: AccountId,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<Membership>>;

    /// All conferences. A page may have fewer than `limit`, and none, before the last one.
    fn all_conferences(
        &self,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<ConferenceRecord>>;

    /// Makes `new`, which has a standing in the conference, its owner in place of `old`. The standings stay as they are. Repeating it
    /// completes what an interrupted attempt began.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the owner is neither `old` nor `new`, [`StoreError::NotFound`] without the conference, or if `new` has
    /// no account or no standing.
    fn set_owner(
        &self,
        conference: ConferenceId,
        old: AccountId,
        new: AccountId,
    ) -> StoreFuture<'_, ()>;

    /// Changes the title and who may join, and returns the conference as it is then. Memberships stay as they are.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] without the conference, [`StoreError::Conflict`] if `owner` is not its owner.
    fn change_conference(
        &self,
        id: ConferenceId,
        owner: AccountId,
        change: ConferenceChange,
    ) -> StoreFuture<'_, ConferenceRecord>;

    /// Deletes the conference with its memberships and invitations, and frees its slug. `now` dates the deletion for [`Self::sweep`]. Succeeds when
    /// there is no such conference.
    fn delete_conference(&self, id: ConferenceId, now: UnixMillis) -> StoreFuture<'_, ()>;

    /// The account's standing in the conference.
    fn member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> StoreFuture<'_, Option<Standing>>;

    /// The accounts with a standing in the conference, bans included.
    fn members(
        &self,
        conference: ConferenceId,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<MemberRecord>>;

    /// The number of accounts with a standing in the conference, bans included. Writes under way may be missing.
    fn count_members(&self, conference: ConferenceId) -> StoreFuture<'_, u64>;

    /// Adds an account that has no standing in the conference.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if it has another standing, [`StoreError::NotFound`] without the conference or account.
    fn add_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        standing: Standing,
    ) -> StoreFuture<'_, ()>;

    /// Replaces the standing `old` by `new`, which follows it ([`Standing::changed_to`]).
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the standing is neither `old` nor `new`, [`StoreError::NotFound`] without one.
    fn change_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
        new: Standing,
    ) -> StoreFuture<'_, ()>;

    /// Removes the standing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the standing is no longer `old`, [`StoreError::NotFound`] without one.
    fn remove_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
    ) -> StoreFuture<'_, ()>;

    /// Stores a new invitation.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] without the conference.
    fn create_invitation(&self, invitation: InvitationRecord) -> StoreFuture<'_, ()>;

    /// The invitation, unless it has expired by `now`.
    fn invitation(
        &self,
        conference: ConferenceId,
        id: InvitationId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Option<InvitationRecord>>;

    /// The conference's invitations that have not expired by `now`, by their ids.
    fn invitations(
        &self,
        conference: ConferenceId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Vec<InvitationRecord>>;

    /// Counts a use of the invitation by the account. `old` was just read; repeating it with the same record counts once.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the record is no longer `old`, [`StoreError::NotFound`] if it was revoked.
    fn use_invitation(
        &self,
        old: InvitationRecord,
        by: AccountId,
        now: UnixMillis,
    ) -> StoreFuture<'_, ()>;

    /// Deletes the invitation. Returns false if there is none.
    fn revoke_invitation(
        &self,
        conference: ConferenceId,
        id: InvitationId,
    ) -> StoreFuture<'_, bool>;

    /// Keeps a guest's device from coming to a conference as a guest, for [`GUEST_BAN_LIFE`] from `ban.since` on.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] without the conference.
    fn ban_guest(&self, ban: GuestBan) -> StoreFuture<'_, ()>;

    /// The ban of this device, if it is in force at `now`.
    fn guest_ban(
        &self,
        conference: ConferenceId,
        device: DevicePublicKey,
        now: UnixMillis,
    ) -> StoreFuture<'_, Option<GuestBan>>;

    /// The bans of guests that are in force at `now`, by device.
    fn guest_bans(
        &self,
        conference: ConferenceId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Vec<GuestBan>>;

    /// Ends a ban, if there is one.
    fn lift_guest_ban(
        &self,
        conference: ConferenceId,
        device: DevicePublicKey,
    ) -> StoreFuture<'_, ()>;

    /// The home of the conference's room, as decided by all datacentres; `None` if it never had one.
    fn home(&self, conference: ConferenceId) -> StoreFuture<'_, Option<HomeRecord>>;

    /// Replaces the home `old` by `new`. The home outlives the conference, so that no era is used twice.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the home is neither `old` nor `new`, [`StoreError::BadEra`] if `new` must
    /// not follow `old` ([`HomeRecord::may_follow`]).
    fn write_home(
        &self,
        conference: ConferenceId,
        old: Option<HomeRecord>,
        new: HomeRecord,
    ) -> StoreFuture<'_, ()>;

    /// Stores a node's heartbeat, in place of the last one of the same name. It expires after a day.
    fn beat(&self, node: NodeRecord) -> StoreFuture<'_, ()>;

    /// All nodes with a heartbeat within the last day, each name once.
    fn nodes(&self) -> StoreFuture<'_, Vec<NodeRecord>>;

    /// Deletes the heartbeat of a node that shuts down. No effect if another run has the name now.
    fn forget_node(&self, run: NodeRun) -> StoreFuture<'_, ()>;

    /// Revokes the identities that were issued to the peer until `until`. Of several times the latest counts.
    fn revoke(&self, peer: Peer, until: UnixMillis) -> StoreFuture<'_, ()>;

    /// The peers with revoked identities, and the time until which these were issued.
    fn revoked(&self) -> StoreFuture<'_, Vec<(Peer, UnixMillis)>>;

    /// Deletes the sessions, invitations and guests' accounts that have expired by `now`, and finishes or undoes operations that a crash interrupted, unless the store
    /// does so by itself. Returns the number of sessions and finished operations.
    fn sweep(&self, now: UnixMillis) -> StoreFuture<'_, u64>;

    /// Writes something that changes nothing, to learn whether the store can write.
    fn probe_write(&self) -> StoreFuture<'_, ()>;

    /// As [`Self::session`], for a client that presents its token; may be answered from memory, see [`remembering`].
    fn recall_session(
        &self,
        id: SessionId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Option<Recalled<SessionRecord>>> {
        Box::pin(async move { Ok(self.session(id, now).await?.map(Recalled::fresh)) })
    }

    /// As [`Self::account`], for a client that presents a token of one of its sessions.
    fn recall_account(&self, id: AccountId) -> StoreFuture<'_, Option<Recalled<AccountRecord>>> {
        Box::pin(async move { Ok(self.account(id).await?.map(Recalled::fresh)) })
    }

    /// As [`Self::conference`], for a join to its room.
    fn recall_conference(
        &self,
        id: ConferenceId,
    ) -> StoreFuture<'_, Option<Recalled<ConferenceRecord>>> {
        Box::pin(async move { Ok(self.conference(id).await?.map(Recalled::fresh)) })
    }

    /// As [`Self::conference_by_slug`], for a join to its room.
    fn recall_conference_by_slug(
        &self,
        slug: Slug,
    ) -> StoreFuture<'_, Option<Recalled<ConferenceRecord>>> {
        Box::pin(async move { Ok(self.conference_by_slug(slug).await?.map(Recalled::fresh)) })
    }

    /// As [`Self::member`], for a join to a room that this node owns.
    fn recall_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> StoreFuture<'_, Option<Recalled<Standing>>> {
        Box::pin(async move { Ok(self.member(conference, account).await?.map(Recalled::fresh)) })
    }

    /// Removes the session from memory: it has ended on another node, or its presented token is older than the one in memory.
    fn forget_session(&self, _id: SessionId) {}

    /// Removes all sessions from memory: any of them may have ended on another node.
    fn forget_sessions(&self) {}

    /// Whether several nodes can use the store at the same time.
    fn is_shared(&self) -> bool;

    /// Whether the store answered the last operation.
    fn is_answering(&self) -> bool {
        true
    }
}
