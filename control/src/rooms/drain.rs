//! Leaves a relay that is about to end, without a gap: everybody gets a session at the next one, and keeps the old one until
//! all have been seen there. Clients send on both meanwhile.

use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId};

use super::commands::Purpose;
use super::effect::Effect;
use super::room::{MediaSession, PLACE_RETRY, Room, World};
use crate::cluster::LinkedRelay;

/// Who has not come to the new relay by then is left behind.
const OVERLAP: Duration = Duration::from_secs(5);
/// From the moment that everybody has been seen until the old sessions end: what is on its way by then still arrives.
const LINGER: Duration = Duration::from_millis(250);

/// The relay that a room comes from, while some are still there.
pub(super) struct Leaving {
    relay: LinkedRelay,
    /// When the sessions there end.
    until: Instant,
}

impl Leaving {
    pub(super) fn relay(&self) -> &LinkedRelay {
        &self.relay
    }

    pub(super) fn deadline(&self) -> Instant {
        self.until
    }
}

impl Room {
    /// The room's relay is about to end.
    pub(super) fn relay_drains(&mut self, now: Instant, world: &mut dyn World) {
        if let Some(place) = &mut self.place {
            place.drain_at.get_or_insert(now);
            self.expire_drain(now, world);
        }
    }

    /// Does what has become due.
    pub(super) fn expire_drain(&mut self, now: Instant, world: &mut dyn World) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.place.as_ref().and_then(|place| place.drain_at)) {
            self.look_for_another(now, world);
        }
        if is_due(self.leaving.as_ref().map(Leaving::deadline)) {
            self.let_go_of_left(now);
        }
    }

    /// The room is at another relay from now on; at this one sessions stay for a while.
    pub(super) fn leave_behind(&mut self, now: Instant, relay: LinkedRelay) {
        // One that was left before that has had its time.
        self.let_go_of_left(now);
        for command in self.commands.values_mut() {
            // What was asked of the old relay is asked of the new one, but for what somebody waits for.
            if !matches!(command.purpose, Purpose::Part(_) | Purpose::CloseLeft(_)) {
                command.purpose = Purpose::Nothing;
            }
        }
        for person in self.participants.values_mut() {
            person.media = MediaSession::Waiting;
        }
        self.leaving = Some(Leaving {
            relay,
            until: now + OVERLAP,
        });
        self.look_for_the_rest(now);
    }

    /// Everybody has been seen at the new relay.
    pub(super) fn all_have_left(&mut self, now: Instant) {
        if let Some(leaving) = &mut self.leaving {
            leaving.until = leaving.until.min(now + LINGER);
        }
    }

    /// The relay of that boot did not obey: if it is the one that is left, nobody there is waited for any more. What it has
    /// is left over, and closed before anything else is acknowledged.
    pub(super) fn give_left_up(&mut self, boot: BootId) {
        if let Some(leaving) = self.leaving.take_if(|leaving| leaving.relay.boot == boot) {
            self.left_unclosed(leaving.relay);
        }
    }

    /// That relay could not be told to close what it has left of the room.
    pub(super) fn left_unclosed(&mut self, relay: LinkedRelay) {
        self.effects.push_back(Effect::Abandon(relay));
    }

    fn let_go_of_left(&mut self, now: Instant) {
        if let Some(leaving) = &self.leaving {
            let close = Purpose::CloseLeft(leaving.relay.clone());
            self.command_left(now, close, Action::CloseRoom);
            self.leaving = None;
        }
    }

    fn look_for_another(&mut self, now: Instant, world: &mut dyn World) {
        let another = match self.placing {
            Some(_) => None,
            None => self.another_relay(world),
        };
        if let Some(place) = &mut self.place {
            place.drain_at = another.is_none().then_some(now + PLACE_RETRY);
        }
        if let Some(relay) = another {
            self.go_to(relay);
        }
    }
}
