//! Who has come to the room's relay, while that matters: another relay is left, and what somebody has there is to end when all
//! are here (`drain`); or one was left that could not be told, because nothing was heard of it. Some may be there still and hear
//! one another: until everybody has been seen here nothing is acknowledged that has to hold for all.

use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, MediaState};

use super::commands::Purpose;
use super::roll_call::rises;
use super::room::{MediaSession, Room};

/// Time between two looks who has come.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Room {
    /// Not everybody has come, or it is not known.
    pub(super) fn look_for_the_rest(&mut self, now: Instant) {
        if self.leaving.is_some() || self.has_parted() {
            self.roll_at = Some(now + LOOK_AGAIN);
        }
    }

    /// Does what has become due.
    pub(super) fn expire_gathering(&mut self, now: Instant) {
        if self.roll_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        // Without a relay there is nobody to ask: it is asked when the room has one.
        if self.place.is_some() && (self.leaving.is_some() || self.has_parted()) {
            self.command(now, Purpose::Roll(0, false), Action::ListMedia { from: 0 });
        }
    }

    /// The relay has said who is there.
    pub(super) fn roll_called(
        &mut self,
        now: Instant,
        (from, unseen): (u16, bool),
        media: &[MediaState],
        more: bool,
    ) {
        if !rises(from, media) {
            // It would go on for ever.
            self.look_for_the_rest(now);
            return;
        }
        let unseen = unseen || media.iter().any(|session| !session.seen);
        let next = media.last().and_then(|last| last.sender.checked_add(1));
        if let Some(from) = next.filter(|_| more) {
            self.command(now, Purpose::Roll(from, unseen), Action::ListMedia { from });
            return;
        }
        let is_open = |media: &MediaSession| matches!(media, MediaSession::Open(_));
        let all_open = self
            .participants
            .values()
            .all(|person| is_open(&person.media));
        if all_open && !unseen {
            self.all_have_parted();
            self.all_have_left(now);
        } else {
            self.look_for_the_rest(now);
        }
    }
}
