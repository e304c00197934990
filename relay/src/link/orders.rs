//! Control's messages, without the link: takes bytes, carries out commands, returns results.

use std::sync::Arc;
use std::time::Instant;

use confab_protocol::cluster::{self, Command, CommandOutcome, CommandResult};
use confab_protocol::control::framing::{Deframer, FrameError};
use confab_protocol::control::text::Shown;
use confab_protocol::wire::{self, control_to_relay::Kind};

use crate::core::Registry;

/// Commands that may wait for a worker before control's are not taken any more. A worker carries out some hundred
/// thousand in a second.
const MAX_WAITING: usize = 20_000;

/// Reads one control node's messages, and carries out its commands.
pub struct Orders {
    registry: Arc<Registry>,
    deframer: Deframer,
}

/// A message that was handled.
#[derive(Debug, Clone, PartialEq)]
pub enum Handled {
    /// The result of a command, to be sent to control. Packets see the change after the next
    /// [`publish`](Registry::publish).
    Result(wire::CommandResult),
    /// Control's greeting.
    Hello(wire::ControlHello),
    /// The relay is to drain and end.
    Drain,
    /// A message of a kind that this version does not know.
    Unknown,
}

impl Orders {
    /// For commands to the relay of this registry.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            deframer: Deframer::new(cluster::MAX_MESSAGE),
        }
    }

    /// Adds bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.deframer.push(bytes);
    }

    /// Handles the next message, if a whole one is there. After an error the stream is unusable.
    pub fn next(&mut self, now: Instant) -> Result<Option<Handled>, FrameError> {
        let Some(message) = self.deframer.next::<wire::ControlToRelay>()? else {
            return Ok(None);
        };
        Ok(Some(match message.kind {
            Some(Kind::Command(command)) => Handled::Result(self.obey(now, &command)),
            Some(Kind::Hello(hello)) => Handled::Hello(hello),
            Some(Kind::Drain(wire::Drain {})) => Handled::Drain,
            None => Handled::Unknown,
        }))
    }

    /// True while too many commands wait for the workers: no message is to be handled then.
    pub fn is_ahead(&self) -> bool {
        self.registry.waiting() > MAX_WAITING
    }

    fn obey(&self, now: Instant, message: &wire::Command) -> wire::CommandResult {
        let result = match Command::try_from(message) {
            Ok(command) => self.registry.execute(now, &command),
            Err(error) => {
                tracing::warn!("invalid command: {}", Shown(&error));
                CommandResult::bare(message.id, CommandOutcome::Invalid)
            }
        };
        wire::CommandResult::from(&result)
    }
}

#[cfg(test)]
mod tests;
