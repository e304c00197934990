//! Commands to relays, and what follows from their answers.

use std::time::Instant;

use confab_protocol::cluster::{Action, CommandOutcome, CommandResult};
use confab_protocol::control::room::LeaveReason;

use super::super::effect::{Effect, Settled, Ticket};
use super::super::errors::ChangeError;
use super::super::former_relays::GIVEN_UP;
use super::super::placement::PLACE_RETRY;
use super::super::relay_calls::{Call, Purpose};
use super::super::requests::{Acknowledgement, Reach};
use super::super::world::World;
use super::Room;
use super::joins::Failure;
use crate::cluster::{LinkedRelay, Response};

impl Room {
    /// Commands the room's relay; `None` if it has none.
    pub(super) fn command(
        &mut self,
        now: Instant,
        purpose: Purpose,
        action: Action,
    ) -> Option<u64> {
        let relay = self.placement.relay()?.clone();
        let closes = match &action {
            Action::CloseMedia { sender } => vec![*sender],
            Action::CloseRoom => self.membership.departed().unclosed(),
            Action::OpenMedia(_)
            | Action::SetMaySpeak { .. }
            | Action::ListMedia { .. }
            | Action::SetLeaves(_)
            | Action::RetireEpochs { .. } => Vec::new(),
        };
        Some(self.send(now, &relay, purpose, action, closes))
    }

    /// Commands the relay of the overlap; `None` without an overlap.
    pub(super) fn command_left(
        &mut self,
        now: Instant,
        purpose: Purpose,
        action: Action,
    ) -> Option<u64> {
        let relay = self.former_relays.overlapping()?.clone();
        Some(self.send(now, &relay, purpose, action, Vec::new()))
    }

    /// Commands the room's relay and the relay of the overlap.
    pub(super) fn command_everywhere(&mut self, now: Instant, action: &Action) -> Vec<u64> {
        let here = self.command(now, Purpose::Nothing, action.clone());
        let left = self.command_left(now, Purpose::Nothing, action.clone());
        here.into_iter().chain(left).collect()
    }

    fn send(
        &mut self,
        now: Instant,
        relay: &LinkedRelay,
        purpose: Purpose,
        action: Action,
        closes: Vec<u16>,
    ) -> u64 {
        let to = (relay, self.lease.fence());
        let (command, effect) = self.calls.send(now, to, purpose, action, closes);
        self.outbox.push(effect);
        command
    }

    /// Closes the sessions of these senders.
    pub(super) fn close_media(&mut self, now: Instant, senders: &[u16]) -> Vec<u64> {
        let close = |sender: &u16| {
            let action = Action::CloseMedia { sender: *sender };
            self.command_everywhere(now, &action)
        };
        senders.iter().flat_map(close).collect()
    }

    /// Asks a relay that was unreachable for every session: it may have closed some meanwhile without being heard.
    pub(super) fn probe_all(&mut self, now: Instant) {
        let open = self.membership.open_sessions();
        let participants = open.map(|(_, state)| &state.participant);
        let rights: Vec<(u16, bool)> = participants
            .map(|participant| (participant.sender, participant.may_speak()))
            .collect();
        for (sender, may_speak) in rights {
            let action = Action::SetMaySpeak { sender, may_speak };
            self.command(now, Purpose::Probe(sender), action);
        }
        let unclosed = self.membership.departed().unclosed();
        self.close_media(now, &unclosed);
    }

    /// Takes the outcome of a command.
    pub(super) fn command_done(
        &mut self,
        now: Instant,
        command: u64,
        response: Response,
        world: &mut dyn World,
    ) {
        let Response::Answered(result) = response else {
            self.command_failed(now, command, world);
            return;
        };
        let Some(call) = self.calls.take(command) else {
            return;
        };
        if self.placement.boot() == Some(call.boot) {
            self.answered(now, call, &result, world);
        } else {
            self.answered_where_it_was(now, call.purpose, result.outcome);
        }
    }

    /// The room's relay has answered.
    fn answered(
        &mut self,
        now: Instant,
        call: Call,
        result: &CommandResult,
        world: &mut dyn World,
    ) {
        let (outcome, connection_id) = (result.outcome, result.connection_id);
        if matches!(outcome, CommandOutcome::Obeyed | CommandOutcome::NotFound) {
            for sender in call.closes {
                self.membership.departed_mut().closed(sender);
            }
        }
        match (outcome, call.purpose, connection_id) {
            (CommandOutcome::Fenced | CommandOutcome::WrongBoot, purpose, _) => {
                self.disobeyed(now, outcome, purpose, world);
            }
            // A session that the relay does not have sends nothing.
            (_, Purpose::Gate(gate), _) => self.group.gate_answered(now, gate),
            (CommandOutcome::Obeyed, Purpose::Join(ticket, uplink, downlink), Some(id)) => {
                self.placement.opened();
                let media = self.grant(id, uplink, downlink);
                self.finish_join(now, ticket, Some(media));
            }
            (CommandOutcome::Obeyed, Purpose::Keep(ticket), _) => {
                self.finish_join(now, ticket, None)
            }
            (CommandOutcome::NotFound, Purpose::Keep(ticket), _) => {
                self.open_join(now, ticket, world);
            }
            (CommandOutcome::Obeyed, Purpose::List(from, unseen), _) => {
                self.listed(now, (from, unseen), &result.media, result.more);
            }
            (CommandOutcome::Obeyed, Purpose::Move(sender, uplink, downlink), Some(id)) => {
                self.placement.opened();
                let media = self.grant(id, uplink, downlink);
                self.finish_move(sender, media);
            }
            // A session that the relay does not have forwards nothing: what was to be closed or silenced is.
            (CommandOutcome::Obeyed | CommandOutcome::NotFound, Purpose::Request(ticket), _) => {
                self.request_obeyed(ticket);
            }
            (CommandOutcome::NotFound, Purpose::Probe(sender), _) => {
                self.take_out(now, sender, LeaveReason::Lost, None);
            }
            (
                _,
                Purpose::Probe(_) | Purpose::List(..) | Purpose::CloseLeft(_) | Purpose::Nothing,
                _,
            ) => {}
            (outcome, purpose, _) => self.disobeyed(now, outcome, purpose, world),
        }
    }

    /// A former relay has answered.
    fn answered_where_it_was(&mut self, now: Instant, purpose: Purpose, outcome: CommandOutcome) {
        match (outcome, purpose) {
            // It has seen a later owner.
            (CommandOutcome::Fenced, _) => self.depose(now),
            (_, Purpose::Gate(gate)) => self.group.gate_answered(now, gate),
            // One that was started again has nothing of the room.
            (
                CommandOutcome::Obeyed | CommandOutcome::NotFound | CommandOutcome::WrongBoot,
                Purpose::Request(ticket),
            ) => self.request_obeyed(ticket),
            (_, Purpose::Request(ticket)) => self.request_failed(now, ticket),
            (
                CommandOutcome::Obeyed | CommandOutcome::NotFound | CommandOutcome::WrongBoot,
                Purpose::CloseLeft(_),
            ) => {}
            (_, Purpose::CloseLeft(relay)) => self.outbox.push(Effect::Abandon(relay)),
            // What was opened there ends with the rest.
            _ => {}
        }
    }

    /// The room's relay has refused a command.
    fn disobeyed(
        &mut self,
        now: Instant,
        outcome: CommandOutcome,
        purpose: Purpose,
        world: &mut dyn World,
    ) {
        match (&purpose, outcome) {
            // The relay has seen a later owner.
            (_, CommandOutcome::Fenced) => self.depose(now),
            (_, CommandOutcome::WrongBoot) => {
                match purpose {
                    Purpose::Request(ticket) => self.request_failed(now, ticket),
                    Purpose::Gate(gate) => self.group.gate_answered(now, gate),
                    _ => {}
                }
                self.displace(now, None, world);
            }
            (Purpose::Join(ticket, ..), CommandOutcome::Full) => {
                self.join_failed(now, *ticket, Failure::Full, world);
            }
            (Purpose::Join(ticket, ..) | Purpose::Keep(ticket), _) => {
                self.join_failed(now, *ticket, Failure::Refused(outcome), world);
            }
            (Purpose::Move(..), _) => {
                let here = self.placement.relay().map(|relay| relay.name.clone());
                self.displace(now, here, world);
            }
            (Purpose::Request(ticket), _) => self.request_failed(now, *ticket),
            (Purpose::Gate(gate), _) => self.group.gate_answered(now, *gate),
            (
                Purpose::Probe(_) | Purpose::List(..) | Purpose::CloseLeft(_) | Purpose::Nothing,
                _,
            ) => {}
        }
    }

    /// A relay did not answer in time, or has no link.
    pub(super) fn command_failed(&mut self, now: Instant, command: u64, world: &mut dyn World) {
        let Some(Call { purpose, boot, .. }) = self.calls.take(command) else {
            return;
        };
        match purpose {
            Purpose::CloseLeft(relay) => self.outbox.push(Effect::Abandon(relay)),
            Purpose::Join(ticket, ..) | Purpose::Keep(ticket) => {
                self.join_failed(now, ticket, Failure::Unanswered, world);
            }
            // Whether the relay is dead is for its participants to say.
            Purpose::Move(sender, ..) if self.placement.is_link_lost() => {
                self.reopen(now + PLACE_RETRY, sender);
            }
            Purpose::Move(..) => {
                let here = self.placement.relay().map(|relay| relay.name.clone());
                self.displace(now, here, world);
            }
            Purpose::Request(ticket) => {
                // Nobody is waited for at a relay that is left and does not obey. What it has is left over, and closed before anything
                // else is acknowledged.
                if let Some(relay) = self.former_relays.end_overlap_of(boot) {
                    self.outbox.push(Effect::Abandon(relay));
                }
                self.request_failed(now, ticket);
            }
            Purpose::List(..) => self.former_relays.list_later(now),
            // One that does not answer is left, or gets the leaves with the sessions that it opens anew.
            Purpose::Gate(gate) => self.group.gate_answered(now, gate),
            Purpose::Probe(_) | Purpose::Nothing => {}
        }
    }

    /// Tells the world of a relay that left an open unanswered.
    pub(super) fn note_unanswered(&self, command: u64, world: &mut dyn World) {
        if let Some(relay) = self.placement.relay()
            && self.calls.is_open(command)
            && !self.placement.is_link_lost()
        {
            world.note_unanswered(relay);
        }
    }

    /// Answers a request: now, or when all of `commands` are obeyed.
    pub(super) fn acknowledge(&mut self, ticket: Ticket, reach: Reach, commands: &[u64]) {
        match Acknowledgement::of(reach, commands.len()) {
            Acknowledgement::Refused => {
                self.outbox
                    .answer_change(ticket, Err(ChangeError::RelaySilent));
            }
            Acknowledgement::Now(settled) => self.outbox.answer_change(ticket, Ok(settled)),
            Acknowledgement::After(count, settled) => {
                self.requests.wait(ticket, count, settled);
                self.calls.wait_for(ticket, commands);
            }
        }
    }

    fn request_obeyed(&mut self, ticket: Ticket) {
        if let Some(settled) = self.requests.obeyed(ticket) {
            self.outbox.answer_change(ticket, Ok(settled));
        }
    }

    /// A relay did not obey a command of a request: the request is refused, or pending if the relay has been unreachable for long.
    pub(super) fn request_failed(&mut self, now: Instant, ticket: Ticket) {
        if !self.requests.failed(ticket) {
            return;
        }
        let silent = self.placement.link_lost_since();
        let answer = match silent.map(|since| now.saturating_duration_since(since)) {
            Some(silent) if silent >= GIVEN_UP => Ok(Settled::WhereReached),
            _ => Err(ChangeError::RelaySilent),
        };
        self.outbox.answer_change(ticket, answer);
    }
}
