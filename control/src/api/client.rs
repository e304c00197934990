//! The state of one client's connection, and its request rate.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use confab_protocol::control::{ErrorCode, Refusal};
use quinn::Connection;
use tokio::sync::Notify;

use super::{Services, answer};
use crate::clients::Entry;
use crate::clients::share::Budget;
use crate::events::EventSink;
use crate::metrics::connections::Limit;
use crate::mutex::lock;
use crate::source::Source;
use crate::throttle::{Bucket, Rate};

/// Request rate of a connection that is not signed in.
const UNAUTHENTICATED_RATE: Rate = Rate {
    burst: 20.0,
    per_second: 5.0,
};
/// A connection is closed after this many requests refused for their rate: while it is not signed in, and while it is.
const MAX_REFUSED_UNAUTHENTICATED: u32 = 50;
const MAX_REFUSED: u32 = 500;

/// A connected client.
pub(super) struct Client {
    pub(super) services: Arc<Services>,
    /// Network of the peer's address.
    pub(super) source: Source,
    /// Registration among the connected clients.
    pub(super) entry: Entry,
    /// Queue of events for the client.
    pub(super) events: EventSink,
    /// Negotiated protocol version; empty before hello.
    pub(super) version: OnceLock<u32>,
    /// True after the first join.
    pub(super) has_joined: AtomicBool,
    pub(super) connection: Connection,
    pub(super) greeted: Notify,
    rate: Mutex<Bucket>,
    refused: AtomicU32,
    pub(super) unread: Budget,
}

impl Client {
    /// A client before its hello.
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

    /// Records the hello. Returns true for the first one.
    pub(super) fn greet(&self, version: u32) -> bool {
        let first = self.version.set(version).is_ok();
        self.greeted.notify_one();
        first
    }

    /// Takes a token for a request, or refuses it. The connections of an account share one rate limit.
    pub(super) fn admit(&self) -> Result<(), Refusal> {
        let (now, limits) = (Instant::now(), &self.services.clients);
        let (taken, limit) = match self.entry.share() {
            Some((account, _)) => (limits.take_request(account, now), Limit::RequestsOfAccount),
            None => {
                let mut rate = lock(&self.rate);
                (rate.take(now), Limit::RequestsUnauthenticated)
            }
        };
        taken.map_err(|wait| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.services.metrics.connections.refusals.count(limit);
            Refusal::new(ErrorCode::Throttled, "too many requests: slow down").after(wait)
        })
    }

    /// True if the client has exceeded its rate too often.
    pub(super) fn floods(&self) -> bool {
        let most = match self.entry.share() {
            Some(_) => MAX_REFUSED,
            None => MAX_REFUSED_UNAUTHENTICATED,
        };
        self.refused.load(Ordering::Relaxed) >= most
    }
}
