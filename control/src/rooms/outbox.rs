//! Effects to carry out, in order, and the room's revision.

use std::collections::VecDeque;

use confab_protocol::control::ConferenceId;

use super::effect::{ClientId, Effect, EventKind, Joined, RoomEvent, Settled, Ticket};
use super::errors::{ChangeError, JoinError};

/// The effects of a room, and its revision: the number of changes that participants were told of.
pub(super) struct Outbox {
    conference: ConferenceId,
    revision: u64,
    effects: VecDeque<Effect>,
}

impl Outbox {
    pub(super) fn new(conference: ConferenceId) -> Self {
        Self {
            conference,
            revision: 0,
            effects: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn answer_join(&mut self, ticket: Ticket, answer: Result<Joined, JoinError>) {
        let answer = answer.map(Box::new);
        self.push(Effect::AnswerJoin { ticket, answer });
    }

    pub(super) fn answer_change(&mut self, ticket: Ticket, answer: Result<Settled, ChangeError>) {
        self.push(Effect::AnswerChange { ticket, answer });
    }

    /// Raises the revision and tells these clients of the change.
    pub(super) fn tell(&mut self, clients: Vec<ClientId>, kind: EventKind) {
        self.revision += 1;
        if !clients.is_empty() {
            self.tell_more(clients, kind);
        }
    }

    /// Tells more clients of the last change.
    pub(super) fn tell_more(&mut self, clients: Vec<ClientId>, kind: EventKind) {
        let event = RoomEvent {
            conference: self.conference,
            revision: self.revision,
            kind,
        };
        self.push(Effect::Tell { clients, event });
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The next effect.
    pub(super) fn next(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}
