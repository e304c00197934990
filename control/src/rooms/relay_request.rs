//! One command to a relay outside of a live room, and its result.

use confab_protocol::cluster::{Action, CommandResult, Fence};
use confab_protocol::control::ConferenceId;

use super::errors::LeftoverError;
use crate::cluster::{COMMAND_DEADLINE, LinkedRelay, RelayEvent, Relays, Response};
use crate::inbox::inbox;

/// Closes the conference's room at the relay. A relay that refuses has seen a later owner, which closes the room itself.
pub(super) async fn close(
    relays: &Relays,
    relay: &LinkedRelay,
    conference: ConferenceId,
    fence: Fence,
) -> Result<(), LeftoverError> {
    let closed = ask(relays, relay, conference, fence, Action::CloseRoom).await;
    closed.map(drop).ok_or(LeftoverError::NotClosed)
}

/// The relay's result of a command; `None` if it does not answer in time.
pub(super) async fn ask(
    relays: &Relays,
    relay: &LinkedRelay,
    conference: ConferenceId,
    fence: Fence,
    action: Action,
) -> Option<CommandResult> {
    let (events, mut outcome) = inbox();
    let in_whose_name = (fence, relay.boot);
    relays.command(&relay.name, conference, (0, events), in_whose_name, action);
    match tokio::time::timeout(COMMAND_DEADLINE, outcome.next()).await {
        Ok(Some(RelayEvent::CommandDone {
            response: Response::Answered(result),
            ..
        })) => Some(result),
        _ => None,
    }
}
