//! Requests that wait for the store, then for relays, before they are acknowledged.

use std::collections::HashMap;

use confab_protocol::control::AccountId;

use super::effect::{Settled, Ticket};
use crate::store::Standing;

/// A change that the store is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredChange {
    /// An account's standing; `None` ends its membership.
    Standing(AccountId, Option<Standing>),
    /// The deletion of the conference.
    Deletion,
}

/// Whether all relays that may have sessions of an account can be commanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// All of them can.
    All,
    /// One of them cannot, for now.
    NotAll,
    /// One of them could not for so long that requests do not wait for it any more.
    GivenUp,
}

/// How a request is answered after it has been stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acknowledgement {
    /// At once.
    Now(Settled),
    /// When relays have obeyed so many commands.
    After(usize, Settled),
    /// With a refusal: a relay cannot be commanded.
    Refused,
}

/// The unanswered requests, by ticket.
#[derive(Default)]
pub(super) struct Requests(HashMap<Ticket, Stage>);

enum Stage {
    /// The store is asked.
    Storing(StoredChange),
    /// Relays are asked: `left` commands are not obeyed yet.
    Obeying { left: usize, settled: Settled },
}

impl Acknowledgement {
    /// The answer to a request that needs `commands` to be obeyed.
    pub(super) fn of(reach: Reach, commands: usize) -> Self {
        match (reach, commands) {
            (Reach::NotAll, _) => Self::Refused,
            (Reach::All, 0) => Self::Now(Settled::Everywhere),
            (Reach::GivenUp, 0) => Self::Now(Settled::WhereReached),
            (Reach::All, commands) => Self::After(commands, Settled::Everywhere),
            (Reach::GivenUp, commands) => Self::After(commands, Settled::WhereReached),
        }
    }
}

impl Requests {
    /// The store is asked for a change.
    pub(super) fn store(&mut self, ticket: Ticket, change: StoredChange) {
        self.0.insert(ticket, Stage::Storing(change));
    }

    /// The store has answered. Returns the change.
    pub(super) fn stored(&mut self, ticket: Ticket) -> Option<StoredChange> {
        match self.0.remove(&ticket)? {
            Stage::Storing(change) => Some(change),
            stage @ Stage::Obeying { .. } => {
                self.0.insert(ticket, stage);
                None
            }
        }
    }

    /// Relays are asked.
    pub(super) fn wait(&mut self, ticket: Ticket, commands: usize, settled: Settled) {
        let stage = Stage::Obeying {
            left: commands,
            settled,
        };
        self.0.insert(ticket, stage);
    }

    /// A relay has obeyed a command. Returns how far the change holds if that was the last one.
    pub(super) fn obeyed(&mut self, ticket: Ticket) -> Option<Settled> {
        let Some(Stage::Obeying { left, settled }) = self.0.get_mut(&ticket) else {
            return None;
        };
        *left = left.saturating_sub(1);
        let settled = (*left == 0).then_some(*settled)?;
        self.0.remove(&ticket);
        Some(settled)
    }

    /// A relay has not obeyed. Returns false if the request has been answered.
    pub(super) fn failed(&mut self, ticket: Ticket) -> bool {
        self.0.remove(&ticket).is_some()
    }

    /// Removes all requests and returns their tickets.
    pub(super) fn take_all(&mut self) -> Vec<Ticket> {
        self.0.drain().map(|(ticket, _)| ticket).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_acknowledged_when_its_last_command_is_obeyed() {
        let mut requests = Requests::default();
        requests.store(1, StoredChange::Deletion);
        assert_eq!(requests.obeyed(1), None, "it is not stored yet");
        assert_eq!(requests.stored(1), Some(StoredChange::Deletion));
        requests.wait(1, 2, Settled::WhereReached);
        assert_eq!(requests.stored(1), None);
        assert_eq!(requests.obeyed(1), None);
        assert_eq!(requests.obeyed(1), Some(Settled::WhereReached));
        assert!(requests.is_empty());
        assert!(!requests.failed(1));
    }

    #[test]
    fn a_relay_out_of_reach_refuses_until_given_up_then_answers_pending() {
        use Acknowledgement::{After, Now, Refused};
        for commands in [0, 2] {
            assert_eq!(Acknowledgement::of(Reach::NotAll, commands), Refused);
        }
        assert_eq!(Acknowledgement::of(Reach::All, 0), Now(Settled::Everywhere));
        let pending = Acknowledgement::of(Reach::GivenUp, 0);
        assert_eq!(pending, Now(Settled::WhereReached));
        let after = Acknowledgement::of(Reach::GivenUp, 2);
        assert_eq!(after, After(2, Settled::WhereReached));
    }
}
