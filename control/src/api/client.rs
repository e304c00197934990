//! One client: what its connection knows of it, and the rate of its requests.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use confab_protocol::control::{ErrorCode, Refusal};
use quinn::Connection;
use tokio::sync::Notify;

use super::{Services, answer};
use crate::clients::Entry;
use crate::clients::share::Budget;
use crate::events::EventSink;
use crate::metrics::connections::Limit;
use crate::source::Source;
use crate::throttle::{Bucket, Rate};

/// Requests of one connection that is not signed in.
const UNAUTHENTICATED_RATE: Rate = Rate {
    burst: 20.0,
    per_second: 5.0,
};
/// A connection that was refused for its rate this often is closed: one that is not signed in, and one that is.
const MAX_REFUSED_UNAUTHENTICATED: u32 = 50;
const MAX_REFUSED: u32 = 500;
/// A connected client.
pub(super) struct Client {
    /// The services that its requests use.
    pub(super) services: Arc<Services>,
    /// Where it comes from.
    pub(super) source: Source,
    /// Its place among the clients.
    pub(super) entry: Entry,
    /// Where its events go.
    pub(super) events: EventSink,
    /// The version that it speaks, once it has said hello.
    pub(super) version: OnceLock<u32>,
    /// Whether it has come into a room.
    pub(super) has_joined: AtomicBool,
    pub(super) connection: Connection,
    pub(super) greeted: Notify,
    rate: Mutex<Bucket>,
    refused: AtomicU32,
    pub(super) unread: Budget,
}

impl Client {
    /// A client that has not said hello.
    pub(super) fn new(
        connection: Connection,
        source: Source,
        services: Arc<Services>,
        (entry, events): (Entry, EventSink),
    ) -> Self {
        Self {
            entry,
            services,
            source,
            events,
            version: OnceLock::new(),
            has_joined: AtomicBool::new(false),
            connection,
            greeted: Notify::new(),
            rate: Mutex::new(Bucket::new(UNAUTHENTICATED_RATE, Instant::now())),
            refused: AtomicU32::new(0),
            unread: Budget::new(answer::MAX_UNREAD),
        }
    }

    /// `hello` has come; true when it is the first.
    pub(super) fn greet(&self, version: u32) -> bool {
        let first = self.version.set(version).is_ok();
        self.greeted.notify_one();
        first
    }

    /// Takes a request's token, or refuses it. Those of an account have one bucket, wherever its connections come from.
    pub(super) fn admit(&self) -> Result<(), Refusal> {
        let (now, limits) = (Instant::now(), &self.services.clients);
        let (taken, limit) = match self.entry.share() {
            Some((account, _)) => (limits.take_request(account, now), Limit::RequestsOfAccount),
            None => {
                let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
                (rate.take(now), Limit::RequestsUnauthenticated)
            }
        };
        taken.map_err(|wait| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.services.metrics.connections.refusals.count(limit);
            Refusal::new(ErrorCode::Throttled, "too many requests: slow down").after(wait)
        })
    }

    /// Whether the client went on asking after it had been refused often.
    pub(super) fn floods(&self) -> bool {
        let most = match self.entry.share() {
            Some(_) => MAX_REFUSED,
            None => MAX_REFUSED_UNAUTHENTICATED,
        };
        self.refused.load(Ordering::Relaxed) >= most
    }
}
