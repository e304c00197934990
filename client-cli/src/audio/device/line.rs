//! The devices of one side of a call: carries out the decisions of the [`Keeper`] and reports the results to it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::keeper::{Action, Choice, Health, Keeper, Notice, OpenError};
use super::pipe::{CaptureTap, PlaybackTap, Shared};
use super::slot::{DeviceInfo, StreamId};
use super::wanted::Wanted;

/// Opens and closes streams. Neither call waits: a device may take as long as it likes.
pub trait Backend {
    /// The call's end of a stream.
    type Tap: Tap;

    /// Another device is the wanted one from now on.
    fn want(&mut self, wanted: Wanted);

    /// Opens a device as the stream `id`, after `close_first` is closed.
    fn open(
        &mut self,
        id: StreamId,
        choice: Choice,
        period: Duration,
        close_first: Option<Stream<Self::Tap>>,
    );

    /// The next answer to [`open`](Self::open).
    fn answer(&mut self) -> Option<Answer<Self::Tap>>;

    fn close(&mut self, stream: Stream<Self::Tap>);

    /// True while streams are being closed.
    fn is_closing(&self) -> bool;
}

/// The call's end of a stream.
pub trait Tap {
    /// The stream's counts.
    fn shared(&self) -> &Shared;
}

impl Tap for CaptureTap {
    fn shared(&self) -> &Shared {
        self.shared()
    }
}

impl Tap for PlaybackTap {
    fn shared(&self) -> &Shared {
        self.shared()
    }
}

/// An open stream. It is closed when dropped, which may take any time.
pub struct Stream<T> {
    /// The call's end of it.
    pub tap: T,
    /// The system's text for the last error, once each.
    pub reason: Box<dyn FnMut() -> Option<String> + Send>,
    pub keep: Box<dyn Send>,
}

/// The result of opening a device.
pub struct Answer<T> {
    pub id: StreamId,
    /// The stream, or why there is none.
    pub result: Result<(DeviceInfo, Stream<T>), OpenError>,
}

/// Faults of one side since the call began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    pub faults: [u64; Fault::ALL.len()],
    /// Times that the device in use was lost.
    pub lost: u64,
}

/// The devices of one side of a call.
pub struct Line<B: Backend> {
    keeper: Keeper,
    backend: B,
    streams: BTreeMap<StreamId, Watched<B::Tap>>,
    used: Option<StreamId>,
    totals: Totals,
}

/// Streams are closed by the backend, on a thread that may wait.
impl<B: Backend> Drop for Line<B> {
    fn drop(&mut self) {
        self.close();
    }
}

struct Watched<T> {
    stream: Stream<T>,
    /// Errors by class that the keeper knows of.
    told: [u64; Fault::ALL.len()],
}

impl<B: Backend> Line<B> {
    /// Nothing is open yet.
    pub fn new(backend: B, now: Instant) -> Self {
        Self {
            keeper: Keeper::new(now),
            backend,
            streams: BTreeMap::new(),
            used: None,
            totals: Totals::default(),
        }
    }

    /// Changes the wanted device. It is opened by the next [`update`](Self::update).
    pub fn want(&mut self, now: Instant, wanted: Wanted) {
        self.backend.want(wanted);
        self.keeper.want_another(now);
        while let Some(action) = self.keeper.poll_action() {
            self.act(action);
        }
    }

    /// Looks at the streams and does what is due. To be called each 100 ms at least; `quiet`: a short gap would not be
    /// heard now.
    pub fn update(&mut self, now: Instant, quiet: bool) {
        while let Some(answer) = self.backend.answer() {
            let result = answer.result.map(|(info, stream)| {
                let told = [0; Fault::ALL.len()];
                self.streams.insert(answer.id, Watched { stream, told });
                info
            });
            self.keeper.opened(now, answer.id, result);
        }
        for (id, watched) in &mut self.streams {
            let shared = watched.stream.tap.shared();
            let calls = shared.calls.load(Ordering::Relaxed);
            let frames = shared.frames.load(Ordering::Relaxed);
            self.keeper.observe(now, *id, calls, frames);
            for fault in Fault::ALL {
                let count = shared.faults.get(fault);
                let told = std::mem::replace(&mut watched.told[fault as usize], count);
                if count > told {
                    self.totals.faults[fault as usize] += count - told;
                    let reason = (watched.stream.reason)();
                    self.keeper.fault(now, *id, fault, count - told, reason);
                }
            }
        }
        self.keeper.poll(now, quiet);
        while let Some(action) = self.keeper.poll_action() {
            self.act(action);
        }
    }

    /// The stream in use.
    pub fn used(&self) -> Option<StreamId> {
        self.used
    }

    /// The stream in use.
    pub fn stream(&mut self) -> Option<&mut B::Tap> {
        let watched = self.streams.get_mut(&self.used?)?;
        Some(&mut watched.stream.tap)
    }

    /// The next notice.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        let notice = self.keeper.poll_notice()?;
        self.totals.lost += u64::from(matches!(notice, Notice::Lost { .. }));
        Some(notice)
    }

    /// The device in use.
    pub fn device(&self) -> Option<&DeviceInfo> {
        self.keeper.device()
    }

    /// True when the device in use is not the wanted one.
    pub fn stands_in(&self) -> bool {
        self.keeper.stands_in()
    }

    /// How the device in use is.
    pub fn health(&self, now: Instant) -> Health {
        self.keeper.health(now)
    }

    /// Why there is no sound, once no device could be opened.
    pub fn failure(&self) -> Option<OpenError> {
        self.keeper.failure()
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Closes all streams. Nothing is to be done with it after that but to wait for the end of
    /// [`is_closing`](Self::is_closing).
    pub fn close(&mut self) {
        for (_, watched) in std::mem::take(&mut self.streams) {
            self.backend.close(watched.stream);
        }
        self.used = None;
    }

    /// True while streams are being closed.
    pub fn is_closing(&self) -> bool {
        self.backend.is_closing()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open {
                id,
                choice,
                period,
                after,
            } => {
                let before = after.and_then(|after| self.streams.remove(&after));
                let before = before.map(|watched| watched.stream);
                self.backend.open(id, choice, period, before);
            }
            Action::Close(id) => {
                if let Some(watched) = self.streams.remove(&id) {
                    self.backend.close(watched.stream);
                }
            }
            Action::Use(id) => self.used = id,
        }
    }
}
