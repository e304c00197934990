//! What the delivery service and the members say to each other.
//!
//! MLS messages are in the `MLSMessage` form of RFC 9420 §6, trees in the form of its §12.4.3.3.

use std::sync::Arc;

use super::group_name::GroupName;
use super::suite::Suite;

/// From the delivery service to one member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToMember {
    /// Create this group, with yourself as its only leaf.
    CreateGroup {
        /// The group's name.
        group: GroupName,
        /// Its cipher suite.
        suite: Suite,
    },
    /// Commit these proposals, and nothing else.
    CommitWanted {
        /// The group.
        group: GroupName,
        /// The epoch in which the commit is to be made.
        epoch: u64,
        /// The proposals of the delivery service, in order.
        proposals: Vec<Arc<[u8]>>,
    },
    /// This commit was accepted: merge it.
    Commit(Arc<AcceptedCommit>),
    /// You are a leaf of this group.
    Welcome {
        /// The group.
        group: GroupName,
        /// The epoch of which the Welcome is.
        epoch: u64,
        /// The Welcome, with this member's entry alone.
        welcome: Arc<[u8]>,
        /// The ratchet tree of that epoch.
        tree: Arc<[u8]>,
    },
    /// Seal under this epoch from now on, if you have it. It implies all epochs before it.
    Activate {
        /// The group.
        group: GroupName,
        /// The epoch.
        epoch: u64,
        /// Leaves that have not acknowledged the epoch: they go on under their last one for a while.
        absent: Arc<[u32]>,
    },
    /// A text of a participant for the room, as an MLS PrivateMessage.
    Text(Arc<[u8]>),
    /// The text that this member sent last was passed on.
    TextAccepted,
    /// The text that this member sent last is of an epoch that is over: seal it again.
    TextStale,
    /// The text that this member sent last was dropped.
    TextRefused(TextRefusal),
    /// Your state of the group cannot be brought up to date: forget it, and wait for a Welcome.
    Rejoin {
        /// The group.
        group: GroupName,
    },
}

/// Why a text was not passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextRefusal {
    /// Who is muted or a listener writes no texts.
    NotAllowed,
    /// The participant writes more than the delivery service takes.
    TooMany,
}

/// A commit that the delivery service has accepted, with what it commits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcceptedCommit {
    /// The group.
    pub group: GroupName,
    /// The epoch in which it was made; it leads to the next one.
    pub epoch: u64,
    /// The proposals that it commits, in order.
    pub proposals: Vec<Arc<[u8]>>,
    /// The commit.
    pub commit: Arc<[u8]>,
}

impl AcceptedCommit {
    /// Bytes of the commit and its proposals.
    pub fn size(&self) -> usize {
        let proposals = self.proposals.iter().map(|proposal| proposal.len());
        self.commit.len() + proposals.sum::<usize>()
    }
}

/// From a member to the delivery service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FromMember {
    /// A key package in reserve: the next group or the next Add takes it. Each is used once, then the member sends another.
    KeyPackage {
        /// Its cipher suite.
        suite: Suite,
        /// The key package.
        key_package: Vec<u8>,
    },
    /// The group was created.
    Created {
        /// The group.
        group: GroupName,
        /// Its GroupInfo in epoch 0.
        group_info: Vec<u8>,
        /// Its ratchet tree.
        tree: Vec<u8>,
    },
    /// The commit that was wanted.
    Committed {
        /// The group.
        group: GroupName,
        /// The epoch in which it was made.
        epoch: u64,
        /// The commit.
        commit: Vec<u8>,
        /// The Welcome for all who are added; empty if nobody is.
        welcome: Vec<u8>,
    },
    /// The commit that was wanted cannot be made: these proposals (by their place in the list) cannot be committed.
    CannotCommit {
        /// The group.
        group: GroupName,
        /// The epoch.
        epoch: u64,
        /// Places of the proposals that are at fault; empty if it is something else.
        refused: Vec<u32>,
    },
    /// The member is in this epoch.
    Merged {
        /// The group.
        group: GroupName,
        /// The epoch that it has reached.
        epoch: u64,
    },
    /// A text for the room, as an MLS PrivateMessage.
    Text {
        /// The group.
        group: GroupName,
        /// The epoch under which it is sealed.
        epoch: u64,
        /// The message.
        message: Vec<u8>,
    },
    /// Others are in an epoch that the member does not get to: it may have missed a commit.
    Behind {
        /// The group.
        group: GroupName,
        /// The epoch in which the member is.
        epoch: u64,
    },
    /// A commit or a Welcome could not be processed.
    Failed {
        /// The group.
        group: GroupName,
        /// The epoch that it would have led to.
        epoch: u64,
    },
}

impl ToMember {
    /// True for a message that asks for a commit or a new group: one that [may be long](FromMember::may_be_long) follows.
    pub fn asks_for_commit(&self) -> bool {
        matches!(self, Self::CommitWanted { .. } | Self::CreateGroup { .. })
    }
}

impl FromMember {
    /// True for a commit or a new group: they are as long as the group is large, and sent only by who was
    /// [asked](ToMember::asks_for_commit).
    pub fn may_be_long(&self) -> bool {
        matches!(self, Self::Committed { .. } | Self::Created { .. })
    }

    /// Bytes of what MLS has made of it.
    pub fn size(&self) -> usize {
        match self {
            Self::KeyPackage { key_package, .. } => key_package.len(),
            Self::Created {
                group_info, tree, ..
            } => group_info.len() + tree.len(),
            Self::Committed {
                commit, welcome, ..
            } => commit.len() + welcome.len(),
            Self::Text { message, .. } => message.len(),
            Self::CannotCommit { refused, .. } => refused.len() * size_of::<u32>(),
            Self::Merged { .. } | Self::Behind { .. } | Self::Failed { .. } => 0,
        }
    }
}
