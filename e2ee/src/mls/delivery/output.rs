//! What the delivery service wants done.

use confab_protocol::control::JoinId;

use crate::mls::group_name::GroupName;
use crate::mls::messages::ToMember;
use crate::mls::suite::Suite;

/// Why a new group was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewGroupCause {
    /// The first participant joined.
    Opened,
    /// Nobody could commit.
    NoCommitter,
    /// Half of the accounts or more could not process a commit.
    BadCommit,
    /// The creator did not create the group, or not as it was asked to.
    BadCreator,
    /// The group has become too large for the post-quantum suite.
    TooLarge,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this to a participant.
    Send(JoinId, ToMember),
    /// Tell the relays which leaf each of these participants has, from this epoch on. Their Welcomes wait until
    /// [`gate_opened`](super::Delivery::gate_opened).
    OpenGate {
        /// Generation of the group.
        generation: u64,
        /// First epoch in which they are leaves.
        epoch: u64,
        /// The participants and their leaves.
        leaves: Vec<(JoinId, u32)>,
    },
    /// Tell the relays that all epochs of this generation up to this one, and all generations before it, have retired.
    Retired {
        /// Generation of the group.
        generation: u64,
        /// The newest epoch that has retired.
        epoch: u64,
    },
    /// A group is begun.
    NewGroup {
        /// Its name.
        group: GroupName,
        /// Its cipher suite: to be told to everybody if it is not post-quantum.
        suite: Suite,
        /// Why.
        cause: NewGroupCause,
    },
    /// What a participant sent was refused; for the log.
    Refused(JoinId, String),
}
