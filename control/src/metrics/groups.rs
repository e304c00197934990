//! Counters of rooms' MLS groups.

use super::tally::{Label, Tally};

/// What happens to groups. Clones share state.
#[derive(Clone, Default)]
pub struct GroupCounters {
    /// New groups, by cause.
    pub begun: Tally<GroupCause>,
    /// Messages of members that were refused or dropped, by reason.
    pub refused: Tally<GroupRefusal>,
}

/// Why a group was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupCause {
    /// The first participant joined, or the room was taken over.
    Opened,
    /// Nobody could commit.
    NoCommitter,
    /// Half of the accounts or more could not process a commit.
    BadCommit,
    /// Its creator did not create it, or not as it was asked to.
    BadCreator,
    /// It was too large for the post-quantum suite.
    TooLarge,
}

/// Why a message was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupRefusal {
    /// It breaks a rule of the group.
    Rule,
    /// A text of who may not write.
    TextNotAllowed,
    /// A text beyond the rate.
    TextRate,
}

impl Label for GroupCause {
    const NAME: &'static str = "cause";
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Opened, "opened"),
        (Self::NoCommitter, "no_committer"),
        (Self::BadCommit, "bad_commit"),
        (Self::BadCreator, "bad_creator"),
        (Self::TooLarge, "too_large"),
    ];
}

impl Label for GroupRefusal {
    const NAME: &'static str = "reason";
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Rule, "rule"),
        (Self::TextNotAllowed, "text_not_allowed"),
        (Self::TextRate, "text_rate"),
    ];
}
