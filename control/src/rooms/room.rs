//! The decisions of a live room, without I/O: [`Input`]s and the time in, [`Effect`]s out.
//!
//! Invariants:
//!
//! * A join is answered, and the others are told, after the relay has opened its media session.
//! * Moderation (mute, kick, ban, role) is acknowledged after the store has it and all relays have obeyed. It applies to joins under way: an
//!   account that is banned between admission and the relay's answer does not get in.
//! * No request waits for a relay longer than two seconds.
//! * A participant leaves by a request or by the relay's word, never because a QUIC connection was lost.
//!
//! The state is in parts that own their fields: `membership`, `placement`,
//! `former_relays`, `lease`, `ownership_check`,
//! `relay_calls`, `requests`, `group`. This file routes inputs and deadlines. What takes several parts is in
//! `joins`; `moderation` (also leaving); `commands` (to relays, and their answers); `moves` (to the next relay); `failover`;
//! `group` (keys of the members).

mod commands;
mod failover;
mod group;
mod joins;
mod moderation;
mod moves;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, Fence, MediaEndReason};
use confab_protocol::control::room::LeaveReason;
use confab_protocol::control::{ConferenceId, Participant};

use super::adoption::{Adopted, Adoptee};
use super::effect::{ClientId, Effect, Input, RoomChange, RoomRequest, Ticket};
use super::former_relays::FormerRelays;
use super::frame_reports::FrameReports;
use super::group::Group;
use super::group_keys::GroupKeys;
use super::home::Recorded;
use super::label::LabelKey;
use super::lease::Lease;
use super::membership::Membership;
use super::note::NoteSealer;
use super::outbox::Outbox;
use super::ownership_check::{LeaseEpoch, OwnershipCheck};
use super::participant::{MediaSession, ParticipantState};
use super::placement::Placement;
use super::relay_calls::{Purpose, RelayCalls};
use super::requests::Requests;
use super::world::World;
use crate::cluster::RelayEvent;
use crate::domain::{Present, RelayName};
use crate::store::{HomePlace, HomeRecord, SessionId};

/// Numbers that a room's successor in the same era continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers {
    /// The next command.
    pub command: u64,
    /// The last placement.
    pub placement: u64,
}

/// The keys that a room uses.
pub struct RoomKeys {
    /// Random: for labels of accounts at relays.
    pub labels: LabelKey,
    /// For notes at relays.
    pub notes: NoteSealer,
    /// For the delivery service.
    pub group: GroupKeys,
}

/// A live room.
pub struct Room {
    conference: ConferenceId,
    /// The key of the gathering's labels.
    labels: LabelKey,
    notes: NoteSealer,
    membership: Membership,
    placement: Placement,
    former_relays: FormerRelays,
    lease: Lease,
    ownership_check: OwnershipCheck,
    calls: RelayCalls,
    requests: Requests,
    frame_reports: FrameReports,
    group: Group,
    outbox: Outbox,
}

impl Room {
    /// A room without participants. `home` makes this node the owner, in this lease epoch.
    pub fn new(
        conference: ConferenceId,
        (home, epoch): (HomeRecord, LeaseEpoch),
        max_participants: usize,
        numbers: Numbers,
        keys: RoomKeys,
    ) -> Self {
        Self {
            conference,
            labels: keys.labels,
            notes: keys.notes,
            group: Group::new(keys.group, conference, home.era),
            membership: Membership::new(max_participants),
            placement: Placement::new(),
            former_relays: FormerRelays::default(),
            lease: Lease::new(home, numbers.placement),
            ownership_check: OwnershipCheck::new(epoch),
            calls: RelayCalls::new(numbers.command),
            requests: Requests::default(),
            frame_reports: FrameReports::default(),
            outbox: Outbox::new(conference),
        }
    }

    /// Takes over from `before`, a room of the same conference and era that has just ended: its unreachable relays, kicked joins and
    /// lookups.
    pub fn follow(&mut self, before: &mut Self) {
        self.former_relays = before.former_relays.hand_over();
        self.placement.follow(&before.placement);
        self.membership.follow(&mut before.membership);
        self.group.follow(&before.group);
        self.ownership_check =
            std::mem::replace(&mut before.ownership_check, OwnershipCheck::new(None));
    }

    /// The room is taken over without a link to the relay that its home names. `idle_timeout` is known if the relay has been linked to this
    /// node before.
    pub fn take_over_without(
        &mut self,
        now: Instant,
        relay: HomePlace,
        idle_timeout: Option<Duration>,
    ) {
        self.former_relays
            .take_over_without(now, relay, idle_timeout);
    }

    /// Takes over the sessions that the room's relay has. Clients are told when they resume their joins.
    pub fn adopt(&mut self, now: Instant, adopted: Adopted) {
        let Adopted {
            relay,
            participants,
            strangers,
            parameters,
        } = adopted;
        if let Some(parameters) = parameters {
            self.labels = parameters.labels;
            self.membership.keep_version(parameters.media_version);
        }
        self.outbox.push(Effect::Settle(Some(relay.clone())));
        self.placement.adopt(now, relay);
        for adoptee in participants {
            self.adopt_participant(now, adoptee);
        }
        let strange = strangers.iter().map(|(sender, _)| *sender);
        let highest = self.membership.senders().into_iter().chain(strange).max();
        // Those before may have been given away a moment ago.
        if let Some(highest) = highest {
            self.membership.give_labels_after(highest);
        }
        let senders: Vec<u16> = strangers.iter().map(|(sender, _)| *sender).collect();
        for (sender, account) in strangers {
            self.membership
                .departed_mut()
                .note_unclosed(sender, account);
        }
        self.close_media(now, &senders);
    }

    fn adopt_participant(&mut self, now: Instant, adoptee: Adoptee) {
        let participant = adoptee.participant;
        let (sender, may_speak) = (participant.sender, participant.may_speak());
        self.outbox.push(Effect::Present(participant.account));
        let (join_id, account) = (participant.join_id, participant.account);
        self.group.adopt(join_id, account, adoptee.username);
        self.membership.insert(ParticipantState {
            participant,
            session: adoptee.session,
            client: None,
            resume: adoptee.resume,
            media: MediaSession::Open(adoptee.connection_id),
            leaves: adoptee.leaves,
        });
        if may_speak != adoptee.may_speak {
            let action = Action::SetMaySpeak { sender, may_speak };
            self.command(now, Purpose::Nothing, action);
        }
    }

    /// Takes an input. [`Self::next_effect`] returns what follows.
    pub fn handle(&mut self, now: Instant, input: Input, world: &mut dyn World) {
        if !self.lease.is_owned() {
            return;
        }
        if matches!(input, Input::Relay(RelayEvent::Relinked(_))) {
            // A node that was cut off from a relay may have been cut off from other nodes, too.
            self.ownership_check.invalidate();
        }
        match input {
            Input::Looked(recorded) => self.looked(now, recorded, world),
            input => {
                let epoch = world.lease_epoch(now);
                let (input, starts) = self.ownership_check.take_in(now, epoch, input);
                self.look_up_home_if(starts);
                if let Some(input) = input {
                    self.take_in(now, input, world);
                }
            }
        }
        self.follow_group(now);
        self.close_if_over(now);
    }

    fn take_in(&mut self, now: Instant, input: Input, world: &mut dyn World) {
        match input {
            Input::Request { ticket, request } => self.request(now, ticket, request),
            Input::Unclaimed(join_id) => self.unclaimed(now, join_id),
            Input::SessionEnded(session) => self.end_session(now, session),
            Input::Admitted { ticket, result } => self.admitted(now, ticket, result, world),
            Input::Stored { ticket, result } => self.stored(now, ticket, result),
            Input::PlaceRecorded(recorded) => self.place_recorded(now, recorded, world),
            // These have been acted on before.
            Input::Looked(_) | Input::Woken => {}
            Input::Relay(event) => self.relay_event(now, event, world),
            Input::MediaReported {
                of,
                connection_id,
                alive,
            } => self.media_reported(now, &of, (connection_id, alive), world),
            Input::FramesReported { of, leaf } => self.frames_reported(now, &of, leaf),
            Input::LeftoverClosed(relay) => self.former_relays.closed(&relay),
            Input::ToGroup {
                of,
                messages,
                round_trip,
            } => self.take_group_messages(now, &of, messages, round_trip),
            Input::Disconnected(client) => self.client_disconnected(now, client),
        }
    }

    fn request(&mut self, now: Instant, ticket: Ticket, request: RoomRequest) {
        match request {
            RoomRequest::Join { who, resume } => self.begin_join(now, ticket, who, resume),
            RoomRequest::Change(RoomChange::Leave {
                account,
                client,
                join_id,
            }) => self.leave(now, ticket, (account, client, join_id)),
            RoomRequest::Change(RoomChange::Moderate(moderation)) => {
                self.moderate(now, ticket, moderation);
            }
        }
    }

    /// Takes an event of a relay. A change of its state counts only if it is the room's relay.
    fn relay_event(&mut self, now: Instant, event: RelayEvent, world: &mut dyn World) {
        let boot = event.boot();
        if boot.is_some() && boot != self.placement.boot() {
            return;
        }
        match event {
            RelayEvent::CommandDone { command, response } => {
                self.command_done(now, command, response, world);
            }
            RelayEvent::MediaEnded {
                sender,
                connection_id,
                reason,
            } => {
                // The end of a session that has been replaced ends no participant.
                if self.membership.has_session(sender, connection_id) {
                    self.take_out(now, sender, leave_reason(reason), None);
                }
            }
            RelayEvent::Gone(_) => self.displace(now, None, world),
            RelayEvent::Silent(_) => {
                if self.placement.lose_link() {
                    self.probe_relay(now, true, world);
                }
            }
            RelayEvent::Recovered(_) => self.placement.end_probe(),
            RelayEvent::Relinked(_) => {
                self.placement.end_probe();
                self.probe_all(now);
            }
            RelayEvent::Readdressed(_, addresses) => self.placement.readdress(addresses),
            RelayEvent::Drains(_) => {
                self.placement.drain(now);
                self.expire_drain(now, world);
            }
        }
    }

    /// Takes the result of a lookup of the home.
    fn looked(&mut self, now: Instant, recorded: Recorded, world: &mut dyn World) {
        let is_known = !matches!(recorded, Recorded::Unknown(_));
        if !self.lease.looked(recorded) {
            return self.depose(now);
        }
        let mut jitter = [0];
        world.random(&mut jitter);
        let epoch = world.lease_epoch(now);
        let answer = (is_known, jitter[0]);
        let (released, starts) = self.ownership_check.finish(now, epoch, answer);
        self.look_up_home_if(starts);
        for (ticket, request) in released {
            self.request(now, ticket, request);
        }
    }

    fn look_up_home_if(&mut self, starts: bool) {
        if starts {
            let home = self.lease.home().clone();
            self.outbox.push(Effect::Look { home });
        }
    }

    /// The time at which to call [`Self::expire`].
    pub fn deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.calls.deadline(),
            self.lease.deadline(),
            self.ownership_check.deadline(),
            self.placement.deadline(),
            self.former_relays.deadline(),
            self.group.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Acts on all deadlines that have passed.
    pub fn expire(&mut self, now: Instant, world: &mut dyn World) {
        if !self.lease.is_owned() {
            return;
        }
        let epoch = world.lease_epoch(now);
        let starts = self.ownership_check.expire(now, epoch);
        self.look_up_home_if(starts);
        for command in self.calls.due(now) {
            self.note_unanswered(command, world);
            self.command_failed(now, command, world);
        }
        if self.placement.take_due_retry(now) {
            self.place_or_wait(now, world);
        }
        if self.lease.take_due(now) {
            self.record_again();
        }
        self.former_relays.forget_empty(now);
        self.expire_probe(now, world);
        self.expire_drain(now, world);
        self.look_who_has_come(now);
        self.group.expire(now);
        self.follow_group(now);
        self.close_if_over(now);
    }

    /// Another node owns the room: [`Effect::AskAgain`] answers all requests, and this node does nothing more in the room.
    pub fn depose(&mut self, now: Instant) {
        if !self.lease.lose() {
            return;
        }
        let participants = self.membership.take_all();
        let joins = self.membership.joins_mut().take_all();
        let mut tickets = Vec::new();
        for (ticket, account) in joins {
            self.outbox.push(Effect::Absent(account));
            tickets.push(ticket);
        }
        tickets.extend(self.requests.take_all());
        let held = self.ownership_check.take_held();
        tickets.extend(held.into_iter().map(|(ticket, _)| ticket));
        for ticket in tickets {
            self.outbox.push(Effect::AskAgain(ticket));
        }
        drop(self.calls.take_all());
        self.former_relays.end_overlap();
        if self.placement.end(now) {
            self.outbox.push(Effect::Settle(None));
        }
        for state in participants {
            self.outbox.push(Effect::Absent(state.participant.account));
        }
    }

    /// Whether this node owns the room.
    pub fn is_owned(&self) -> bool {
        self.lease.is_owned()
    }

    /// Whether the relay is the room's, the next one, or the one of an overlap.
    pub fn uses(&self, relay: &RelayName) -> bool {
        let leaving = self.former_relays.overlapping();
        self.placement.uses(relay) || leaving.is_some_and(|leaving| leaving.name == *relay)
    }

    /// The home as the store last returned it.
    pub fn home(&self) -> &HomeRecord {
        self.lease.home()
    }

    /// Whether participants may be at relays that cannot be commanded. The room has to be kept for as long, even if it is empty.
    pub fn has_unreached(&self) -> bool {
        self.former_relays.has_unreachable()
    }

    /// The fence of commands to relays.
    pub fn fence(&self) -> Fence {
        self.lease.fence()
    }

    /// The next effect to carry out, in order.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.outbox.next()
    }

    /// Whether the room has no participants, no pending joins and no unanswered requests.
    pub fn is_over(&self) -> bool {
        self.membership.is_empty()
            && self.membership.joins().is_empty()
            && self.requests.is_empty()
            && !self.ownership_check.is_holding()
            && !self.placement.is_moving()
    }

    /// The number of participants.
    pub fn live(&self) -> usize {
        self.membership.len()
    }

    /// The number of changes that participants were told of, whether there was one to tell or not.
    pub fn revision(&self) -> u64 {
        self.outbox.revision()
    }

    /// The participants, by sender label.
    pub fn roster(&self) -> Vec<Present> {
        self.present().map(Into::into).collect()
    }

    /// The participants.
    pub fn present(&self) -> impl Iterator<Item = &Participant> {
        self.membership.all().map(|state| &state.participant)
    }

    /// The account sessions of all participants and pending joins.
    pub fn sessions(&self) -> Vec<SessionId> {
        let sessions: HashSet<SessionId> = self.membership.sessions().collect();
        sessions.into_iter().collect()
    }

    /// Whether the client has a participant or a pending join here.
    pub fn knows(&self, client: ClientId) -> bool {
        self.membership.knows(client) || self.ownership_check.knows(client)
    }

    /// The numbers that a successor continues.
    pub fn numbers(&self) -> Numbers {
        Numbers {
            command: self.calls.next_number(),
            placement: self.lease.fence().placement,
        }
    }

    #[cfg(test)]
    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }

    #[cfg(test)]
    pub(super) fn membership_mut(&mut self) -> &mut Membership {
        &mut self.membership
    }

    fn close_if_over(&mut self, now: Instant) {
        if !self.is_over() {
            return;
        }
        if self.placement.relay().is_some() {
            self.command_everywhere(now, &Action::CloseRoom);
            self.placement.end(now);
            self.former_relays.end_overlap();
            drop(self.calls.take_all());
            self.lease.forget_failure();
            self.outbox.push(Effect::Settle(None));
        } else if let Some(relay) = self.former_relays.end_overlap() {
            self.outbox.push(Effect::Abandon(relay));
        }
    }
}

fn leave_reason(reason: MediaEndReason) -> LeaveReason {
    match reason {
        MediaEndReason::Bye => LeaveReason::Left,
        MediaEndReason::Idle | MediaEndReason::Unspecified => LeaveReason::Lost,
    }
}
