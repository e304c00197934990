//! Who is connected, and who of them is signed in.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use confab_protocol::control::AccountId;
use confab_protocol::wire;

use crate::accounts::SignedIn;
use crate::accounts::limits::Source;
use crate::events::{EventSink, connection_event};
use crate::rooms::effect::ClientId;
use crate::store::SessionId;

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// From one source.
    pub per_source: usize,
    /// In total.
    pub total: usize,
}

/// All connected clients. Clones share them.
#[derive(Clone)]
pub struct Clients {
    limits: ConnectionLimits,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    next: ClientId,
    clients: HashMap<ClientId, Client>,
    by_session: HashMap<SessionId, HashSet<ClientId>>,
    by_source: HashMap<Source, usize>,
    connections: usize,
}

struct Client {
    events: EventSink,
    signed_in: Option<SignedIn>,
}

/// A connection's place among those of its source; given back when dropped.
pub struct Place {
    clients: Clients,
    source: Source,
}

/// A client's entry; gone when dropped.
pub struct Entry {
    clients: Clients,
    /// Names the client while the process runs.
    pub id: ClientId,
}

impl Clients {
    /// Nobody yet.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            known: Arc::default(),
        }
    }

    /// A place for one more connection from `source`, if there is one.
    pub fn admit(&self, source: Source) -> Option<Place> {
        let mut known = self.lock();
        let from_source = known.by_source.get(&source).copied().unwrap_or_default();
        if known.connections >= self.limits.total || from_source >= self.limits.per_source {
            return None;
        }
        known.connections += 1;
        known.by_source.insert(source, from_source + 1);
        Some(Place {
            clients: self.clone(),
            source,
        })
    }

    /// Whether more than half of all places are taken: then strangers have to prove their address first.
    pub fn is_busy(&self) -> bool {
        self.lock().connections > self.limits.total / 2
    }

    /// Enters a client whose events go to `events`.
    pub fn enter(&self, events: EventSink) -> Entry {
        let mut known = self.lock();
        let id = known.next;
        known.next += 1;
        let signed_in = None;
        known.clients.insert(id, Client { events, signed_in });
        Entry {
            clients: self.clone(),
            id,
        }
    }

    /// How many clients there are.
    pub fn count(&self) -> usize {
        self.lock().clients.len()
    }

    /// Tells every client.
    pub fn tell_all(&self, kind: wire::event::Kind) {
        let event = connection_event(kind);
        for client in self.lock().clients.values() {
            client.events.push(event.clone());
        }
    }

    /// The sessions that are signed in, and whose they are.
    pub fn sessions(&self) -> Vec<(AccountId, SessionId)> {
        let known = self.lock();
        let signed_in = known
            .clients
            .values()
            .filter_map(|client| client.signed_in.as_ref());
        let sessions: HashSet<_> = signed_in.map(|who| (who.account, who.session)).collect();
        sessions.into_iter().collect()
    }

    /// Signs every connection of the session out and tells it.
    pub fn session_ended(&self, session: SessionId) {
        let event = connection_event(wire::event::Kind::SessionEnded(wire::SessionEnded {}));
        let mut known = self.lock();
        for id in known.by_session.remove(&session).into_iter().flatten() {
            if let Some(client) = known.clients.get_mut(&id) {
                client.signed_in = None;
                client.events.push(event.clone());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Who the connection acts for.
    pub fn signed_in(&self) -> Option<SignedIn> {
        let known = self.clients.lock();
        known.clients.get(&self.id)?.signed_in.clone()
    }

    /// The connection acts for `who` from now on.
    pub fn sign_in(&self, who: SignedIn) {
        let mut known = self.clients.lock();
        known.sign_out(self.id);
        known
            .by_session
            .entry(who.session)
            .or_default()
            .insert(self.id);
        if let Some(client) = known.clients.get_mut(&self.id) {
            client.signed_in = Some(who);
        }
    }

    /// The connection acts for nobody any more; nothing is told.
    pub fn sign_out(&self) {
        self.clients.lock().sign_out(self.id);
    }
}

impl Known {
    fn sign_out(&mut self, id: ClientId) {
        let Some(before) = self
            .clients
            .get_mut(&id)
            .and_then(|client| client.signed_in.take())
        else {
            return;
        };
        if let Some(ids) = self.by_session.get_mut(&before.session) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_session.remove(&before.session);
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut known = self.clients.lock();
        known.sign_out(self.id);
        known.clients.remove(&self.id);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.clients.lock();
        known.connections -= 1;
        let left = known
            .by_source
            .get(&self.source)
            .map_or(0, |count| count - 1);
        if left == 0 {
            known.by_source.remove(&self.source);
        } else {
            known.by_source.insert(self.source, left);
        }
    }
}
