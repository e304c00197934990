//! Who is connected, and who of them is signed in.
//!
//! A connection has a place among the strangers of its source until it signs in; then it counts for its account. When it is signed out it
//! is a stranger again.

pub mod places;
pub mod share;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use confab_protocol::control::AccountId;
use confab_protocol::wire;
use tokio::sync::watch;

use self::places::{Place, PlaceLimits, Places};
use self::share::{Full, Part, Share, Shares};
use crate::accounts::SignedIn;
use crate::events::{EventSink, connection_event};
use crate::metrics::door::{Limit, Refusals};
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
    pub strangers: PlaceLimits,
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
    strangers: Places,
    /// Requests of each account.
    requests: Arc<Throttle>,
    refusals: Refusals,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
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
    standing: watch::Sender<Standing>,
}

/// What a connection is at the moment.
#[derive(Clone)]
pub enum Standing {
    /// It acts for nobody, and has a place among those who do not.
    Stranger(Arc<Place>),
    /// It acts for an account.
    SignedIn,
    /// It acts for nobody any more, and there is no place for it.
    Unplaced,
}

/// A client's entry; gone when dropped.
pub struct Entry {
    clients: Clients,
    /// Names the client while the process runs.
    pub id: ClientId,
    standing: watch::Receiver<Standing>,
}

impl Clients {
    /// Nobody yet. Who finds no place when signing in is counted in `refusals`.
    pub fn new(limits: ConnectionLimits, refusals: Refusals) -> Self {
        Self {
            max_signed_in: limits.signed_in,
            strangers: Places::new(limits.strangers),
            requests: Arc::new(Throttle::new(ACCOUNTS_RATE)),
            refusals,
            known: Arc::default(),
        }
    }

    /// Enters a stranger whose events go to `events`. `None` when there is no place for strangers of that source, nor will be in a moment.
    pub fn enter(&self, source: Source, events: EventSink) -> Option<Entry> {
        let place = self.strangers.admit(source)?;
        let standing = watch::Sender::new(Standing::Stranger(Arc::new(place)));
        let seen = standing.subscribe();
        let mut known = self.lock();
        let id = known.next;
        known.next += 1;
        let client = Client {
            source,
            events,
            signed_in: None,
            standing,
        };
        known.clients.insert(id, client);
        Some(Entry {
            clients: self.clone(),
            id,
            standing: seen,
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
    pub fn strangers(&self) -> usize {
        self.strangers.count()
    }

    /// Resolves when there is no client any more, and no request of one under way.
    pub async fn all_gone(&self) {
        while self.count() > 0 {
            tokio::time::sleep(GONE_POLL).await;
        }
    }

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
        let sessions: HashSet<_> = signed_in
            .map(|(who, _)| (who.account, who.session))
            .collect();
        sessions.into_iter().collect()
    }

    /// Signs every connection of the session out and tells it.
    pub fn session_ended(&self, session: SessionId) {
        let event = connection_event(wire::event::Kind::SessionEnded(wire::SessionEnded {}));
        let mut known = self.lock();
        let ids = known.by_session.get(&session).cloned();
        for id in ids.into_iter().flatten() {
            known.sign_out(id, &self.strangers);
            if let Some(client) = known.clients.get(&id) {
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
        let (who, _) = known.clients.get(&self.id)?.signed_in.as_ref()?;
        Some(who.clone())
    }

    /// For which account the connection acts, and what the account's connections share.
    pub fn share(&self) -> Option<(AccountId, Arc<Share>)> {
        let known = self.clients.lock();
        let (who, part) = known.clients.get(&self.id)?.signed_in.as_ref()?;
        Some((who.account, part.share().clone()))
    }

    /// The connection acts for `who` from now on. Its place among the strangers is free.
    ///
    /// # Errors
    ///
    /// When the account, or the node, has as many connections as it may have.
    pub fn sign_in(&self, who: SignedIn) -> Result<(), SignInError> {
        let mut known = self.clients.lock();
        let part = match known.leave_session(self.id) {
            Some((before, part)) if before.account == who.account => part,
            Some(_) => {
                known.become_stranger(self.id, &self.clients.strangers);
                self.new_part(&mut known, who.account)?
            }
            None => self.new_part(&mut known, who.account)?,
        };
        known
            .by_session
            .entry(who.session)
            .or_default()
            .insert(self.id);
        if let Some(client) = known.clients.get_mut(&self.id) {
            client.signed_in = Some((who, part));
            client.standing.send_replace(Standing::SignedIn);
        }
        Ok(())
    }

    /// A part of the account's share for one connection more, which counts from then on.
    fn new_part(&self, known: &mut Known, account: AccountId) -> Result<Part, SignInError> {
        let refusals = &self.clients.refusals;
        if known.signed_in >= self.clients.max_signed_in {
            refusals.count(Limit::Connections);
            return Err(SignInError::NodeFull);
        }
        let part = known.shares.join(account).map_err(|Full| {
            refusals.count(Limit::ConnectionsOfAccount);
            SignInError::AccountFull
        })?;
        known.signed_in += 1;
        Ok(part)
    }

    /// The connection acts for nobody any more; nothing is told.
    pub fn sign_out(&self) {
        let strangers = &self.clients.strangers;
        self.clients.lock().sign_out(self.id, strangers);
    }

    /// What the connection is, to be looked at whenever it changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}

impl Known {
    fn sign_out(&mut self, id: ClientId, strangers: &Places) {
        if self.leave_session(id).is_some() {
            self.become_stranger(id, strangers);
        }
    }

    /// The client, which has left its session, needs a place among strangers.
    fn become_stranger(&mut self, id: ClientId, strangers: &Places) {
        self.signed_in -= 1;
        if let Some(client) = self.clients.get(&id) {
            let place = strangers.admit(client.source).map(Arc::new);
            let standing = place.map_or(Standing::Unplaced, Standing::Stranger);
            client.standing.send_replace(standing);
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
        let mut known = self.clients.lock();
        if known.leave_session(self.id).is_some() {
            known.signed_in -= 1;
        }
        known.clients.remove(&self.id);
    }
}
