//! The operations of a store, for decorators that do the same in each.

/// Passes the operations of [`Store`](crate::store::Store) that ask the database to the macro `$each`, as
/// `fn name(argument: Type, …) -> Result;`. The names of the types must be in scope.
#[macro_export]
macro_rules! for_each_store_operation {
    ($each:ident) => {
        $each! {
            fn server() -> Option<ServerId>;
            fn claim(server: ServerId) -> ServerId;
            fn create_account(account: AccountRecord) -> ();
            fn account(id: AccountId) -> Option<AccountRecord>;
            fn account_by_username(name: Username) -> Option<AccountRecord>;
            fn account_by_email(email: Email) -> Option<AccountRecord>;
            fn set_password(id: AccountId, old: PasswordHash, new: PasswordHash) -> ();
            fn delete_account(id: AccountId, now: UnixMillis) -> ();
            fn create_session(session: SessionRecord) -> ();
            fn session(id: SessionId, now: UnixMillis) -> Option<SessionRecord>;
            fn rotate_session(id: SessionId, presented: u32, rotation: Rotation) -> ();
            fn mark_used(id: SessionId, generation: u32) -> ();
            fn end_session(account: AccountId, id: SessionId) -> bool;
            fn sessions_of(account: AccountId, now: UnixMillis) -> Vec<SessionRecord>;
            fn end_sessions_of(account: AccountId, keep: Option<SessionId>) -> Vec<SessionId>;
            fn set_disabled(id: AccountId, disabled: bool) -> ();
            fn verify_email(id: AccountId, email: Email) -> ();
            fn change_email(
                id: AccountId, old: Option<Email>, new: Option<Email>, now: UnixMillis
            ) -> ();
            fn accounts(after: Option<Cursor>, limit: u32) -> Page<AccountRecord>;
            fn all_conferences(after: Option<Cursor>, limit: u32) -> Page<ConferenceRecord>;
            fn set_owner(conference: ConferenceId, old: AccountId, new: AccountId) -> ();
            fn create_conference(conference: ConferenceRecord) -> ();
            fn change_conference(
                id: ConferenceId, owner: AccountId, change: ConferenceChange
            ) -> ConferenceRecord;
            fn conference(id: ConferenceId) -> Option<ConferenceRecord>;
            fn conference_by_slug(slug: Slug) -> Option<ConferenceRecord>;
            fn count_owned(account: AccountId) -> u64;
            fn conferences_of(account: AccountId, after: Option<Cursor>, limit: u32) -> Page<Membership>;
            fn delete_conference(id: ConferenceId, now: UnixMillis) -> ();
            fn member(conference: ConferenceId, account: AccountId) -> Option<Standing>;
            fn members(conference: ConferenceId, after: Option<Cursor>, limit: u32) -> Page<MemberRecord>;
            fn count_members(conference: ConferenceId) -> u64;
            fn add_member(conference: ConferenceId, account: AccountId, standing: Standing) -> ();
            fn change_member(
                conference: ConferenceId, account: AccountId, old: Standing, new: Standing
            ) -> ();
            fn remove_member(conference: ConferenceId, account: AccountId, old: Standing) -> ();
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
            fn write_home(
                conference: ConferenceId, old: Option<HomeRecord>, new: HomeRecord
            ) -> ();
            fn beat(node: NodeRecord) -> ();
            fn nodes() -> Vec<NodeRecord>;
            fn forget_node(run: NodeRun) -> ();
            fn revoke(peer: Peer, until: UnixMillis) -> ();
            fn revoked() -> Vec<(Peer, UnixMillis)>;
            fn sweep(now: UnixMillis) -> u64;
            fn probe_write() -> ();
        }
    };
}
