//! A device that has to be open: attempts to open it, its stream, and the stream's progress.

use std::time::{Duration, Instant};

use super::fault::Fault;
use super::watch::{Motion, Watch};

/// Time before the first try after a loss, and the longest between two.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A device that keeps no time is tried again after this time: it will hardly have learnt to.
const UNPACED_RETRY: Duration = Duration::from_secs(60);

/// A stream that moved for so long is no longer on trial: its next loss is followed by a quick try.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// Opening usually takes milliseconds, with a sound server up to two seconds. After this time it counts as failed; the
/// answer is still taken when it comes.
const OPEN_DEADLINE: Duration = Duration::from_millis(2500);

/// After this time an answer is no longer waited for, and opening is tried anew.
const ABANDON_AFTER: Duration = Duration::from_secs(30);

/// A stream that reported an error and had no callback for so long after it is over.
const SUSPECT_FOR: Duration = Duration::from_millis(250);

/// Names a try to open a device, and the stream that comes of it.
pub type StreamId = u32;

/// A device that is open, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its id at the sound system.
    pub id: String,
    /// Its name for a person.
    pub name: String,
    /// Frames a second.
    pub rate: u32,
    pub channels: u16,
    /// Form of its samples, such as `f32`.
    pub format: String,
    /// Time that each callback moves.
    pub period: Duration,
}

/// Why the slot has no stream that moves, once each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) device: Option<String>,
    pub(super) fault: Fault,
    /// The stream that is of no use any more.
    pub(super) close: Option<StreamId>,
    /// The answer that is not waited for any more.
    pub(super) abandoned: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Slot {
    state: State,
    /// No try before this time.
    retry_at: Instant,
    pause: Duration,
    /// True when an attempt has failed.
    failed: bool,
}

#[derive(Debug, Clone)]
enum State {
    Idle,
    Opening(Opening),
    Open(Open),
}

#[derive(Debug, Clone)]
struct Opening {
    id: StreamId,
    since: Instant,
    /// Longer ago than the deadline; that was told.
    late: bool,
    /// The device was in use and is only opened in another form.
    reopening: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) id: StreamId,
    pub(super) info: DeviceInfo,
    watch: Watch,
    /// Told as standing still.
    still: bool,
    moving_since: Option<Instant>,
    suspect_since: Option<Instant>,
}

impl Slot {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Idle,
            retry_at: now,
            pause: FIRST_RETRY,
            failed: false,
        }
    }

    /// The stream, if there is one.
    pub(super) fn open(&self) -> Option<&Open> {
        match &self.state {
            State::Open(open) => Some(open),
            State::Idle | State::Opening(_) => None,
        }
    }

    /// True when a try failed and none is under way.
    pub(super) fn has_failed(&self) -> bool {
        match &self.state {
            State::Idle => self.failed,
            State::Opening(opening) => opening.late,
            State::Open(_) => false,
        }
    }

    pub(super) fn motion(&self, now: Instant) -> Option<Motion> {
        self.open().map(|open| open.watch.motion(now))
    }

    /// True when nothing else is needed: it moves, or may begin to any moment.
    pub(super) fn is_good(&self, now: Instant) -> bool {
        match &self.state {
            State::Idle => false,
            State::Opening(opening) => {
                !opening.late && (opening.reopening.is_some() || !self.failed)
            }
            State::Open(open) => matches!(open.watch.motion(now), Motion::Moving | Motion::Waiting),
        }
    }

    /// True when it is time to try, and a try makes sense.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let may = match &self.state {
            State::Idle => true,
            State::Opening(_) => false,
            State::Open(open) => open.still,
        };
        may && now >= self.retry_at
    }

    /// A try begins; the stream that it replaces.
    pub(super) fn begin(&mut self, id: StreamId, now: Instant) -> Option<StreamId> {
        self.begin_as(id, now, None)
    }

    /// The same, of a device in use that is to have another period than `period`.
    pub(super) fn begin_anew(
        &mut self,
        id: StreamId,
        now: Instant,
        period: Duration,
    ) -> Option<StreamId> {
        self.begin_as(id, now, Some(period))
    }

    fn begin_as(
        &mut self,
        id: StreamId,
        now: Instant,
        reopening: Option<Duration>,
    ) -> Option<StreamId> {
        let before = self.open().map(|open| open.id);
        self.state = State::Opening(Opening {
            id,
            since: now,
            late: false,
            reopening,
        });
        before
    }

    /// True when the try `id` is this slot's.
    pub(super) fn waits_for(&self, id: StreamId) -> bool {
        matches!(&self.state, State::Opening(opening) if opening.id == id)
    }

    /// The try came to a good end.
    pub(super) fn opened(&mut self, id: StreamId, info: DeviceInfo, now: Instant) {
        let watch = Watch::new(now, info.period, info.rate);
        self.state = State::Open(Open {
            id,
            info,
            watch,
            still: false,
            moving_since: None,
            suspect_since: None,
        });
    }

    /// The try failed. Gives the period that the device had before, if it was in use.
    pub(super) fn refused(&mut self, now: Instant) -> Option<Duration> {
        let reopening = match &self.state {
            State::Opening(opening) => opening.reopening,
            State::Idle | State::Open(_) => None,
        };
        self.state = State::Idle;
        self.failed = true;
        if reopening.is_some() {
            self.retry_at = now;
        } else {
            self.wait(now);
        }
        reopening
    }

    /// The stream is over.
    pub(super) fn lose(&mut self, fault: Fault, now: Instant) -> Option<Loss> {
        let open = self.open()?;
        let loss = Loss {
            device: Some(open.info.name.clone()),
            fault,
            close: Some(open.id),
            abandoned: false,
        };
        self.state = State::Idle;
        self.failed = true;
        self.wait(now);
        if fault == Fault::Unpaced {
            self.retry_at = now + UNPACED_RETRY;
        }
        Some(loss)
    }

    /// Nothing is to be open any more; the stream to close.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<StreamId> {
        let open = self.open()?.id;
        *self = Self::new(now);
        Some(open)
    }

    /// It is to be another device from now on; the stream to close, and whether an answer is not waited for any more.
    pub(super) fn restart(&mut self, now: Instant) -> (Option<StreamId>, bool) {
        let abandoned = matches!(self.state, State::Opening(_));
        let before = self.open().map(|open| open.id);
        *self = Self::new(now);
        (before, abandoned)
    }

    /// The last observation of the stream.
    pub(super) fn observe(&mut self, id: StreamId, now: Instant, calls: u64, frames: u64) {
        if let State::Open(open) = &mut self.state
            && open.id == id
        {
            open.watch.observe(now, calls, frames);
        }
    }

    /// The stream reported an error after which it may or may not go on.
    pub(super) fn suspect(&mut self, now: Instant) {
        if let State::Open(open) = &mut self.state {
            open.suspect_since.get_or_insert(now);
        }
    }

    /// This program did not run for `slept`.
    pub(super) fn extend_deadlines(&mut self, now: Instant, slept: Duration) {
        match &mut self.state {
            State::Idle => {}
            State::Opening(opening) => opening.since += slept,
            State::Open(open) => {
                open.watch.extend_deadlines(now);
                if let Some(since) = &mut open.suspect_since {
                    *since += slept;
                }
            }
        }
    }

    /// Looks at how it is, and says when it is of no use any more.
    pub(super) fn judge(&mut self, now: Instant) -> Option<Loss> {
        match &mut self.state {
            State::Idle => None,
            State::Opening(opening) => {
                let waited = now.saturating_duration_since(opening.since);
                if waited >= ABANDON_AFTER {
                    self.state = State::Idle;
                    self.wait(now);
                    return Some(lost(None, Fault::NoAnswer, None, true));
                }
                let tell = waited >= OPEN_DEADLINE
                    && !std::mem::replace(&mut opening.late, waited >= OPEN_DEADLINE);
                self.failed |= tell;
                tell.then(|| lost(None, Fault::NoAnswer, None, false))
            }
            State::Open(open) => {
                let name = Some(open.info.name.clone());
                if open
                    .suspect_since
                    .is_some_and(|since| open.watch.last_call() > since)
                {
                    open.suspect_since = None;
                }
                let dead = open
                    .suspect_since
                    .is_some_and(|since| now.saturating_duration_since(since) >= SUSPECT_FOR);
                if dead {
                    return self.lose(Fault::Other, now);
                }
                match open.watch.motion(now) {
                    Motion::Racing => self.lose(Fault::Unpaced, now),
                    Motion::Still if !open.still => {
                        open.still = true;
                        open.moving_since = None;
                        self.failed = true;
                        self.wait(now);
                        Some(lost(name, Fault::Stalled, None, false))
                    }
                    Motion::Still | Motion::Waiting => None,
                    Motion::Moving => {
                        open.still = false;
                        let since = *open.moving_since.get_or_insert(now);
                        if now.saturating_duration_since(since) >= STABLE_AFTER {
                            self.pause = FIRST_RETRY;
                        }
                        None
                    }
                }
            }
        }
    }

    fn wait(&mut self, now: Instant) {
        self.retry_at = now + self.pause;
        self.pause = (self.pause * 2).min(LAST_RETRY);
    }
}

fn lost(device: Option<String>, fault: Fault, close: Option<StreamId>, abandoned: bool) -> Loss {
    Loss {
        device,
        fault,
        close,
        abandoned,
    }
}
