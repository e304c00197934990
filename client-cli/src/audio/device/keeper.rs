//! Keeps one side of a call, the microphone or the speakers, at a device that moves.
//!
//! The wanted device is opened, and opened again for as long as the call lasts whenever it is lost. While it is not there
//! another one is used if there is one; the wanted one is used again once it moves. The keeper does no
//! I/O: its owner opens and closes streams as [`poll_action`](Keeper::poll_action) says, on any thread, in any time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::fault::{Fault, Report};
use super::period::{Change, PeriodPolicy};
use super::slot::{DeviceInfo, Loss, Slot, StreamId};
use super::watch::Motion;

/// [`poll`](Keeper::poll) is to be called each 100 ms at least. When so much passes in between, this program stood still
/// and not the device.
const OWN_STALL: Duration = Duration::from_millis(400);

/// Tries that never ended; with so many there are no more until one ends.
const MOST_ABANDONED: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The one that the person wants.
    Wanted,
    /// Any other that works.
    Other,
}

/// An action for the owner of the devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a device as the stream `id`, after closing the stream `after`. [`Keeper::opened`] takes the answer.
    Open {
        /// The stream that it will be.
        id: StreamId,
        choice: Choice,
        /// The period to ask for.
        period: Duration,
        /// The stream to close first: of the same device, which may not be opened twice.
        after: Option<StreamId>,
    },
    Close(StreamId),
    /// From now on sound goes by this stream.
    Use(Option<StreamId>),
}

/// Why a device could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct OpenError {
    pub fault: Fault,
    /// The system's error.
    pub reason: String,
}

/// A notice for the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Sound goes by a device, and it moves.
    InUse {
        device: DeviceInfo,
        /// The chosen device, or one that replaces it.
        choice: Choice,
        /// False for the first device of a call.
        again: bool,
    },
    /// The device in use is lost; tries go on.
    Lost {
        /// Its name, if it was ever open.
        device: Option<String>,
        fault: Fault,
        /// The system's error, if there is one.
        reason: Option<String>,
    },
    /// Something went wrong that does not end the stream. Limited in rate.
    Trouble {
        fault: Fault,
        /// How often since it was last told.
        count: u64,
        /// The system's error, if there is one.
        reason: Option<String>,
    },
    /// The device has another period from now on.
    Period {
        period: Duration,
        /// Wider after xruns, or narrower after calm.
        wider: bool,
    },
}

/// How sound goes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// No stream is open.
    None,
    /// A stream is open and moves.
    Moving,
    /// A stream is open and does not move, or not yet.
    Still,
}

/// The last notice.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reported {
    Nothing,
    InUse(Choice, String),
    Lost,
}

/// Decides for one side.
#[derive(Debug)]
pub struct Keeper {
    wanted: Slot,
    other: Slot,
    /// The stream of the device that was wanted before: closed before the next one is opened.
    replaced: Option<StreamId>,
    period: PeriodPolicy,
    next_id: StreamId,
    abandoned: u32,
    used: Option<StreamId>,
    told: Reported,
    /// A loss that is told unless something else is in use already.
    loss: Option<(Option<String>, Fault, Option<String>)>,
    /// Why the wanted device could not be opened last.
    refusal: Option<OpenError>,
    reports: [Report; Fault::ALL.len()],
    reason: Option<String>,
    last_poll: Instant,
    actions: VecDeque<Action>,
    notices: VecDeque<Notice>,
}

impl Keeper {
    /// Nothing is open yet; the first [`poll`](Self::poll) opens the wanted device.
    pub fn new(now: Instant) -> Self {
        Self {
            wanted: Slot::new(now),
            other: Slot::new(now),
            replaced: None,
            period: PeriodPolicy::new(now),
            next_id: 0,
            abandoned: 0,
            used: None,
            told: Reported::Nothing,
            loss: None,
            refusal: None,
            reports: Default::default(),
            reason: None,
            last_poll: now,
            actions: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// From now on another device is wanted. What is open is closed first: it may be the same device by another name.
    pub fn want_another(&mut self, now: Instant) {
        let (replaced, abandoned) = self.wanted.restart(now);
        self.replaced = replaced.or(self.replaced.take());
        self.abandoned += u32::from(abandoned);
        let other = self.other.restart(now);
        self.actions.extend(other.0.map(Action::Close));
        self.abandoned += u32::from(other.1);
        self.refusal = None;
        self.loss = None;
    }

    /// The answer to [`Action::Open`].
    pub fn opened(&mut self, now: Instant, id: StreamId, answer: Result<DeviceInfo, OpenError>) {
        let choice = match (self.wanted.waits_for(id), self.other.waits_for(id)) {
            (true, _) => Choice::Wanted,
            (_, true) => Choice::Other,
            _ => {
                // The answer to a try that was abandoned.
                self.abandoned = self.abandoned.saturating_sub(1);
                if answer.is_ok() {
                    self.actions.push_back(Action::Close(id));
                }
                return;
            }
        };
        match answer {
            Ok(info) => self.slot(choice).opened(id, info, now),
            Err(error) => {
                if let Some(period) = self.slot(choice).refused(now) {
                    self.period.refused(period);
                    return;
                }
                self.lost(choice, None, error.fault, Some(error.reason.clone()));
                if choice == Choice::Wanted {
                    self.refusal = Some(error);
                }
            }
        }
    }

    /// Reports callbacks and frames of a stream since it was opened.
    pub fn observe(&mut self, now: Instant, id: StreamId, calls: u64, frames: u64) {
        self.wanted.observe(id, now, calls, frames);
        self.other.observe(id, now, calls, frames);
    }

    /// A stream reported errors: `count` of one class, and what the system says about the last.
    pub fn fault(
        &mut self,
        now: Instant,
        id: StreamId,
        fault: Fault,
        count: u64,
        reason: Option<String>,
    ) {
        let choice = match (self.wanted.open(), self.other.open()) {
            (Some(open), _) if open.id == id => Choice::Wanted,
            (_, Some(open)) if open.id == id => Choice::Other,
            _ => return,
        };
        if fault.ends_the_stream() {
            if let Some(loss) = self.slot(choice).lose(fault, now) {
                self.take_loss(choice, loss, reason);
            }
            return;
        }
        if fault == Fault::Xrun {
            self.period.xrun(now);
        } else {
            self.slot(choice).suspect(now);
        }
        self.reports[fault as usize].add(count);
        self.reason = reason.or(self.reason.take());
    }

    /// Does what is due. `quiet`: a short gap would not be heard now.
    pub fn poll(&mut self, now: Instant, quiet: bool) {
        let slept = now.saturating_duration_since(self.last_poll);
        self.last_poll = now;
        for choice in [Choice::Wanted, Choice::Other] {
            if slept >= OWN_STALL {
                self.slot(choice).extend_deadlines(now, slept);
            }
            if let Some(loss) = self.slot(choice).judge(now) {
                self.take_loss(choice, loss, None);
            }
        }
        self.change_period(now, quiet);
        if self.wanted.is_due(now) {
            self.begin(Choice::Wanted, now);
        }
        if !self.wanted.is_good(now) {
            if self.other.is_due(now) {
                self.begin(Choice::Other, now);
            }
        } else if self.wanted.motion(now) == Some(Motion::Moving)
            && let Some(id) = self.other.give_up(now)
        {
            self.actions.push_back(Action::Close(id));
        }
        self.choose(now);
        self.tell(now);
    }

    /// The next action. Actions have to be carried out in this order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next notice.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The device in use.
    pub fn device(&self) -> Option<&DeviceInfo> {
        self.used_open().map(|(_, info)| info)
    }

    /// True when the device in use is not the wanted one.
    pub fn stands_in(&self) -> bool {
        self.used_open()
            .is_some_and(|(choice, _)| choice == Choice::Other)
    }

    /// How the device in use is.
    pub fn health(&self, now: Instant) -> Health {
        match self.used_motion(now) {
            None => Health::None,
            Some(Motion::Moving) => Health::Moving,
            Some(Motion::Waiting | Motion::Still | Motion::Racing) => Health::Still,
        }
    }

    /// Why there is no sound, once neither the wanted device nor another could be opened.
    pub fn failure(&self) -> Option<OpenError> {
        let failed = self.wanted.has_failed() && self.other.has_failed();
        let unknown = || OpenError {
            fault: Fault::NoAnswer,
            reason: Fault::NoAnswer.reason().to_owned(),
        };
        failed.then(|| self.refusal.clone().unwrap_or_else(unknown))
    }

    fn slot(&mut self, choice: Choice) -> &mut Slot {
        match choice {
            Choice::Wanted => &mut self.wanted,
            Choice::Other => &mut self.other,
        }
    }

    fn used_open(&self) -> Option<(Choice, &DeviceInfo)> {
        let of = |choice, slot: &'_ Slot| {
            let open = slot.open()?;
            (Some(open.id) == self.used).then_some((choice, open.id))
        };
        let (choice, _) =
            of(Choice::Wanted, &self.wanted).or_else(|| of(Choice::Other, &self.other))?;
        let slot = match choice {
            Choice::Wanted => &self.wanted,
            Choice::Other => &self.other,
        };
        slot.open().map(|open| (choice, &open.info))
    }

    fn used_motion(&self, now: Instant) -> Option<Motion> {
        match self.used_open()?.0 {
            Choice::Wanted => self.wanted.motion(now),
            Choice::Other => self.other.motion(now),
        }
    }

    fn new_id(&mut self) -> StreamId {
        self.next_id += 1;
        self.next_id
    }

    fn begin(&mut self, choice: Choice, now: Instant) {
        if self.abandoned >= MOST_ABANDONED {
            return;
        }
        let id = self.new_id();
        let mut after = self.slot(choice).begin(id, now);
        if choice == Choice::Wanted {
            after = after.or(self.replaced.take());
        }
        self.actions.push_back(Action::Open {
            id,
            choice,
            period: self.period.period(),
            after,
        });
    }

    fn change_period(&mut self, now: Instant, quiet: bool) {
        let Some((choice, info)) = self.used_open() else {
            return;
        };
        let before = info.period;
        let change = match self.period.due(now) {
            Some(change @ Change::Widen(period)) if before < period => change,
            // The device has chosen a wider one by itself.
            Some(Change::Widen(_)) => return self.period.refused(before),
            Some(change @ Change::Narrow(_)) if quiet => change,
            Some(Change::Narrow(_)) | None => return,
        };
        self.period.changed(change, now);
        let id = self.new_id();
        let after = self.slot(choice).begin_anew(id, now, before);
        let period = self.period.period();
        self.actions.push_back(Action::Open {
            id,
            choice,
            period,
            after,
        });
        self.notices.push_back(Notice::Period {
            period,
            wider: matches!(change, Change::Widen(_)),
        });
    }

    fn take_loss(&mut self, choice: Choice, loss: Loss, reason: Option<String>) {
        self.actions.extend(loss.close.map(Action::Close));
        self.abandoned += u32::from(loss.abandoned);
        self.lost(choice, loss.device, loss.fault, reason);
    }

    fn lost(
        &mut self,
        choice: Choice,
        device: Option<String>,
        fault: Fault,
        reason: Option<String>,
    ) {
        let matters = match &self.told {
            Reported::Nothing => choice == Choice::Wanted,
            Reported::InUse(told, _) => *told == choice,
            Reported::Lost => false,
        };
        if matters {
            self.loss.get_or_insert((device, fault, reason));
        }
    }

    /// A stream that moves before one that may, the wanted device before another. One that stands still is used where
    /// there is nothing else: it may go on at any moment.
    fn choose(&mut self, now: Instant) {
        let rank = |slot: &Slot, wanted: bool| {
            let open = slot.open()?;
            let rank = match slot.motion(now)? {
                Motion::Moving => 4,
                Motion::Waiting => 2,
                Motion::Still | Motion::Racing => 0,
            };
            Some((rank + u8::from(wanted), open.id))
        };
        let best = rank(&self.wanted, true).max(rank(&self.other, false));
        let best = best.map(|(_, id)| id);
        if best != self.used {
            self.used = best;
            self.actions.push_back(Action::Use(best));
        }
    }

    fn tell(&mut self, now: Instant) {
        let motion = self.used_motion(now);
        if let Some((device, fault, reason)) = self.loss.take() {
            self.notices.push_back(Notice::Lost {
                device,
                fault,
                reason,
            });
            self.told = Reported::Lost;
        }
        if motion == Some(Motion::Moving)
            && let Some((choice, info)) = self.used_open()
        {
            let told = Reported::InUse(choice, info.id.clone());
            if self.told != told {
                self.notices.push_back(Notice::InUse {
                    device: info.clone(),
                    choice,
                    again: self.told != Reported::Nothing,
                });
                self.told = told;
            }
        }
        for fault in Fault::ALL {
            if let Some(count) = self.reports[fault as usize].due(now) {
                self.notices.push_back(Notice::Trouble {
                    fault,
                    count,
                    reason: self.reason.take(),
                });
            }
        }
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
