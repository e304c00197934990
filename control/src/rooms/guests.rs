//! Guests of rooms that have ended: their accounts go with the room.

use confab_protocol::control::AccountId;
use tokio::sync::mpsc;

/// Most guests that wait to be forgotten. What is beyond is deleted by the store, a day after it came.
const QUEUE: usize = 4096;

/// Where rooms say which guests were in them when they end. Clones share it. Without a receiver nothing is said.
#[derive(Clone, Debug, Default)]
pub struct EndedGuests(Option<mpsc::Sender<AccountId>>);

impl EndedGuests {
    /// With the receiver of what rooms say.
    pub fn channel() -> (Self, mpsc::Receiver<AccountId>) {
        let (tell, told) = mpsc::channel(QUEUE);
        (Self(Some(tell)), told)
    }

    /// True if somebody is told.
    pub(super) fn are_told(&self) -> bool {
        self.0.is_some()
    }

    /// The guest was in a room that has ended. Does not wait.
    pub(super) fn tell(&self, guest: AccountId) {
        if let Some(tell) = &self.0 {
            let _ = tell.try_send(guest);
        }
    }
}
