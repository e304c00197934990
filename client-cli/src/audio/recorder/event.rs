//! The files and speakers of a recording, and its events.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::super::AudioError;
use super::super::files::FileId;

/// Destination of the mix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutFile {
    /// A file, a named pipe or a device.
    Path {
        path: PathBuf,
        /// Replace an existing file.
        overwrite: bool,
        /// Files that must not be opened: the call reads or writes them otherwise.
        taken: Vec<FileId>,
    },
    /// Standard output, as a stream.
    Stdout,
}

/// A participant whose voice is recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speaker {
    /// Username, in the form for file names.
    pub account: String,
    /// Label of the participant in the room.
    pub label: u16,
}

/// Events of the recorder.
#[derive(Debug)]
pub enum RecorderEvent {
    /// A file was opened.
    Started(PathBuf),
    /// A recording failed. Only the first failure is an event; further ones are logged.
    Failed(AudioError),
    /// An account has reached a limit. Once for each account.
    Limited(Limited),
    /// The reader of standard output is gone.
    NoReader,
}

/// No further sound of an account is recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no more of {account} is recorded: the limit is {what} an account; everything else goes on"
)]
pub struct Limited {
    pub account: String,
    /// The limit, such as "8 files".
    pub what: String,
}

/// Sends the events of the threads.
#[derive(Debug, Clone)]
pub(super) struct Events {
    to: mpsc::UnboundedSender<RecorderEvent>,
    /// True after the first failure.
    failed: Arc<AtomicBool>,
}

impl Events {
    pub(super) fn new(to: mpsc::UnboundedSender<RecorderEvent>) -> Self {
        let failed = Arc::default();
        Self { to, failed }
    }

    pub(super) fn send(&self, event: RecorderEvent) {
        // The receiver is dropped at the end of the call.
        let _ = self.to.send(event);
    }

    pub(super) fn failed(&self, error: AudioError) {
        if self.failed.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "another recording stopped");
        } else {
            self.send(RecorderEvent::Failed(error));
        }
    }
}
