//! The store in a CQL database, for many machines: ScyllaDB, or Apache Cassandra.
//!
//! * `config`: the database's address and credentials; `db`: the driver's session; `schema`: tables and their migrations;
//! * `cas_table`: tables whose rows are changed by compare-and-set; `rows`, `conference_row`, `packed`, `keys`: their rows;
//! * `journal`: operations that have begun and not ended;
//! * `accounts`, `sessions`, `conferences`, `ownership`, `members`, `invitations`, `guest_bans`, `lists`, `homes`, `nodes`, `revoked`, `owner`: the operations.
//!
//! # Tables
//!
//! `docs/cql-store.md` lists the tables and columns. The rows of all tables but `unfinished`, `nodes`, `revoked` and the sessions in
//! `users` are only ever written by conditional statements (lightweight transactions), decided at SERIAL: a name, a slug and a home are
//! unique in all datacentres, and a changed password, an ended session and a ban hold in all of them. With one datacentre that costs
//! nothing more than LOCAL_SERIAL. Reads are at LOCAL_QUORUM, because the write that follows compares. Only a home is read
//! at SERIAL: its reader commands relays. A write that is not answered is looked up at SERIAL (`cas_table`).
//!
//! An account's lists of sessions and conferences are in its own partition of `users`, because a partition costs some 45 bytes:
//! its key, twice, and its place in the index.
//!
//! An account or conference is *live*, *held* (an account whose deletion has to learn whether it owns a conference), *closing* (being
//! deleted, or given up half-made; final) or *gone* (for a day, so that no late statement creates it again). Only a live one is
//! visible. **A name is active exactly while the row that it leads to is live,** and pending before: so one conditional write makes
//! both names of an account active at once, and a lookup by name reads that row anyway.
//!
//! # Orders
//!
//! Every operation that writes several tables does so in this order, and a crash in between is repaired as described. Repeating the
//! operation completes it, too. The sweep is [`Store::sweep`]. It leaves alone operations that began less than ten minutes ago, and
//! looks for half a day at what it found half-made: its creator may have been suspended, and may write more before it finds out.
//!
//! | operation | order | a crash in between leaves | repaired by |
//! |---|---|---|---|
//! | create an account | write the note · claim the username · claim the e-mail address · write the live row · delete the note | names that lead to no live row: nobody can log in, and no other account gets them yet | the sweep: makes the row *closing* by a conditional write, so that the account cannot be finished any more, then deletes it |
//! | create a guest's account | write the note of its end · as above | a note of an account that is not there | the sweep, at that time |
//! | delete an account | write the note · hold the row · check that it owns no conference · make the row closing · sessions · each standing and its place in the list · names · make the row gone · delete the note | an account that is not visible; its names are freed last, and never while its row is live | the sweep continues from any point |
//! | create a session | place in the list · row · check that the account is live | a place without a session, or a session whose token nobody has | both expire |
//! | rotate a session | place in the list (longer life) · row | a place that outlives its session | it expires |
//! | end a session | row · place in the list | a place without a session | it expires |
//! | create a conference | write the note · claim the slug · owner's list · owner's standing · write the live row · check that the owner is live · delete the note | a slug that leads to no live row; a place in the owner's list that is not shown; a live row whose owner is gone | the sweep, as for an account |
//! | delete a conference | write the note · make the row closing · each member's place in its list and standing · invitations · bans of guests · slug · make the row gone · delete the note | a conference that is not visible | the sweep continues |
//! | add a member | account's list · standing · check that both are live | a place in the list that is not shown | adding the same member again, or deleting the account |
//! | ban a guest's device | row · check that the conference is live | a ban in a conference that is not there | it expires |
//! | create an invitation | row · check that the conference is live | an invitation of a conference that is not there | it expires |
//! | change a conference's owner | the new owner's list · the conference's row · the lists of both | a conference in the lists of both | changing the owner again |
//! | remove a member | standing · account's list | the same | the same |
//!
//! Operations that meet: creating something below an account or conference writes first and checks last; deleting the account or
//! conference closes it first and reads last. So one of them sees the other. A place in a list has the time since when, so that a late
//! removal does not remove a newer place.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, ConferenceId, Email, InvitationId, Slug, Username};

use super::{
    AccountRecord, ConferenceChange, ConferenceRecord, Cursor, GuestBan, HomeRecord,
    InvitationRecord, MemberRecord, Membership, Name, NodeRecord, NodeRun, Page, Rotation,
    ServerId, SessionId, SessionRecord, Standing, Store, StoreError, StoreFuture,
};
use crate::clock::UnixMillis;
use crate::domain::{PasswordHash, Peer};

mod accounts;
mod cas_table;
mod conference_row;
mod conferences;
pub mod config;
mod core;
mod db;
#[cfg(any(test, feature = "conformance"))]
pub mod faults;
mod guest_bans;
mod home_row;
mod homes;
mod invitations;
mod journal;
mod keys;
mod lists;
mod members;
mod nodes;
mod owner;
mod ownership;
mod packed;
mod pages;
mod revoked;
mod rows;
mod schema;
mod session_lists;
mod sessions;
#[cfg(test)]
pub(crate) mod tests;
mod unfinished;

use config::CqlConfig;
use core::Core;
use db::Db;

/// The store in a CQL database. Clones share it.
#[derive(Clone)]
pub struct CqlStore {
    core: Arc<Core>,
}

impl CqlStore {
    /// Connects to the database, creates the keyspace and tables if they are missing, and brings them up to date.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if no node answers within 10 s or accepts the credentials, if a TLS file cannot be
    /// used, if there are fewer nodes than replicas, or if the tables are a newer program's. The message says what to
    /// do.
    pub async fn open(config: &CqlConfig) -> Result<Self, StoreError> {
        let db = Db::connect(config).await?;
        Box::pin(schema::migrate(&db, config)).await?;
        let core = Box::pin(Core::prepare(db, config)).await?;
        Ok(Self {
            core: Arc::new(core),
        })
    }

    /// Connects to the database, and changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn reach(config: &CqlConfig) -> Result<(), StoreError> {
        Box::pin(Db::connect(config)).await.map(drop)
    }

    /// Makes single statements fail.
    #[cfg(any(test, feature = "conformance"))]
    pub fn faults(&self) -> &faults::Faults {
        &self.core.db.faults
    }

    /// Runs an operation that only reads, or writes a single row.
    fn ask<'a, T: Send + 'a>(
        &'a self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let _permit = self.core.db.admit()?;
            work.await
        })
    }

    /// Runs an operation that writes several tables, to its end even if the caller goes away.
    fn carry_out<T: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(
            &'a Core,
        )
            -> Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>
        + Send
        + 'static,
    ) -> StoreFuture<'_, T> {
        let core = self.core.clone();
        Box::pin(async move {
            let task = tokio::spawn(async move {
                let _permit = core.db.admit()?;
                work(&core).await
            });
            task.await
                .map_err(|error| StoreError::Unavailable(error.to_string()))?
        })
    }
}

impl Store for CqlStore {
    fn create_account(&self, account: AccountRecord) -> StoreFuture<'_, ()> {
        self.carry_out(|core| Box::pin(async move { core.create_account(&account).await }))
    }

    fn account(&self, id: AccountId) -> StoreFuture<'_, Option<AccountRecord>> {
        self.ask(self.core.account(id))
    }

    fn account_by_username(&self, name: Username) -> StoreFuture<'_, Option<AccountRecord>> {
        self.ask(async move {
            let kind = Name::Username;
            self.core.account_by_name(kind, name.as_str()).await
        })
    }

    fn account_by_email(&self, email: Email) -> StoreFuture<'_, Option<AccountRecord>> {
        self.ask(async move {
            let kind = Name::Email;
            self.core.account_by_name(kind, email.as_str()).await
        })
    }

    fn set_password(
        &self,
        id: AccountId,
        old: PasswordHash,
        new: PasswordHash,
    ) -> StoreFuture<'_, ()> {
        self.ask(async move { self.core.set_password(id, &old, &new).await })
    }

    fn set_disabled(&self, id: AccountId, disabled: bool) -> StoreFuture<'_, ()> {
        self.ask(self.core.set_disabled(id, disabled))
    }

    fn verify_email(&self, id: AccountId, email: Email) -> StoreFuture<'_, ()> {
        self.ask(async move { self.core.verify_email(id, &email).await })
    }

    fn change_email(
        &self,
        id: AccountId,
        old: Option<Email>,
        new: Option<Email>,
        now: UnixMillis,
    ) -> StoreFuture<'_, ()> {
        self.carry_out(move |core| {
            Box::pin(async move { core.change_email(id, old.as_ref(), new.as_ref(), now).await })
        })
    }

    fn accounts(&self, after: Option<Cursor>, limit: u32) -> StoreFuture<'_, Page<AccountRecord>> {
        self.ask(self.core.accounts(after, limit))
    }

    fn delete_account(&self, id: AccountId, now: UnixMillis) -> StoreFuture<'_, ()> {
        self.carry_out(move |core| Box::pin(core.delete_account(id, now)))
    }

    fn create_session(&self, session: SessionRecord) -> StoreFuture<'_, ()> {
        self.carry_out(|core| Box::pin(async move { core.create_session(&session).await }))
    }

    fn session(&self, id: SessionId, now: UnixMillis) -> StoreFuture<'_, Option<SessionRecord>> {
        self.ask(self.core.session(id, now))
    }

    fn rotate_session(
        &self,
        id: SessionId,
        presented: u32,
        rotation: Rotation,
    ) -> StoreFuture<'_, ()> {
        self.carry_out(move |core| Box::pin(core.rotate_session(id, presented, rotation)))
    }

    fn mark_used(&self, id: SessionId, generation: u32) -> StoreFuture<'_, ()> {
        self.ask(self.core.mark_used(id, generation))
    }

    fn end_session(&self, account: AccountId, id: SessionId) -> StoreFuture<'_, bool> {
        self.carry_out(move |core| Box::pin(core.end_session(account, id)))
    }

    fn sessions_of(
        &self,
        account: AccountId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Vec<SessionRecord>> {
        self.ask(self.core.sessions_of(account, now))
    }

    fn end_sessions_of(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
    ) -> StoreFuture<'_, Vec<SessionId>> {
        self.carry_out(move |core| Box::pin(core.end_sessions_of(account, keep)))
    }

    fn create_conference(&self, conference: ConferenceRecord) -> StoreFuture<'_, ()> {
        self.carry_out(|core| Box::pin(async move { core.create_conference(&conference).await }))
    }

    fn conference(&self, id: ConferenceId) -> StoreFuture<'_, Option<ConferenceRecord>> {
        self.ask(self.core.conference(id))
    }

    fn conference_by_slug(&self, slug: Slug) -> StoreFuture<'_, Option<ConferenceRecord>> {
        self.ask(async move { self.core.conference_by_slug(&slug).await })
    }

    fn count_owned(&self, account: AccountId) -> StoreFuture<'_, u64> {
        self.ask(self.core.count_owned(account))
    }

    fn conferences_of(
        &self,
        account: AccountId,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<Membership>> {
        self.ask(self.core.conferences_of(account, after, limit))
    }

    fn all_conferences(
        &self,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<ConferenceRecord>> {
        self.ask(self.core.all_conferences(after, limit))
    }

    fn set_owner(
        &self,
        conference: ConferenceId,
        old: AccountId,
        new: AccountId,
    ) -> StoreFuture<'_, ()> {
        self.carry_out(move |core| Box::pin(core.set_owner(conference, old, new)))
    }

    fn change_conference(
        &self,
        id: ConferenceId,
        owner: AccountId,
        change: ConferenceChange,
    ) -> StoreFuture<'_, ConferenceRecord> {
        self.carry_out(move |core| Box::pin(core.change_conference(id, owner, change)))
    }

    fn delete_conference(&self, id: ConferenceId, now: UnixMillis) -> StoreFuture<'_, ()> {
        self.carry_out(move |core| Box::pin(core.delete_conference(id, now)))
    }

    fn member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> StoreFuture<'_, Option<Standing>> {
        self.ask(self.core.member(conference, account))
    }

    fn members(
        &self,
        conference: ConferenceId,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<MemberRecord>> {
        self.ask(self.core.members(conference, after, limit))
    }

    fn count_members(&self, conference: ConferenceId) -> StoreFuture<'_, u64> {
        self.ask(self.core.count_members(conference))
    }

    fn add_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        standing: Standing,
    ) -> StoreFuture<'_, ()> {
        self.carry_out(move |core| Box::pin(core.add_member(conference, account, standing)))
    }

    fn change_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
        new: Standing,
    ) -> StoreFuture<'_, ()> {
        self.ask(self.core.change_member(conference, account, old, new))
    }

    fn remove_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
    ) -> StoreFuture<'_, ()> {
        self.carry_out(move |core| Box::pin(core.remove_member(conference, account, old)))
    }

    fn create_invitation(&self, invitation: InvitationRecord) -> StoreFuture<'_, ()> {
        self.carry_out(|core| Box::pin(async move { core.create_invitation(&invitation).await }))
    }

    fn invitation(
        &self,
        conference: ConferenceId,
        id: InvitationId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Option<InvitationRecord>> {
        self.ask(self.core.invitation(conference, id, now))
    }

    fn invitations(
        &self,
        conference: ConferenceId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Vec<InvitationRecord>> {
        self.ask(self.core.invitations(conference, now))
    }

    fn use_invitation(
        &self,
        old: InvitationRecord,
        by: AccountId,
        now: UnixMillis,
    ) -> StoreFuture<'_, ()> {
        self.ask(async move { self.core.use_invitation(&old, by, now).await })
    }

    fn revoke_invitation(
        &self,
        conference: ConferenceId,
        id: InvitationId,
    ) -> StoreFuture<'_, bool> {
        self.ask(self.core.revoke_invitation(conference, id))
    }

    fn ban_guest(&self, ban: GuestBan) -> StoreFuture<'_, ()> {
        self.carry_out(|core| Box::pin(async move { core.ban_guest(&ban).await }))
    }

    fn guest_ban(
        &self,
        conference: ConferenceId,
        device: DevicePublicKey,
        now: UnixMillis,
    ) -> StoreFuture<'_, Option<GuestBan>> {
        self.ask(self.core.guest_ban(conference, device, now))
    }

    fn guest_bans(
        &self,
        conference: ConferenceId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Vec<GuestBan>> {
        self.ask(self.core.guest_bans(conference, now))
    }

    fn lift_guest_ban(
        &self,
        conference: ConferenceId,
        device: DevicePublicKey,
    ) -> StoreFuture<'_, ()> {
        self.ask(self.core.lift_guest_ban(conference, device))
    }

    fn home(&self, conference: ConferenceId) -> StoreFuture<'_, Option<HomeRecord>> {
        self.ask(self.core.home(conference))
    }

    fn write_home(
        &self,
        conference: ConferenceId,
        old: Option<HomeRecord>,
        new: HomeRecord,
    ) -> StoreFuture<'_, ()> {
        self.ask(async move { self.core.write_home(conference, old.as_ref(), &new).await })
    }

    fn beat(&self, node: NodeRecord) -> StoreFuture<'_, ()> {
        self.ask(async move { self.core.nodes.beat(&self.core.db, &node).await })
    }

    fn nodes(&self) -> StoreFuture<'_, Vec<NodeRecord>> {
        self.ask(self.core.nodes.list(&self.core.db))
    }

    fn forget_node(&self, run: NodeRun) -> StoreFuture<'_, ()> {
        self.ask(async move { self.core.nodes.forget(&self.core.db, &run).await })
    }

    fn server(&self) -> StoreFuture<'_, Option<ServerId>> {
        self.ask(self.core.server())
    }

    fn claim(&self, server: ServerId) -> StoreFuture<'_, ServerId> {
        self.ask(self.core.claim_for(server))
    }

    fn revoke(&self, peer: Peer, until: UnixMillis) -> StoreFuture<'_, ()> {
        self.ask(async move { self.core.revoked.revoke(&self.core.db, &peer, until).await })
    }

    fn revoked(&self) -> StoreFuture<'_, Vec<(Peer, UnixMillis)>> {
        self.ask(self.core.revoked.list(&self.core.db))
    }

    fn sweep(&self, now: UnixMillis) -> StoreFuture<'_, u64> {
        self.carry_out(move |core| Box::pin(core.settle_unfinished(now)))
    }

    /// The heartbeat of every node writes each second.
    fn probe_write(&self) -> StoreFuture<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn is_shared(&self) -> bool {
        true
    }
}
