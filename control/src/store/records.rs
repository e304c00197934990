//! What the store keeps, as domain types.

use std::fmt;

use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{
    AccountId, Birthday, ConferenceId, Device, Email, Slug, Title, Username,
};
use confab_protocol::wire;

use crate::accounts::hashing::PasswordHash;
use crate::clock::UnixMillis;

/// A person's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRecord {
    /// Names it for ever.
    pub id: AccountId,
    /// Unique in the service.
    pub username: Username,
    /// Unique in the service.
    pub email: Email,
    /// What the password is checked against.
    pub password: PasswordHash,
    /// For the age.
    pub birthday: Birthday,
    /// When it was made.
    pub created: UnixMillis,
}

/// Names a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One device that is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Names it for its life.
    pub id: SessionId,
    /// Whose.
    pub account: AccountId,
    /// Counts the tokens that it had.
    pub generation: u32,
    /// SHA-256 of the newest token's secret.
    pub secret_hash: [u8; 32],
    /// Whether the newest token has been presented.
    pub used: bool,
    /// What the person calls the device.
    pub device: Device,
    /// When it began.
    pub created: UnixMillis,
    /// When its newest token was made.
    pub rotated: UnixMillis,
    /// When it ends unless it is refreshed.
    pub expires: UnixMillis,
}

/// What a refresh changes in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// SHA-256 of the successor's secret.
    pub secret_hash: [u8; 32],
    /// When the successor was made.
    pub rotated: UnixMillis,
    /// The session's new end.
    pub expires: UnixMillis,
}

/// A conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConferenceRecord {
    /// Names it for ever.
    pub id: ConferenceId,
    /// Unique in the service.
    pub slug: Slug,
    /// For people.
    pub title: Title,
    /// Who may join.
    pub visibility: Visibility,
    /// Who made it.
    pub owner: AccountId,
    /// The owner by name; names are never given up while the account lives.
    pub owner_name: Username,
    /// When it was made.
    pub created: UnixMillis,
}

impl ConferenceRecord {
    /// As a client sees it that has this role (or `Unspecified`), with so many participants in the room.
    pub fn to_wire(&self, role: Role, live: u32) -> wire::Conference {
        wire::Conference {
            id: self.id.to_wire(),
            slug: self.slug.as_str().to_owned(),
            title: self.title.as_str().to_owned(),
            visibility: self.visibility.into(),
            owner: self.owner_name.as_str().to_owned(),
            created_ms: self.created.0,
            role: role.into(),
            live,
        }
    }
}

/// What an account is in a conference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What it may do.
    pub role: Role,
    /// Silenced by a moderator.
    pub muted: bool,
    /// Since when it has a standing.
    pub since: UnixMillis,
}

/// An account and what it is in a conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    /// Who.
    pub account: AccountId,
    /// Who, by name.
    pub username: Username,
    /// What it is.
    pub standing: Standing,
}

/// A conference and what the asking account is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Where.
    pub conference: ConferenceRecord,
    /// As what.
    pub standing: Standing,
}
