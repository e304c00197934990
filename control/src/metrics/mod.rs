//! What the server counts, and how it tells it: `/metrics` for Prometheus, `/healthz`, `/readyz`.
//!
//! * [`timed`]: how often something was done, with what result, and how long it took;
//! * [`connections`]: handshakes, refusals for a limit and closed connections; [`tally`]: counters by a label;

pub mod connections;
pub mod tally;
pub mod timed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use timed::Timed;

/// What the server counts. Clones share it.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Counted>);

/// The figures.
#[derive(Default)]
pub struct Counted {
    /// What clients asked, by kind and result.
    pub requests: Timed,
    /// What the store was asked, by operation and result.
    pub store: Timed,
    /// What became of those who came to the door.
    pub connections: connections::ConnectionCounters,
    closing: AtomicBool,
}

impl std::ops::Deref for Metrics {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.0
    }
}

impl Counted {
    /// The server is about to end: nobody new is to be sent here.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether the server is about to end.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}
