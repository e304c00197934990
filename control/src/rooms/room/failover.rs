//! Probes a relay that control does not hear, and moves the room when it has failed.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use confab_protocol::control::{AccountId, JoinId};
use confab_protocol::media::ConnectionId;

use super::super::effect::{ClientId, EventKind, OwnJoin};
use super::super::placement::Report;
use super::super::relay_probe::{ASKED_AT_ONCE, Outcome};
use super::super::world::World;
use super::Room;
use crate::domain::RelayName;

/// A participant to ask, and its media session.
type Asked = (u16, ClientId, JoinId, ConnectionId);

impl Room {
    /// A participant reports whether a relay answers on its session.
    pub(super) fn media_reported(
        &mut self,
        now: Instant,
        of: &OwnJoin,
        (connection_id, is_reached): (ConnectionId, bool),
        world: &mut dyn World,
    ) {
        let Some(sender) = self.membership.find_own(of) else {
            return;
        };
        if is_reached {
            self.former_relays
                .session_answers(now, connection_id, Some(sender));
        }
        if !self.membership.has_session(sender, connection_id) {
            return;
        }
        match self.placement.report(now, (sender, of.account), is_reached) {
            Report::Noted => {}
            Report::Probe => self.probe_relay(now, false, world),
            Report::Unreachable => {
                if self.another_relay(world).is_some() {
                    self.fail_over(now, world);
                }
            }
        }
    }

    /// Acts on the outcome of the probe, when it is due.
    pub(super) fn expire_probe(&mut self, now: Instant, world: &mut dyn World) {
        match self.placement.probe_outcome(now) {
            None => {}
            Some(Outcome::Healthy) => self.placement.end_probe(),
            // A relay that may be dead is better than none.
            Some(Outcome::Failed) if self.another_relay(world).is_some() => {
                self.fail_over(now, world);
            }
            Some(Outcome::Failed | Outcome::Reachable) => {
                let is_link_lost = self.placement.is_link_lost();
                self.probe_relay(now, is_link_lost, world);
            }
        }
    }

    fn fail_over(&mut self, now: Instant, world: &mut dyn World) {
        let here = self.placement.relay().map(|relay| relay.name.clone());
        let name = here.as_ref().map(RelayName::as_str);
        tracing::info!(conference = %self.conference, relay = name, "the relay does not answer: the room fails over");
        if self.placement.is_link_lost()
            && let Some(relay) = self.placement.relay()
        {
            let open = self.membership.open_sessions();
            let sessions: HashMap<ConnectionId, u16> = open
                .map(|(id, state)| (id, state.participant.sender))
                .collect();
            let placement = self.lease.fence().placement;
            self.former_relays
                .leave_unreachable(now, relay, placement, sessions);
        }
        self.displace(now, here, world);
    }

    /// Asks participants whether they reach the relay: a random choice, one device of each account, so that no member can decide for the
    /// room by choosing labels or adding devices.
    pub(super) fn probe_relay(&mut self, now: Instant, is_link_lost: bool, world: &mut dyn World) {
        let mut could: Vec<(AccountId, Asked)> = self
            .membership
            .open_sessions()
            .filter_map(|(id, state)| {
                let participant = &state.participant;
                let asked = (participant.sender, state.client?, participant.join_id, id);
                Some((participant.account, asked))
            })
            .collect();
        shuffle(&mut could, world);
        let mut accounts = HashSet::new();
        let mut asked: Vec<Asked> = could
            .into_iter()
            .filter_map(|(account, asked)| accounts.insert(account).then_some(asked))
            .take(ASKED_AT_ONCE)
            .collect();
        asked.sort_unstable_by_key(|(sender, ..)| *sender);
        let senders = asked.iter().map(|(sender, ..)| *sender);
        self.placement.start_probe(now, senders, is_link_lost);
        for (_, client, join_id, connection_id) in asked {
            let probe = EventKind::ProbeMedia(join_id, connection_id);
            self.outbox.tell(vec![client], probe);
        }
    }
}

/// Puts the elements in a random order (Fisher and Yates).
fn shuffle<T>(all: &mut [T], world: &mut dyn World) {
    const DRAW_LEN: usize = 8;
    let mut drawn = vec![0; all.len() * DRAW_LEN];
    world.random(&mut drawn);
    // The bias of a 64-bit draw modulo the number of places is negligible.
    for (at, bytes) in drawn.chunks_exact(DRAW_LEN).enumerate() {
        let draw = bytes
            .iter()
            .fold(0, |draw, byte| (draw << 8) | u64::from(*byte));
        let left = (all.len() - at) as u64;
        let other = at + usize::try_from(draw % left).unwrap_or_default();
        all.swap(at, other);
    }
}
