//! Who is in a room, for lists.

use confab_protocol::control::room::{BadField, Role};
use confab_protocol::control::{AccountId, Participant};
use confab_protocol::wire;

/// A participant, for lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Present {
    pub account: AccountId,
    /// As clients are told.
    pub username: String,
    pub role: Role,
    pub muted: bool,
}

impl From<&Participant> for Present {
    fn from(participant: &Participant) -> Self {
        Self {
            account: participant.account,
            username: participant.username.to_string(),
            role: participant.role,
            muted: participant.muted,
        }
    }
}

impl From<Present> for wire::Present {
    fn from(present: Present) -> Self {
        Self {
            account_id: present.account.to_wire(),
            username: present.username,
            role: present.role.into(),
            muted: present.muted,
        }
    }
}

impl TryFrom<wire::Present> for Present {
    type Error = BadField;

    fn try_from(present: wire::Present) -> Result<Self, BadField> {
        Ok(Self {
            account: AccountId::parse(&present.account_id, "account_id")?,
            role: present.role(),
            username: present.username,
            muted: present.muted,
        })
    }
}
