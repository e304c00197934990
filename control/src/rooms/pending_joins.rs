//! Joins that are not answered yet.

use std::collections::HashMap;

use confab_protocol::control::{AccountId, Participant, ResumeSecret};
use confab_protocol::media::ConnectionId;

use super::effect::{ClientId, Joiner, Resume, Ticket};
use crate::store::{ConferenceRecord, SessionId, Standing};

/// The joins under way, by ticket.
#[derive(Default)]
pub(super) struct PendingJoins(HashMap<Ticket, PendingJoin>);

/// A join that is not answered yet.
pub(super) struct PendingJoin {
    pub(super) who: Joiner,
    pub(super) resume: Option<Resume>,
    pub(super) stage: JoinStage,
    /// Failed attempts to open its session.
    failures: u32,
}

pub(super) enum JoinStage {
    /// The store is asked for the account's standing, and once more (`again`) if the standing changed meanwhile.
    Admitting { again: bool },
    /// The join waits for the room to have a relay, or for the relay to open its session.
    Opening {
        conference: Box<ConferenceRecord>,
        /// The new participant, or the one that is resumed.
        participant: Participant,
        /// The secret for the client of a new participant.
        resume_secret: Option<ResumeSecret>,
    },
}

impl PendingJoin {
    /// The participant of an admitted join.
    pub(super) fn opening(&self) -> Option<&Participant> {
        match &self.stage {
            JoinStage::Opening { participant, .. } => Some(participant),
            JoinStage::Admitting { .. } => None,
        }
    }

    /// The participant of an admitted join that resumes none.
    fn newcomer(&self) -> Option<&Participant> {
        self.opening().filter(|_| self.resume.is_none())
    }
}

impl PendingJoins {
    /// Starts a join.
    pub(super) fn begin(&mut self, ticket: Ticket, who: Joiner, resume: Option<Resume>) {
        let join = PendingJoin {
            who,
            resume,
            stage: JoinStage::Admitting { again: false },
            failures: 0,
        };
        self.0.insert(ticket, join);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&PendingJoin> {
        self.0.get(&ticket)
    }

    /// Removes a join.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<PendingJoin> {
        self.0.remove(&ticket)
    }

    /// Removes all joins and returns their tickets and accounts.
    pub(super) fn take_all(&mut self) -> Vec<(Ticket, AccountId)> {
        let joins = self.0.drain();
        joins
            .map(|(ticket, join)| (ticket, join.who.account))
            .collect()
    }

    pub(super) fn tickets(&self) -> Vec<Ticket> {
        self.tickets_where(|_| true)
    }

    pub(super) fn of(&self, account: AccountId) -> Vec<Ticket> {
        self.tickets_where(|join| join.who.account == account)
    }

    pub(super) fn of_session(&self, session: SessionId) -> Vec<Ticket> {
        self.tickets_where(|join| join.who.session == session)
    }

    /// Admitted joins.
    pub(super) fn admitted(&self) -> Vec<Ticket> {
        self.tickets_where(|join| join.opening().is_some())
    }

    /// Admitted joins that resume this sender.
    pub(super) fn resuming(&self, sender: u16) -> Vec<Ticket> {
        let is_of = |participant: &Participant| participant.sender == sender;
        self.tickets_where(|join| join.resume.is_some() && join.opening().is_some_and(is_of))
    }

    fn tickets_where(&self, is_one: impl Fn(&PendingJoin) -> bool) -> Vec<Ticket> {
        let joins = self.0.iter().filter(|(_, join)| is_one(join));
        joins.map(|(ticket, _)| *ticket).collect()
    }

    /// The participants of admitted joins.
    pub(super) fn opening(&self) -> impl Iterator<Item = &Participant> {
        self.0.values().filter_map(PendingJoin::opening)
    }

    /// The participants of admitted joins that resume none.
    pub(super) fn newcomers(&self) -> impl Iterator<Item = &Participant> {
        self.0.values().filter_map(PendingJoin::newcomer)
    }

    /// The account sessions of all joins.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.0.values().map(|join| join.who.session)
    }

    /// Whether the client has a join here.
    pub(super) fn knows(&self, client: ClientId) -> bool {
        self.0.values().any(|join| join.who.client == client)
    }

    /// Applies a standing that was stored while the account's joins were under way.
    pub(super) fn change(&mut self, account: AccountId, standing: Standing) {
        let of_account = |join: &&mut PendingJoin| join.who.account == account;
        for join in self.0.values_mut().filter(of_account) {
            match &mut join.stage {
                JoinStage::Admitting { again } => *again = true,
                JoinStage::Opening { participant, .. } => {
                    (participant.role, participant.muted) = (standing.role, standing.muted);
                }
            }
        }
    }

    /// The account of a join whose standing has to be looked up again. The next answer of the store counts then.
    pub(super) fn admit_again(&mut self, ticket: Ticket) -> Option<AccountId> {
        let join = self.0.get_mut(&ticket)?;
        match &mut join.stage {
            JoinStage::Admitting { again } => std::mem::take(again).then_some(join.who.account),
            JoinStage::Opening { .. } => None,
        }
    }

    /// Marks a join as admitted.
    pub(super) fn admit(
        &mut self,
        ticket: Ticket,
        conference: ConferenceRecord,
        participant: Participant,
        resume_secret: Option<ResumeSecret>,
    ) {
        if let Some(join) = self.0.get_mut(&ticket) {
            join.stage = JoinStage::Opening {
                conference: Box::new(conference),
                participant,
                resume_secret,
            };
        }
    }

    /// Counts a failed attempt to open the join's session and returns their number.
    pub(super) fn failed(&mut self, ticket: Ticket) -> Option<u32> {
        let join = self.0.get_mut(&ticket)?;
        join.failures += 1;
        Some(join.failures)
    }

    /// The media session on which the client says that the relay answers, taken once: if the relay does not have it, the next attempt opens
    /// a new one.
    pub(super) fn take_live(&mut self, ticket: Ticket) -> Option<ConnectionId> {
        self.0.get_mut(&ticket)?.resume.as_mut()?.live.take()
    }
}
