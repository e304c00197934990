//! Counters of webhooks.

use super::tally::{Label, Tally};

/// Messages to the operator's program, by what became of them.
pub type WebhookCounters = Tally<Delivery>;

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The program took it.
    Taken,
    /// It did not take it, however often it was repeated.
    GivenUp,
    /// Too many waited.
    Dropped,
}

impl Label for Delivery {
    const NAME: &'static str = "result";
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Taken, "taken"),
        (Self::GivenUp, "given_up"),
        (Self::Dropped, "dropped"),
    ];
}
