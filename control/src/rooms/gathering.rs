//! Who has come to the room's relay, while that matters: another relay is left, and what somebody has there is to end when all
//! are here (`drain`); or one was left that could not be told, because nothing was heard of it. Some may be there still and hear
//! one another: until everybody has been seen here nothing is acknowledged that has to hold for all.

use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, MediaState};

use super::commands::Purpose;
use super::state::{BEYOND, Media, RoomState};

/// Time between two looks who has come.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl RoomState {
    /// A relay was left that could not be told. What somebody had there is over after a while.
    pub(super) fn part(&mut self, now: Instant) {
        self.parting = Some(now + BEYOND);
        self.look_for_the_rest(now);
    }

    /// Not everybody has come, or it is not known.
    pub(super) fn look_for_the_rest(&mut self, now: Instant) {
        if self.leaving.is_some() || self.parting.is_some() {
            self.roll_at = Some(now + LOOK_AGAIN);
        }
    }

    /// Does what has become due.
    pub(super) fn expire_gathering(&mut self, now: Instant) {
        self.parting.take_if(|until| *until <= now);
        if self.roll_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        if self.place.is_none() {
            self.look_for_the_rest(now);
        } else if self.leaving.is_some() || self.parting.is_some() {
            self.command(now, Purpose::Roll(false), Action::ListMedia { from: 0 });
        }
    }

    /// The relay has said who is there.
    pub(super) fn roll_called(
        &mut self,
        now: Instant,
        unseen: bool,
        media: &[MediaState],
        more: bool,
    ) {
        let unseen = unseen || media.iter().any(|session| !session.seen);
        if let Some(last) = media.last().filter(|_| more) {
            let from = last.sender.saturating_add(1);
            self.command(now, Purpose::Roll(unseen), Action::ListMedia { from });
            return;
        }
        let is_open = |media: &Media| matches!(media, Media::Open(_));
        let all_open = self.people.values().all(|person| is_open(&person.media));
        if all_open && !unseen {
            self.parting = None;
            self.all_have_left(now);
        } else {
            self.look_for_the_rest(now);
        }
    }
}
