//! The connected clients, and their sign-in state.
//!
//! Until a connection signs in it has a slot of its source; then it counts for its account. After a sign-out it needs a slot
//! again.

pub mod share;
pub mod slots;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use confab_protocol::control::AccountId;
use confab_protocol::wire;
use tokio::sync::watch;

use self::share::{Full, Part, Share, Shares};
use self::slots::{Slot, SlotLimits, Slots};
use crate::accounts::SignedIn;
use crate::client_queues::{Queue, connection_event};
use crate::metrics::connections::{Limit, Refusals};
use crate::mutex::lock;
use crate::rooms::effect::ClientId;
use crate::source::Source;
use crate::store::SessionId;
use crate::throttle::{Rate, Throttle};

/// Request rate of one account, over all of its connections.
const ACCOUNTS_RATE: Rate = Rate {
    burst: 100.0,
    per_second: 50.0,
};
/// Time between two checks whether all clients have disconnected.
const GONE_POLL: Duration = Duration::from_millis(10);

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections that are not signed in.
    pub unauthenticated: SlotLimits,
    /// Maximum number of signed-in connections.
    pub signed_in: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInError {
    /// The node has its maximum of signed-in connections.
    NodeFull,
    /// The account has its maximum of connections at this node.
    AccountFull,
}

/// All connected clients. Clones share state.
#[derive(Clone)]
pub struct Clients {
    max_signed_in: usize,
    unauthenticated: Slots,
    /// Request rate of each account.
    requests: Arc<Throttle>,
    refusals: Refusals,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    next: ClientId,
    clients: HashMap<ClientId, Client>,
    by_session: HashMap<SessionId, HashSet<ClientId>>,
    shares: Shares,
    signed_in: usize,
}

struct Client {
    source: Source,
    events: Queue<Bytes>,
    signed_in: Option<(SignedIn, Part)>,
    connection_state: watch::Sender<ConnectionState>,
}

/// The sign-in state of a connection.
#[derive(Clone)]
pub enum ConnectionState {
    /// Not signed in, with a slot.
    Unauthenticated(Arc<Slot>),
    /// Signed in.
    SignedIn,
    /// Signed out, and no slot is available.
    WithoutSlot,
}

/// A client's registration. Dropping it removes the client.
pub struct Entry {
    clients: Clients,
    /// Unique within the process.
    pub id: ClientId,
    connection_state: watch::Receiver<ConnectionState>,
}

impl Clients {
    /// Refused sign-ins are counted in `refusals`.
    pub fn new(limits: ConnectionLimits, refusals: Refusals) -> Self {
        Self {
            max_signed_in: limits.signed_in,
            unauthenticated: Slots::new(limits.unauthenticated),
            requests: Arc::new(Throttle::new(ACCOUNTS_RATE)),
            refusals,
            state: Arc::default(),
        }
    }

    /// Registers a connection that is not signed in. `None` if its source has no slot and evictions are still pending.
    pub fn enter(&self, source: Source, events: Queue<Bytes>) -> Option<Entry> {
        let slot = self.unauthenticated.admit(source)?;
        let connection_state = watch::Sender::new(ConnectionState::Unauthenticated(Arc::new(slot)));
        let receiver = connection_state.subscribe();
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        let client = Client {
            source,
            events,
            signed_in: None,
            connection_state,
        };
        state.clients.insert(id, client);
        Some(Entry {
            clients: self.clone(),
            id,
            connection_state: receiver,
        })
    }

    /// Takes a token for a request of the account, or returns the time until one is available.
    pub fn take_request(&self, account: AccountId, now: Instant) -> Result<(), Duration> {
        self.requests.take(account, now)
    }

    /// Number of clients.
    pub fn count(&self) -> usize {
        self.lock().clients.len()
    }

    /// Number of clients that are not signed in.
    pub fn unauthenticated(&self) -> usize {
        self.unauthenticated.count()
    }

    /// Resolves when all clients have disconnected and their requests have ended.
    pub async fn all_gone(&self) {
        while self.count() > 0 {
            tokio::time::sleep(GONE_POLL).await;
        }
    }

    pub fn broadcast(&self, kind: wire::event::Kind) {
        let event = connection_event(kind);
        for client in self.lock().clients.values() {
            client.events.push(event.clone());
        }
    }

    /// The signed-in sessions with their accounts.
    pub fn sessions(&self) -> Vec<(AccountId, SessionId)> {
        let state = self.lock();
        let signed_in = state
            .clients
            .values()
            .filter_map(|client| client.signed_in.as_ref());
        let sessions: HashSet<_> = signed_in
            .map(|(caller, _)| (caller.account, caller.session))
            .collect();
        sessions.into_iter().collect()
    }

    /// Signs out every connection of the session and notifies it.
    pub fn session_ended(&self, session: SessionId) {
        let event = connection_event(wire::event::Kind::SessionEnded(wire::SessionEnded {}));
        let mut state = self.lock();
        let ids = state.by_session.get(&session).cloned();
        for id in ids.into_iter().flatten() {
            state.sign_out(id, &self.unauthenticated);
            if let Some(client) = state.clients.get(&id) {
                client.events.push(event.clone());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Entry {
    /// The account and session that the connection acts for.
    pub fn signed_in(&self) -> Option<SignedIn> {
        let state = self.clients.lock();
        let (caller, _) = state.clients.get(&self.id)?.signed_in.as_ref()?;
        Some(caller.clone())
    }

    /// The account that the connection acts for, and its shared limits.
    pub fn share(&self) -> Option<(AccountId, Arc<Share>)> {
        let state = self.clients.lock();
        let (caller, part) = state.clients.get(&self.id)?.signed_in.as_ref()?;
        Some((caller.account, part.share().clone()))
    }

    /// Signs the connection in and releases its slot.
    ///
    /// # Errors
    ///
    /// [`SignInError`] if the account or the node has its maximum of connections.
    pub fn sign_in(&self, caller: SignedIn) -> Result<(), SignInError> {
        let mut state = self.clients.lock();
        let part = match state.leave_session(self.id) {
            Some((before, part)) if before.account == caller.account => part,
            Some(_) => {
                state.become_unauthenticated(self.id, &self.clients.unauthenticated);
                self.new_part(&mut state, caller.account)?
            }
            None => self.new_part(&mut state, caller.account)?,
        };
        state
            .by_session
            .entry(caller.session)
            .or_default()
            .insert(self.id);
        if let Some(client) = state.clients.get_mut(&self.id) {
            client.signed_in = Some((caller, part));
            client
                .connection_state
                .send_replace(ConnectionState::SignedIn);
        }
        Ok(())
    }

    /// Counts one more connection of the account.
    fn new_part(&self, state: &mut State, account: AccountId) -> Result<Part, SignInError> {
        let refusals = &self.clients.refusals;
        if state.signed_in >= self.clients.max_signed_in {
            refusals.count(Limit::Connections);
            return Err(SignInError::NodeFull);
        }
        let part = state.shares.join(account).map_err(|Full| {
            refusals.count(Limit::ConnectionsOfAccount);
            SignInError::AccountFull
        })?;
        state.signed_in += 1;
        Ok(part)
    }

    /// Signs the connection out, without a notice.
    pub fn sign_out(&self) {
        let unauthenticated = &self.clients.unauthenticated;
        self.clients.lock().sign_out(self.id, unauthenticated);
    }

    /// The sign-in state, as a watch channel.
    pub fn connection_state(&self) -> watch::Receiver<ConnectionState> {
        self.connection_state.clone()
    }
}

impl State {
    fn sign_out(&mut self, id: ClientId, unauthenticated: &Slots) {
        if self.leave_session(id).is_some() {
            self.become_unauthenticated(id, unauthenticated);
        }
    }

    /// Takes a slot for a client that has left its session.
    fn become_unauthenticated(&mut self, id: ClientId, unauthenticated: &Slots) {
        self.signed_in -= 1;
        if let Some(client) = self.clients.get(&id) {
            let slot = unauthenticated.admit(client.source).map(Arc::new);
            let connection_state = slot.map_or(
                ConnectionState::WithoutSlot,
                ConnectionState::Unauthenticated,
            );
            client.connection_state.send_replace(connection_state);
        }
    }

    /// Removes the client from its session, if it has one.
    fn leave_session(&mut self, id: ClientId) -> Option<(SignedIn, Part)> {
        let client = self.clients.get_mut(&id)?;
        let (before, part) = client.signed_in.take()?;
        if let Some(ids) = self.by_session.get_mut(&before.session) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_session.remove(&before.session);
            }
        }
        Some((before, part))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.clients.lock();
        if state.leave_session(self.id).is_some() {
            state.signed_in -= 1;
        }
        state.clients.remove(&self.id);
    }
}
