//! The room's home in the store, and the fence under which this node commands relays.

use std::time::{Duration, Instant};

use confab_protocol::cluster::Fence;
use confab_protocol::control::ConferenceId;

use super::effect::Effect;
use super::home::Recorded;
use crate::cluster::LinkedRelay;
use crate::store::{HomePlace, HomeRecord};

/// Time before a write of the home is repeated that the store did not answer.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// This node's ownership of a room.
pub(super) struct Lease {
    /// The home as the store last returned it.
    home: HomeRecord,
    fence: Fence,
    /// False once another node owns the room. This node commands no relay then.
    is_owned: bool,
    writing: Writing,
}

/// The state of writing the relay into the home. One write at a time: of two concurrent writes the older could win.
enum Writing {
    /// No write is under way or due.
    Idle,
    /// A write is under way. If it `is_stale`, the room has moved on and the next relay is written after it.
    UnderWay { is_stale: bool },
    /// The store did not answer.
    Failed { retry_at: Instant },
}

/// The result of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The home names the relay; or the store did not answer, and the room uses the relay all the same.
    Settled,
    /// The write was for an earlier relay: write again.
    Stale,
    /// Another node owns the room.
    Superseded,
}

impl Lease {
    /// The room is this node's by `home`; `placement` is the number of its last placement.
    pub(super) fn new(home: HomeRecord, placement: u64) -> Self {
        Self {
            fence: Fence {
                era: home.era,
                placement,
            },
            home,
            is_owned: true,
            writing: Writing::Idle,
        }
    }

    pub(super) fn home(&self) -> &HomeRecord {
        &self.home
    }

    /// The fence of commands to relays.
    pub(super) fn fence(&self) -> Fence {
        self.fence
    }

    pub(super) fn is_owned(&self) -> bool {
        self.is_owned
    }

    /// Another node owns the room. Returns false if that was known.
    pub(super) fn lose(&mut self) -> bool {
        self.forget_failure();
        std::mem::replace(&mut self.is_owned, false)
    }

    /// Starts the next placement, at `relay`.
    pub(super) fn place(&mut self, relay: &LinkedRelay) -> Option<Effect> {
        self.fence.placement += 1;
        self.write(relay)
    }

    /// Writes `relay` into the home. Returns no effect while a write is under way: the relay is written after it.
    pub(super) fn write(&mut self, relay: &LinkedRelay) -> Option<Effect> {
        if let Writing::UnderWay { is_stale } = &mut self.writing {
            *is_stale = true;
            return None;
        }
        self.writing = Writing::UnderWay { is_stale: false };
        Some(Effect::RecordPlace {
            home: self.home.clone(),
            place: HomePlace {
                relay: relay.name.clone(),
                boot: relay.boot,
                placement: self.fence.placement,
            },
        })
    }

    /// Takes the result of a write.
    pub(super) fn written(
        &mut self,
        now: Instant,
        conference: ConferenceId,
        recorded: Recorded,
    ) -> Written {
        let before = std::mem::replace(&mut self.writing, Writing::Idle);
        let is_stale = matches!(before, Writing::UnderWay { is_stale: true });
        match recorded {
            Recorded::Done(home) => self.home = home,
            Recorded::Superseded => return Written::Superseded,
            Recorded::Unknown(_) if is_stale => {}
            Recorded::Unknown(error) => {
                tracing::warn!(%conference, %error, "where a room is could not be written down");
                self.writing = Writing::Failed {
                    retry_at: now + WRITE_RETRY,
                };
            }
        }
        match is_stale {
            true => Written::Stale,
            false => Written::Settled,
        }
    }

    /// Takes the result of a lookup. Returns false if another node owns the room.
    pub(super) fn looked(&mut self, recorded: Recorded) -> bool {
        match recorded {
            Recorded::Done(home) => self.home = home,
            Recorded::Superseded => return false,
            // An owner acts until it is fenced: a store that is down ends no call.
            Recorded::Unknown(_) => {}
        }
        true
    }

    /// The time of the next write after a failed one.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.writing {
            Writing::Failed { retry_at } => Some(retry_at),
            Writing::Idle | Writing::UnderWay { .. } => None,
        }
    }

    /// Whether it is time to write again.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.deadline().is_some_and(|at| at <= now);
        if is_due {
            self.writing = Writing::Idle;
        }
        is_due
    }

    /// Gives up repeating a failed write: the room has no relay any more.
    pub(super) fn forget_failure(&mut self) {
        if let Writing::Failed { .. } = self.writing {
            self.writing = Writing::Idle;
        }
    }
}
