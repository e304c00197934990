//! Who is connected, and who of them is signed in.
//!
//! A connection has a place among the strangers of its source until it signs in; then it counts for its account. When it is signed out it
//! is a stranger again.

pub mod share;
pub mod slots;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use confab_protocol::control::AccountId;
use confab_protocol::wire;
use tokio::sync::watch;

use self::share::{Full, Part, Share, Shares};
use self::slots::{Slot, SlotLimits, Slots};
use crate::accounts::SignedIn;
use crate::events::{EventSink, connection_event};
use crate::metrics::connections::{Limit, Refusals};
use crate::rooms::effect::ClientId;
use crate::source::Source;
use crate::store::SessionId;
use crate::throttle::{Rate, Throttle};

/// Requests of one account, whatever connections they come on.
const ACCOUNTS_RATE: Rate = Rate {
    burst: 100.0,
    per_second: 50.0,
};
/// Time between two looks whether all clients have gone.
const GONE_POLL: Duration = Duration::from_millis(10);

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Of those who are not signed in.
    pub unauthenticated: SlotLimits,
    /// Of those who are signed in.
    pub signed_in: usize,
}

/// Why a connection does not act for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInError {
    /// The node has as many signed-in connections as it takes.
    NodeFull,
    /// The account has as many connections here as it may have.
    AccountFull,
}

/// All connected clients. Clones share them.
#[derive(Clone)]
pub struct Clients {
    max_signed_in: usize,
    unauthenticated: Slots,
    /// Requests of each account.
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
    events: EventSink,
    signed_in: Option<(SignedIn, Part)>,
    connection_state: watch::Sender<ConnectionState>,
}

/// What a connection is at the moment.
#[derive(Clone)]
pub enum ConnectionState {
    /// It acts for nobody, and has a place among those who do not.
    Unauthenticated(Arc<Slot>),
    /// It acts for an account.
    SignedIn,
    /// It acts for nobody any more, and there is no place for it.
    WithoutSlot,
}

/// A client's entry; gone when dropped.
pub struct Entry {
    clients: Clients,
    /// Names the client while the process runs.
    pub id: ClientId,
    connection_state: watch::Receiver<ConnectionState>,
}

impl Clients {
    /// Nobody yet. Who finds no place when signing in is counted in `refusals`.
    pub fn new(limits: ConnectionLimits, refusals: Refusals) -> Self {
        Self {
            max_signed_in: limits.signed_in,
            unauthenticated: Slots::new(limits.unauthenticated),
            requests: Arc::new(Throttle::new(ACCOUNTS_RATE)),
            refusals,
            state: Arc::default(),
        }
    }

    /// Enters a stranger whose events go to `events`. `None` when there is no place for strangers of that source, nor will be in a moment.
    pub fn enter(&self, source: Source, events: EventSink) -> Option<Entry> {
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

    /// Takes a token for a request of the account, or says how long until there is one.
    pub fn take_request(&self, account: AccountId, now: Instant) -> Result<(), Duration> {
        self.requests.take(account, now)
    }

    /// How many clients there are.
    pub fn count(&self) -> usize {
        self.lock().clients.len()
    }

    /// How many of them are not signed in.
    pub fn unauthenticated(&self) -> usize {
        self.unauthenticated.count()
    }

    /// Resolves when there is no client any more, and no request of one under way.
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

    /// The sessions that are signed in, and whose they are.
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

    /// Signs every connection of the session out and tells it.
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Who the connection acts for.
    pub fn signed_in(&self) -> Option<SignedIn> {
        let state = self.clients.lock();
        let (caller, _) = state.clients.get(&self.id)?.signed_in.as_ref()?;
        Some(caller.clone())
    }

    /// For which account the connection acts, and what the account's connections share.
    pub fn share(&self) -> Option<(AccountId, Arc<Share>)> {
        let state = self.clients.lock();
        let (caller, part) = state.clients.get(&self.id)?.signed_in.as_ref()?;
        Some((caller.account, part.share().clone()))
    }

    /// The connection acts for `caller` from now on. Its place among the strangers is free.
    ///
    /// # Errors
    ///
    /// When the account, or the node, has as many connections as it may have.
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

    /// A part of the account's share for one connection more, which counts from then on.
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

    /// The connection acts for nobody any more; nothing is told.
    pub fn sign_out(&self) {
        let unauthenticated = &self.clients.unauthenticated;
        self.clients.lock().sign_out(self.id, unauthenticated);
    }

    /// What the connection is, to be looked at whenever it changes.
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

    /// The client, which has left its session, needs a place among strangers.
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

    /// Takes the client out of its session, if it has one.
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
