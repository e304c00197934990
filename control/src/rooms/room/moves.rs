//! The room's way to a relay, and from one relay to the next.
//!
//! A room leaves a draining relay without a gap (make before break): every participant gets a session at the next relay and keeps the old
//! one until all have been seen there. Clients send on both meanwhile.

use std::time::Instant;

use confab_protocol::cluster::{Action, MediaState, OpenMedia};
use confab_protocol::control::MediaGrant;
use confab_protocol::media::{ConnectionId, HopKey};
use confab_protocol::version;

use super::super::effect::{Effect, EventKind, Ticket};
use super::super::errors::JoinError;
use super::super::home::Recorded;
use super::super::lease::Written;
use super::super::note::Note;
use super::super::participant::{MediaSession, SessionRequest};
use super::super::placement::{PLACE_RETRY, Step};
use super::super::relay_calls::Purpose;
use super::super::roll_call::rises;
use super::super::world::World;
use super::Room;
use super::joins::Failure;
use crate::cluster::{LinkedRelay, RelayCriteria};
use crate::domain::RelayName;

/// Consecutive failed opens after which the room moves to make room for a join. A relay that says it is full needs one.
const FAILURES_TO_MOVE: u32 = 2;

impl Room {
    /// Opens waiting sessions, or chooses a relay first.
    pub(super) fn place_or_wait(&mut self, now: Instant, world: &mut dyn World) {
        match self.placement.step() {
            Step::Wait => {}
            Step::Open => self.open_waiting(now, world),
            Step::Choose => {
                let wish = RelayCriteria {
                    prefer: self.lease.home().place.as_ref(),
                    avoid: self.placement.avoid(),
                    ..self.wish()
                };
                match world.pick_relay(&wish) {
                    None => self.without_relay(now),
                    Some(relay) => self.go_to(relay),
                }
            }
        }
    }

    /// Moves the room to `relay` once the home names it.
    fn go_to(&mut self, relay: LinkedRelay) {
        if let Some(effect) = self.lease.place(&relay) {
            self.outbox.push(effect);
        }
        self.placement.record(relay);
    }

    /// Writes the room's relay, or the next one, into the home again.
    pub(super) fn record_again(&mut self) {
        let write = self
            .placement
            .destination()
            .and_then(|relay| self.lease.write(relay));
        if let Some(effect) = write {
            self.outbox.push(effect);
        }
    }

    /// The store has answered a write of the home.
    pub(super) fn place_recorded(
        &mut self,
        now: Instant,
        recorded: Recorded,
        world: &mut dyn World,
    ) {
        match self.lease.written(now, self.conference, recorded) {
            Written::Settled => {}
            Written::Superseded => return self.depose(now),
            Written::Stale => return self.record_again(),
        }
        let Some((relay, before)) = self.placement.arrive(now) else {
            return;
        };
        if let Some(before) = before {
            self.leave_behind(now, before);
        }
        self.outbox.push(Effect::Settle(Some(relay)));
        // Sessions that an earlier owner opened there, or this one before its room was elsewhere, are nobody's any more but
        // would go on hearing: who is in the room is let in anew.
        self.command(now, Purpose::Nothing, Action::CloseRoom);
        self.former_relays.list_later(now);
        self.open_waiting(now, world);
        self.retire_at_relay(now);
        for ticket in self.membership.joins().tickets() {
            self.open_join(now, ticket, world);
        }
    }

    /// The room loses its relay and chooses another one, `avoid` last.
    pub(super) fn displace(
        &mut self,
        now: Instant,
        avoid: Option<RelayName>,
        world: &mut dyn World,
    ) {
        let Some(relay) = self.placement.lose(now, avoid) else {
            return;
        };
        self.outbox.push(Effect::Settle(None));
        self.outbox.push(Effect::Abandon(relay));
        self.former_relays.list_later(now);
        for purpose in self.calls.take_all() {
            // Joins and moves are asked for again at the new place.
            match purpose {
                Purpose::Request(ticket) => self.request_failed(now, ticket),
                Purpose::CloseLeft(relay) => self.outbox.push(Effect::Abandon(relay)),
                Purpose::Gate(gate) => self.group.gate_answered(now, gate),
                _ => {}
            }
        }
        self.membership.lose_media();
        self.place_or_wait(now, world);
    }

    /// No relay was found: joins are refused, participants wait.
    fn without_relay(&mut self, now: Instant) {
        for ticket in self.membership.joins().admitted() {
            self.cancel_join(now, ticket, JoinError::NoRelay);
        }
        if !self.membership.is_empty() {
            self.placement.choose_later(now + PLACE_RETRY);
        }
    }

    // ---- Media sessions

    /// Opens all waiting sessions.
    fn open_waiting(&mut self, now: Instant, world: &mut dyn World) {
        for request in self.membership.open_waiting() {
            if let Some((uplink, downlink, action)) = self.open(&request, world) {
                let purpose = Purpose::Move(request.participant.sender, uplink, downlink);
                self.command(now, purpose, action);
            }
        }
    }

    /// A command that opens a session under fresh keys; `None` without a relay.
    pub(super) fn open(
        &self,
        request: &SessionRequest,
        world: &mut dyn World,
    ) -> Option<(HopKey, HopKey, Action)> {
        let participant = &request.participant;
        let (boot, sender) = (self.placement.boot()?, participant.sender);
        let (mut uplink, mut downlink) = ([0; HopKey::LEN], [0; HopKey::LEN]);
        world.random(&mut uplink);
        world.random(&mut downlink);
        let (uplink_key, downlink_key) = (HopKey::new(uplink), HopKey::new(downlink));
        let note = Note {
            account: participant.account,
            session: request.session,
            join_id: participant.join_id,
            resume: request.resume,
            labels: self.labels.clone(),
        };
        let action = Action::OpenMedia(OpenMedia {
            sender,
            leaves: request.leaves,
            may_speak: participant.may_speak(),
            uplink_key: uplink_key.clone(),
            downlink_key: downlink_key.clone(),
            note: self.notes.seal(boot, sender, &note, world),
            media_version: self.media_version(),
            account_label: self.labels.label(participant.account),
        });
        Some((uplink_key, downlink_key, action))
    }

    /// The grant for an open session.
    pub(super) fn grant(
        &self,
        connection_id: ConnectionId,
        uplink_key: HopKey,
        downlink_key: HopKey,
    ) -> MediaGrant {
        let relay = self.placement.relay();
        let fence = self.lease.fence();
        MediaGrant {
            addresses: relay
                .map(|relay| relay.addresses.clone())
                .unwrap_or_default(),
            connection_id,
            uplink_key,
            downlink_key,
            era: fence.era,
            placement: fence.placement,
        }
    }

    /// The room's relay has opened a participant's session.
    pub(super) fn finish_move(&mut self, sender: u16, media: MediaGrant) {
        let opened = MediaSession::Open(media.connection_id);
        self.membership.set_media(sender, opened);
        if let Some(state) = self.membership.get(sender) {
            let (client, join_id) = (state.client, state.participant.join_id);
            let clients = client.into_iter().collect();
            self.outbox
                .tell(clients, EventKind::MediaMoved(join_id, media));
        }
    }

    /// Opens the participant's session anew at that time, or earlier with others.
    pub(super) fn reopen(&mut self, at: Instant, sender: u16) {
        if self.membership.get(sender).is_some() {
            self.membership.set_media(sender, MediaSession::Waiting);
            self.placement.reopen(at);
        }
    }

    /// The version of the room's media datagrams.
    pub(super) fn media_version(&self) -> u32 {
        let kept = self.membership.media_version();
        kept.unwrap_or(version::MEDIA.max())
    }

    // ---- Other relays

    /// A wish without preferences.
    fn wish(&self) -> RelayCriteria<'_> {
        RelayCriteria {
            media_version: self.media_version(),
            region: self.placement.region(),
            prefer: None,
            avoid: None,
            sessions: 1,
            for_whole_room: false,
        }
    }

    /// A relay other than the room's.
    pub(super) fn another_relay(&self, world: &mut dyn World) -> Option<LinkedRelay> {
        self.other_relay(self.wish(), world)
    }

    /// The same, but one that has room for so many sessions and did not fail to open one lately.
    fn willing_relay(&self, sessions: u64, world: &mut dyn World) -> Option<LinkedRelay> {
        let wish = RelayCriteria {
            sessions,
            for_whole_room: true,
            ..self.wish()
        };
        self.other_relay(wish, world)
    }

    fn other_relay(&self, wish: RelayCriteria<'_>, world: &mut dyn World) -> Option<LinkedRelay> {
        let here = &self.placement.relay()?.name;
        let wish = RelayCriteria {
            avoid: Some(here),
            ..wish
        };
        world.pick_relay(&wish).filter(|relay| relay.name != *here)
    }

    /// Moves the room because its relay did not open the session of a join. Returns whether the join may wait for that.
    pub(super) fn leave_unwilling(
        &mut self,
        now: Instant,
        ticket: Ticket,
        failure: Failure,
        world: &mut dyn World,
    ) -> bool {
        if self.placement.is_moving() {
            return true;
        }
        let Some(here) = self.placement.relay().map(|relay| relay.name.clone()) else {
            return false;
        };
        // Whether a relay without a link is dead is for its participants to say.
        if self.placement.is_link_lost() && !self.membership.is_empty() {
            return false;
        }
        let conference = self.conference;
        if !self.membership.has_others_open(ticket) {
            let is_left = self.willing_relay(1, world).is_some();
            if is_left {
                tracing::info!(%conference, relay = %here, "the relay opens no session: the room goes elsewhere");
                self.displace(now, Some(here), world);
            }
            return is_left;
        }
        let is_enough =
            failure == Failure::Full || self.placement.open_failures() >= FAILURES_TO_MOVE;
        if !is_enough || !self.placement.may_move_for_join(now) {
            return false;
        }
        let wanted = self.membership.sessions_wanted();
        let Some(relay) = self.willing_relay(wanted, world) else {
            return false;
        };
        tracing::info!(%conference, relay = %here, "the relay opens no further session: the room is moved");
        self.placement.move_for_join(now);
        self.go_to(relay);
        true
    }

    // ---- From one relay to the next without a gap

    /// Looks for another relay while this one drains, and ends an overlap that is over.
    pub(super) fn expire_drain(&mut self, now: Instant, world: &mut dyn World) {
        if self.placement.take_due_drain(now) {
            let another = match self.placement.is_moving() {
                true => None,
                false => self.another_relay(world),
            };
            match another {
                None => self.placement.drain_later(now + PLACE_RETRY),
                Some(relay) => self.go_to(relay),
            }
        }
        if self.former_relays.is_overlap_over(now) {
            self.close_left(now);
        }
    }

    /// The room has moved on from `relay`: an overlap begins.
    fn leave_behind(&mut self, now: Instant, relay: LinkedRelay) {
        // One that was left before that has had its time.
        self.close_left(now);
        self.calls.forget_media();
        self.membership.lose_media();
        self.former_relays.begin_overlap(now, relay);
        self.former_relays.list_later(now);
    }

    fn close_left(&mut self, now: Instant) {
        if let Some(relay) = self.former_relays.overlapping().cloned() {
            self.command_left(now, Purpose::CloseLeft(relay), Action::CloseRoom);
            self.former_relays.end_overlap();
        }
    }

    /// Lists the sessions at the room's relay, when it is time.
    pub(super) fn look_who_has_come(&mut self, now: Instant) {
        if !self.former_relays.take_due_listing(now) {
            return;
        }
        // Without a relay there is nobody to ask: it is asked when the room has one.
        if self.placement.relay().is_some() && self.former_relays.awaits_participants() {
            let action = Action::ListMedia { from: 0 };
            self.command(now, Purpose::List(0, false), action);
        }
    }

    /// The relay has listed a page of its sessions.
    pub(super) fn listed(
        &mut self,
        now: Instant,
        (from, unseen): (u16, bool),
        media: &[MediaState],
        more: bool,
    ) {
        if !rises(from, media) {
            // It would go on for ever.
            self.former_relays.list_later(now);
            return;
        }
        let unseen = unseen || media.iter().any(|session| !session.seen);
        let next = media.last().and_then(|last| last.sender.checked_add(1));
        if let Some(from) = next.filter(|_| more) {
            let action = Action::ListMedia { from };
            self.command(now, Purpose::List(from, unseen), action);
            return;
        }
        if self.membership.are_all_open() && !unseen {
            self.former_relays.all_arrived(now);
        } else {
            self.former_relays.list_later(now);
        }
    }
}
