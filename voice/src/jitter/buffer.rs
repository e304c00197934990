//! The buffer itself: what is inserted, and what is played next.

use std::time::{Duration, Instant};

use super::delay::{DelayEstimator, Measured};
use super::playout::{Correction, MAX_EXCESS, PlayoutClock};
use super::store::{PacketStore, Stored};
use super::timeline::{Place, SampleClock, Timeline};
use super::{Frame, JitterStats, Next, ms};
use crate::codec::{is_silence, packet_duration};
use crate::samples_to_duration;

/// Concealment per underrun: as little as an output asks for, for the packet may arrive at any moment.
const UNDERRUN_STEP: i64 = ms(10);
/// Concealment per step inside a gap.
const HOLE_STEP: i64 = ms(20);
/// After this much concealment in a row, there is silence until a packet is due.
const MAX_CONCEALMENT: i64 = ms(200);
/// Gaps longer than this are a pause whose end was lost, and not counted as loss.
const MAX_COUNTED_GAP: i64 = ms(3000);
/// This much more waits than the target explains: then the clocks are wrong, and playing starts whatever they say.
const OVERFULL: i64 = ms(100);
/// Until so much was played the delay falls from what is held while the network is not known: at once, by a cut, so that a voice
/// does not begin at another pitch.
const BEGINNING: i64 = ms(5000);
/// Played between two unhurried corrections.
const CORRECTION_INTERVAL: i64 = ms(100);

/// A jitter buffer: bounded to 64 packets and one second of audio.
#[derive(Debug, Default)]
pub struct JitterBuffer {
    /// Frames that come back by redundancy are waited for up to this much longer than others, in samples.
    longest_wait: i64,
    clock: SampleClock,
    timeline: Timeline,
    delay: DelayEstimator,
    store: PacketStore,
    playout: PlayoutClock,
    state: State,
    /// Timestamp of the next sample to be decoded or concealed.
    position: i64,
    /// Concealed for an underrun, without moving on: the packet may still come.
    owed: i64,
    /// Concealed since the last frame.
    concealed_run: i64,
    since_correction: i64,
    /// Played since the sender began, [`BEGINNING`] at most.
    played: i64,
    /// A pause was announced, and no packet came since.
    pausing: bool,
    restarted: bool,
    packet: Vec<u8>,
    stats: JitterStats,
    /// Lost and concealed samples of frames that are not counted as whole yet.
    partly_lost: i64,
    partly_concealed: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// Nothing was ever played, or the sender started anew.
    #[default]
    Empty,
    /// Nothing came for long; the next packet is played when its time comes.
    Starved,
    /// The speaker paused; likewise.
    Paused,
    Playing,
}

impl JitterBuffer {
    /// A buffer that knows nothing yet. For lost frames that redundancy brings back it waits `longest_wait` at most.
    pub fn new(longest_wait: Duration) -> Self {
        let samples = longest_wait.as_micros() * u128::from(crate::SAMPLE_RATE) / 1_000_000;
        Self {
            longest_wait: i64::try_from(samples).unwrap_or(i64::MAX / 2),
            ..Self::default()
        }
    }

    /// Takes a primary packet. `timestamp` is that of its first sample and wraps; `talkspurt` marks the first packet
    /// after a pause.
    pub fn insert(&mut self, arrival: Instant, timestamp: u32, packet: &[u8], talkspurt: bool) {
        self.stats.received += 1;
        let Ok(duration) = packet_duration(packet) else {
            self.stats.malformed += 1;
            return;
        };
        let duration = duration as i64;
        let arrival = self.clock.samples(arrival);
        let at = match self.timeline.place(arrival, timestamp, talkspurt) {
            Place::Unconfirmed => return,
            Place::At(at) => at,
            Place::Anew(at) => {
                self.start_anew();
                at
            }
        };
        if self.timeline.seen_before(at, false) {
            self.stats.duplicate += 1;
            return;
        }
        self.delay.record(arrival, arrival - at);
        let late = self.is_late(at);
        if self.timeline.always_late(at, arrival, late) {
            self.start_anew();
        } else if late {
            self.stats.late += 1;
            return;
        }
        let talkspurt = talkspurt || std::mem::take(&mut self.pausing);
        self.store(at, duration, talkspurt, false, packet);
    }

    /// Tells that frames which arrive now are protected: lost ones come back up to `reach` samples later. That much more is
    /// waited, for as long as it is told, so that the delay does not go up and down with each loss.
    pub fn protected(&mut self, arrival: Instant, reach: u32) {
        let arrival = self.clock.samples(arrival);
        let reach = i64::from(reach).min(self.longest_wait);
        self.delay.record_reach(arrival, reach);
    }

    /// Takes a lost frame that redundancy brought back, with its timestamp. It is played only if the primary is missing.
    pub fn insert_redundant(&mut self, timestamp: u32, packet: &[u8]) {
        self.stats.redundant_received += 1;
        let Ok(duration) = packet_duration(packet) else {
            self.stats.malformed += 1;
            return;
        };
        let Some(at) = self.timeline.place_redundant(timestamp) else {
            return;
        };
        if self.timeline.seen_before(at, true) {
            return;
        }
        if !self.is_late(at) {
            self.store(at, duration as i64, false, true, packet);
        }
    }

    /// Tells that no more will come for now: what waits is played, and the gap to the next packet is not loss.
    pub fn pause(&mut self) {
        self.pausing = true;
    }

    /// Begins a pull of `samples` samples at `now`; then ask [`JitterBuffer::next`] until there is enough.
    pub fn begin_pull(&mut self, now: Instant, samples: usize) {
        let now = self.clock.samples(now);
        self.playout.pull(now, samples as i64);
    }

    /// Decides what comes next. `queued`: samples decoded and not yet handed out when this pull began.
    pub fn next(&mut self, queued: usize) -> Next<'_> {
        let queued = queued as i64;
        self.drop_overlapped();
        if self.state != State::Playing && !self.resume(queued) {
            return Next::Silence;
        }
        let skipped = self.skip_excess(queued);
        let Some(first) = self.store.first() else {
            return self.underrun();
        };
        let (gap, talkspurt, duration) = (
            first.timestamp - self.position,
            first.talkspurt,
            first.duration,
        );
        if gap == 0 {
            return self.frame(queued, duration, skipped);
        }
        if talkspurt {
            // The gap was a pause, and so was what was concealed at its start.
            self.owed = 0;
            self.state = State::Paused;
            return self.next(queued as usize);
        }
        let covered = gap.min(self.owed);
        if covered > 0 {
            self.owed = 0;
            self.position += covered;
            self.count_lost(covered, duration);
            self.count_concealed(covered, duration);
            return self.next(queued as usize);
        }
        self.hole(gap, duration)
    }

    /// The next packet, if it follows the last frame without a gap: to give time stretching more to work with.
    pub fn next_contiguous(&mut self) -> Option<(&[u8], usize)> {
        let first = self.store.first()?;
        if self.state != State::Playing || first.timestamp != self.position {
            return None;
        }
        let samples = first.duration;
        self.take_frame(samples);
        Some((&self.packet, samples as usize))
    }

    /// Tells by how many samples the last correction shortened (negative) or lengthened what is played.
    pub fn corrected(&mut self, samples: i64) {
        if samples != 0 {
            self.since_correction = 0;
        }
    }

    /// Tells that a frame could not be decoded and was concealed.
    pub fn undecodable(&mut self, samples: usize) {
        self.count_concealed(samples as i64, samples as i64);
    }

    /// The media timestamp of what is played `queued` samples before the next decision.
    pub fn timestamp(&self, queued: usize) -> u32 {
        (self.position - queued as i64) as u32
    }

    /// Counts so far, and the present delays. `queued`: samples not yet handed out now that the pull is over.
    pub fn stats(&self, queued: usize) -> JitterStats {
        let mut stats = self.stats;
        if let Some(Measured { fastest, target }) = self.delay.measured() {
            stats.target_delay = samples_to_duration(target - fastest);
            if self.state == State::Playing {
                // What is concealed until it is known whether a packet is lost or late counts as lost.
                let playing = self.position + self.owed - queued as i64;
                stats.current_delay =
                    samples_to_duration(self.playout.wall_after() - playing - fastest);
            }
        }
        stats
    }

    /// Packets that wait.
    pub fn waiting(&self) -> usize {
        self.store.len()
    }

    fn store(&mut self, at: i64, duration: i64, talkspurt: bool, redundant: bool, packet: &[u8]) {
        let stored = self
            .store
            .insert(at, duration, talkspurt, redundant, packet);
        match stored {
            Stored::Yes { evicted } => self.stats.skipped += u64::from(evicted),
            Stored::No => self.stats.skipped += u64::from(!redundant),
        }
    }

    fn start_anew(&mut self) {
        if self.state != State::Empty {
            self.stats.restarts += 1;
        }
        self.store.clear();
        self.delay.reset();
        self.state = State::Empty;
        self.owed = 0;
        self.restarted = true;
    }

    fn is_late(&self, at: i64) -> bool {
        self.state != State::Empty && at < self.position
    }

    /// Frames that begin inside what was played: from a sender that changed its framing in mid-air.
    fn drop_overlapped(&mut self) {
        while self
            .store
            .first()
            .is_some_and(|w| self.is_late(w.timestamp))
        {
            self.store.drop_first();
            self.stats.late += 1;
        }
    }

    /// Transit at which the first sample of this pull is played.
    fn playing_at(&self, queued: i64) -> i64 {
        self.playout.wall() - (self.position - queued)
    }

    /// Starts playing if the first packet is due after what is queued.
    fn resume(&mut self, queued: i64) -> bool {
        let (Some(first), Some(Measured { fastest, target })) =
            (self.store.first(), self.delay.measured())
        else {
            return false;
        };
        let due = self.playout.wall() + queued - first.timestamp >= target;
        let overfull = self.store.span() > target - fastest + first.duration + OVERFULL;
        if !due && !overfull {
            return false;
        }
        let (timestamp, duration) = (first.timestamp, first.duration);
        let gap = timestamp - self.position;
        if self.state == State::Starved && !first.talkspurt && gap < MAX_COUNTED_GAP {
            let concealed = self.owed;
            self.count_lost(gap, duration);
            self.count_concealed(concealed, duration);
        }
        self.owed = 0;
        self.position = timestamp;
        self.state = State::Playing;
        true
    }

    /// Throws away what is so late that playing it faster would take too long; true when it did.
    fn skip_excess(&mut self, queued: i64) -> bool {
        let Some(Measured { target, .. }) = self.delay.measured() else {
            return false;
        };
        let excess = self.playing_at(queued) - target;
        if excess <= MAX_EXCESS {
            return false;
        }
        let goal = self.position + excess;
        let mut skipped = false;
        while let Some(first) = self.store.first() {
            if first.end() > goal || self.store.len() == 1 {
                break;
            }
            self.store.drop_first();
            self.stats.skipped += 1;
            skipped = true;
        }
        if skipped && let Some(first) = self.store.first() {
            self.position = first.timestamp;
            self.owed = 0;
        }
        skipped
    }

    fn frame(&mut self, queued: i64, duration: i64, skipped: bool) -> Next<'_> {
        // It came late: what was concealed meanwhile was not in its stead but on top.
        let late = std::mem::take(&mut self.owed);
        self.count_concealed(late, duration);
        self.take_frame(duration);
        self.concealed_run = 0;
        Next::Frame(Frame {
            correction: self.correction(queued + duration),
            packet: &self.packet,
            samples: duration as usize,
            skipped,
            restarted: std::mem::take(&mut self.restarted),
        })
    }

    fn take_frame(&mut self, duration: i64) {
        let redundant = self.store.first().is_some_and(|first| first.redundant);
        self.stats.recovered += u64::from(redundant);
        self.store.take_first(&mut self.packet);
        self.position += duration;
        self.since_correction += duration;
        self.played = (self.played + duration).min(BEGINNING);
        if is_silence(&self.packet) {
            // The last packet of a talkspurt under DTX. What follows is a pause, whose end may be unmarked.
            self.state = State::Paused;
        }
    }

    fn correction(&self, queued: i64) -> Correction {
        let Some(Measured { fastest, target }) = self.delay.measured() else {
            return Correction::None;
        };
        let delay = self.playing_at(queued);
        let correction = self
            .playout
            .correction(delay, target, target - fastest, queued);
        match correction {
            // With so much in hand the next packet would be here: it is the clocks that say so, not the buffer.
            Correction::Accelerate { at_most, .. }
                if self.store.len() == 0 && at_most as i64 > queued =>
            {
                Correction::None
            }
            Correction::Accelerate { urgent: true, .. } => correction,
            _ if self.since_correction < CORRECTION_INTERVAL => Correction::None,
            Correction::Glide { excess } if excess > 0 && self.played < BEGINNING => {
                Correction::Accelerate {
                    at_most: excess as usize,
                    urgent: false,
                }
            }
            _ => correction,
        }
    }

    /// Nothing waits: the packet is late, or lost, or the speaker paused. Time stands still until that is known.
    fn underrun(&mut self) -> Next<'_> {
        if self.pausing {
            self.state = State::Paused;
            self.owed = 0;
            return Next::FadeOut(UNDERRUN_STEP as usize);
        }
        if self.concealed_run >= MAX_CONCEALMENT {
            self.state = State::Starved;
            return Next::Silence;
        }
        self.owed += UNDERRUN_STEP;
        self.concealed_run += UNDERRUN_STEP;
        Next::Conceal(UNDERRUN_STEP as usize)
    }

    /// A frame is missing and a later one is there: time goes on.
    fn hole(&mut self, gap: i64, duration: i64) -> Next<'_> {
        if self.concealed_run >= MAX_CONCEALMENT {
            self.state = State::Starved;
            return Next::Silence;
        }
        let samples = gap.min(HOLE_STEP);
        self.position += samples;
        self.concealed_run += samples;
        self.count_lost(samples, duration);
        self.count_concealed(samples, duration);
        Next::Conceal(samples as usize)
    }

    fn count_lost(&mut self, samples: i64, duration: i64) {
        self.partly_lost += samples.max(0);
        self.stats.lost += (self.partly_lost / duration) as u64;
        self.partly_lost %= duration;
    }

    fn count_concealed(&mut self, samples: i64, duration: i64) {
        self.stats.concealed_samples += samples as u64;
        self.partly_concealed += samples;
        self.stats.concealed_frames += (self.partly_concealed / duration) as u64;
        self.partly_concealed %= duration;
    }
}
