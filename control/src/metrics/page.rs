//! All figures in the text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;

use super::timed::head;
use crate::Server;
use crate::cluster::status::NodeLife;

/// Everything that is known at this moment.
pub fn render(server: &Server) -> String {
    let mut out = String::with_capacity(32 * 1024);
    let metrics = &server.metrics;
    metrics.requests.render(
        &mut out,
        "request_seconds",
        "kind",
        "Requests of clients, by kind and result, and how long they took.",
    );
    metrics.store.render(
        &mut out,
        "store_seconds",
        "operation",
        "What the store was asked, by operation and result, and how long it took.",
    );
    let hasher = server.accounts.hasher();
    hasher.waited().render(
        &mut out,
        "password_wait_seconds",
        "How long a password waited to be hashed.",
    );
    gauge(
        &mut out,
        "passwords_waiting",
        "Passwords that wait to be hashed.",
        hasher.waiting(),
    );
    gauge(
        &mut out,
        "clients",
        "Clients that are connected.",
        server.clients.count(),
    );
    gauge(
        &mut out,
        "rooms",
        "Rooms that this node owns.",
        server.rooms.count(),
    );
    gauge(
        &mut out,
        "participants",
        "Participants in these rooms.",
        server.rooms.participants() as usize,
    );
    gauge(
        &mut out,
        "relays_linked",
        "Relays that are linked to this node.",
        server.relays.linked(),
    );
    let census = server.nodes.census();
    let alive = census.iter().filter(|(_, life)| *life == NodeLife::Alive);
    gauge(
        &mut out,
        "nodes_alive",
        "Control nodes that live, this one among them.",
        alive.count() + 1,
    );
    gauge(
        &mut out,
        "store_answers",
        "1 while the store answers; 0 while people are let in from memory.",
        server.accounts.store_answers().into(),
    );
    counter(
        &mut out,
        "takeovers_total",
        "Rooms that were taken over from another node.",
        server.nodes.takeovers(),
    );
    counter(
        &mut out,
        "fenced_commands_total",
        "Commands that a relay did not obey because another node owns the room.",
        server.relays.fenced(),
    );
    out
}

fn gauge(out: &mut String, name: &str, help: &str, value: usize) {
    head(out, name, "gauge", help);
    let _ = writeln!(out, "confab_control_{name} {value}");
}

fn counter(out: &mut String, name: &str, help: &str, value: u64) {
    head(out, name, "counter", help);
    let _ = writeln!(out, "confab_control_{name} {value}");
}
