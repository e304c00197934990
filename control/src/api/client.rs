//! The state of one client's connection, and its request rate.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use confab_protocol::control::{ConferenceId, ErrorCode, Refusal};
use quinn::Connection;
use tokio::sync::Notify;

use super::{Services, answer};
use crate::client_queues::ClientSink;
use crate::clients::Entry;
use crate::clients::share::Budget;
use crate::metrics::connections::Limit;
use crate::mutex::lock;
use crate::source::Source;
use crate::throttle::{Bucket, Rate};

/// Request rate of a connection that is not signed in.
const UNAUTHENTICATED_RATE: Rate = Rate {
    burst: 20.0,
    per_second: 5.0,
};
/// Bytes of messages of a connection to a room's group: 512 kB, then 256 kbit/s. Commits that it was asked for are not counted.
const GROUP_RATE: Rate = Rate {
    burst: 524_288.0,
    per_second: 32_000.0,
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
    /// Queues of what is said to the client.
    pub(super) sink: ClientSink,
    /// Negotiated protocol version; empty before hello.
    pub(super) version: OnceLock<u32>,
    pub(super) connection: Connection,
    pub(super) greeted: Notify,
    /// Conferences whose rooms it has joined, with the bytes that it may send to their groups.
    joined: Mutex<HashMap<ConferenceId, Bucket>>,
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
        (entry, sink): (Entry, ClientSink),
    ) -> Self {
        Self {
            entry,
            services,
            source,
            sink,
            version: OnceLock::new(),
            connection,
            greeted: Notify::new(),
            joined: Mutex::default(),
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

    /// Records a join.
    pub(super) fn note_joined(&self, conference: ConferenceId) {
        let new = || Bucket::new(GROUP_RATE, Instant::now());
        lock(&self.joined).entry(conference).or_insert_with(new);
    }

    /// True after the first join.
    pub(super) fn has_joined(&self) -> bool {
        !lock(&self.joined).is_empty()
    }

    /// Tells the rooms that it has joined that it is gone.
    pub(super) fn tell_rooms_of_end(&self) {
        for conference in std::mem::take(&mut *lock(&self.joined)).into_keys() {
            self.services.rooms.disconnected(conference, self.entry.id);
        }
    }

    /// Takes so many bytes of messages to a room's group, or refuses them.
    pub(super) fn admit_group_bytes(
        &self,
        conference: ConferenceId,
        bytes: usize,
    ) -> Result<(), Refusal> {
        let mut joined = lock(&self.joined);
        let Some(rate) = joined.get_mut(&conference) else {
            return Err(Refusal::new(ErrorCode::NotFound, "join the room first"));
        };
        let taken = rate.take_many(Instant::now(), bytes as f64);
        taken.map_err(|wait| {
            let refusals = &self.services.metrics.connections.refusals;
            refusals.count(Limit::GroupBytesOfConnection);
            let message = "this connection sends too much to the room's group: slow down";
            Refusal::new(ErrorCode::Throttled, message).after(wait)
        })
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
