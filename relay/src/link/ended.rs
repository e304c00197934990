//! Sessions that ended by themselves and were not reported to a control node yet.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::core::MediaEnded;

/// Reports that are kept for a control node without a link; of more the oldest are dropped. The node learns of those
/// sessions when it lists a room's sessions.
pub(super) const MAX_WAITING: usize = 100_000;

/// For one control node, oldest first.
#[derive(Default)]
pub(crate) struct EndedQueue {
    waiting: Mutex<VecDeque<MediaEnded>>,
    news: Notify,
}

impl EndedQueue {
    /// Adds one.
    pub(crate) fn push(&self, ended: MediaEnded) {
        let mut waiting = self.waiting();
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(ended);
        drop(waiting);
        self.news.notify_one();
    }

    /// Takes the oldest one.
    pub(super) fn pop(&self) -> Option<MediaEnded> {
        self.waiting().pop_front()
    }

    /// Puts back a report that could not be sent.
    pub(super) fn put_back(&self, ended: MediaEnded) {
        self.waiting().push_front(ended);
    }

    /// Waits until something was added since the last wait.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<MediaEnded>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
