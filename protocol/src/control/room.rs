//! Who is in a room and what a join gives, as domain types.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::control::names::Username;
use crate::media::{ConnectionId, HopKey};
use crate::wire;

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

/// What the frame keys of a room's members are derived from.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RoomSecret([u8; RoomSecret::LEN]);

impl RoomSecret {
    /// Bytes of a secret.
    pub const LEN: usize = 32;

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
            .map_err(|_| BadField("room_secret"))
    }
}

impl fmt::Debug for RoomSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomSecret(…)")
    }
}

pub use crate::wire::{LeaveReason, Role, Visibility};

/// One device of one account, live in a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Participant {
    /// Labels the participant's records in downlink datagrams.
    pub sender: u16,
    /// The part of the SFrame key id that says who speaks.
    pub leaf: u32,
    /// Which join.
    pub join_id: JoinId,
    /// Whose.
    pub account: AccountId,
    /// Whose, by name.
    pub username: Username,
    /// What it may do.
    pub role: Role,
    /// Muted by a moderator.
    pub muted: bool,
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
            leaf: participant.leaf,
            join_id: participant.join_id.to_wire(),
            account_id: participant.account.to_wire(),
            username: participant.username.as_str().to_owned(),
            role: participant.role.into(),
            muted: participant.muted,
        }
    }
}

impl TryFrom<&wire::Participant> for Participant {
    type Error = BadField;

    fn try_from(message: &wire::Participant) -> Result<Self, BadField> {
        let role = message.role();
        if role == Role::Unspecified {
            return Err(BadField("role"));
        }
        Ok(Self {
            sender: u16::try_from(message.sender).map_err(|_| BadField("sender"))?,
            leaf: message.leaf,
            join_id: JoinId::parse(&message.join_id, "join_id")?,
            account: AccountId::parse(&message.account_id, "account_id")?,
            username: message.username.parse().map_err(|_| BadField("username"))?,
            role,
            muted: message.muted,
        })
    }
}

/// All that a client needs to send to a relay and hear from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaGrant {
    /// The relay's addresses, one at least.
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
