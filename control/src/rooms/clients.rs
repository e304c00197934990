//! The clients of a room, and their event queues.

use std::collections::HashMap;

use bytes::Bytes;
use confab_protocol::wire;

use super::effect::ClientId;
use crate::events::{EventSink, connection_event};

/// The clients that get the events of a room. If the room's task panics, they are told to connect again: they resume their joins when the
/// room is taken again.
#[derive(Default)]
pub(super) struct Clients(HashMap<ClientId, EventSink>);

impl Clients {
    pub(super) fn insert(&mut self, client: ClientId, events: EventSink) {
        self.0.insert(client, events);
    }

    /// Sends an event to those of `clients` that are known.
    pub(super) fn tell(&self, clients: &[ClientId], event: &Bytes) {
        for events in clients.iter().filter_map(|client| self.0.get(client)) {
            events.push(event.clone());
        }
    }

    /// Keeps the clients for which `is_known` is true.
    pub(super) fn retain(&mut self, is_known: impl Fn(ClientId) -> bool) {
        self.0.retain(|client, _| is_known(*client));
    }

    /// Tells all clients to connect again: every node redirects them to the owner of the room.
    pub(super) fn send_away(&self) {
        let kind = wire::event::Kind::GoingAway(wire::GoingAway { retry_after_ms: 0 });
        let event = connection_event(kind);
        for client in self.0.values() {
            client.push(event.clone());
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.send_away();
        }
    }
}
