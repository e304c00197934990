//! The metrics page, and the health and readiness of the server.

use std::sync::Arc;

use confab_telemetry::{Health, Page, Readiness, Source};

use super::parts::Parts;
use super::supervision;
use crate::cluster::status::NodeLiveness;
use crate::listener::Listener;
use crate::{api, peer_api};

/// The metrics of a server, read at each request.
pub(super) struct Figures {
    api: Arc<api::Services>,
    peer_api: Arc<peer_api::Services>,
    listener: Arc<Listener>,
    health: supervision::Health,
}

impl Figures {
    pub(super) fn new(parts: &Parts, health: supervision::Health) -> Self {
        Self {
            api: parts.api.clone(),
            peer_api: parts.peer_api.clone(),
            listener: parts.listener.clone(),
            health,
        }
    }
}

impl Source for Figures {
    fn figures(&self) -> String {
        let mut page = Page::new("confab_control");
        write(self, &mut page);
        page.into_text()
    }

    /// An outage of the store does not make a node unready: it affects all nodes, and clients with a known session can still sign
    /// in.
    fn readiness(&self) -> Readiness {
        if self.api.metrics.is_closing() {
            Readiness::NotReady("closing")
        } else if self.api.accounts.store_answers() {
            Readiness::Ready("ok")
        } else {
            Readiness::Ready("ok, but the store does not answer")
        }
    }

    fn health(&self) -> Health {
        let failing = self.health.failing();
        match failing.is_empty() {
            true => Health::Well,
            false => Health::Ill(format!(
                "tasks that ended and are being restarted: {}",
                failing.join(", ")
            )),
        }
    }
}

fn write(figures: &Figures, page: &mut Page) {
    let (server, metrics) = (&figures.api, &figures.api.metrics);
    metrics.requests.write(
        page,
        "request_seconds",
        "kind",
        "Duration of clients' requests, by kind and result.",
    );
    metrics.store.write(
        page,
        "store_seconds",
        "operation",
        "Duration of operations of the store, by operation and result.",
    );
    let hasher = server.accounts.hasher();
    let help = "Time that a password waited to be hashed.";
    page.head("password_wait_seconds", "histogram", help);
    page.histogram("password_wait_seconds", "", [hasher.waited()]);
    page.gauge(
        "passwords_waiting",
        "Passwords that wait to be hashed.",
        hasher.waiting(),
    );
    page.gauge(
        "clients",
        "Clients that are connected.",
        server.clients.count(),
    );
    page.gauge(
        "strangers",
        "Clients that are not signed in.",
        server.clients.unauthenticated(),
    );
    page.gauge(
        "links",
        "Links of relays, nodes and operators.",
        figures.listener.links().count(),
    );
    write_connections(figures, page);
    page.gauge("rooms", "Rooms that this node owns.", server.rooms.count());
    page.gauge(
        "participants",
        "Participants in these rooms.",
        server.rooms.participants() as usize,
    );
    let groups = &figures.api.metrics.groups;
    groups.begun.write(
        page,
        "groups_begun_total",
        "MLS groups of rooms that were begun, by cause.",
    );
    groups.refused.write(
        page,
        "group_messages_refused_total",
        "Messages of members to the groups of rooms that were refused, by reason.",
    );
    metrics.mail.write(
        page,
        "mails_total",
        "Letters to the mail server of --smtp-url, by what became of them.",
    );
    metrics.webhooks.write(
        page,
        "webhooks_total",
        "Messages to the program of --webhook, by what became of them.",
    );
    page.gauge(
        "relays_linked",
        "Relays that are linked to this node.",
        figures.peer_api.relays.linked(),
    );
    let listed_with_liveness = server.nodes.listed_with_liveness();
    let alive = listed_with_liveness
        .iter()
        .filter(|(_, life)| *life == NodeLiveness::Alive);
    page.gauge(
        "nodes_alive",
        "Control nodes that are alive, including this one.",
        alive.count() + 1,
    );
    page.gauge(
        "store_answers",
        "1 while the store answers; 0 while sessions are accepted from the cache.",
        u8::from(server.accounts.store_answers()),
    );
    page.counter(
        "takeovers_total",
        "Rooms taken over from another node.",
        server.nodes.takeovers(),
    );
    page.counter(
        "fenced_commands_total",
        "Commands that a relay did not obey because another node owns the room.",
        figures.peer_api.relays.fenced(),
    );
}

fn write_connections(figures: &Figures, page: &mut Page) {
    let connections = &figures.api.metrics.connections;
    connections.handshakes.write(
        page,
        "handshakes_total",
        "Handshakes of clients, relays and nodes, by outcome.",
    );
    connections.refusals.write(
        page,
        "refused_total",
        "Requests refused because of a limit, by limit.",
    );
    connections.closes.write(
        page,
        "closed_total",
        "Connections closed by this node, by reason.",
    );
    page.counter(
        "datagrams_held_back_total",
        "Datagrams not sent because of the anti-amplification limit for unvalidated addresses.",
        figures.listener.amplification().blocked(),
    );
}
