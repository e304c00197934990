//! What outlives the process: accounts, sessions, conferences, memberships, who owns which room, and which nodes there are.
//!
//! [`Store`] speaks in the domain's words. Each operation is whole by itself (a conditional write, or one that is done
//! again without harm), and none promises a transaction over several: so a store without transactions can keep it.
//! [`sqlite`] keeps it in one file, [`cql`] in a database on many machines. `conformance` is what every implementation passes.
//! [`remembering`] goes on with what is known while a database is down, [`metered`] counts, [`turns`] and [`batch`] bound how many
//! statements an account and a request have under way.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use confab_protocol::control::{AccountId, ConferenceId, Email, Slug, Username};

use crate::clock::UnixMillis;
use crate::domain::{PasswordHash, Peer};

pub mod batch;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod cql;
mod lookups;
pub mod metered;
mod operations;
pub mod records;
pub mod remembering;
pub mod sqlite;
pub mod turns;

pub use lookups::{ended_of, look_up_all};
pub use records::{
    AccountRecord, ConferenceRecord, HomePlace, HomeRecord, MemberRecord, Membership, NodeRecord,
    NodeRun, Rotation, SecretHash, ServerId, SessionId, SessionRecord, Standing,
};

/// The future of an operation; boxed, so that a store can be chosen when the program starts.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The name belongs to somebody else.
    #[error("the {0} is taken")]
    Taken(Name),
    /// What the operation is about is not there.
    #[error("there is no such row")]
    NotFound,
    /// A condition did not hold: somebody else was faster. Read again, then decide again.
    #[error("it was changed by somebody else meanwhile")]
    Conflict,
    /// An owner of a room that must not come after the one that is known: its era is lower, or another's.
    #[error("a room's era belongs to one owner and never falls")]
    BadEra,
    /// A cursor that this store did not give.
    #[error("the page's cursor is not one that this store gave")]
    BadCursor,
    /// No room in the store's queue now; nothing was changed.
    #[error("the store has no room for this now")]
    Busy,
    /// The store does not answer. Whether a write was done is unknown.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// A row that this program could not have written.
    #[error("the store holds a row that is not right: {0}")]
    Corrupt(&'static str),
}

impl StoreError {
    /// Whether nothing is wrong but that the store does not answer now.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable(_))
    }
}

/// What was read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled<T> {
    /// What was read.
    pub value: T,
    /// The store does not answer: it was so within the last five minutes.
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

/// What is unique in the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// A person's name.
    Username,
    /// A person's address.
    Email,
    /// A conference's name.
    Slug,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Username => "username",
            Self::Email => "e-mail address",
            Self::Slug => "slug",
        })
    }
}

/// Where the next page begins; only the store that gave it can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Bytes);

/// Some of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the store's order, each once.
    pub items: Vec<T>,
    /// Where to go on; `None` on the last page.
    pub next: Option<Cursor>,
}

/// Keeps what outlives the process.
///
/// A write that was answered with `Ok` is durable. A write that is done again (the same id, the same values) succeeds
/// again, so that a caller may repeat one whose outcome it did not learn.
pub trait Store: Send + Sync + 'static {
    /// Whose store it is; `None` while it is nobody's.
    fn server(&self) -> StoreFuture<'_, Option<ServerId>>;

    /// Gives a store that is nobody's to a server, for ever. Whose it is then.
    fn claim(&self, server: ServerId) -> StoreFuture<'_, ServerId>;

    /// Claims username and e-mail address for the account and keeps it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when either belongs to another account; nothing is kept then.
    fn create_account(&self, account: AccountRecord) -> StoreFuture<'_, ()>;

    /// The account of that id.
    fn account(&self, id: AccountId) -> StoreFuture<'_, Option<AccountRecord>>;

    /// The account of that name.
    fn account_by_username(&self, name: Username) -> StoreFuture<'_, Option<AccountRecord>>;

    /// The account of that address.
    fn account_by_email(&self, email: Email) -> StoreFuture<'_, Option<AccountRecord>>;

    /// Puts `new` in the place of `old`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the hash is no longer `old`, [`StoreError::NotFound`] without the account.
    fn set_password(
        &self,
        id: AccountId,
        old: PasswordHash,
        new: PasswordHash,
    ) -> StoreFuture<'_, ()>;

    /// Deletes the account, its sessions and memberships, and frees its username and e-mail address. `now` dates the deletion for
    /// [`Self::sweep`]. Succeeds when there is no such account.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] while it owns a conference.
    fn delete_account(&self, id: AccountId, now: UnixMillis) -> StoreFuture<'_, ()>;

    /// Keeps a new session.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] without its account.
    fn create_session(&self, session: SessionRecord) -> StoreFuture<'_, ()>;

    /// The session of that id, unless it has expired by `now`.
    fn session(&self, id: SessionId, now: UnixMillis) -> StoreFuture<'_, Option<SessionRecord>>;

    /// Moves the session on by one generation.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when its generation is not `presented`, [`StoreError::NotFound`] when it has ended.
    fn rotate_session(
        &self,
        id: SessionId,
        presented: u32,
        rotation: Rotation,
    ) -> StoreFuture<'_, ()>;

    /// Marks the generation as used by its holder. Nothing happens when the session has moved on or ended.
    fn mark_used(&self, id: SessionId, generation: u32) -> StoreFuture<'_, ()>;

    /// Ends a session of the account; false when it had none of that id.
    fn end_session(&self, account: AccountId, id: SessionId) -> StoreFuture<'_, bool>;

    /// The account's sessions that have not expired by `now`, oldest first.
    fn sessions_of(
        &self,
        account: AccountId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Vec<SessionRecord>>;

    /// Ends the account's sessions but `keep`; the ids of those that it ended.
    fn end_sessions_of(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
    ) -> StoreFuture<'_, Vec<SessionId>>;

    /// Claims the slug, keeps the conference and makes its owner a member.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when the slug belongs to another, [`StoreError::NotFound`] without the owner's account.
    fn create_conference(&self, conference: ConferenceRecord) -> StoreFuture<'_, ()>;

    /// The conference of that id.
    fn conference(&self, id: ConferenceId) -> StoreFuture<'_, Option<ConferenceRecord>>;

    /// The conference of that slug.
    fn conference_by_slug(&self, slug: Slug) -> StoreFuture<'_, Option<ConferenceRecord>>;

    /// How many conferences the account owns.
    fn count_owned(&self, account: AccountId) -> StoreFuture<'_, u64>;

    /// The conferences in which the account has a standing, bans included.
    fn conferences_of(
        &self,
        account: AccountId,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<Membership>>;

    /// Deletes the conference and its memberships and frees its slug. `now` dates the deletion for [`Self::sweep`]. Succeeds when
    /// there is no such conference.
    fn delete_conference(&self, id: ConferenceId, now: UnixMillis) -> StoreFuture<'_, ()>;

    /// The account's standing in the conference.
    fn member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> StoreFuture<'_, Option<Standing>>;

    /// Everyone with a standing in the conference, bans included.
    fn members(
        &self,
        conference: ConferenceId,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<MemberRecord>>;

    /// How many have a standing in the conference, bans included. May lag behind by what is being written.
    fn count_members(&self, conference: ConferenceId) -> StoreFuture<'_, u64>;

    /// Gives an account that has none a standing in the conference.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when it has another one already, [`StoreError::NotFound`] without conference or account.
    fn add_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        standing: Standing,
    ) -> StoreFuture<'_, ()>;

    /// Puts `new`, which follows `old` ([`Standing::changed_to`]), in its place.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the standing is no longer `old` and is not `new` already, [`StoreError::NotFound`] without one.
    fn change_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
        new: Standing,
    ) -> StoreFuture<'_, ()>;

    /// Takes the standing away.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the standing is no longer `old`, [`StoreError::NotFound`] without one.
    fn remove_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
    ) -> StoreFuture<'_, ()>;

    /// Who owns the conference's room, as decided in the world; `None` when nobody ever has.
    fn home(&self, conference: ConferenceId) -> StoreFuture<'_, Option<HomeRecord>>;

    /// Puts `new` in the place of `old`. It outlives the conference, so that no era is ever given twice.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the row is no longer `old` and is not `new` already, [`StoreError::BadEra`] when `new` must
    /// not come after `old` ([`HomeRecord::may_follow`]).
    fn write_home(
        &self,
        conference: ConferenceId,
        old: Option<HomeRecord>,
        new: HomeRecord,
    ) -> StoreFuture<'_, ()>;

    /// Keeps what a node says of itself, in the place of what a run of the same name said before. It is forgotten a day
    /// after the last time.
    fn beat(&self, node: NodeRecord) -> StoreFuture<'_, ()>;

    /// All nodes that have said something within a day, each name once.
    fn nodes(&self) -> StoreFuture<'_, Vec<NodeRecord>>;

    /// Forgets a node that ends in order. Nothing happens when another run of it has its place.
    fn forget_node(&self, run: NodeRun) -> StoreFuture<'_, ()>;

    /// Keeps that identities that were made for it until then are not good any more. Of several times the latest counts.
    fn revoke(&self, peer: Peer, until: UnixMillis) -> StoreFuture<'_, ()>;

    /// Everybody of whom identities are revoked, and until when they were made.
    fn revoked(&self) -> StoreFuture<'_, Vec<(Peer, UnixMillis)>>;

    /// Forgets sessions that have expired by `now`, in a store that does not by itself, and finishes or undoes what a crash left
    /// half done, in one that does not by itself; how many.
    fn sweep(&self, now: UnixMillis) -> StoreFuture<'_, u64>;

    /// As [`Self::session`], for somebody who shows its token: see [`remembering`].
    fn recall_session(
        &self,
        id: SessionId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Option<Recalled<SessionRecord>>> {
        Box::pin(async move { Ok(self.session(id, now).await?.map(Recalled::fresh)) })
    }

    /// As [`Self::account`], for somebody who shows a token of a session of it.
    fn recall_account(&self, id: AccountId) -> StoreFuture<'_, Option<Recalled<AccountRecord>>> {
        Box::pin(async move { Ok(self.account(id).await?.map(Recalled::fresh)) })
    }

    /// As [`Self::conference`], for somebody who joins its room.
    fn recall_conference(
        &self,
        id: ConferenceId,
    ) -> StoreFuture<'_, Option<Recalled<ConferenceRecord>>> {
        Box::pin(async move { Ok(self.conference(id).await?.map(Recalled::fresh)) })
    }

    /// As [`Self::conference_by_slug`], for somebody who joins its room.
    fn recall_conference_by_slug(
        &self,
        slug: Slug,
    ) -> StoreFuture<'_, Option<Recalled<ConferenceRecord>>> {
        Box::pin(async move { Ok(self.conference_by_slug(slug).await?.map(Recalled::fresh)) })
    }

    /// As [`Self::member`], for somebody who joins a room that is this node's.
    fn recall_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> StoreFuture<'_, Option<Recalled<Standing>>> {
        Box::pin(async move { Ok(self.member(conference, account).await?.map(Recalled::fresh)) })
    }

    /// The session has ended elsewhere, or shows itself to be older than is remembered.
    fn forget_session(&self, _id: SessionId) {}

    /// Sessions may have ended elsewhere, and nobody here was told which.
    fn forget_sessions(&self) {}

    /// Whether several nodes can use the store at the same time.
    fn is_shared(&self) -> bool;

    /// Whether the store answered when it was asked last.
    fn is_answering(&self) -> bool {
        true
    }
}
