//! The store in one file, for one machine: SQLite with a write-ahead log.
//!
//! * `threads`: one thread that writes and some that read, behind bounded queues;
//! * `open`: how the file is opened;
//! * `schema`: tables and their migrations;
//! * `accounts`, `conferences`, `homes`: the statements; `columns`: values in columns, and pages of rows.

use std::path::Path;
use std::sync::Arc;

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, ConferenceId, Email, InvitationId, Slug, Username};

use super::{
    AccountRecord, ConferenceChange, ConferenceRecord, Cursor, GuestBan, HomeRecord,
    InvitationRecord, MemberRecord, Membership, NodeRecord, NodeRun, Page, Rotation, ServerId,
    SessionId, SessionRecord, Standing, Store, StoreError, StoreFuture,
};
use crate::clock::UnixMillis;
use crate::domain::{PasswordHash, Peer};

mod accounts;
mod columns;
mod conferences;
mod guest_bans;
mod homes;
mod invitations;
mod open;
mod schema;
#[cfg(test)]
mod tests;
mod threads;

use open::make_private;
pub use open::{OpenError, has_space};

/// Sessions that a sweep checks before it lets other writes through.
const SWEEP_STEP: u32 = 2000;

/// The embedded store. Clones share it; dropping the last one closes it.
#[derive(Clone)]
pub struct SqliteStore {
    threads: threads::Threads,
    folder: Arc<Path>,
}

impl SqliteStore {
    /// Opens the file, creates it if it is missing, and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the file cannot be opened or written, or a newer program has written it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let failed = |error| OpenError::of(path, error, has_space(folder));
        make_private(path).map_err(|error| failed(StoreError::Unavailable(error.to_string())))?;
        let mut writer = schema::connect(path).map_err(failed)?;
        if schema::migrate(&mut writer).map_err(failed)? == Inspected::Newer {
            return Err(OpenError::Newer(path.into()));
        }
        let connect = || schema::connect_to_read(path);
        let threads = threads::Threads::start(writer, connect).map_err(failed)?;
        let folder = folder.into();
        Ok(Self { threads, folder })
    }
}

/// The state of a store's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inspected {
    /// It has the tables of this program.
    Current,
    /// The next [`SqliteStore::open`] changes its tables.
    Older,
    /// A newer program has written it.
    Newer,
}

/// Looks at the file, and changes nothing.
///
/// # Errors
///
/// [`StoreError::Unavailable`] if it cannot be read, or is no store.
pub fn inspect(path: &Path) -> Result<Inspected, StoreError> {
    schema::inspect(&schema::connect_to_read(path)?)
}

/// The server that the file belongs to; `None` before a server has claimed it. Changes nothing.
///
/// # Errors
///
/// [`StoreError::Unavailable`] if it cannot be read, or is no store.
pub fn server_of(path: &Path) -> Result<Option<ServerId>, StoreError> {
    homes::server(&schema::connect_to_read(path)?)
}

impl Store for SqliteStore {
    fn server(&self) -> StoreFuture<'_, Option<ServerId>> {
        self.threads.read(homes::server)
    }

    fn claim(&self, server: ServerId) -> StoreFuture<'_, ServerId> {
        self.threads.write(move |db| homes::claim(db, server))
    }

    fn create_account(&self, account: AccountRecord) -> StoreFuture<'_, ()> {
        self.threads.write(move |db| accounts::create(db, &account))
    }

    fn account(&self, id: AccountId) -> StoreFuture<'_, Option<AccountRecord>> {
        self.threads.read(move |db| accounts::by_id(db, id))
    }

    fn account_by_username(&self, name: Username) -> StoreFuture<'_, Option<AccountRecord>> {
        self.threads
            .read(move |db| accounts::by_username(db, &name))
    }

    fn account_by_email(&self, email: Email) -> StoreFuture<'_, Option<AccountRecord>> {
        self.threads.read(move |db| accounts::by_email(db, &email))
    }

    fn set_password(
        &self,
        id: AccountId,
        old: PasswordHash,
        new: PasswordHash,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| accounts::set_password(db, id, &old, &new))
    }

    fn set_disabled(&self, id: AccountId, disabled: bool) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| accounts::set_disabled(db, id, disabled))
    }

    fn verify_email(&self, id: AccountId, email: Email) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| accounts::verify_email(db, id, &email))
    }

    fn change_email(
        &self,
        id: AccountId,
        old: Option<Email>,
        new: Option<Email>,
        _now: UnixMillis,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| accounts::change_email(db, id, old.as_ref(), new.as_ref()))
    }

    fn accounts(&self, after: Option<Cursor>, limit: u32) -> StoreFuture<'_, Page<AccountRecord>> {
        self.threads
            .read(move |db| accounts::all(db, after.as_ref(), limit))
    }

    fn delete_account(&self, id: AccountId, _now: UnixMillis) -> StoreFuture<'_, ()> {
        self.threads.write(move |db| accounts::delete(db, id))
    }

    fn create_session(&self, session: SessionRecord) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| accounts::create_session(db, &session))
    }

    fn session(&self, id: SessionId, now: UnixMillis) -> StoreFuture<'_, Option<SessionRecord>> {
        self.threads.read(move |db| accounts::session(db, id, now))
    }

    fn rotate_session(
        &self,
        id: SessionId,
        presented: u32,
        rotation: Rotation,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| accounts::rotate_session(db, id, presented, rotation))
    }

    fn mark_used(&self, id: SessionId, generation: u32) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| accounts::mark_used(db, id, generation))
    }

    fn end_session(&self, account: AccountId, id: SessionId) -> StoreFuture<'_, bool> {
        self.threads
            .write(move |db| accounts::end_session(db, account, id))
    }

    fn sessions_of(
        &self,
        account: AccountId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Vec<SessionRecord>> {
        self.threads
            .read(move |db| accounts::sessions_of(db, account, now))
    }

    fn end_sessions_of(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
    ) -> StoreFuture<'_, Vec<SessionId>> {
        self.threads
            .write(move |db| accounts::end_sessions_of(db, account, keep))
    }

    fn create_conference(&self, conference: ConferenceRecord) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| conferences::create(db, &conference))
    }

    fn conference(&self, id: ConferenceId) -> StoreFuture<'_, Option<ConferenceRecord>> {
        self.threads.read(move |db| conferences::by_id(db, id))
    }

    fn conference_by_slug(&self, slug: Slug) -> StoreFuture<'_, Option<ConferenceRecord>> {
        self.threads.read(move |db| conferences::by_slug(db, &slug))
    }

    fn count_owned(&self, account: AccountId) -> StoreFuture<'_, u64> {
        self.threads
            .read(move |db| conferences::count_owned(db, account))
    }

    fn conferences_of(
        &self,
        account: AccountId,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<Membership>> {
        self.threads
            .read(move |db| conferences::of_account(db, account, after.as_ref(), limit))
    }

    fn all_conferences(
        &self,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<ConferenceRecord>> {
        self.threads
            .read(move |db| conferences::all(db, after.as_ref(), limit))
    }

    fn set_owner(
        &self,
        conference: ConferenceId,
        old: AccountId,
        new: AccountId,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| conferences::set_owner(db, conference, old, new))
    }

    fn change_conference(
        &self,
        id: ConferenceId,
        owner: AccountId,
        change: ConferenceChange,
    ) -> StoreFuture<'_, ConferenceRecord> {
        self.threads
            .write(move |db| conferences::change(db, (id, owner), &change))
    }

    fn delete_conference(&self, id: ConferenceId, _now: UnixMillis) -> StoreFuture<'_, ()> {
        self.threads.write(move |db| conferences::delete(db, id))
    }

    fn member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> StoreFuture<'_, Option<Standing>> {
        self.threads
            .read(move |db| conferences::member(db, conference, account))
    }

    fn members(
        &self,
        conference: ConferenceId,
        after: Option<Cursor>,
        limit: u32,
    ) -> StoreFuture<'_, Page<MemberRecord>> {
        self.threads
            .read(move |db| conferences::members(db, conference, after.as_ref(), limit))
    }

    fn count_members(&self, conference: ConferenceId) -> StoreFuture<'_, u64> {
        self.threads
            .read(move |db| conferences::count_members(db, conference))
    }

    fn add_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        standing: Standing,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| conferences::add_member(db, conference, account, standing))
    }

    fn change_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
        new: Standing,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| conferences::change_member(db, conference, account, old, new))
    }

    fn remove_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| conferences::remove_member(db, conference, account, old))
    }

    fn create_invitation(&self, invitation: InvitationRecord) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| invitations::create(db, &invitation))
    }

    fn invitation(
        &self,
        conference: ConferenceId,
        id: InvitationId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Option<InvitationRecord>> {
        self.threads
            .read(move |db| invitations::by_id(db, conference, id, now))
    }

    fn invitations(
        &self,
        conference: ConferenceId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Vec<InvitationRecord>> {
        self.threads
            .read(move |db| invitations::all(db, conference, now))
    }

    fn use_invitation(
        &self,
        old: InvitationRecord,
        by: AccountId,
        now: UnixMillis,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| invitations::take(db, &old, by, now))
    }

    fn revoke_invitation(
        &self,
        conference: ConferenceId,
        id: InvitationId,
    ) -> StoreFuture<'_, bool> {
        self.threads
            .write(move |db| invitations::revoke(db, conference, id))
    }

    fn ban_guest(&self, ban: GuestBan) -> StoreFuture<'_, ()> {
        self.threads.write(move |db| guest_bans::ban(db, &ban))
    }

    fn guest_ban(
        &self,
        conference: ConferenceId,
        device: DevicePublicKey,
        now: UnixMillis,
    ) -> StoreFuture<'_, Option<GuestBan>> {
        self.threads
            .read(move |db| guest_bans::by_device(db, conference, device, now))
    }

    fn guest_bans(
        &self,
        conference: ConferenceId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Vec<GuestBan>> {
        self.threads
            .read(move |db| guest_bans::all(db, conference, now))
    }

    fn lift_guest_ban(
        &self,
        conference: ConferenceId,
        device: DevicePublicKey,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| guest_bans::lift(db, conference, device))
    }

    fn home(&self, conference: ConferenceId) -> StoreFuture<'_, Option<HomeRecord>> {
        self.threads.read(move |db| homes::home(db, conference))
    }

    fn write_home(
        &self,
        conference: ConferenceId,
        old: Option<HomeRecord>,
        new: HomeRecord,
    ) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| homes::write_home(db, conference, old.as_ref(), &new))
    }

    fn beat(&self, node: NodeRecord) -> StoreFuture<'_, ()> {
        self.threads.write(move |db| homes::beat(db, &node))
    }

    fn nodes(&self) -> StoreFuture<'_, Vec<NodeRecord>> {
        self.threads.read(homes::nodes)
    }

    fn forget_node(&self, run: NodeRun) -> StoreFuture<'_, ()> {
        self.threads.write(move |db| homes::forget_node(db, &run))
    }

    fn revoke(&self, peer: Peer, until: UnixMillis) -> StoreFuture<'_, ()> {
        self.threads
            .write(move |db| homes::revoke(db, &peer, until))
    }

    fn revoked(&self) -> StoreFuture<'_, Vec<(Peer, UnixMillis)>> {
        self.threads.read(homes::revoked)
    }

    fn sweep(&self, now: UnixMillis) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let (mut swept, mut from) = (0, Some(SessionId([0; 16])));
            while let Some(first) = from {
                let step = move |db: &_| accounts::sweep(db, now, first, SWEEP_STEP);
                let (ended, next) = self.threads.write(step).await?;
                swept += ended;
                from = next;
            }
            self.threads
                .write(move |db| {
                    invitations::sweep(db, now)?;
                    guest_bans::sweep(db, now)?;
                    accounts::sweep_guests(db, now)
                })
                .await?;
            Ok(swept)
        })
    }

    /// What is written fits into the log that is there: a full disk shows by its free space.
    fn probe_write(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.threads.write(homes::write_nothing).await?;
            match has_space(&self.folder) {
                true => Ok(()),
                false => Err(StoreError::Full),
            }
        })
    }

    fn is_shared(&self) -> bool {
        false
    }
}
