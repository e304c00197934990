//! What a room has its relay keep with each session, for whoever takes the room over.

use confab_protocol::cluster::SessionNote;
use confab_protocol::control::{AccountId, JoinId};

use crate::store::SessionId;

/// Whose a media session is: `account (16) · session (16) · join id (16)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Whose {
    /// Whose participant it is.
    pub(super) account: AccountId,
    /// Ends with this session.
    pub(super) session: SessionId,
    /// Which join.
    pub(super) join_id: JoinId,
}

impl From<Whose> for SessionNote {
    fn from(whose: Whose) -> Self {
        let mut note = [0; SessionNote::LEN];
        note[..16].copy_from_slice(whose.account.as_bytes());
        note[16..32].copy_from_slice(&whose.session.0);
        note[32..].copy_from_slice(whose.join_id.as_bytes());
        Self(note)
    }
}

impl From<SessionNote> for Whose {
    fn from(SessionNote(note): SessionNote) -> Self {
        let part = |at: usize| std::array::from_fn(|byte| note[at + byte]);
        Self {
            account: AccountId::new(part(0)),
            session: SessionId(part(16)),
            join_id: JoinId::new(part(32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_whose_the_session_is() {
        let whose = Whose {
            account: AccountId::new([1; 16]),
            session: SessionId([2; 16]),
            join_id: JoinId::new([3; 16]),
        };
        assert_eq!(Whose::from(SessionNote::from(whose)), whose);
    }
}
