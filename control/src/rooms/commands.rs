//! What a room asks of its relay, and what became of it.

use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, CommandOutcome};
use confab_protocol::control::room::LeaveReason;
use confab_protocol::control::{ErrorCode, Refusal};
use confab_protocol::media::HopKey;

use super::effect::{Answer, Done, Effect, Ticket};
use super::refused::Failure;
use super::room::{PLACE_RETRY, Room, World};
use super::unreached::Reach;
use crate::cluster::LinkedRelay;

/// A command that a relay has not obeyed by then has failed.
pub(crate) const COMMAND_DEADLINE: Duration = Duration::from_secs(2);
/// What a client is told to wait when a relay did not obey.
const RELAY_RETRY: Duration = Duration::from_millis(500);

/// A command that the relay has not answered.
pub(super) struct Command {
    pub(super) deadline: Instant,
    pub(super) purpose: Purpose,
    /// To which boot of a relay: the room's, or the one that it leaves.
    boot: BootId,
    /// Senders that have no session any more when it is obeyed.
    closes: Vec<u16>,
}

/// A request that waits for relays to obey.
pub(super) struct Waiting {
    /// So many commands.
    parts: usize,
    /// Whether somebody cannot be told besides.
    is_pending: bool,
}

impl Waiting {
    fn answer(&self) -> Answer {
        match self.is_pending {
            true => Answer::Pending,
            false => Answer::Done,
        }
    }
}

pub(super) enum Purpose {
    /// Opens the media session of a join.
    Join(Ticket, HopKey, HopKey),
    /// Opens one of a participant at the room's new place.
    Move(u16, HopKey, HopKey),
    /// One of those that a request waits for.
    Part(Ticket),
    /// Whether a relay that was out of reach still has the participant's session.
    Probe(u16),
    /// Whether the relay still has the session of a join that is taken up again, so that it may stay.
    Keep(Ticket),
    /// Who has come to the room's new relay, from this sender on; whether somebody before has not.
    Roll(u16, bool),
    /// Ends what is at this relay, which the room has left.
    CloseLeft(LinkedRelay),
    /// Nobody waits for it.
    Nothing,
}

impl Room {
    /// Sends a command to the room's relay; `None` when it has none.
    pub(super) fn command(
        &mut self,
        now: Instant,
        purpose: Purpose,
        action: Action,
    ) -> Option<u64> {
        let relay = self.place.as_ref()?.relay.clone();
        let closes = match &action {
            Action::CloseMedia { sender } => vec![*sender],
            Action::CloseRoom => self.unclosed.keys().copied().collect(),
            Action::OpenMedia(_) | Action::SetMaySpeak { .. } | Action::ListMedia { .. } => {
                Vec::new()
            }
        };
        Some(self.send(now, &relay, purpose, action, closes))
    }

    /// Sends a command to the relay that the room leaves; `None` when it leaves none.
    pub(super) fn command_left(
        &mut self,
        now: Instant,
        purpose: Purpose,
        action: Action,
    ) -> Option<u64> {
        let relay = self.leaving.as_ref()?.relay().clone();
        Some(self.send(now, &relay, purpose, action, Vec::new()))
    }

    /// Sends a command to each relay where participants of the room are.
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
        let command = self.next_command;
        self.next_command += 1;
        let waits = Command {
            deadline: now + COMMAND_DEADLINE,
            purpose,
            boot: relay.boot,
            closes,
        };
        self.commands.insert(command, waits);
        self.effects.push_back(Effect::Command {
            command,
            relay: relay.name.clone(),
            boot: relay.boot,
            fence: self.fence,
            action,
        });
        command
    }

    pub(super) fn command_done(
        &mut self,
        now: Instant,
        command: u64,
        outcome: Done,
        world: &mut dyn World,
    ) {
        let Done::Answered(result) = outcome else {
            self.command_failed(now, command, world);
            return;
        };
        let Some(Command {
            purpose,
            closes,
            boot,
            ..
        }) = self.commands.remove(&command)
        else {
            return;
        };
        let (outcome, connection_id) = (result.outcome, result.connection_id);
        if self.boot() != Some(boot) {
            self.done_where_it_was(now, outcome, purpose);
            return;
        }
        if matches!(outcome, CommandOutcome::Obeyed | CommandOutcome::NotFound) {
            for sender in closes {
                self.unclosed.remove(&sender);
            }
        }
        match (outcome, purpose, connection_id) {
            (CommandOutcome::Fenced | CommandOutcome::WrongBoot, purpose, _) => {
                self.disobeyed(now, outcome, purpose, world);
            }
            (CommandOutcome::Obeyed, Purpose::Join(ticket, uplink, downlink), Some(id)) => {
                self.opened_here();
                let media = self.grant(id, uplink, downlink);
                self.finish_join(ticket, Some(media));
            }
            (CommandOutcome::Obeyed, Purpose::Keep(ticket), _) => self.finish_join(ticket, None),
            (CommandOutcome::NotFound, Purpose::Keep(ticket), _) => {
                self.open_join(now, ticket, world);
            }
            (CommandOutcome::Obeyed, Purpose::Roll(from, unseen), _) => {
                self.roll_called(now, (from, unseen), &result.media, result.more);
            }
            (CommandOutcome::Obeyed, Purpose::Move(sender, uplink, downlink), Some(id)) => {
                self.opened_here();
                let media = self.grant(id, uplink, downlink);
                self.finish_move(sender, media);
            }
            // A session that the relay does not have forwards nothing: what was to be closed or silenced is.
            (CommandOutcome::Obeyed | CommandOutcome::NotFound, Purpose::Part(ticket), _) => {
                self.part_done(ticket)
            }
            (CommandOutcome::NotFound, Purpose::Probe(sender), _) => {
                self.take_out(sender, LeaveReason::Lost, None);
            }
            (
                _,
                Purpose::Probe(_) | Purpose::Roll(..) | Purpose::CloseLeft(_) | Purpose::Nothing,
                _,
            ) => {}
            (outcome, purpose, _) => self.disobeyed(now, outcome, purpose, world),
        }
    }

    /// The relay did not answer in time, or could not be asked.
    pub(super) fn command_failed(&mut self, now: Instant, command: u64, world: &mut dyn World) {
        let Some(Command { purpose, boot, .. }) = self.commands.remove(&command) else {
            return;
        };
        match purpose {
            Purpose::CloseLeft(relay) => self.left_unclosed(relay),
            Purpose::Join(ticket, ..) | Purpose::Keep(ticket) => {
                self.join_failed(now, ticket, Failure::Unanswered, world);
            }
            // Whether the relay is dead is for its participants to say.
            Purpose::Move(sender, ..) if self.is_linkless() => {
                self.reopen(now + PLACE_RETRY, sender);
            }
            Purpose::Move(..) => {
                let avoid = self.place.as_ref().map(|place| place.relay.name.clone());
                self.displace(now, avoid, world);
            }
            Purpose::Part(ticket) => {
                self.give_left_up(boot);
                self.fail_waiting(now, ticket);
            }
            Purpose::Roll(..) => self.look_for_the_rest(now),
            Purpose::Probe(_) | Purpose::Nothing => {}
        }
    }

    /// The relay that the room leaves, or has left, has answered.
    fn done_where_it_was(&mut self, now: Instant, outcome: CommandOutcome, purpose: Purpose) {
        match (outcome, purpose) {
            // It has seen a later owner.
            (CommandOutcome::Fenced, _) => self.depose(),
            // One that was started again has nothing of the room.
            (
                CommandOutcome::Obeyed | CommandOutcome::NotFound | CommandOutcome::WrongBoot,
                Purpose::Part(ticket),
            ) => self.part_done(ticket),
            (_, Purpose::Part(ticket)) => self.fail_waiting(now, ticket),
            (
                CommandOutcome::Obeyed | CommandOutcome::NotFound | CommandOutcome::WrongBoot,
                Purpose::CloseLeft(_),
            ) => {}
            (_, Purpose::CloseLeft(relay)) => self.left_unclosed(relay),
            // What was opened there ends with the rest.
            _ => {}
        }
    }

    /// Answers when all of `commands` are obeyed, as far as everybody was in reach who is to be told.
    pub(super) fn wait_for(&mut self, ticket: Ticket, reach: Reach, commands: Vec<u64>) {
        if reach == Reach::NotAll {
            self.answer(ticket, Err(relay_silent()));
            return;
        }
        let waiting = Waiting {
            parts: commands.len(),
            is_pending: reach == Reach::GivenUp,
        };
        if commands.is_empty() {
            self.answer(ticket, Ok(waiting.answer()));
            return;
        }
        self.waiting.insert(ticket, waiting);
        for command in commands {
            if let Some(command) = self.commands.get_mut(&command) {
                command.purpose = Purpose::Part(ticket);
            }
        }
    }

    fn part_done(&mut self, ticket: Ticket) {
        if let Some(waiting) = self.waiting.get_mut(&ticket) {
            waiting.parts = waiting.parts.saturating_sub(1);
            if waiting.parts == 0 {
                let answer = waiting.answer();
                self.waiting.remove(&ticket);
                self.answer(ticket, Ok(answer));
            }
        }
    }
}

pub(super) fn relay_silent() -> Refusal {
    Refusal::new(
        ErrorCode::Busy,
        "the relay has not answered; try again in a moment",
    )
    .after(RELAY_RETRY)
}
