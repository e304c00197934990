//! The clients of a room, and where their events go.

use std::collections::HashMap;

use bytes::Bytes;
use confab_protocol::wire;

use super::effect::ClientId;
use crate::events::{EventSink, connection_event};

/// The clients that hear of a room. If the room's task panics, they are told to connect again: they take their joins up
/// where the room is taken anew.
#[derive(Default)]
pub(super) struct Clients(HashMap<ClientId, EventSink>);

impl Clients {
    pub(super) fn insert(&mut self, client: ClientId, events: EventSink) {
        self.0.insert(client, events);
    }

    /// Puts an event in for those of `clients` that are known.
    pub(super) fn tell(&self, clients: &[ClientId], event: &Bytes) {
        for events in clients.iter().filter_map(|client| self.0.get(client)) {
            events.push(event.clone());
        }
    }

    /// Forgets the clients that `is_known` does not name.
    pub(super) fn retain(&mut self, is_known: impl Fn(ClientId) -> bool) {
        self.0.retain(|client, _| is_known(*client));
    }

    /// Has all connect again: any node tells them where the room is.
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
