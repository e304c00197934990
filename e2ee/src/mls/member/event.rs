//! What happens to a member.

use crate::mls::identity::Credential;
use crate::mls::messages::TextRefusal;
use crate::mls::suite::Suite;

/// What a participant is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MemberEvent {
    /// The leaves, the epoch or the group are others now.
    Changed,
    /// A new group uses this suite.
    Suite(Suite),
    /// Control has offered a suite that is not post-quantum, in a room that is small enough for one that is: it was refused.
    Downgrade,
    /// A leaf is in the group that control never announced, or announced as gone: nothing is sent until it is out.
    Unannounced {
        /// Its leaf.
        leaf: u32,
        /// Who it says it is.
        credential: Credential,
    },
    /// Many frames of a member do not open, in the epoch in which it says that it is: the server may have split the group, or
    /// somebody else sends under its leaf. The room's codes tell which.
    Forked {
        /// Whose frames.
        leaf: u32,
    },
    /// Others are in an epoch that this member does not get to; it asks for the commits that lead there.
    Unreachable,
    /// This member has had no group for some seconds. It offers other key packages.
    Waiting,
    /// All leaves are announced again: sending goes on.
    Announced,
    /// A participant has written a text.
    Text {
        /// Its leaf.
        leaf: u32,
        /// The text.
        text: String,
    },
    /// A text of one's own was not passed on.
    TextRefused(TextRefusal),
    /// The group goes on without this member.
    Removed,
    /// What control sent was refused, and why.
    Refused(String),
}
