//! The leaves that a media session has in the room's MLS group.

use std::time::Duration;

use super::parse_sender;
use crate::control::room::{BadField, GenerationLeaf};
use crate::wire;

/// Most leaves of one session: in a generation of the group, and in the one that follows it.
pub const MAX_LEAVES: usize = 2;

/// Most participants in one [`Action::SetLeaves`](super::Action::SetLeaves).
pub const MAX_SET_LEAVES: usize = 1000;

/// A session's leaf counts for this long after it got one in a later generation.
pub const LEAF_BEFORE_FOR: Duration = Duration::from_secs(2);

/// A leaf that the key ids of a session's frames may have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GrantedLeaf {
    /// Which leaf, in which generation of the room's group.
    pub leaf: GenerationLeaf,
    /// In this epoch of the generation and in those after it.
    pub first_epoch: u64,
}

/// The leaves that the key ids of a session's frames may have: none while its participant is connecting, one, or two while a
/// generation follows another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leaves {
    newest: Option<GrantedLeaf>,
    before: Option<GrantedLeaf>,
}

impl Leaves {
    /// No leaf.
    pub const NONE: Self = Self {
        newest: None,
        before: None,
    };

    /// One leaf.
    pub const fn one(leaf: GrantedLeaf) -> Self {
        Self {
            newest: Some(leaf),
            before: None,
        }
    }

    /// The leaf of the newest generation.
    pub const fn newest(&self) -> Option<GrantedLeaf> {
        self.newest
    }

    /// The leaf of the generation before it.
    pub const fn before(&self) -> Option<GrantedLeaf> {
        self.before
    }

    /// Another leaf. It takes the place of one in the same generation; of three generations the oldest goes.
    pub fn grant(&mut self, granted: GrantedLeaf) {
        let others = self
            .iter()
            .filter(|one| one.leaf.generation != granted.leaf.generation);
        let mut all: [Option<GrantedLeaf>; MAX_LEAVES + 1] = [Some(granted), None, None];
        for (place, other) in all.iter_mut().skip(1).zip(others) {
            *place = Some(other);
        }
        all.sort_unstable_by_key(|one| std::cmp::Reverse(one.map(|one| one.leaf.generation)));
        (self.newest, self.before) = (all[0], all[1]);
    }

    /// This leaf counts no more: it is somebody else's. Returns whether it did.
    pub fn revoke(&mut self, leaf: GenerationLeaf) -> bool {
        let mut others = self.iter().filter(|one| one.leaf != leaf);
        let others = Self {
            newest: others.next(),
            before: others.next(),
        };
        std::mem::replace(self, others) != others
    }

    /// Only the leaf of the newest generation counts from now on.
    pub fn forget_before(&mut self) {
        self.before = None;
    }

    /// The leaves, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = GrantedLeaf> + use<> {
        [self.newest, self.before].into_iter().flatten()
    }

    pub(super) fn parse(leaves: &[wire::GrantedLeaf]) -> Result<Self, BadField> {
        let mut parsed = Self::NONE;
        for granted in leaves {
            parsed.grant(granted.try_into()?);
        }
        let are_all_kept = parsed.iter().count() == leaves.len();
        are_all_kept.then_some(parsed).ok_or(BadField("leaves"))
    }

    pub(super) fn to_wire(self) -> Vec<wire::GrantedLeaf> {
        self.iter().map(Into::into).collect()
    }
}

impl From<GrantedLeaf> for wire::GrantedLeaf {
    fn from(granted: GrantedLeaf) -> Self {
        Self {
            leaf: Some(granted.leaf.into()),
            first_epoch: granted.first_epoch,
        }
    }
}

impl TryFrom<&wire::GrantedLeaf> for GrantedLeaf {
    type Error = BadField;

    fn try_from(message: &wire::GrantedLeaf) -> Result<Self, BadField> {
        Ok(Self {
            leaf: message.leaf.as_ref().ok_or(BadField("leaf"))?.into(),
            first_epoch: message.first_epoch,
        })
    }
}

/// The leaves of several senders as a message has them.
pub(super) fn of_senders_to_wire(leaves: &[(u16, GrantedLeaf)]) -> Vec<wire::SenderLeaf> {
    let to_wire = |(sender, leaf): &(u16, GrantedLeaf)| wire::SenderLeaf {
        sender: (*sender).into(),
        leaf: Some((*leaf).into()),
    };
    leaves.iter().map(to_wire).collect()
}

/// Reads the leaves of several senders.
pub(super) fn parse_of_senders(
    leaves: &[wire::SenderLeaf],
) -> Result<Vec<(u16, GrantedLeaf)>, BadField> {
    if leaves.len() > MAX_SET_LEAVES {
        return Err(BadField("leaves"));
    }
    let read = |one: &wire::SenderLeaf| {
        let leaf = one.leaf.as_ref().ok_or(BadField("leaf"))?;
        Ok((parse_sender(one.sender)?, leaf.try_into()?))
    };
    leaves.iter().map(read).collect()
}
