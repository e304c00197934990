//! Names of MLS groups.

use confab_protocol::control::ConferenceId;
use openmls::prelude::GroupId;

/// Names a group: the conference, the era of its owner when the group began, and the generation.
///
/// On the wire, as MLS group id: `conference (16) · era (8) · generation (8)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GroupName {
    /// The conference.
    pub conference: ConferenceId,
    /// The era of the node that opened the group.
    pub era: u64,
    /// Grows by one with each new group of a gathering. Its last two bits are in each key id.
    pub generation: u64,
}

impl GroupName {
    /// Bytes of a group id.
    pub const LEN: usize = 32;

    /// The MLS group id.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(self.conference.as_bytes());
        bytes[16..24].copy_from_slice(&self.era.to_be_bytes());
        bytes[24..].copy_from_slice(&self.generation.to_be_bytes());
        bytes
    }

    /// Reads an MLS group id; `None` if it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let (conference, rest) = bytes.split_first_chunk::<16>()?;
        let (era, generation) = rest.split_first_chunk::<8>()?;
        Some(Self {
            conference: ConferenceId::new(*conference),
            era: u64::from_be_bytes(*era),
            generation: u64::from_be_bytes(generation.try_into().ok()?),
        })
    }

    pub(crate) fn group_id(self) -> GroupId {
        GroupId::from_slice(&self.to_bytes())
    }
}
