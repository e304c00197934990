//! The queue of commands from the registry to a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::command::WorkerCommand;

/// The registry's end.
pub struct MailboxSender {
    to: Sender<WorkerCommand>,
    waiting: Arc<AtomicUsize>,
}

/// The worker's end.
pub struct Mailbox {
    from: Receiver<WorkerCommand>,
    waiting: Arc<AtomicUsize>,
}

/// A worker's mailbox.
pub fn mailbox() -> (MailboxSender, Mailbox) {
    let (to, from) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let sender = MailboxSender {
        to,
        waiting: Arc::clone(&waiting),
    };
    (sender, Mailbox { from, waiting })
}

impl MailboxSender {
    pub(super) fn send(&self, command: WorkerCommand) {
        self.waiting.fetch_add(1, Relaxed);
        // It fails only if the worker's thread has ended, and then the process ends.
        let _ = self.to.send(command);
    }

    /// Count of commands that the worker has not taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }
}

impl Mailbox {
    /// True if no command waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Relaxed) == 0
    }

    /// The next command, if one waits.
    pub fn next(&self) -> Option<WorkerCommand> {
        if self.is_empty() {
            return None;
        }
        let command = self.from.try_recv().ok()?;
        self.waiting.fetch_sub(1, Relaxed);
        Some(command)
    }
}
