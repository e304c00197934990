//! Who is in a room and what a join gives, as domain types.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::control::names::Username;
use crate::control::text::escaped_within;
use crate::media::{ConnectionId, HopKey};
use crate::wire;

/// Participants of a room at most, whatever its server allows: their list fits into a response. More are not looked at.
pub const MAX_PARTICIPANTS: usize = 10_000;

/// Addresses of a relay at most. More are not looked at, so that a server cannot send a client to everybody.
pub const MAX_ADDRESSES: usize = 8;

/// A message that is protobuf but not what the protocol asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the field `{0}` is missing or out of its range")]
pub struct BadField(pub &'static str);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Bytes of an id.
            pub const LEN: usize = 16;

            /// Takes 16 bytes for an id.
            pub const fn new(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The id's bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Reads an id from a message's field; the error names the field.
            pub fn parse(bytes: &[u8], field: &'static str) -> Result<Self, BadField> {
                bytes.try_into().map(Self).map_err(|_| BadField(field))
            }

            /// The id as a message's field.
            pub fn to_wire(self) -> Bytes {
                Bytes::copy_from_slice(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl fmt::Display for $name {
            /// 32 hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    };
}

id! {
    /// Names an account.
    AccountId
}

id! {
    /// Names a conference, and its room while it is live.
    ConferenceId
}

id! {
    /// Names one join of one device; fresh for each.
    JoinId
}

/// Proves that one is the client that made a join: for taking it up again and for reports about its media.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ResumeSecret([u8; ResumeSecret::LEN]);

impl ResumeSecret {
    /// Bytes of a secret.
    pub const LEN: usize = 16;

    /// Takes a secret over.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The secret's bytes.
    pub const fn reveal(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Reads the secret from a message's field.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadField> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| BadField("resume_secret"))
    }

    /// The secret as a message's field.
    pub fn to_wire(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl fmt::Debug for ResumeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeSecret(…)")
    }
}

pub use crate::wire::{Capability, KeyScheme, LeaveReason, Role, Visibility};

/// A role as people and programs read it.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Moderator => "moderator",
        Role::Member => "member",
        Role::Listener => "listener",
        Role::Banned => "banned",
        Role::Unspecified => "none",
    }
}

/// The same of who may join.
pub fn visibility_name(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "public",
        Visibility::Invite => "invite",
        Visibility::Unspecified => "unknown",
    }
}

/// A participant's name as it may be shown.
///
/// A username, or, where the server has names of a kind that this code does not know, their text: escaped, and cut after
/// [`MAX_CHARS`](Self::MAX_CHARS) characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParticipantName(String);

impl ParticipantName {
    /// Most characters of a name that is no username.
    pub const MAX_CHARS: usize = 64;

    /// True for the name of a guest.
    pub fn is_guest(&self) -> bool {
        let name = self.0.parse::<Username>();
        name.is_ok_and(|name| name.is_guest())
    }

    /// The name in a message.
    pub fn from_wire(text: &str) -> Self {
        match text.parse::<Username>() {
            Ok(username) => username.into(),
            Err(_) => Self(escaped_within(text, Self::MAX_CHARS)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a part of a file's name: letters a-z, digits, '.', '_' and '-', and neither '.' nor '-' in front.
    pub fn file_stem(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let mut stem: String = self
            .0
            .chars()
            .map(|c| if plain(c) { c } else { '_' })
            .collect();
        if stem.is_empty() || stem.starts_with(['.', '-']) {
            stem.insert(0, '_');
        }
        stem
    }
}

impl From<Username> for ParticipantName {
    fn from(username: Username) -> Self {
        Self(username.into())
    }
}

impl fmt::Display for ParticipantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a participant's client understands beyond what every client has to. Values that this code does not know are kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities(Vec<i32>);

impl Capabilities {
    /// Most values that a client may declare.
    pub const MAX: usize = 32;

    /// Reads the values of a message; those behind [`MAX`](Self::MAX) are left out, and so is 0.
    pub fn from_wire(values: &[i32]) -> Self {
        let mut known: Vec<i32> = values
            .iter()
            .copied()
            .filter(|value| *value != 0)
            .take(Self::MAX)
            .collect();
        known.sort_unstable();
        known.dedup();
        Self(known)
    }

    /// The values as a message has them.
    pub fn to_wire(&self) -> Vec<i32> {
        self.0.clone()
    }

    /// Whether the client has declared it.
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability.into())
    }
}

impl<const N: usize> From<[Capability; N]> for Capabilities {
    fn from(values: [Capability; N]) -> Self {
        Self::from_wire(&values.map(i32::from))
    }
}

/// A leaf in one generation of a room's MLS group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GenerationLeaf {
    /// Which generation; key ids hold its last 2 bits.
    pub generation: u64,
    /// The leaf in it.
    pub leaf: u32,
}

impl From<GenerationLeaf> for wire::GenerationLeaf {
    fn from(of: GenerationLeaf) -> Self {
        Self {
            generation: of.generation,
            leaf: of.leaf,
        }
    }
}

impl From<&wire::GenerationLeaf> for GenerationLeaf {
    fn from(message: &wire::GenerationLeaf) -> Self {
        Self {
            generation: message.generation,
            leaf: message.leaf,
        }
    }
}

/// One device of one account, live in a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Participant {
    /// Labels the participant's records in downlink datagrams.
    pub sender: u16,
    /// Its leaf in the room's group, of which the SFrame key id says who speaks; `None` while the participant is connecting.
    pub leaf: Option<GenerationLeaf>,
    /// Which join.
    pub join_id: JoinId,
    /// Whose.
    pub account: AccountId,
    /// Whose, by name.
    pub username: ParticipantName,
    /// What it may do.
    pub role: Role,
    /// Muted by a moderator.
    pub muted: bool,
    /// What its client understands.
    pub capabilities: Capabilities,
}

impl Participant {
    /// True when the relay forwards what it sends.
    pub fn may_speak(&self) -> bool {
        !self.muted && matches!(self.role, Role::Owner | Role::Moderator | Role::Member)
    }
}

impl From<&Participant> for wire::Participant {
    fn from(participant: &Participant) -> Self {
        Self {
            sender: participant.sender.into(),
            leaf: participant.leaf.map(Into::into),
            join_id: participant.join_id.to_wire(),
            account_id: participant.account.to_wire(),
            username: participant.username.as_str().to_owned(),
            role: participant.role.into(),
            muted: participant.muted,
            capabilities: participant.capabilities.to_wire(),
        }
    }
}

impl TryFrom<&wire::Participant> for Participant {
    type Error = BadField;

    /// Values of a later version refuse no participant: a role that is not known is a listener's.
    fn try_from(message: &wire::Participant) -> Result<Self, BadField> {
        let role = match message.role() {
            Role::Unspecified => Role::Listener,
            known => known,
        };
        Ok(Self {
            sender: u16::try_from(message.sender).map_err(|_| BadField("sender"))?,
            leaf: message.leaf.as_ref().map(Into::into),
            join_id: JoinId::parse(&message.join_id, "join_id")?,
            account: AccountId::parse(&message.account_id, "account_id")?,
            username: ParticipantName::from_wire(&message.username),
            role,
            muted: message.muted,
            capabilities: Capabilities::from_wire(&message.capabilities),
        })
    }
}

/// All that a client needs to send to a relay and hear from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaGrant {
    /// The relay's addresses, one at least and [`MAX_ADDRESSES`] at most.
    pub addresses: Vec<SocketAddr>,
    /// Names the session at the relay.
    pub connection_id: ConnectionId,
    /// Tags what the client sends.
    pub uplink_key: HopKey,
    /// Tags what the client receives.
    pub downlink_key: HopKey,
    /// Which owner of the room granted it.
    pub era: u64,
    /// Which placement of the room within that era.
    pub placement: u64,
}

impl From<&MediaGrant> for wire::MediaSession {
    fn from(grant: &MediaGrant) -> Self {
        Self {
            addresses: grant.addresses.iter().map(ToString::to_string).collect(),
            connection_id: Bytes::copy_from_slice(&grant.connection_id.to_bytes()),
            uplink_key: Bytes::copy_from_slice(grant.uplink_key.as_bytes()),
            downlink_key: Bytes::copy_from_slice(grant.downlink_key.as_bytes()),
            era: grant.era,
            placement: grant.placement,
        }
    }
}

impl TryFrom<&wire::MediaSession> for MediaGrant {
    type Error = BadField;

    fn try_from(message: &wire::MediaSession) -> Result<Self, BadField> {
        let addresses: Vec<SocketAddr> = message
            .addresses
            .iter()
            .take(MAX_ADDRESSES)
            .map(|address| address.parse().map_err(|_| BadField("addresses")))
            .collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err(BadField("addresses"));
        }
        Ok(Self {
            addresses,
            connection_id: parse_connection_id(&message.connection_id)?,
            uplink_key: parse_hop_key(&message.uplink_key, "uplink_key")?,
            downlink_key: parse_hop_key(&message.downlink_key, "downlink_key")?,
            era: message.era,
            placement: message.placement,
        })
    }
}

pub(crate) fn parse_connection_id(bytes: &[u8]) -> Result<ConnectionId, BadField> {
    bytes
        .try_into()
        .map(ConnectionId::from_bytes)
        .map_err(|_| BadField("connection_id"))
}

pub(crate) fn parse_hop_key(bytes: &[u8], field: &'static str) -> Result<HopKey, BadField> {
    bytes
        .try_into()
        .map(HopKey::new)
        .map_err(|_| BadField(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_participant_of_a_later_version_is_a_listener_with_an_escaped_name() {
        let message = wire::Participant {
            sender: 7,
            leaf: None,
            join_id: Bytes::from_static(&[1; 16]),
            account_id: Bytes::from_static(&[2; 16]),
            username: "Guest \u{202e}\u{1b}[2J/..".into(),
            role: 77,
            muted: false,
            capabilities: vec![2, 0, 900, 2],
        };
        let participant = Participant::try_from(&message).unwrap();
        assert_eq!(participant.role, Role::Listener);
        assert!(!participant.may_speak());
        assert_eq!(participant.leaf, None);
        assert_eq!(
            participant.username.as_str(),
            "Guest \\u{202e}\\u{1b}[2J/.."
        );
        assert!(participant.capabilities.has(Capability::Dred));
        assert!(!participant.capabilities.has(Capability::RedundantCopies));
        assert_eq!(wire::Participant::from(&participant).capabilities, [2, 900]);
    }

    #[test]
    fn a_name_makes_a_file_name_that_leads_nowhere_else() {
        for (name, stem) in [
            ("ann.b-2", "ann.b-2"),
            ("../../etc/passwd", "_.._.._etc_passwd"),
            ("", "_"),
            ("-rf", "_-rf"),
            ("a\0b", "a_u_0_b"),
        ] {
            assert_eq!(ParticipantName::from_wire(name).file_stem(), stem);
        }
    }

    #[test]
    fn more_capabilities_than_allowed_are_left_out() {
        let many: Vec<i32> = (1..=100).collect();
        assert_eq!(
            Capabilities::from_wire(&many).to_wire().len(),
            Capabilities::MAX
        );
    }

    #[test]
    fn of_a_grant_with_many_addresses_the_first_eight_are_taken() {
        let of = |count: usize| wire::MediaSession {
            addresses: (1..=count)
                .map(|port| format!("192.0.2.1:{port}"))
                .collect(),
            connection_id: vec![1; 8].into(),
            uplink_key: vec![2; 16].into(),
            downlink_key: vec![3; 16].into(),
            ..wire::MediaSession::default()
        };
        let taken = |count| MediaGrant::try_from(&of(count)).map(|grant| grant.addresses.len());
        assert_eq!(taken(0), Err(BadField("addresses")));
        assert_eq!(taken(MAX_ADDRESSES), Ok(MAX_ADDRESSES));
        assert_eq!(taken(1000), Ok(MAX_ADDRESSES));
    }
}
