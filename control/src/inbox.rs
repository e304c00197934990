//! A queue with two ways in: answers, which always find room, and what others send unasked, which is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// Unasked items that wait at most: several times the participants of the largest room.
pub const MAX_UNSOLICITED: usize = 8192;

/// The sending end. Clones share it.
///
/// An answer always finds room: a lost one would leave a request waiting for ever, and there are no more answers than questions.
#[derive(Debug)]
pub struct Inbox<T> {
    items: mpsc::UnboundedSender<Item<T>>,
    unasked: Arc<AtomicUsize>,
}

#[derive(Debug)]
pub struct InboxReader<T> {
    items: mpsc::UnboundedReceiver<Item<T>>,
    unasked: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Item<T> {
    value: T,
    is_unasked: bool,
}

/// [`MAX_UNSOLICITED`] items wait: nothing was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxFull;

pub fn inbox<T>() -> (Inbox<T>, InboxReader<T>) {
    let (sender, items) = mpsc::unbounded_channel();
    let unasked = Arc::new(AtomicUsize::new(0));
    let inbox = Inbox {
        items: sender,
        unasked: unasked.clone(),
    };
    (inbox, InboxReader { items, unasked })
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
            unasked: self.unasked.clone(),
        }
    }
}

impl<T> Inbox<T> {
    /// Puts in an answer, or what this node says. Does nothing if the reader is gone.
    pub fn send(&self, value: T) {
        let is_unasked = false;
        let _ = self.items.send(Item { value, is_unasked });
    }

    /// Puts in what somebody else sends unasked.
    ///
    /// # Errors
    ///
    /// [`InboxFull`] when [`MAX_UNSOLICITED`] of these wait.
    pub fn offer(&self, value: T) -> Result<(), InboxFull> {
        if self.unasked.fetch_add(1, Ordering::Relaxed) >= MAX_UNSOLICITED {
            self.unasked.fetch_sub(1, Ordering::Relaxed);
            return Err(InboxFull);
        }
        let is_unasked = true;
        let _ = self.items.send(Item { value, is_unasked });
        Ok(())
    }

    /// Whether both have the same reader.
    pub fn is_same(&self, other: &Self) -> bool {
        self.items.same_channel(&other.items)
    }
}

impl<T> InboxReader<T> {
    /// The next item, in order; `None` when all senders are gone.
    pub async fn next(&mut self) -> Option<T> {
        let item = self.items.recv().await?;
        if item.is_unasked {
            self.unasked.fetch_sub(1, Ordering::Relaxed);
        }
        Some(item.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unsolicited_items_are_bounded_and_answers_are_not() {
        let (inbox, mut items) = inbox();
        for _ in 0..MAX_UNSOLICITED {
            inbox.offer(()).unwrap();
        }
        assert_eq!(inbox.offer(()), Err(InboxFull));
        inbox.send(());
        for _ in 0..=MAX_UNSOLICITED {
            assert!(items.next().await.is_some());
        }
        inbox.offer(()).unwrap();
    }
}
