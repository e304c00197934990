//! The sound system by `cpal`.
//!
//! Opening and closing may take any time, so each is done on a thread of its own. In a callback nothing is done but to
//! move samples through a [`pipe`](super::pipe).

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::Side;
use super::fault::Fault;
use super::keeper::{Choice, OpenError};
use super::line::{Answer, Backend, Stream, Tap};
use super::pipe::{CaptureTap, PlaybackTap};
use super::slot::{DeviceInfo, StreamId};
use super::wakeup::WakeSender;
use super::wanted::Wanted;

mod list;
mod opening;
mod stream;

pub use list::listed;

type Opened<T> = Result<(DeviceInfo, Stream<T>), OpenError>;

/// Opens a device: the wanted one or another, with this period.
type Opener<T> = Arc<dyn Fn(&Wanted, Choice, Duration) -> Opened<T> + Send + Sync>;

/// The devices of one side.
pub struct Cards<T: Send + 'static> {
    opener: Opener<T>,
    wanted: Wanted,
    answers_to: Sender<Answer<T>>,
    answers: Receiver<Answer<T>>,
    closing: Arc<AtomicUsize>,
}

/// Microphones, whose callbacks wake the call.
pub fn microphones(wanted: Wanted, wake_sender: WakeSender) -> Cards<CaptureTap> {
    let opener: Opener<_> = Arc::new(move |wanted, choice, period| {
        let build = |device: &_, form: &_| stream::microphone(device, form, wake_sender.clone());
        opening::open(Side::Microphone, wanted, choice, build, period)
    });
    Cards::new(wanted, opener)
}

pub fn speakers(wanted: Wanted) -> Cards<PlaybackTap> {
    let opener: Opener<_> = Arc::new(|wanted, choice, period| {
        opening::open(Side::Speakers, wanted, choice, stream::speakers, period)
    });
    Cards::new(wanted, opener)
}

impl<T: Send + 'static> Cards<T> {
    fn new(wanted: Wanted, opener: Opener<T>) -> Self {
        let (answers_to, answers) = channel();
        Self {
            opener,
            wanted,
            answers_to,
            answers,
            closing: Arc::default(),
        }
    }
}

impl<T: Tap + Send + 'static> Backend for Cards<T> {
    type Tap = T;

    fn want(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    fn open(
        &mut self,
        id: StreamId,
        choice: Choice,
        period: Duration,
        close_first: Option<Stream<T>>,
    ) {
        let (opener, wanted) = (self.opener.clone(), self.wanted.clone());
        let answer = PendingAnswer {
            id,
            to: self.answers_to.clone(),
            kept: false,
        };
        let before = close_first.map(ClosingStream::new);
        // If there is no thread to be had, the promise is dropped with what was to run on it, which says so.
        on_a_thread("audio open", move || {
            if let Some(before) = before {
                before.close();
            }
            answer.keep(opener(&wanted, choice, period));
        });
    }

    fn answer(&mut self) -> Option<Answer<T>> {
        self.answers.try_recv().ok()
    }

    fn close(&mut self, stream: Stream<T>) {
        let (stream, closing) = (ClosingStream::new(stream), Closing::new(&self.closing));
        on_a_thread("audio close", move || {
            stream.close();
            drop(closing);
        });
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed) > 0
    }
}

/// Pending answers are dropped, and the streams in them are closed.
impl<T: Send + 'static> Drop for Cards<T> {
    fn drop(&mut self) {
        let answers = mem::replace(&mut self.answers, channel().1);
        on_a_thread("audio close", move || drop(answers));
    }
}

fn on_a_thread(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(work) {
        tracing::warn!(%error, "there is no thread for the sound card");
    }
}

/// A stream that is to be closed on a thread that may wait. Where there is none it stays open.
struct ClosingStream<T>(Option<Stream<T>>);

impl<T> ClosingStream<T> {
    fn new(stream: Stream<T>) -> Self {
        Self(Some(stream))
    }

    fn close(mut self) {
        drop(self.0.take());
    }
}

impl<T> Drop for ClosingStream<T> {
    fn drop(&mut self) {
        mem::forget(self.0.take());
    }
}

/// An answer that comes even if the thread that was to give it panics.
struct PendingAnswer<T> {
    id: StreamId,
    to: Sender<Answer<T>>,
    kept: bool,
}

impl<T> PendingAnswer<T> {
    fn keep(mut self, result: Opened<T>) {
        self.kept = true;
        // Nobody waits any more: then the stream is closed here.
        let _ = self.to.send(Answer {
            id: self.id,
            result,
        });
    }
}

impl<T> Drop for PendingAnswer<T> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.to.send(Answer {
                id: self.id,
                result: Err(opening::error(Fault::Other, "its thread ended")),
            });
        }
    }
}

/// Counts a stream that is being closed.
struct Closing(Arc<AtomicUsize>);

impl Closing {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
