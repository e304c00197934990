//! Commands that relays have not answered yet.

use std::collections::BTreeMap;
use std::time::Instant;

use confab_protocol::cluster::{Action, BootId, Fence};
use confab_protocol::media::HopKey;

use super::effect::{Effect, Ticket};
use super::group::Gate;
use crate::cluster::{COMMAND_DEADLINE, LinkedRelay};

/// The reason for a command, with the state that its answer needs.
pub(super) enum Purpose {
    /// Opens the session of a join under these keys (uplink, downlink).
    Join(Ticket, HopKey, HopKey),
    /// Opens the session of a participant at the room's new relay.
    Move(u16, HopKey, HopKey),
    /// Carries out a request, which waits for it.
    Request(Ticket),
    /// Finds out whether a relay that was unreachable still has the participant's session.
    Probe(u16),
    /// Finds out whether the relay still has the session of a resumed join, so that the client may keep it.
    Keep(Ticket),
    /// Lists sessions from this sender on; true if an earlier page had a session that the relay has not heard from.
    List(u16, bool),
    /// Closes the room at this relay after an overlap.
    CloseLeft(LinkedRelay),
    /// Tells the relay of leaves, whose owners wait for it.
    Gate(Gate),
    /// Nothing waits for the answer.
    Nothing,
}

/// A command that is not answered yet.
pub(super) struct Call {
    pub(super) purpose: Purpose,
    /// The boot id of the relay: the room's relay, or a former one.
    pub(super) boot: BootId,
    /// Senders that have no session once the command is obeyed.
    pub(super) closes: Vec<u16>,
    deadline: Instant,
}

/// The unanswered commands, by number. Numbers never repeat within an era.
pub(super) struct RelayCalls {
    next: u64,
    calls: BTreeMap<u64, Call>,
}

impl RelayCalls {
    /// No commands; the first gets the number `first`.
    pub(super) fn new(first: u64) -> Self {
        Self {
            next: first,
            calls: BTreeMap::new(),
        }
    }

    /// Adds a command. Returns its number and the effect that sends it.
    pub(super) fn send(
        &mut self,
        now: Instant,
        (relay, fence): (&LinkedRelay, Fence),
        purpose: Purpose,
        action: Action,
        closes: Vec<u16>,
    ) -> (u64, Effect) {
        let command = self.next;
        self.next += 1;
        let call = Call {
            purpose,
            boot: relay.boot,
            closes,
            deadline: now + COMMAND_DEADLINE,
        };
        self.calls.insert(command, call);
        let effect = Effect::Command {
            command,
            relay: relay.name.clone(),
            boot: relay.boot,
            fence,
            action,
        };
        (command, effect)
    }

    /// Removes a command.
    pub(super) fn take(&mut self, command: u64) -> Option<Call> {
        self.calls.remove(&command)
    }

    /// Whether the command opens a media session.
    pub(super) fn is_open(&self, command: u64) -> bool {
        let purpose = self.calls.get(&command).map(|call| &call.purpose);
        matches!(purpose, Some(Purpose::Join(..) | Purpose::Move(..)))
    }

    /// Makes these commands part of a request.
    pub(super) fn wait_for(&mut self, ticket: Ticket, commands: &[u64]) {
        for command in commands {
            if let Some(call) = self.calls.get_mut(command) {
                call.purpose = Purpose::Request(ticket);
            }
        }
    }

    /// Forgets the command of a join. Returns whether it was to open a session: the relay may open it yet.
    pub(super) fn forget_join(&mut self, ticket: Ticket) -> bool {
        let is_of_join = |call: &&mut Call| matches!(&call.purpose, Purpose::Join(of, ..) | Purpose::Keep(of) if *of == ticket);
        let purpose = self.calls.values_mut().find(is_of_join);
        let purpose = purpose.map(|call| std::mem::replace(&mut call.purpose, Purpose::Nothing));
        matches!(purpose, Some(Purpose::Join(..)))
    }

    /// Forgets the commands for a participant that has left.
    pub(super) fn forget_participant(&mut self, sender: u16) {
        for call in self.calls.values_mut() {
            if matches!(call.purpose, Purpose::Move(of, ..) | Purpose::Probe(of) if of == sender) {
                call.purpose = Purpose::Nothing;
            }
        }
    }

    /// Forgets the commands for media sessions, which are repeated at the next relay. Requests and closing go on.
    pub(super) fn forget_media(&mut self) {
        for call in self.calls.values_mut() {
            if !matches!(
                call.purpose,
                Purpose::Request(_) | Purpose::CloseLeft(_) | Purpose::Gate(_)
            ) {
                call.purpose = Purpose::Nothing;
            }
        }
    }

    /// Removes all commands and returns their purposes.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Purpose> + use<> {
        let calls = std::mem::take(&mut self.calls);
        calls.into_values().map(|call| call.purpose)
    }

    /// The earliest deadline. Deadlines rise with the numbers.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.calls.values().next().map(|call| call.deadline)
    }

    /// Commands whose deadline has passed.
    pub(super) fn due(&self, now: Instant) -> Vec<u64> {
        let due = self.calls.iter().filter(|(_, call)| call.deadline <= now);
        due.map(|(command, _)| *command).collect()
    }

    /// The number of the next command.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }
}
