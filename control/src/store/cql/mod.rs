//! The store in a database that speaks CQL, for many machines: ScyllaDB, or Apache Cassandra.
//!
//! * `config`: where the database is; `db`: the driver's session; `schema`: tables and their migrations;
//! * `cells`: rows that are changed by comparing; `keys` and `values`: how rows look;
//! * `unfinished`: the journal of what was begun;
//! * `accounts`, `sessions`, `conferences`, `members`, `lists`, `homes`, `nodes`, `revoked`, `owner`: the operations.
//!
//! # Tables
//!
//! All but `unfinished`, `nodes` and `revoked` hold one packed value `v` for each key, and what has one is only ever written by conditional
//! statements (lightweight transactions), decided at SERIAL. A row that was removed has a mark `x` instead, for an hour (`cells`). A name, a slug or a home has to be unique in the
//! world; a password, a session or a standing has to stay revoked in the world. With one datacentre it costs nothing more
//! than LOCAL_SERIAL. Reads are at LOCAL_QUORUM; what decides is the comparison of the write that follows. Only a home is read
//! at SERIAL: its reader commands relays by it. A write whose outcome did not come back is looked up at SERIAL (`cells`).
//!
//! | table | key | value |
//! |---|---|---|
//! | users | (account, 0) | state, account |
//! | | (account, 1, session) | nothing: leads to a session; written without condition, the database forgets it (TTL) |
//! | | (account, 2 or 3, conference) | since: the conferences that it owns (2), has joined or was banned from (3) |
//! | users_by_username, users_by_email | name | account's id |
//! | sessions | session | session; the database forgets it (TTL) |
//! | conferences | conference | state, conference |
//! | conferences_by_slug | slug | conference's id |
//! | members_by_conference | ((conference, bucket), account) | role, muted, since, revision |
//! | conference_home | conference | era, its owner, place; never deleted |
//! | nodes | (0, node) | incarnation, counter, addresses; written without condition (`nodes`), the database forgets it (TTL) |
//! | server | 0 | whose the store is: never changed |
//! | revoked | (0, full name) | until when its identities were revoked; written without condition (`revoked`), never deleted |
//! | unfinished | (bucket, work, id, nonce) | journal |
//!
//! An account's lists of sessions and conferences lie in its own partition of `users`, for a partition costs some 45 bytes:
//! its key, twice, and its place in the index.
//!
//! A row of `users` or `conferences` is *live*, *held* (an account that is asked whether it owns a conference, and lives again
//! if so), *closing* (being deleted, or given up half-made, for good) or *gone* (for a day, so that nothing late brings it
//! back). Nobody sees one that is not live. **A name is active exactly while the row that it leads to is live,**
//! and pending before: so one conditional write makes both names of an account active at once, and whoever looks a name up
//! reads that row anyway.
//!
//! # Orders
//!
//! Every operation that writes several tables does so in this order, and what a crash leaves behind is repaired as said. Whoever
//! repeats an operation completes it, too. The sweep is [`Store::sweep`]; it leaves alone what was begun less than ten
//! minutes ago, and looks for half a day at what it found half-made: whoever stood still in the middle of it may wake up,
//! write more and only then find out.
//!
//! | operation | order | a crash in between leaves | repaired by |
//! |---|---|---|---|
//! | create an account | note it · claim username · claim e-mail · write the live row · strike out the note | names that lead to no live row: nobody can log in, nobody else gets them yet | the sweep: makes the row *closing* by condition, so that it can't be finished any more, then deletes it |
//! | delete an account | note it · hold the row · look whether it owns a conference · make the row closing · sessions · each standing and its place in the list · names · make the row gone · strike out the note | an account that nobody sees; its names are freed last, and never while its row is live | the sweep goes on from any point |
//! | create a session | place in the list · row · look whether the account is live | a place that leads nowhere, or a session whose token nobody has | the database forgets both |
//! | rotate a session | place in the list (longer life) · row | a place that outlives its session | the database |
//! | end a session | row · place in the list | a place that leads nowhere | the database |
//! | create a conference | note it · claim slug · owner's list · owner's standing · write the live row · look whether the owner is live · strike out the note | a slug that leads to no live row; a place in the owner's list that is not shown; a live row whose owner is gone | the sweep, as for an account |
//! | delete a conference | note it · make the row closing · each member's place in its list and standing · slug · make the row gone · strike out the note | a conference that nobody sees | the sweep goes on |
//! | add a member | account's list · standing · look whether both are live | a place in the list that is not shown | the same member added again, or the account's end |
//! | remove a member | standing · account's list | the same | the same |
//!
//! Two that meet: who creates something below an account or conference writes first and looks last, who deletes closes
//! first and looks last. So one of them sees the other. A place in a list carries since when, so that a removal that is
//! late takes no newer place away.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use confab_protocol::control::{AccountId, ConferenceId, Email, Slug, Username};

use super::{
    AccountRecord, ConferenceRecord, Cursor, HomeRecord, MemberRecord, Membership, Name,
    NodeRecord, NodeRun, Page, Rotation, ServerId, SessionId, SessionRecord, Standing, Store,
    StoreError, StoreFuture,
};
use crate::clock::UnixMillis;
use crate::domain::{PasswordHash, Peer};

mod accounts;
mod cells;
mod conferences;
pub mod config;
mod db;
#[cfg(any(test, feature = "conformance"))]
pub mod faults;
mod homes;
mod keys;
mod lists;
mod members;
mod nodes;
mod owner;
mod revoked;
mod schema;
mod sessions;
#[cfg(test)]
pub(crate) mod tests;
mod unfinished;
mod values;

use cells::Cells;
use config::CqlConfig;
use db::Db;
use lists::Lists;
use nodes::Nodes;
use revoked::Revoked;
use sessions::Pointers;
use unfinished::Journal;

/// How often a change is decided again because the row was changed meanwhile.
const ROUNDS: u32 = 8;

/// The store in a CQL database. Clones share it.
#[derive(Clone)]
pub struct CqlStore {
    core: Arc<Core>,
}

/// The session and what is prepared on it.
struct Core {
    db: Db,
    users: Cells,
    by_username: Cells,
    by_email: Cells,
    sessions: Cells,
    pointers: Pointers,
    conferences: Cells,
    by_slug: Cells,
    members: Cells,
    lists: Lists,
    homes: Cells,
    nodes: Nodes,
    revoked: Revoked,
    server: Cells,
    journal: Journal,
}

impl CqlStore {
    /// Connects to the database, makes keyspace and tables when they are missing and brings them up to date.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when no node answers within 10 s or lets this server in, when a file of TLS cannot be
    /// used, when there are fewer nodes than replicas, or when a newer program has made the tables. The message says what to
    /// do.
    pub async fn open(config: &CqlConfig) -> Result<Self, StoreError> {
        let db = Db::connect(config).await?;
        Box::pin(schema::migrate(&db, config)).await?;
        let core = Box::pin(Core::prepare(db, config)).await?;
        Ok(Self {
            core: Arc::new(core),
        })
    }

    /// Lets tests make single statements fail.
    #[cfg(any(test, feature = "conformance"))]
    pub fn faults(&self) -> &faults::Faults {
        &self.core.db.faults
    }

    /// Does what only reads, or writes a single row.
    fn ask<'a, T: Send + 'a>(
        &'a self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let _place = self.core.db.admit()?;
            work.await
        })
    }

    /// Does what writes several tables: to its end, even when nobody waits for it any more.
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
                let _place = core.db.admit()?;
                work(&core).await
            });
            task.await
                .map_err(|error| StoreError::Unavailable(error.to_string()))?
        })
    }
}

impl Core {
    async fn prepare(db: Db, config: &CqlConfig) -> Result<Self, StoreError> {
        let table = |name| schema::table(config, name);
        let cells = async |name, key: &[&str]| Cells::prepare(&db, &table(name), key).await;
        let (users, members) = (table("users"), table("members_by_conference"));
        Ok(Self {
            users: Cells::prepare(&db, &users, &["u", "k", "i"]).await?,
            by_username: cells("users_by_username", &["n"]).await?,
            by_email: cells("users_by_email", &["n"]).await?,
            sessions: cells("sessions", &["s"]).await?,
            pointers: Pointers::prepare(&db, &users).await?,
            conferences: cells("conferences", &["c"]).await?,
            by_slug: cells("conferences_by_slug", &["n"]).await?,
            members: Cells::prepare(&db, &members, &["c", "b", "u"]).await?,
            lists: Lists::prepare(&db, &members, &users).await?,
            homes: cells("conference_home", &["c"]).await?,
            nodes: Nodes::prepare(&db, &table("nodes")).await?,
            server: cells("server", &["k"]).await?,
            revoked: Revoked::prepare(&db, &table("revoked")).await?,
            journal: Journal::prepare(&db, &table("unfinished")).await?,
            db,
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
        self.ask(async move { self.core.beat(&node).await })
    }

    fn nodes(&self) -> StoreFuture<'_, Vec<NodeRecord>> {
        self.ask(self.core.nodes())
    }

    fn forget_node(&self, run: NodeRun) -> StoreFuture<'_, ()> {
        self.ask(async move { self.core.forget_node(&run).await })
    }

    fn server(&self) -> StoreFuture<'_, Option<ServerId>> {
        self.ask(self.core.server())
    }

    fn claim(&self, server: ServerId) -> StoreFuture<'_, ServerId> {
        self.ask(self.core.take_for(server))
    }

    fn revoke(&self, peer: Peer, until: UnixMillis) -> StoreFuture<'_, ()> {
        self.ask(async move { self.core.revoke(&peer, until).await })
    }

    fn revoked(&self) -> StoreFuture<'_, Vec<(Peer, UnixMillis)>> {
        self.ask(self.core.revoked())
    }

    fn sweep(&self, now: UnixMillis) -> StoreFuture<'_, u64> {
        self.carry_out(move |core| Box::pin(core.settle_unfinished(now)))
    }

    fn is_shared(&self) -> bool {
        true
    }
}
