//! Frames that do not open: signs that the group is forked, or that this member cannot get to the epoch in which others are.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// So many frames of one member under the current key id that do not open, within [`FORK_WITHIN`], are a fork.
pub const FORK_FRAMES: usize = 10;
/// See [`FORK_FRAMES`].
pub const FORK_WITHIN: Duration = Duration::from_secs(1);

/// Frames of members under key ids that are not known are held against the group after this time.
pub const UNREACHABLE_AFTER: Duration = Duration::from_secs(3);
/// A member that is still behind after it has asked asks again after this time, and then after twice as long each time, 48 s at most:
/// the answer may have been kept back. Control answers each member once in two seconds.
pub const BEHIND_AGAIN_AFTER: Duration = Duration::from_secs(3);
const LONGEST_BEHIND: Duration = Duration::from_secs(48);

/// A silence of this length between two of them begins anew.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(1);

/// So many members are believed that their key ids are those of the group.
const BELIEVED: usize = 2;

/// Frames that are remembered at most: members with valid keys may send as many as they like.
const MAX_NOTED: usize = 4096;

/// What has been seen since the last change of the group.
#[derive(Debug, Default)]
pub(super) struct Unopened {
    /// Frames under the current key id.
    failed: VecDeque<(Instant, u32)>,
    is_fork_told: bool,
    unknown: Option<Unknown>,
    is_unreachable_told: bool,
    asked: Option<Asked>,
}

/// When this member last asked for what it missed.
#[derive(Debug)]
struct Asked {
    at: Instant,
    /// Until it asks again.
    wait: Duration,
}

/// Frames under key ids that are not known.
#[derive(Debug)]
struct Unknown {
    since: Instant,
    last: Instant,
    /// Of these members.
    leaves: BTreeSet<u32>,
}

/// What follows from frames under key ids that are not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Unreached {
    /// This member may be behind, and asks.
    pub(super) is_behind: bool,
    /// Others are in an epoch that it does not get to: the participant is told.
    pub(super) is_told: bool,
}

impl Unopened {
    /// A frame of `leaf` under the current key id did not open. True if that is a fork, once.
    pub(super) fn note_failed(&mut self, now: Instant, leaf: u32) -> bool {
        self.failed.push_back((now, leaf));
        self.failed.retain(|(at, _)| *at + FORK_WITHIN > now);
        let of_leaf = self.failed.iter().filter(|(_, of)| *of == leaf).count();
        self.failed.truncate(MAX_NOTED);
        of_leaf >= FORK_FRAMES && !std::mem::replace(&mut self.is_fork_told, true)
    }

    /// A frame of one of `others` members came under a key id that is not known. Gives what follows if that has lasted for too
    /// long; the participant is told once. One member alone may make key ids up: it is believed only if there is no other.
    pub(super) fn note_unknown(&mut self, now: Instant, leaf: u32, others: usize) -> Unreached {
        self.unknown
            .take_if(|known| known.last + UNKNOWN_PAUSE <= now);
        let unknown = self.unknown.get_or_insert_with(|| Unknown {
            since: now,
            last: now,
            leaves: BTreeSet::new(),
        });
        unknown.last = now;
        unknown.leaves.insert(leaf);
        if unknown.since + UNREACHABLE_AFTER > now {
            return Unreached::default();
        }
        let is_believed = unknown.leaves.len() >= others.min(BELIEVED);
        Unreached {
            is_behind: self.asks(now),
            is_told: is_believed && !std::mem::replace(&mut self.is_unreachable_told, true),
        }
    }
    /// True if this member is to ask for what it missed, now that it still cannot open frames.
    fn asks(&mut self, now: Instant) -> bool {
        let wait = match &self.asked {
            Some(asked) if asked.at + asked.wait > now => return false,
            Some(asked) => (asked.wait * 2).min(LONGEST_BEHIND),
            None => BEHIND_AGAIN_AFTER,
        };
        self.asked = Some(Asked { at: now, wait });
        true
    }
}
