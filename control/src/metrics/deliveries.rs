//! Counters of what is sent to others: webhooks and mail.

use super::tally::{Label, Tally};

/// Messages to the operator's program, or to the mail server, by what became of them.
pub type DeliveryCounters = Tally<Delivery>;

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The other side took it.
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
