//! What becomes of a join whose media session the room's relay did not open: the room goes to another relay if there is one that
//! may, and the join waits for that.

use std::time::{Duration, Instant};

use confab_protocol::cluster::CommandOutcome;
use confab_protocol::control::{ErrorCode, Refusal};

use super::commands::{Purpose, relay_silent};
use super::effect::Ticket;
use super::room::{JoinStage, MediaSession, RelayWish, Room, World};
use crate::cluster::LinkedRelay;

/// With so many failed opens a join is refused, whatever other relays there are.
const MAX_FAILURES_OF_JOIN: u32 = 3;
/// After so many failed opens in a row participants are moved to another relay. If the relay says that it is full, after one.
const FAILURES_TO_MOVE: u32 = 2;
/// Participants are moved for that reason at most once in this time.
const MOVE_INTERVAL: Duration = Duration::from_secs(60);

/// Why a relay did not open a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It has no place for another.
    Full,
    /// It answered something else.
    Refused(CommandOutcome),
    /// It did not answer in time, or could not be asked.
    Unanswered,
}

impl Failure {
    fn refusal(self) -> Refusal {
        match self {
            Self::Full => Refusal::new(
                ErrorCode::NoRelay,
                "the room's relay has no place for another; try again later",
            ),
            Self::Refused(_) => Refusal::new(
                ErrorCode::Internal,
                "the room's relay did not understand the server; its log says why",
            ),
            Self::Unanswered => relay_silent(),
        }
    }
}

impl Room {
    /// The room's relay did not open the media session of a join.
    pub(super) fn join_failed(
        &mut self,
        now: Instant,
        ticket: Ticket,
        failure: Failure,
        world: &mut dyn World,
    ) {
        if let Failure::Refused(outcome) = failure {
            tracing::error!(?outcome, "a relay refused to open a media session");
        }
        let Some(join) = self.joins.get_mut(&ticket) else {
            return;
        };
        join.failures += 1;
        let may_wait = join.failures < MAX_FAILURES_OF_JOIN;
        if let Some(place) = &mut self.place {
            place.failures += 1;
        }
        if !(may_wait && self.leave_unwilling(now, ticket, failure, world)) {
            self.cancel_join(now, ticket, failure.refusal());
        }
    }

    /// The room's relay opened a media session.
    pub(super) fn opened_here(&mut self) {
        if let Some(place) = &mut self.place {
            place.failures = 0;
        }
    }

    /// A relay that leaves an open unanswered is not asked first for other rooms.
    pub(super) fn note_unanswered(&self, command: u64, world: &mut dyn World) {
        let purpose = self.commands.get(&command).map(|command| &command.purpose);
        let opens = matches!(purpose, Some(Purpose::Join(..) | Purpose::Move(..)));
        if let Some(place) = &self.place
            && opens
            && !self.is_linkless()
        {
            world.note_unanswered(&place.relay);
        }
    }

    /// Has the room go to another relay, where its joins are asked for again; false if it stays.
    fn leave_unwilling(
        &mut self,
        now: Instant,
        ticket: Ticket,
        failure: Failure,
        world: &mut dyn World,
    ) -> bool {
        if self.placing.is_some() {
            return true;
        }
        let Some(place) = &self.place else {
            return false;
        };
        let (here, failures) = (place.relay.name.clone(), place.failures);
        // Whether a relay without a link is dead is for its participants to say.
        if self.is_linkless() && !self.participants.is_empty() {
            return false;
        }
        if !self.is_held_by_others(ticket) {
            let is_left = self.willing_relay(1, world).is_some();
            if is_left {
                tracing::info!(conference = %self.conference, relay = %here, "the relay opens no session: the room goes elsewhere");
                self.displace(now, Some(here), world);
            }
            return is_left;
        }
        let is_enough = failure == Failure::Full || failures >= FAILURES_TO_MOVE;
        let since = self.made_way.map(|at| now.saturating_duration_since(at));
        if !is_enough || since.is_some_and(|since| since < MOVE_INTERVAL) {
            return false;
        }
        let Some(relay) = self.willing_relay(self.sessions_wanted(), world) else {
            return false;
        };
        tracing::info!(conference = %self.conference, relay = %here, "the relay opens no further session: the room is moved");
        self.made_way = Some(now);
        self.go_to(relay);
        true
    }

    /// Whether a participant other than the one that this join is has a session at the room's relay.
    fn is_held_by_others(&self, ticket: Ticket) -> bool {
        let stage = self.joins.get(&ticket).map(|join| &join.stage);
        let own = match stage {
            Some(JoinStage::Opening { participant, .. }) => Some(participant.sender),
            _ => None,
        };
        let mut participants = self.participants.iter();
        participants.any(|(sender, person)| {
            Some(*sender) != own && matches!(person.media, MediaSession::Open(_))
        })
    }

    /// How many sessions the room needs for its participants and joins.
    fn sessions_wanted(&self) -> u64 {
        let coming = self.joins.values().filter(|join| {
            matches!(join.stage, JoinStage::Opening { .. }) && join.resume.is_none()
        });
        (self.participants.len() + coming.count()) as u64
    }

    /// A relay other than the room's that has room for so many sessions and opened those that it was asked for last.
    fn willing_relay(&self, sessions: u64, world: &mut dyn World) -> Option<LinkedRelay> {
        let here = &self.place.as_ref()?.relay.name;
        let wish = RelayWish {
            avoid: Some(here),
            sessions,
            of_all: true,
            ..self.wish()
        };
        world.pick_relay(&wish).filter(|relay| relay.name != *here)
    }
}
