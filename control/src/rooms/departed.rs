//! Participants that have left a room: sessions that relays may still have of them, and joins that were kicked.

use std::collections::{BTreeMap, VecDeque};

use confab_protocol::control::{AccountId, JoinId};

/// Kicked joins that a room remembers.
const MAX_KICKED: usize = 256;

/// The departed participants of a room.
#[derive(Default)]
pub(super) struct Departed {
    /// Senders whose session the relay has not confirmed as closed, with the account if it is known.
    unclosed: BTreeMap<u16, Option<AccountId>>,
    /// Joins of kicked participants, the newest last.
    kicked: VecDeque<(AccountId, JoinId)>,
}

impl Departed {
    /// Takes the kicked joins over from a room of the same conference that just ended.
    pub(super) fn follow(&mut self, before: &mut Self) {
        self.kicked = std::mem::take(&mut before.kicked);
    }

    /// Remembers that a relay may still have the sender's session.
    pub(super) fn note_unclosed(&mut self, sender: u16, account: Option<AccountId>) {
        self.unclosed.insert(sender, account);
    }

    /// A relay has confirmed that it has no session of the sender.
    pub(super) fn closed(&mut self, sender: u16) {
        self.unclosed.remove(&sender);
    }

    /// Senders whose session a relay may still have.
    pub(super) fn unclosed(&self) -> Vec<u16> {
        self.unclosed.keys().copied().collect()
    }

    /// Whether a relay may still have the sender's session.
    pub(super) fn is_unclosed(&self, sender: u16) -> bool {
        self.unclosed.contains_key(&sender)
    }

    /// The unclosed senders that may belong to the account.
    pub(super) fn unclosed_of(&self, account: AccountId) -> Vec<u16> {
        let may_be = |of: &Option<AccountId>| of.is_none_or(|of| of == account);
        let unclosed = self.unclosed.iter().filter(|(_, of)| may_be(of));
        unclosed.map(|(sender, _)| *sender).collect()
    }

    /// Remembers the join of a kicked participant. A client that has lost its connection does not hear of the kick: it is told when it resumes,
    /// and would rejoin otherwise.
    pub(super) fn note_kicked(&mut self, account: AccountId, join_id: JoinId) {
        if self.kicked.len() >= MAX_KICKED {
            self.kicked.pop_front();
        }
        self.kicked.push_back((account, join_id));
    }

    /// Whether the join was kicked.
    pub(super) fn was_kicked(&self, account: AccountId, join_id: JoinId) -> bool {
        self.kicked.contains(&(account, join_id))
    }
}
