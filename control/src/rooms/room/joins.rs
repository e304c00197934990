//! Joins: the store admits the account, the relay opens the media session, and the other participants are told.

use std::time::Instant;

use confab_protocol::cluster::{Action, CommandOutcome};
use confab_protocol::control::MediaGrant;

use super::super::effect::{Effect, EventKind, Joined, Joiner, Resume, Ticket};
use super::super::errors::JoinError;
use super::super::participant::{Finished, Wanted};
use super::super::pending_joins::{JoinStage, PendingJoin};
use super::super::placement::Step;
use super::super::relay_calls::Purpose;
use super::super::world::World;
use super::Room;
use crate::store::{ConferenceRecord, Standing};

/// Failed attempts to open its session after which a join is refused.
const MAX_FAILURES_OF_JOIN: u32 = 3;

/// Why a relay did not open a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It has as many sessions as it takes.
    Full,
    /// It answered with another outcome.
    Refused(CommandOutcome),
    /// It did not answer in time, or has no link.
    Unanswered,
}

impl From<Failure> for JoinError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => Self::RelayFull,
            Failure::Refused(_) => Self::RelayRefused,
            Failure::Unanswered => Self::RelaySilent,
        }
    }
}

impl Room {
    pub(super) fn begin_join(
        &mut self,
        now: Instant,
        ticket: Ticket,
        who: Joiner,
        resume: Option<Resume>,
    ) {
        if let Some(resume) = &resume
            && self.membership.find_resumed(who.account, resume).is_none()
        {
            if let Some(live) = resume.live {
                self.former_relays.session_answers(now, live, None);
            }
            let error = match self
                .membership
                .departed()
                .was_kicked(who.account, resume.join_id)
            {
                true => JoinError::Kicked,
                false => JoinError::Gone,
            };
            self.outbox.answer_join(ticket, Err(error));
            return;
        }
        let account = who.account;
        self.outbox.push(Effect::Present(account));
        self.outbox.push(Effect::Admit { ticket, account });
        self.membership.joins_mut().begin(ticket, who, resume);
    }

    /// The store has answered with the account's standing.
    pub(super) fn admitted(
        &mut self,
        now: Instant,
        ticket: Ticket,
        result: Result<(ConferenceRecord, Standing), JoinError>,
        world: &mut dyn World,
    ) {
        if let Some(account) = self.membership.joins_mut().admit_again(ticket) {
            self.outbox.push(Effect::Admit { ticket, account });
            return;
        }
        let Some(join) = self.membership.joins().get(ticket) else {
            return;
        };
        let region = join.who.region.clone();
        let admitted = result.and_then(|(conference, standing)| {
            let region = conference.region.clone().or(region);
            self.membership
                .admit(ticket, conference, standing, world)
                .map(|()| region)
        });
        match admitted {
            Err(error) => self.cancel_join(now, ticket, error),
            Ok(region) => {
                self.placement.prefer_region(region);
                match self.placement.step() {
                    Step::Open => self.open_join(now, ticket, world),
                    Step::Choose | Step::Wait => self.place_or_wait(now, world),
                }
            }
        }
    }

    /// Asks the room's relay to open the session of an admitted join, or to confirm the one that a resumed join still has.
    pub(super) fn open_join(&mut self, now: Instant, ticket: Ticket, world: &mut dyn World) {
        match self.membership.wanted(ticket) {
            None => {}
            Some(Wanted::Kept(sender, may_speak)) => {
                let action = Action::SetMaySpeak { sender, may_speak };
                self.command(now, Purpose::Keep(ticket), action);
            }
            Some(Wanted::Opened(request)) => {
                if let Some((uplink, downlink, action)) = self.open(&request, world) {
                    self.command(now, Purpose::Join(ticket, uplink, downlink), action);
                }
            }
        }
    }

    /// Answers a join whose session the relay has opened; with `None` the client keeps the session that it has.
    pub(super) fn finish_join(&mut self, now: Instant, ticket: Ticket, media: Option<MediaGrant>) {
        let Some(PendingJoin {
            who, stage, resume, ..
        }) = self.membership.joins_mut().take(ticket)
        else {
            return;
        };
        let JoinStage::Opening {
            conference,
            participant,
            resume_secret,
        } = stage
        else {
            return;
        };
        let sender = participant.sender;
        let opened = media.as_ref().map(|media| media.connection_id);
        let others = self.membership.everyone();
        let finished = self
            .membership
            .finish(&who, participant, resume_secret, opened);
        if !matches!(finished, Finished::Joined(..)) {
            // The participant counts already; this was the join's own count.
            self.outbox.push(Effect::Absent(who.account));
        }
        let (role, resume_secret) = match finished {
            Finished::Joined(participant, secret) => {
                let role = participant.role;
                let (join_id, account) = (participant.join_id, participant.account);
                self.group.join(now, join_id, account, who.username.clone());
                self.outbox.tell(others, EventKind::Joined(participant));
                (role, Some(secret))
            }
            Finished::Resumed(role, changed) => {
                if let Some(participant) = changed {
                    let everyone = self.membership.everyone();
                    self.outbox.tell(everyone, EventKind::Changed(participant));
                }
                if let Some(resume) = resume {
                    self.group.resume(now, resume.join_id, resume.group);
                }
                (role, None)
            }
            Finished::Gone => {
                self.outbox.answer_join(ticket, Err(JoinError::Gone));
                return;
            }
        };
        let participants = self.membership.all();
        let joined = Joined {
            conference: *conference,
            role,
            revision: self.outbox.revision(),
            participants: participants
                .map(|state| state.participant.clone())
                .collect(),
            sender,
            media,
            delivery_key: self.group.public_key(),
            media_version: self.media_version(),
            resume_secret,
        };
        self.outbox.answer_join(ticket, Ok(joined));
    }

    /// Refuses a join that is not answered.
    pub(super) fn cancel_join(&mut self, now: Instant, ticket: Ticket, error: JoinError) {
        let Some(join) = self.membership.joins_mut().take(ticket) else {
            return;
        };
        self.outbox.push(Effect::Absent(join.who.account));
        self.outbox.answer_join(ticket, Err(error));
        let was_asked = self.calls.forget_join(ticket);
        if let JoinStage::Opening { participant, .. } = join.stage {
            let sender = participant.sender;
            if join.resume.is_none() {
                // Whether the relay opened it or not: what is closed after it was asked to open stays closed.
                if self.lease.fence().placement > 0 {
                    self.membership
                        .departed_mut()
                        .note_unclosed(sender, Some(join.who.account));
                }
                self.close_media(now, &[sender]);
            } else if was_asked || self.membership.is_opening(sender) {
                // The session that it had may be closed already: it has to have one again.
                self.reopen(now, sender);
            }
        }
    }

    /// The room's relay did not open the session of a join. The room moves to another relay if it may, and the join waits; else the join is
    /// refused.
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
        let Some(failures) = self.membership.joins_mut().failed(ticket) else {
            return;
        };
        self.placement.open_failed();
        let may_wait = failures < MAX_FAILURES_OF_JOIN;
        if !(may_wait && self.leave_unwilling(now, ticket, failure, world)) {
            self.cancel_join(now, ticket, failure.into());
        }
    }
}
