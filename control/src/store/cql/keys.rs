//! Primary keys.

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, ConferenceId, InvitationId};
use scylla::value::CqlValue;

use super::conference_row::ClosingConference;
use crate::store::{SessionId, StoreError};

/// The column `kind` of `users`: the account itself.
pub(super) const ACCOUNT: i8 = 0;
/// A session of the account.
pub(super) const SESSION: i8 = 1;
/// A conference that it owns.
pub(super) const OWNED: i8 = 2;
/// A conference that it has joined, or was banned from.
pub(super) const JOINED: i8 = 3;

/// Partitions of a conference's members. With 10 000 members one takes 60 kB, and of 1000 joins in the same second each waits for few
/// others. More partitions would make the many small conferences larger. The number is part of the keys and must never change.
pub(super) const BUCKETS: u8 = 8;

/// The row of an account in `users`.
pub(super) fn account(id: AccountId) -> [CqlValue; 3] {
    [
        bytes(id.as_bytes()),
        CqlValue::TinyInt(ACCOUNT),
        bytes(&[0]),
    ]
}

/// A session in an account's list in `users`.
pub(super) fn session_of(account: AccountId, id: SessionId) -> [CqlValue; 3] {
    [
        bytes(account.as_bytes()),
        CqlValue::TinyInt(SESSION),
        bytes(&id.0),
    ]
}

/// The key of a table with one id.
pub(super) fn id(id: &[u8; 16]) -> [CqlValue; 1] {
    [bytes(id)]
}

/// The key of a table with a name.
pub(super) fn name(name: &str) -> [CqlValue; 1] {
    [CqlValue::Text(name.to_owned())]
}

/// A partition of `members_by_conference`.
pub(super) fn bucket(conference: ConferenceId, bucket: u8) -> [CqlValue; 2] {
    [
        bytes(conference.as_bytes()),
        CqlValue::TinyInt(bucket as i8),
    ]
}

/// A row of `members_by_conference`.
pub(super) fn member(conference: ConferenceId, account: AccountId) -> [CqlValue; 3] {
    // The last byte of an id is random.
    let [conference, bucket] = bucket(conference, account.as_bytes()[15] % BUCKETS);
    [conference, bucket, bytes(account.as_bytes())]
}

/// A row of `invitations_by_conference`.
pub(super) fn invitation(conference: ConferenceId, id: InvitationId) -> [CqlValue; 2] {
    [bytes(conference.as_bytes()), bytes(&id.0)]
}

/// A row of `guest_bans_by_conference`.
pub(super) fn guest_ban(conference: ConferenceId, device: DevicePublicKey) -> [CqlValue; 2] {
    [bytes(conference.as_bytes()), bytes(&device.0)]
}

/// Reads the id of an account, a conference or a session.
pub(super) fn read_id(bytes: &[u8]) -> Result<[u8; 16], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("an id"))
}

pub(super) fn bytes(bytes: &[u8]) -> CqlValue {
    CqlValue::Blob(bytes.to_vec())
}

/// A conference in an account's list: a row in `users`.
#[derive(Clone, Debug)]
pub(super) struct ListEntry {
    pub(super) conference: ConferenceId,
    pub(super) account: AccountId,
    /// [`OWNED`] or [`JOINED`].
    pub(super) list: i8,
}

impl ListEntry {
    pub(super) fn of(conference: &ClosingConference, account: AccountId) -> Self {
        let is_owner = conference.owner == account;
        Self {
            conference: conference.id,
            account,
            list: if is_owner { OWNED } else { JOINED },
        }
    }

    /// The position before all conferences in the account's lists.
    pub(super) fn before_all(account: AccountId) -> Self {
        Self {
            conference: ConferenceId::new([0; 16]),
            account,
            list: OWNED,
        }
    }

    pub(super) fn key(&self) -> [CqlValue; 3] {
        [
            bytes(self.account.as_bytes()),
            CqlValue::TinyInt(self.list),
            bytes(self.conference.as_bytes()),
        ]
    }

    /// The key of the standing.
    pub(super) fn member_key(&self) -> [CqlValue; 3] {
        member(self.conference, self.account)
    }
}
