//! A queue for answers, which are not bounded, and for unsolicited items, which are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// Maximum number of queued unsolicited items: several times the participants of the largest room.
pub const MAX_UNSOLICITED: usize = 8192;

/// The sending end. Clones share it.
///
/// An answer always fits: a lost answer would leave its request waiting forever, and there are no more answers than requests.
#[derive(Debug)]
pub struct Inbox<T> {
    items: mpsc::UnboundedSender<Item<T>>,
    unsolicited: Arc<AtomicUsize>,
}

#[derive(Debug)]
pub struct InboxReader<T> {
    items: mpsc::UnboundedReceiver<Item<T>>,
    unsolicited: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Item<T> {
    value: T,
    is_unsolicited: bool,
}

/// The queue has [`MAX_UNSOLICITED`] unsolicited items; the item was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxFull;

pub fn inbox<T>() -> (Inbox<T>, InboxReader<T>) {
    let (sender, items) = mpsc::unbounded_channel();
    let unsolicited = Arc::new(AtomicUsize::new(0));
    let inbox = Inbox {
        items: sender,
        unsolicited: unsolicited.clone(),
    };
    (inbox, InboxReader { items, unsolicited })
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
            unsolicited: self.unsolicited.clone(),
        }
    }
}

impl<T> Inbox<T> {
    /// Adds an answer, or an item of this node. Does nothing if the reader is dropped.
    pub fn send(&self, value: T) {
        let is_unsolicited = false;
        let _ = self.items.send(Item {
            value,
            is_unsolicited,
        });
    }

    /// Adds an unsolicited item of a peer.
    ///
    /// # Errors
    ///
    /// [`InboxFull`] if [`MAX_UNSOLICITED`] of them are queued.
    pub fn offer(&self, value: T) -> Result<(), InboxFull> {
        if self.unsolicited.fetch_add(1, Ordering::Relaxed) >= MAX_UNSOLICITED {
            self.unsolicited.fetch_sub(1, Ordering::Relaxed);
            return Err(InboxFull);
        }
        let is_unsolicited = true;
        let _ = self.items.send(Item {
            value,
            is_unsolicited,
        });
        Ok(())
    }

    /// True if both have the same reader.
    pub fn is_same(&self, other: &Self) -> bool {
        self.items.same_channel(&other.items)
    }
}

impl<T> InboxReader<T> {
    /// The next item, in order; `None` after all senders are dropped.
    pub async fn next(&mut self) -> Option<T> {
        let item = self.items.recv().await?;
        if item.is_unsolicited {
            self.unsolicited.fetch_sub(1, Ordering::Relaxed);
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
