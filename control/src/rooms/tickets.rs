//! The requests that a room has not answered, and where their answers go.

use std::collections::HashMap;

use super::ask::{AnswerTo, Outcome};
use super::effect::{Joined, Settled, Ticket};
use super::errors::{ChangeError, JoinError};

/// The requests that the room has not answered.
#[derive(Default)]
pub(super) struct Tickets {
    waiting: HashMap<Ticket, Waiting>,
    next: Ticket,
}

/// Where the answer to a request goes.
pub(super) enum Waiting {
    Join(AnswerTo<Box<Joined>, JoinError>),
    Change(AnswerTo<Settled, ChangeError>),
}

impl Tickets {
    /// Takes a request in.
    pub(super) fn add(&mut self, waiting: Waiting) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.waiting.insert(ticket, waiting);
        ticket
    }

    /// Answers a join. Returns the answer of a join whose client is gone.
    pub(super) fn answer_join(
        &mut self,
        ticket: Ticket,
        answer: Result<Box<Joined>, JoinError>,
    ) -> Option<Box<Joined>> {
        let Some(Waiting::Join(to)) = self.waiting.remove(&ticket) else {
            return None;
        };
        match to.send(answer.map(Outcome::Here)) {
            Err(Ok(Outcome::Here(joined))) => Some(joined),
            _ => None,
        }
    }

    /// Answers a change. It stays made if the client is gone.
    pub(super) fn answer_change(&mut self, ticket: Ticket, answer: Result<Settled, ChangeError>) {
        if let Some(Waiting::Change(to)) = self.waiting.remove(&ticket) {
            let _ = to.send(answer.map(Outcome::Here));
        }
    }

    /// Tells the client to ask again.
    pub(super) fn ask_again(&mut self, ticket: Ticket) {
        match self.waiting.remove(&ticket) {
            Some(Waiting::Join(to)) => drop(to.send(Ok(Outcome::Again))),
            Some(Waiting::Change(to)) => drop(to.send(Ok(Outcome::Again))),
            None => {}
        }
    }
}
