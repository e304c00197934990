//! Creates the services of a server.

use std::sync::Arc;
use std::time::Instant;

use confab_protocol::control::AccountId;
use tokio::sync::{Mutex, mpsc};

use super::config::Config;
use crate::accounts::Accounts;
use crate::accounts::service::AccountKeys;
use crate::api;
use crate::audit::Audit;
use crate::clients::Clients;
use crate::cluster::Relays;
use crate::cluster::nodes::Nodes;
use crate::cluster::revoked::Revoked;
use crate::conferences::Conferences;
use crate::invitations::Invitations;
use crate::listener::Listener;
use crate::listener::handshake_limits::HandshakeLimits;
use crate::mail::Mail;
use crate::metrics::Metrics;
use crate::peer_api;
use crate::rooms::Rooms;
use crate::rooms::counts::LiveCounts;
use crate::rooms::group_keys::GroupKeys;
use crate::rooms::guests::EndedGuests;
use crate::rooms::note::NoteKeys;
use crate::store::{NodeRecord, Store};
use crate::webhooks::Webhooks;

/// Keys derived from the cluster's key.
pub(super) struct Keys {
    pub(super) accounts: AccountKeys,
    pub(super) notes: NoteKeys,
    pub(super) groups: GroupKeys,
}

/// The services of a server.
pub(super) struct Parts {
    /// For clients.
    pub(super) api: Arc<api::Services>,
    /// For nodes, relays and operators.
    pub(super) peer_api: Arc<peer_api::Services>,
    /// Accepts connections.
    pub(super) listener: Arc<Listener>,
    /// Guests of rooms that have ended; `None` where none are taken.
    pub(super) guests_to_forget: Option<Arc<Mutex<mpsc::Receiver<AccountId>>>>,
}

impl Parts {
    /// Creates the services on `store`. `authority` is the SHA-256 digest of the cluster CA's certificate; `node` is this node's
    /// record.
    pub(super) fn assemble(
        config: &Config,
        store: Arc<dyn Store>,
        (authority, keys): ([u8; 32], Keys),
        (nodes, node): (Nodes, NodeRecord),
        (metrics, audit): (Metrics, Audit),
        (mail, webhooks): (Mail, Webhooks),
    ) -> Self {
        let (clock, relays) = (config.clock.clone(), Relays::default());
        let (ended_guests, guests_to_forget) = match config.accounts.guests {
            true => {
                let (tell, told) = EndedGuests::channel();
                (tell, Some(Arc::new(Mutex::new(told))))
            }
            false => (EndedGuests::default(), None),
        };
        let clients = Clients::new(config.connections, metrics.connections.refusals.clone());
        let rooms = Rooms::new(
            store.clone(),
            relays.clone(),
            config.rooms,
            clock.clone(),
            nodes.clone(),
            (keys.notes, keys.groups),
            (metrics.groups.clone(), webhooks, ended_guests),
        );
        let (clients_of, rooms_of, nodes_of) = (clients.clone(), rooms.clone(), nodes.clone());
        let max_members = config.rooms.max_members;
        let invitations = Invitations::new(store.clone(), clock.clone(), max_members);
        let accounts = Arc::new(Accounts::new(
            (store.clone(), mail),
            invitations.clone(),
            keys.accounts,
            clock.clone(),
            &config.accounts,
            &metrics.connections.refusals,
            // Connections first: a join that has not reached its room then finds its connection signed out.
            Box::new(move |account, session| {
                clients_of.session_ended(session);
                rooms_of.session_ended(account, session);
                nodes_of.notify_session_ended(account, session);
            }),
        ));
        let conferences = Arc::new(Conferences::new(
            store.clone(),
            rooms.clone(),
            invitations,
            clock.clone(),
            config.conferences,
        ));
        let counts = LiveCounts::new(rooms.clone(), nodes.clone(), store.clone());
        let counts = Arc::new(counts);
        let peer_api = Arc::new(peer_api::Services {
            accounts: accounts.clone(),
            audit: audit.clone(),
            conferences: conferences.clone(),
            counts: counts.clone(),
            clients: clients.clone(),
            rooms: rooms.clone(),
            relays,
            nodes: nodes.clone(),
            revoked: Revoked::new(store),
            node,
            region: config.region.clone(),
            authority,
        });
        let api = Arc::new(api::Services {
            accounts,
            audit,
            conferences,
            counts,
            rooms,
            clients,
            nodes,
            clock,
            region: config.region.clone(),
            authority,
            metrics,
        });
        let handshakes = HandshakeLimits::new(
            config.handshakes,
            api.metrics.connections.handshakes.clone(),
            Instant::now(),
        );
        let listener = Listener::new(handshakes, api.clone(), peer_api.clone());
        Self {
            api,
            peer_api,
            listener: Arc::new(listener),
            guests_to_forget,
        }
    }
}
