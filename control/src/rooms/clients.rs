//! The clients of a room, and the queues of what is said to them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use confab_e2ee::mls::ToMember;
use confab_e2ee::mls::messages::AcceptedCommit;
use confab_e2ee::mls::wire::to_stream;
use confab_protocol::control::{ConferenceId, JoinId};
use confab_protocol::wire;

use super::effect::ClientId;
use crate::client_queues::{ClientSink, Pieces, connection_event};

/// The clients that get the events of a room. If the room's task panics, they are told to connect again: they resume their joins when the
/// room is taken again.
#[derive(Default)]
pub(super) struct Clients {
    sinks: HashMap<ClientId, ClientSink>,
    /// The last commit that was accepted, as all members get it.
    commit: Option<(Arc<AcceptedCommit>, Pieces)>,
}

impl Clients {
    pub(super) fn insert(&mut self, client: ClientId, sink: ClientSink) {
        self.sinks.insert(client, sink);
    }

    /// Sends an event to those of `clients` that are known.
    pub(super) fn tell(&self, clients: &[ClientId], event: &Bytes) {
        for sink in clients.iter().filter_map(|client| self.sinks.get(client)) {
            sink.events.push(event.clone());
        }
    }

    /// Sends a message of the delivery service to a participant's client, if that is known.
    pub(super) fn tell_member(
        &mut self,
        client: ClientId,
        (conference, join): (ConferenceId, JoinId),
        message: &ToMember,
    ) {
        let Some(sink) = self.sinks.get(&client) else {
            return;
        };
        let pieces = match message {
            ToMember::Commit(accepted) => {
                let known = self
                    .commit
                    .take_if(|(known, _)| Arc::ptr_eq(known, accepted));
                let new = || (accepted.clone(), to_stream(conference, None, message));
                let (_, pieces) = self.commit.insert(known.unwrap_or_else(new));
                pieces.clone()
            }
            _ => to_stream(conference, Some(join), message),
        };
        if message.asks_for_commit() {
            sink.commits.grant();
        }
        sink.group.push(pieces);
    }

    /// Keeps the clients for which `is_known` is true.
    pub(super) fn retain(&mut self, is_known: impl Fn(ClientId) -> bool) {
        self.sinks.retain(|client, _| is_known(*client));
    }

    /// Tells all clients to connect again: every node redirects them to the owner of the room.
    pub(super) fn send_away(&self) {
        let kind = wire::event::Kind::GoingAway(wire::GoingAway { retry_after_ms: 0 });
        let event = connection_event(kind);
        for sink in self.sinks.values() {
            sink.events.push(event.clone());
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
