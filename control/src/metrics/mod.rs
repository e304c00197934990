//! Counters of the server, for `/metrics`, `/healthz` and `/readyz`.
//!
//! * [`timed`]: durations of operations, by result;
//! * [`connections`]: handshakes, refused requests and closed connections; [`groups`]: MLS groups of rooms; [`deliveries`]: webhooks
//!   and mail; [`tally`]: counters by label.

pub mod connections;
pub mod deliveries;
pub mod groups;
pub mod tally;
pub mod timed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use timed::Timed;

/// The counters. Clones share state.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Counted>);

#[derive(Default)]
pub struct Counted {
    /// Requests of clients, by kind and result.
    pub requests: Timed,
    /// Operations of the store, by operation and result.
    pub store: Timed,
    /// Handshakes, refused requests and closed connections.
    pub connections: connections::ConnectionCounters,
    /// MLS groups of rooms.
    pub groups: groups::GroupCounters,
    /// Messages to the operator's program.
    pub webhooks: deliveries::DeliveryCounters,
    /// Letters to the mail server.
    pub mail: deliveries::DeliveryCounters,
    closing: AtomicBool,
}

impl std::ops::Deref for Metrics {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.0
    }
}

impl Counted {
    /// Marks the server as closing, so that it is not ready for new clients.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// True after [`close`](Self::close).
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}
