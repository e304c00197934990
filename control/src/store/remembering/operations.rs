//! Each operation of the store: the values that it caches, and those that it makes stale.

use std::time::Instant;

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, ConferenceId, Email, InvitationId, Slug, Username};

use super::RememberingStore;
use super::memory::{Key, Memory};
use crate::clock::UnixMillis;
use crate::domain::{PasswordHash, Peer};
use crate::store::{
    AccountRecord, ConferenceChange, ConferenceRecord, Cursor, GuestBan, HomeRecord,
    InvitationRecord, MemberRecord, Membership, NodeRecord, NodeRun, Page, Recalled, Rotation,
    ServerId, SessionId, SessionRecord, Standing, Store, StoreFuture,
};

macro_rules! through {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> StoreFuture<'_, $result> {
            self.inner.$name($($arg),*)
        })*
    };
}

impl Store for RememberingStore {
    through! {
        fn server() -> Option<ServerId>;
        fn claim(server: ServerId) -> ServerId;
        fn sessions_of(account: AccountId, now: UnixMillis) -> Vec<SessionRecord>;
        fn count_owned(account: AccountId) -> u64;
        fn conferences_of(account: AccountId, after: Option<Cursor>, limit: u32) -> Page<Membership>;
        fn accounts(after: Option<Cursor>, limit: u32) -> Page<AccountRecord>;
        fn all_conferences(after: Option<Cursor>, limit: u32) -> Page<ConferenceRecord>;
        fn members(conference: ConferenceId, after: Option<Cursor>, limit: u32) -> Page<MemberRecord>;
        fn count_members(conference: ConferenceId) -> u64;
        fn create_invitation(invitation: InvitationRecord) -> ();
        fn invitation(
            conference: ConferenceId, id: InvitationId, now: UnixMillis
        ) -> Option<InvitationRecord>;
        fn invitations(conference: ConferenceId, now: UnixMillis) -> Vec<InvitationRecord>;
        fn use_invitation(old: InvitationRecord, by: AccountId, now: UnixMillis) -> ();
        fn revoke_invitation(conference: ConferenceId, id: InvitationId) -> bool;
        fn ban_guest(ban: GuestBan) -> ();
        fn guest_ban(
            conference: ConferenceId, device: DevicePublicKey, now: UnixMillis
        ) -> Option<GuestBan>;
        fn guest_bans(conference: ConferenceId, now: UnixMillis) -> Vec<GuestBan>;
        fn lift_guest_ban(conference: ConferenceId, device: DevicePublicKey) -> ();
        fn home(conference: ConferenceId) -> Option<HomeRecord>;
        fn beat(node: NodeRecord) -> ();
        fn forget_node(run: NodeRun) -> ();
        fn revoke(peer: Peer, until: UnixMillis) -> ();
        fn revoked() -> Vec<(Peer, UnixMillis)>;
        fn sweep(now: UnixMillis) -> u64;
        fn probe_write() -> ();
    }

    /// Asked every second, so this node also notices here that the database answers again.
    fn nodes(&self) -> StoreFuture<'_, Vec<NodeRecord>> {
        Box::pin(async move {
            let answer = self.inner.nodes().await;
            self.judge(&answer);
            answer
        })
    }

    fn create_account(&self, account: AccountRecord) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let write = self.inner.create_account(account.clone());
            self.write(Key::Account(account.id), write, |memory, count, ()| {
                memory.keep_account(Instant::now(), count, &account);
            })
            .await
        })
    }

    fn account(&self, id: AccountId) -> StoreFuture<'_, Option<AccountRecord>> {
        Box::pin(async move {
            let read = self.inner.account(id);
            self.read(Key::Account(id), read, |memory, count, found| match found {
                Some(account) => memory.keep_account(Instant::now(), count, account),
                None => memory.forget_account(id),
            })
            .await
        })
    }

    fn account_by_username(&self, name: Username) -> StoreFuture<'_, Option<AccountRecord>> {
        self.inner.account_by_username(name)
    }

    fn account_by_email(&self, email: Email) -> StoreFuture<'_, Option<AccountRecord>> {
        self.inner.account_by_email(email)
    }

    fn set_password(
        &self,
        id: AccountId,
        old: PasswordHash,
        new: PasswordHash,
    ) -> StoreFuture<'_, ()> {
        let write = self.inner.set_password(id, old, new);
        Box::pin(self.write(Key::Account(id), write, |_, _, ()| ()))
    }

    fn set_disabled(&self, id: AccountId, disabled: bool) -> StoreFuture<'_, ()> {
        let write = self.inner.set_disabled(id, disabled);
        Box::pin(self.write(Key::Account(id), write, |_, _, ()| ()))
    }

    fn verify_email(&self, id: AccountId, email: Email) -> StoreFuture<'_, ()> {
        let write = self.inner.verify_email(id, email);
        Box::pin(self.write(Key::Account(id), write, |_, _, ()| ()))
    }

    fn change_email(
        &self,
        id: AccountId,
        old: Option<Email>,
        new: Option<Email>,
        now: UnixMillis,
    ) -> StoreFuture<'_, ()> {
        let write = self.inner.change_email(id, old, new, now);
        Box::pin(self.write(Key::Account(id), write, |_, _, ()| ()))
    }

    fn delete_account(&self, id: AccountId, now: UnixMillis) -> StoreFuture<'_, ()> {
        let write = self.inner.delete_account(id, now);
        Box::pin(self.write(Key::AllOf(id), write, |_, _, ()| ()))
    }

    fn create_session(&self, session: SessionRecord) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let write = self.inner.create_session(session.clone());
            self.write(Key::Session(session.id), write, |memory, count, ()| {
                memory.keep_session(Instant::now(), count, &session);
            })
            .await
        })
    }

    fn session(&self, id: SessionId, now: UnixMillis) -> StoreFuture<'_, Option<SessionRecord>> {
        Box::pin(async move {
            let read = self.inner.session(id, now);
            self.read(Key::Session(id), read, |memory, count, found| match found {
                Some(session) => memory.keep_session(Instant::now(), count, session),
                None => memory.forget_session(id),
            })
            .await
        })
    }

    fn rotate_session(
        &self,
        id: SessionId,
        presented: u32,
        rotation: Rotation,
    ) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let before = self.memory().session_at(id, presented);
            let write = self.inner.rotate_session(id, presented, rotation);
            self.write(Key::Session(id), write, |memory, count, ()| {
                if let Some(session) = before {
                    let session = SessionRecord {
                        generation: presented + 1,
                        secret_hash: rotation.secret_hash,
                        used: false,
                        rotated: rotation.rotated,
                        expires: rotation.expires,
                        ..session
                    };
                    memory.keep_session(Instant::now(), count, &session);
                }
            })
            .await
        })
    }

    fn mark_used(&self, id: SessionId, generation: u32) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let before = self.memory().session_at(id, generation);
            let write = self.inner.mark_used(id, generation);
            self.write(Key::Session(id), write, |memory, count, ()| {
                if let Some(session) = before {
                    let session = SessionRecord {
                        used: true,
                        ..session
                    };
                    memory.keep_session(Instant::now(), count, &session);
                }
            })
            .await
        })
    }

    fn end_session(&self, account: AccountId, id: SessionId) -> StoreFuture<'_, bool> {
        let write = self.inner.end_session(account, id);
        Box::pin(self.write(Key::Session(id), write, |_, _, _| ()))
    }

    fn end_sessions_of(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
    ) -> StoreFuture<'_, Vec<SessionId>> {
        // The ids are known only afterwards, if ever. So all sessions of the account are forgotten.
        let write = self.inner.end_sessions_of(account, keep);
        Box::pin(self.write(Key::AllOf(account), write, |_, _, _| ()))
    }

    fn create_conference(&self, conference: ConferenceRecord) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let write = self.inner.create_conference(conference.clone());
            self.write(
                Key::Conference(conference.id),
                write,
                |memory, count, ()| {
                    memory.keep_conference(Instant::now(), count, &conference);
                },
            )
            .await
        })
    }

    fn conference(&self, id: ConferenceId) -> StoreFuture<'_, Option<ConferenceRecord>> {
        Box::pin(async move {
            let read = self.inner.conference(id);
            self.read(
                Key::Conference(id),
                read,
                |memory, count, found| match found {
                    Some(conference) => memory.keep_conference(Instant::now(), count, conference),
                    None => memory.forget_conference(id),
                },
            )
            .await
        })
    }

    fn conference_by_slug(&self, slug: Slug) -> StoreFuture<'_, Option<ConferenceRecord>> {
        Box::pin(async move {
            let read = self.inner.conference_by_slug(slug.clone());
            self.read(Key::Slugs, read, |memory, count, found| match found {
                Some(conference) => memory.keep_conference(Instant::now(), count, conference),
                None => memory.forget_slug(&slug),
            })
            .await
        })
    }

    fn set_owner(
        &self,
        conference: ConferenceId,
        old: AccountId,
        new: AccountId,
    ) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let write = self.inner.set_owner(conference, old, new);
            let answer = self
                .write(Key::Conference(conference), write, |_, _, ()| ())
                .await;
            // A concurrent lookup by slug has no key with the conference's id.
            self.memory().invalidate_in_flight(Key::Slugs);
            answer
        })
    }

    fn change_conference(
        &self,
        id: ConferenceId,
        owner: AccountId,
        change: ConferenceChange,
    ) -> StoreFuture<'_, ConferenceRecord> {
        Box::pin(async move {
            let write = self.inner.change_conference(id, owner, change);
            let answer = self
                .write(Key::Conference(id), write, |memory, count, changed| {
                    memory.keep_conference(Instant::now(), count, changed);
                })
                .await;
            // A concurrent lookup by slug has no key with the conference's id.
            self.memory().invalidate_in_flight(Key::Slugs);
            answer
        })
    }

    fn delete_conference(&self, id: ConferenceId, now: UnixMillis) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let write = self.inner.delete_conference(id, now);
            let answer = self.write(Key::Conference(id), write, |_, _, ()| ()).await;
            // A concurrent lookup by slug has no key with the conference's id.
            self.memory().invalidate_in_flight(Key::Slugs);
            answer
        })
    }

    fn member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> StoreFuture<'_, Option<Standing>> {
        Box::pin(async move {
            let key = Key::Member(conference, account);
            let read = self.inner.member(conference, account);
            self.read(key, read, |memory, count, found| match found {
                Some(standing) => {
                    memory.keep_member(Instant::now(), count, (conference, account), *standing);
                }
                None => memory.forget_member(conference, account),
            })
            .await
        })
    }

    fn add_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        standing: Standing,
    ) -> StoreFuture<'_, ()> {
        let write = self.inner.add_member(conference, account, standing);
        let key = Key::Member(conference, account);
        Box::pin(self.write(key, write, move |memory, count, ()| {
            memory.keep_member(Instant::now(), count, (conference, account), standing);
        }))
    }

    fn change_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
        new: Standing,
    ) -> StoreFuture<'_, ()> {
        let write = self.inner.change_member(conference, account, old, new);
        let key = Key::Member(conference, account);
        Box::pin(self.write(key, write, move |memory, count, ()| {
            memory.keep_member(Instant::now(), count, (conference, account), new);
        }))
    }

    fn remove_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
    ) -> StoreFuture<'_, ()> {
        let write = self.inner.remove_member(conference, account, old);
        let key = Key::Member(conference, account);
        Box::pin(self.write(key, write, |_, _, ()| ()))
    }

    fn write_home(
        &self,
        conference: ConferenceId,
        old: Option<HomeRecord>,
        new: HomeRecord,
    ) -> StoreFuture<'_, ()> {
        let is_taken = old.as_ref().is_none_or(|old| new.era > old.era);
        let write = self.inner.write_home(conference, old, new);
        Box::pin(async move {
            if !is_taken {
                return write.await;
            }
            // While another node owned the room, it may have changed standings.
            let key = Key::Members(conference);
            self.write(key, write, |_, _, ()| ()).await
        })
    }

    fn recall_session(
        &self,
        id: SessionId,
        now: UnixMillis,
    ) -> StoreFuture<'_, Option<Recalled<SessionRecord>>> {
        let store = self.clone();
        let read = async move { store.session(id, now).await };
        let known = move |memory: &mut Memory| memory.session(Instant::now(), id, now);
        Box::pin(self.recall(known, read))
    }

    fn recall_account(&self, id: AccountId) -> StoreFuture<'_, Option<Recalled<AccountRecord>>> {
        let store = self.clone();
        let read = async move { store.account(id).await };
        let known = move |memory: &mut Memory| memory.account(Instant::now(), id);
        Box::pin(self.recall(known, read))
    }

    fn recall_conference(
        &self,
        id: ConferenceId,
    ) -> StoreFuture<'_, Option<Recalled<ConferenceRecord>>> {
        let store = self.clone();
        let read = async move { store.conference(id).await };
        let known = move |memory: &mut Memory| memory.conference(Instant::now(), id);
        Box::pin(self.recall(known, read))
    }

    fn recall_conference_by_slug(
        &self,
        slug: Slug,
    ) -> StoreFuture<'_, Option<Recalled<ConferenceRecord>>> {
        let (store, asked) = (self.clone(), slug.clone());
        let read = async move { store.conference_by_slug(asked).await };
        let known = move |memory: &mut Memory| memory.conference_by_slug(Instant::now(), &slug);
        Box::pin(self.recall(known, read))
    }

    fn recall_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> StoreFuture<'_, Option<Recalled<Standing>>> {
        let store = self.clone();
        let read = async move { store.member(conference, account).await };
        let known = move |memory: &mut Memory| memory.member(Instant::now(), conference, account);
        Box::pin(self.recall(known, read))
    }

    fn forget_session(&self, id: SessionId) {
        self.memory().change(Key::Session(id));
    }

    fn forget_sessions(&self) {
        self.memory().forget_sessions();
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn is_answering(&self) -> bool {
        !self.is_open()
    }
}
