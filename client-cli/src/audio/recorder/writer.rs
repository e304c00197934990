//! A bounded queue of blocks to a thread that writes them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::{AudioError, MIX_TIME};

#[derive(Debug)]
pub(super) struct Writer<P> {
    /// Name of the file or folder, for messages.
    name: String,
    /// Maximum number of queued blocks. Further blocks are dropped and become silence.
    room: usize,
    /// `None` after the thread has failed.
    to: Option<Sender<Piece<P>>>,
    shared: Arc<Shared>,
    /// `None` after it was received.
    opened: Option<oneshot::Receiver<Result<(), AudioError>>>,
    ended: oneshot::Receiver<()>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    /// Length of the written part of the recording, in blocks.
    written: AtomicU64,
    /// Length of the recording, in blocks. Set when it ends; never if it is abandoned.
    length: OnceLock<u64>,
}

struct Piece<P> {
    /// Position in the recording, in blocks.
    at: u64,
    /// Number of blocks in it.
    blocks: usize,
    what: P,
}

pub(super) struct Incoming<P> {
    pieces: Receiver<Piece<P>>,
    /// Received by [`is_wanted`](Self::is_wanted).
    first: Option<Piece<P>>,
    shared: Arc<Shared>,
    opened: Option<oneshot::Sender<Result<(), AudioError>>>,
    /// Dropped when the thread ends.
    _ended: oneshot::Sender<()>,
}

/// A writer that was told to end.
pub(super) struct Finishing {
    name: String,
    shared: Arc<Shared>,
    ended: oneshot::Receiver<()>,
}

impl<P: Send + 'static> Writer<P> {
    /// Starts a thread that runs `work` and writes `name`. Up to `room` blocks are queued.
    pub(super) fn start(
        name: String,
        room: usize,
        work: impl FnOnce(Incoming<P>) + Send + 'static,
    ) -> Result<Self, AudioError> {
        let (to, pieces) = channel();
        let shared = Arc::new(Shared::default());
        let (opened_to, opened) = oneshot::channel();
        let (ended_to, ended) = oneshot::channel();
        let incoming = Incoming {
            pieces,
            first: None,
            shared: shared.clone(),
            opened: Some(opened_to),
            _ended: ended_to,
        };
        let thread = thread::Builder::new().name("recorder".into());
        let started = thread.spawn(move || work(incoming));
        started.map_err(|error| AudioError::File {
            doing: "write",
            file: name.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            name,
            room,
            to: Some(to),
            shared,
            opened: Some(opened),
            ended,
        })
    }

    /// Waits until the file is open, or until `give_up`; then returns the name of the file.
    pub(super) async fn opened(&mut self, give_up: Instant) -> Result<Option<String>, AudioError> {
        let Some(opened) = self.opened.take() else {
            return Ok(None);
        };
        match tokio::time::timeout_at(give_up, opened).await {
            Ok(Ok(opened)) => opened.map(|()| None),
            // The thread panicked; the panic was reported.
            Ok(Err(_)) => Ok(None),
            Err(_) => Ok(Some(self.name.clone())),
        }
    }

    /// Queues sound for the position `at`. Never waits: without room the sound is dropped and becomes silence.
    pub(super) fn push(&mut self, at: u64, blocks: usize, what: P) {
        let Some(to) = &self.to else {
            return;
        };
        let before = self.shared.waiting.fetch_add(blocks, Ordering::Relaxed);
        if before + blocks > self.room {
            self.shared.waiting.fetch_sub(blocks, Ordering::Relaxed);
        } else if to.send(Piece { at, blocks, what }).is_err() {
            self.to = None;
        }
    }

    /// Ends the recording, which has this length in blocks.
    pub(super) fn finish(self, length: u64) -> Finishing {
        let _ = self.shared.length.set(length);
        Finishing {
            name: self.name,
            shared: self.shared,
            ended: self.ended,
        }
    }

    /// Ends without a recording and waits until the thread has ended, or until `give_up`. A recording that has begun is kept.
    pub(super) async fn abandon(self, give_up: Instant) {
        let Self { to, ended, .. } = self;
        drop(to);
        let _ = tokio::time::timeout_at(give_up, ended).await;
    }
}

impl Finishing {
    /// Waits until the thread has ended.
    ///
    /// # Errors
    ///
    /// The writer has not ended at `give_up`. Other failures are events.
    pub(super) async fn wait(self, give_up: Instant) -> Result<(), AudioError> {
        if tokio::time::timeout_at(give_up, self.ended).await.is_ok() {
            return Ok(());
        }
        let written = self.shared.written.load(Ordering::Relaxed);
        let length = self.shared.length.get().copied().unwrap_or_default();
        Err(AudioError::Unwritten {
            file: self.name,
            seconds: length.saturating_sub(written) as f64 * MIX_TIME.as_secs_f64(),
        })
    }
}

impl<P> Incoming<P> {
    /// Reports whether the file is open. Returns the error if the caller does not wait for it any more.
    pub(super) fn opened(&mut self, opened: Result<(), AudioError>) -> Option<AudioError> {
        let to = self.opened.take()?;
        to.send(opened).err()?.err()
    }

    /// Waits for the first sound or the end. False: the recording was abandoned without a sound.
    pub(super) fn is_wanted(&mut self) -> bool {
        self.first = self.pieces.recv().ok();
        self.first.is_some() || self.shared.length.get().is_some()
    }

    /// Waits for the next sound, with its position. `None`: the end.
    pub(super) fn next(&mut self) -> Option<(u64, P)> {
        let first = self.first.take();
        let piece = first.or_else(|| self.pieces.recv().ok())?;
        self.shared
            .waiting
            .fetch_sub(piece.blocks, Ordering::Relaxed);
        Some((piece.at, piece.what))
    }

    /// Sets the length of the written part, in blocks.
    pub(super) fn written(&self, blocks: u64) {
        self.shared.written.store(blocks, Ordering::Relaxed);
    }

    /// Length of the recording in blocks, 0 if it was abandoned. Valid after [`next`](Self::next) has returned `None`.
    pub(super) fn length(&self) -> u64 {
        self.shared.length.get().copied().unwrap_or_default()
    }
}
