//! How a room hears of its relay, its store and its clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::rooms::effect::Input;

/// What relays and clients have said to a room unasked and it has not taken in yet, at most: several times the participants
/// of the largest room.
pub const MAX_UNASKED: usize = 8192;

/// Where a room hears. Clones share it.
///
/// What the room asked for always finds room: a lost answer would leave a request waiting for ever, and there are no more
/// answers than questions. What others say by themselves is bounded.
#[derive(Clone, Debug)]
pub struct RoomInbox {
    inputs: mpsc::UnboundedSender<Item>,
    unasked: Arc<AtomicUsize>,
}

/// What a room hears, in its order.
#[derive(Debug)]
pub struct RoomInputs {
    inputs: mpsc::UnboundedReceiver<Item>,
    unasked: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Item {
    input: Input,
    is_unasked: bool,
}

/// The room has not taken in what it was told before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxFull;

/// Both ends of a room's inbox.
pub fn room_inbox() -> (RoomInbox, RoomInputs) {
    let (sender, inputs) = mpsc::unbounded_channel();
    let unasked = Arc::new(AtomicUsize::new(0));
    let inbox = RoomInbox {
        inputs: sender,
        unasked: unasked.clone(),
    };
    (inbox, RoomInputs { inputs, unasked })
}

impl RoomInbox {
    /// Puts in what the room asked for, or what this node says. A room that is over has nothing to hear.
    pub fn send(&self, input: Input) {
        let is_unasked = false;
        let _ = self.inputs.send(Item { input, is_unasked });
    }

    /// Puts in what somebody else says unasked.
    ///
    /// # Errors
    ///
    /// When [`MAX_UNASKED`] of these wait: nothing was put in.
    pub fn offer(&self, input: Input) -> Result<(), InboxFull> {
        if self.unasked.fetch_add(1, Ordering::Relaxed) >= MAX_UNASKED {
            self.unasked.fetch_sub(1, Ordering::Relaxed);
            return Err(InboxFull);
        }
        let is_unasked = true;
        let _ = self.inputs.send(Item { input, is_unasked });
        Ok(())
    }

    /// Whether both are of one room.
    pub fn is_same(&self, other: &Self) -> bool {
        self.inputs.same_channel(&other.inputs)
    }
}

impl RoomInputs {
    /// The next one; `None` when nobody can send any more.
    pub async fn next(&mut self) -> Option<Input> {
        let item = self.inputs.recv().await?;
        if item.is_unasked {
            self.unasked.fetch_sub(1, Ordering::Relaxed);
        }
        Some(item.input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_asked_for_is_bounded_and_answers_never_are() {
        let (inbox, mut inputs) = room_inbox();
        for _ in 0..MAX_UNASKED {
            inbox.offer(Input::Woken).unwrap();
        }
        assert_eq!(inbox.offer(Input::Woken), Err(InboxFull));
        inbox.send(Input::Woken);
        for _ in 0..=MAX_UNASKED {
            assert!(inputs.next().await.is_some());
        }
        inbox.offer(Input::Woken).unwrap();
    }
}
