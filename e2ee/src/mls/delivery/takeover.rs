//! A room that is taken over from another owner: its participants go on in the group that they are in, until all are back.

use std::time::{Duration, Instant};

use confab_protocol::control::{AccountId, JoinId, Username};
use confab_protocol::media::KeyId;

use super::Delivery;
use super::participants::Participant;
use crate::mls::group_name::GroupName;

/// In a room that is taken over, the first group waits for the participants to come back, this long after the first of them has.
/// Until then they go on in the group that they are in.
pub const RETURN_WAIT: Duration = Duration::from_secs(20);

/// It waits no longer than this for a participant that was not in the room before: nobody hears it until then.
pub const NEWCOMER_WAIT: Duration = Duration::from_secs(3);

/// It waits no longer than this after somebody has left who has keys of the group before.
pub const LEAVE_WAIT: Duration = Duration::from_secs(2);

/// Since when the first group waits.
#[derive(Default)]
pub(super) struct Returns {
    /// The first participant with a link.
    first: Option<Instant>,
    /// The first one of them that was not in the room before.
    newcomer: Option<Instant>,
    /// The first one that has left and has keys of the group before.
    leaver: Option<Instant>,
}

impl Returns {
    /// Somebody has left who has keys of the group before.
    pub(super) fn left(&mut self, now: Instant) {
        self.leaver.get_or_insert(now);
    }

    /// Until when the first group waits; `None` without any link: there is nobody to create it.
    fn deadline(&self) -> Option<Instant> {
        let first = self.first.map(|at| at + RETURN_WAIT);
        let newcomer = self.newcomer.map(|at| at + NEWCOMER_WAIT);
        let leaver = self.leaver.map(|at| at + LEAVE_WAIT);
        [first, newcomer, leaver].into_iter().flatten().min()
    }
}

impl Delivery {
    /// A participant is here that came when another node owned the room. It goes on in the group that it is in until it resumes.
    pub fn adopt(&mut self, join: JoinId, account: AccountId, username: Username) {
        let participant = Participant::adopted(account, username);
        self.participants.insert(join, participant);
    }

    /// Before the first group: chooses its generation so that its key ids are not those of the group that the members are in.
    pub(super) fn follow_generation(&mut self, state: Option<(GroupName, u64)>) {
        let first = self.config.first_generation;
        let before = state.map(|(name, _)| name.generation);
        if let Some(before) =
            before.filter(|before| *before < first && self.last_group_at.is_none())
        {
            let step = (before + 1).wrapping_sub(first) & KeyId::GENERATION_MASK;
            self.next_generation = first.saturating_add(step);
        }
    }

    /// Until when the first group waits for participants that this node has taken over.
    pub(super) fn awaits_return(&mut self, now: Instant) -> Option<Instant> {
        let suite = self.suite;
        let is_back = |one: &Participant| one.is_live && one.has_spare(suite);
        let mut adopted = self.participants.values().filter(|one| one.was_member);
        if self.last_group_at.is_some() || adopted.all(is_back) {
            return None;
        }
        for participant in self.participants.values().filter(|one| one.is_live) {
            self.returns.first.get_or_insert(now);
            if !participant.was_member {
                self.returns.newcomer.get_or_insert(now);
            }
        }
        self.returns.deadline().filter(|until| *until > now)
    }
}
