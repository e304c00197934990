//! A room has left a relay that could not be told, because nothing was heard of it. Some may be there still and hear one
//! another. Until everybody has been seen at the next relay nothing is acknowledged that has to hold for all.

use std::time::{Duration, Instant};

use confab_protocol::cluster::Action;

use super::commands::Purpose;
use super::state::{BEYOND, RoomState};

/// Time between two looks who has come.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// While somebody may be at the relay that was left.
pub(super) struct Parting {
    /// What somebody had there is over by then.
    until: Instant,
    /// When to ask the new relay who has come; `None` while it is asked.
    look_at: Option<Instant>,
}

impl Parting {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            until: now + BEYOND,
            look_at: Some(now + LOOK_AGAIN),
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.look_at
            .map_or(self.until, |look_at| look_at.min(self.until))
    }
}

impl RoomState {
    /// Does what has become due.
    pub(super) fn expire_parting(&mut self, now: Instant) {
        self.parting.take_if(|parting| parting.until <= now);
        let Some(parting) = &mut self.parting else {
            return;
        };
        if parting.look_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        if self.place.is_some() {
            self.command(now, Purpose::Roll(false), Action::ListMedia { from: 0 });
        } else {
            self.look_for_the_rest(now);
        }
    }

    /// Not everybody has come, or it is not known.
    pub(super) fn look_for_the_rest(&mut self, now: Instant) {
        if let Some(parting) = &mut self.parting {
            parting.look_at = Some(now + LOOK_AGAIN);
        }
    }
}
