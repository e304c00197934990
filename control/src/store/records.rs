//! What the store keeps, as domain types.

use std::fmt;

use confab_protocol::cluster::BootId;
use confab_protocol::control::room::{Role, Visibility};
use confab_protocol::control::{
    AccountId, Birthday, ConferenceId, Device, Email, Region, Slug, Title, Username,
};
use confab_protocol::wire;

use crate::clock::UnixMillis;
use crate::domain::{NodeName, PasswordHash, RelayName};
use crate::random;

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

/// Names a server: its store has it, and the data folders of its nodes. Random, and drawn once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerId(pub [u8; 16]);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The first half of the SHA-256 of a token's secret. A secret is 32 random bytes: with a hundred million such hashes to choose from,
/// one takes 2¹⁰¹ tries, and the token's check another key.
pub type SecretHash = [u8; 16];

/// One device that is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Names it for its life.
    pub id: SessionId,
    /// Whose.
    pub account: AccountId,
    /// Counts the tokens that it had.
    pub generation: u32,
    /// Of the newest token's secret.
    pub secret_hash: SecretHash,
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
    /// Of the successor's secret.
    pub secret_hash: SecretHash,
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
    /// Where its voice is to be relayed; `None`: where the first of each gathering is.
    pub region: Option<Region>,
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
            region: self
                .region
                .as_ref()
                .map(Region::to_string)
                .unwrap_or_default(),
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
    /// Counts its changes, and begins anew behind the last number: a change that is late, by seconds or by a server that stood
    /// still, finds another one than it was decided by, even when role and silence are the same again.
    pub revision: u16,
}

impl Standing {
    /// The one that follows it, with these rights.
    pub fn changed_to(self, role: Role, muted: bool) -> Self {
        Self {
            role,
            muted,
            since: self.since,
            revision: self.revision.wrapping_add(1),
        }
    }
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

/// One run of a control node.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeRun {
    /// Which node.
    pub name: NodeName,
    /// Drawn at random at each start.
    pub incarnation: u64,
}

impl NodeRun {
    /// The run of a node that starts now.
    pub fn new(name: NodeName) -> Self {
        let incarnation = u64::from_be_bytes(random::bytes());
        Self { name, incarnation }
    }
}

/// What a control node says of itself in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeRecord {
    /// Which node, and which run of it.
    pub run: NodeRun,
    /// Counts its heartbeats.
    pub counter: u64,
    /// Where other nodes reach it, `HOST:PORT`.
    pub cluster: String,
    /// Where clients reach it, `HOST:PORT` each.
    pub public: Vec<String>,
}

/// Where a room is: which relay, which boot of it, and how many placements the era has had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomePlace {
    /// Which relay.
    pub relay: RelayName,
    /// Which boot of it.
    pub boot: BootId,
    /// Counts the room's placements within the era.
    pub placement: u64,
}

/// Who owns a conference's room. Never deleted, or eras would begin again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeRecord {
    /// Counts the room's owners, from 1.
    pub era: u64,
    /// `None`: let go, free to be claimed.
    pub owner: Option<NodeRun>,
    /// Where its media is or was last.
    pub place: Option<HomePlace>,
}

impl HomeRecord {
    /// Whether it may come after `old`: an era never falls, and each belongs to one owner.
    pub fn may_follow(&self, old: Option<&Self>) -> bool {
        let Some(old) = old else {
            return self.era > 0;
        };
        let stays = self.owner.is_none() || self.owner == old.owner;
        self.era > old.era || (self.era == old.era && stays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_never_falls_and_has_one_owner() {
        let run = |incarnation| {
            let name = "one".parse().unwrap();
            Some(NodeRun { name, incarnation })
        };
        let home = |era, owner| HomeRecord {
            era,
            owner,
            place: None,
        };
        let old = home(5, run(1));
        for new in [
            home(5, run(1)),
            home(5, None),
            home(6, run(1)),
            home(6, run(2)),
        ] {
            assert!(new.may_follow(Some(&old)), "{new:?}");
        }
        for new in [home(5, run(2)), home(4, run(1)), home(4, None)] {
            assert!(!new.may_follow(Some(&old)), "{new:?}");
        }
        let let_go = home(5, None);
        assert!(!home(5, run(1)).may_follow(Some(&let_go)));
        assert!(home(6, run(1)).may_follow(Some(&let_go)));
        assert!(home(1, run(1)).may_follow(None));
        assert!(!home(0, run(1)).may_follow(None), "eras begin at 1");
    }
}
