//! The participants of the room, by revision.

use std::collections::BTreeMap;

use confab_e2ee::mls::identity::{ServerId, Subject};
use confab_protocol::control::room::{BadField, MAX_PARTICIPANTS};
use confab_protocol::control::{
    ConferenceId, GenerationLeaf, MediaGrant, Participant, ResumeSecret, Username,
};

pub use confab_protocol::control::room::LeaveReason;

/// The answer to a join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub conference: ConferenceId,
    /// Events up to this one are in `others` already.
    pub revision: u64,
    pub me: Participant,
    /// One's own name.
    pub username: Username,
    pub others: Vec<Participant>,
    /// The media session; `None` when the existing one stays, after a resumed join only.
    pub media: Option<MediaGrant>,
    /// The public key of the server's delivery service.
    pub delivery_key: [u8; 32],
    /// The secret for resuming the join; `None` in the answer to a resumed one.
    pub resume: Option<ResumeSecret>,
}

/// A change of the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomEvent {
    /// The room's revision after the change.
    pub revision: u64,
    pub change: Change,
}

/// A change of the room's participants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Joined(Participant),
    Left {
        sender: u16,
        reason: LeaveReason,
    },
    /// A participant's role or mute changed.
    Changed(Participant),
    /// These senders have these leaves.
    Leaves(Vec<(u16, GenerationLeaf)>),
}

/// The effect of a change on the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterChange {
    Joined(Participant),
    /// A participant left, as it was last.
    Left(Participant, LeaveReason),
    /// A participant changed; it may be this client's own.
    Changed {
        before: Participant,
        now: Participant,
    },
}

/// The participants of the room, this client included.
#[derive(Debug, Clone)]
pub struct Roster {
    revision: u64,
    own_sender: u16,
    by_sender: BTreeMap<u16, Participant>,
}

impl Joined {
    /// Puts a join together. An error if no participant has the label `self_sender`, or its name is no username.
    pub fn new(
        conference: ConferenceId,
        revision: u64,
        participants: Vec<Participant>,
        self_sender: u16,
        media: Option<MediaGrant>,
        delivery_key: [u8; 32],
        resume: Option<ResumeSecret>,
    ) -> Result<Self, BadField> {
        let (mut me, others): (Vec<_>, Vec<_>) = participants
            .into_iter()
            .partition(|p| p.sender == self_sender);
        let me = me.pop().ok_or(BadField("self_sender"))?;
        let username = me.username.as_str().parse();
        Ok(Self {
            conference,
            revision,
            username: username.map_err(|_| BadField("username"))?,
            me,
            others,
            media,
            delivery_key,
            resume,
        })
    }

    /// Who one is in the room's group, at this server.
    pub fn subject(&self, server: ServerId) -> Subject {
        Subject {
            server,
            account: self.me.account,
            username: self.username.clone(),
            conference: self.conference,
        }
    }
}

impl Roster {
    /// The participants in the answer to a join.
    pub fn new(joined: &Joined) -> Self {
        let everyone = joined.others.iter().chain([&joined.me]);
        Self {
            revision: joined.revision,
            own_sender: joined.me.sender,
            by_sender: everyone.map(|p| (p.sender, p.clone())).collect(),
        }
    }

    pub fn me(&self) -> &Participant {
        &self.by_sender[&self.own_sender]
    }

    /// The other participants, in the order of their labels.
    pub fn others(&self) -> impl Iterator<Item = &Participant> {
        self.by_sender
            .values()
            .filter(|p| p.sender != self.own_sender)
    }

    /// The participant with this label.
    pub fn by_sender(&self, sender: u16) -> Option<&Participant> {
        self.by_sender.get(&sender)
    }

    /// Applies an event, unless the room as it was joined already had it, nothing changed by it, or there are
    /// [`MAX_PARTICIPANTS`] already.
    pub fn apply(&mut self, event: RoomEvent) -> Vec<RosterChange> {
        if event.revision <= self.revision {
            return Vec::new();
        }
        self.revision = event.revision;
        match event.change {
            Change::Joined(participant) | Change::Changed(participant) => {
                self.set(participant).into_iter().collect()
            }
            // Of oneself the server tells by its own kind of event.
            Change::Left { sender, .. } if sender == self.own_sender => Vec::new(),
            Change::Left { sender, reason } => {
                let gone = self.by_sender.remove(&sender);
                let left = gone.map(|gone| RosterChange::Left(gone, reason));
                left.into_iter().collect()
            }
            Change::Leaves(leaves) => leaves
                .into_iter()
                .filter_map(|(sender, leaf)| self.set_leaf(sender, leaf))
                .collect(),
        }
    }

    fn set_leaf(&mut self, sender: u16, leaf: GenerationLeaf) -> Option<RosterChange> {
        let known = self.by_sender.get(&sender)?.clone();
        self.set(Participant {
            leaf: Some(leaf),
            ..known
        })
    }

    /// Replaces the participants by those of a later join. Returns the changes: those who left first, then those who joined or
    /// changed.
    pub fn replace(&mut self, joined: &Joined) -> Vec<RosterChange> {
        let new = Self::new(joined);
        let is_same =
            |a: &Participant, b: &Participant| a.join_id == b.join_id && a.sender == b.sender;
        let old = std::mem::replace(&mut self.by_sender, new.by_sender);
        let own_before = std::mem::replace(&mut self.own_sender, new.own_sender);
        self.revision = new.revision;
        let went = old
            .values()
            .filter(|p| p.sender != own_before)
            .filter(|p| !self.others().any(|now| is_same(now, p)))
            .map(|p| RosterChange::Left(p.clone(), LeaveReason::Unspecified));
        let came = self.others().filter_map(|p| match old.get(&p.sender) {
            Some(before) if before == p => None,
            Some(before) if is_same(before, p) => Some(RosterChange::Changed {
                before: before.clone(),
                now: p.clone(),
            }),
            _ => Some(RosterChange::Joined(p.clone())),
        });
        went.chain(came).collect()
    }

    fn set(&mut self, participant: Participant) -> Option<RosterChange> {
        let is_new = !self.by_sender.contains_key(&participant.sender);
        if is_new && self.by_sender.len() >= MAX_PARTICIPANTS {
            return None;
        }
        let before = self
            .by_sender
            .insert(participant.sender, participant.clone());
        match before {
            Some(before) if before == participant => None,
            Some(before) => Some(RosterChange::Changed {
                before,
                now: participant,
            }),
            None => Some(RosterChange::Joined(participant)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing;

    fn event(revision: u64, change: Change) -> RoomEvent {
        RoomEvent { revision, change }
    }

    #[test]
    fn events_that_the_join_already_had_are_skipped() {
        let joined = testing::joined(0, &[0, 1], 5);
        let mut roster = Roster::new(&joined);
        let left = Change::Left {
            sender: 1,
            reason: LeaveReason::Left,
        };
        assert_eq!(roster.apply(event(5, left.clone())), []);
        assert!(
            matches!(&roster.apply(event(6, left.clone()))[..], [RosterChange::Left(p, _)] if p.sender == 1)
        );
        assert_eq!(roster.apply(event(7, left)), []);
        let came = roster.apply(event(8, Change::Joined(testing::participant(2))));
        assert!(matches!(&came[..], [RosterChange::Joined(p)] if p.sender == 2));
    }

    #[test]
    fn a_server_cannot_fill_a_room_without_end() {
        let mut roster = Roster::new(&testing::joined(0, &[0, 1], 0));
        for sender in 0..=u16::MAX {
            let came = Change::Joined(testing::participant(sender));
            roster.apply(event(u64::from(sender) + 1, came));
        }
        assert_eq!(roster.others().count() + 1, MAX_PARTICIPANTS);
        // Who is there can still change and go, and makes room.
        let left = Change::Left {
            sender: 1,
            reason: LeaveReason::Left,
        };
        assert!(roster.apply(event(100_000, left)).len() == 1);
        let came = Change::Joined(testing::participant(u16::MAX));
        assert!(roster.apply(event(100_001, came)).len() == 1);
    }

    #[test]
    fn a_later_join_tells_what_is_different() {
        let mut roster = Roster::new(&testing::joined(0, &[0, 1, 2, 3], 5));
        let mut later = testing::joined(0, &[0, 1, 2, 4], 9);
        later.others[1].muted = true;
        let changes = roster.replace(&later);
        let shown: Vec<_> = changes
            .iter()
            .map(|change| match change {
                RosterChange::Left(p, _) => ("went", p.sender),
                RosterChange::Joined(p) => ("came", p.sender),
                RosterChange::Changed { now, .. } => ("changed", now.sender),
            })
            .collect();
        assert_eq!(shown, [("went", 3), ("changed", 2), ("came", 4)]);
        assert_eq!(
            roster.apply(event(
                9,
                Change::Left {
                    sender: 1,
                    reason: LeaveReason::Left
                }
            )),
            []
        );
    }

    #[test]
    fn a_participant_who_rejoined_under_the_same_label_left_and_joined() {
        let mut roster = Roster::new(&testing::joined(0, &[0, 1], 5));
        let mut later = testing::joined(0, &[0, 1], 9);
        later.others[0].join_id = confab_protocol::control::JoinId::new([77; 16]);
        let changes = roster.replace(&later);
        assert!(
            matches!(
                &changes[..],
                [RosterChange::Left(..), RosterChange::Joined(_)]
            ),
            "{changes:?}"
        );
    }
}
