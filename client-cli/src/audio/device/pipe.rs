//! Between the audio thread of a device and the call: bounded rings, written and read without a lock.
//!
//! The ends that the audio thread has ([`CaptureEnd`], [`PlaybackEnd`]) never wait, allocate or log, whatever the call
//! does or does not do. For each callback they leave a mark that says when it was and what it moved; all decisions are
//! made from the marks, by the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};

use super::fader::Fader;
use super::fault::FaultCounts;
use super::wakeup::WakeSender;
use crate::audio::downmix::Downmix;

/// Sound that fits into a ring, in milliseconds.
const RING_MS: u32 = 1000;

/// Marks that fit into a ring: callbacks of some seconds.
const MARKS: usize = 1024;

/// A device that asked for nothing for so long would play what was meant for then: that is thrown away.
const STALE_AFTER: Duration = Duration::from_millis(100);

/// The loudest sample that integers of 24 bits have: 1.0 itself would be one too much, and come out as −1.0.
const BELOW_ONE: f32 = 1.0 - f32::EPSILON;

/// The state that both ends share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Callbacks since the stream was opened.
    pub calls: AtomicU64,
    /// Frames that they moved.
    pub frames: AtomicU64,
    pub faults: FaultCounts,
    /// True when captured samples are wanted.
    listening: AtomicBool,
    /// Samples of the speakers' ring to throw away, the oldest ones.
    skip: AtomicU64,
}

/// A callback of the microphone.
#[derive(Debug, Clone, Copy)]
pub struct CaptureMark {
    pub at: Instant,
    /// How old its first sample was then, as the device says.
    pub age: Duration,
    /// Samples of it that are in the ring.
    pub kept: usize,
    /// Frames for which the ring had no room.
    pub lost: usize,
}

/// A callback of the speakers.
#[derive(Debug, Clone, Copy)]
pub struct PlaybackMark {
    pub at: Instant,
    /// Samples that were taken out of the ring before, since the stream was opened.
    pub index: u64,
    /// Samples that were in the ring.
    pub queued: usize,
    /// Frames that the device wanted.
    pub frames: usize,
}

/// A pipe from a microphone with this form.
pub fn capture(rate: u32, channels: u16, wake_sender: WakeSender) -> (CaptureEnd, CaptureTap) {
    let (samples_in, samples) = RingBuffer::new(ring_len(rate));
    let (marks_in, marks) = RingBuffer::new(MARKS);
    let shared = Arc::new(Shared::default());
    let end = CaptureEnd {
        samples: samples_in,
        marks: marks_in,
        channels: usize::from(channels.max(1)),
        downmix: Downmix::new(channels, rate),
        shared: shared.clone(),
        wake_sender,
    };
    let tap = CaptureTap {
        samples,
        marks,
        shared,
    };
    (end, tap)
}

/// A pipe to speakers with this form.
pub fn playback(rate: u32, channels: u16) -> (PlaybackEnd, PlaybackTap) {
    let (samples_in, samples) = RingBuffer::new(ring_len(rate));
    let (marks_in, marks) = RingBuffer::new(MARKS);
    let shared = Arc::new(Shared::default());
    let end = PlaybackEnd {
        samples,
        marks: marks_in,
        channels: usize::from(channels.max(1)),
        rate: rate.max(1),
        shared: shared.clone(),
        taken: 0,
        last_call: None,
        fader: Fader::new(rate),
    };
    let tap = PlaybackTap {
        samples: samples_in,
        marks,
        shared,
    };
    (end, tap)
}

/// The microphone's callback writes here.
#[derive(Debug)]
pub struct CaptureEnd {
    samples: Producer<f32>,
    marks: Producer<CaptureMark>,
    channels: usize,
    downmix: Downmix,
    shared: Arc<Shared>,
    wake_sender: WakeSender,
}

/// The call reads here what the microphone heard.
#[derive(Debug)]
pub struct CaptureTap {
    samples: Consumer<f32>,
    marks: Consumer<CaptureMark>,
    shared: Arc<Shared>,
}

/// The speakers' callback reads here.
#[derive(Debug)]
pub struct PlaybackEnd {
    samples: Consumer<f32>,
    marks: Producer<PlaybackMark>,
    channels: usize,
    rate: u32,
    shared: Arc<Shared>,
    taken: u64,
    last_call: Option<Instant>,
    fader: Fader,
}

/// The call writes here what the speakers are to play.
#[derive(Debug)]
pub struct PlaybackTap {
    samples: Producer<f32>,
    marks: Consumer<PlaybackMark>,
    shared: Arc<Shared>,
}

impl CaptureEnd {
    /// The shared counts.
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Takes a callback's interleaved samples, of which `read` makes floats. `age` is how old the first one is.
    pub fn write_captured<T: Copy>(
        &mut self,
        at: Instant,
        age: Duration,
        samples: &[T],
        read: impl Fn(T) -> f32,
    ) {
        let frames = samples.len() / self.channels;
        count(&self.shared, frames);
        if !self.shared.listening.load(Ordering::Relaxed) || self.marks.slots() == 0 {
            return;
        }
        let kept = match self.samples.write_chunk(frames) {
            Ok(mut chunk) => {
                let (first, second) = chunk.as_mut_slices();
                let mut slots = first.iter_mut().chain(second);
                self.downmix.mix(
                    samples,
                    |sample| sane(read(sample)),
                    |sample| {
                        if let Some(slot) = slots.next() {
                            *slot = sample;
                        }
                    },
                );
                chunk.commit_all();
                frames
            }
            // The call has stood still for as long as the ring is: it will throw all of it away.
            Err(_) => 0,
        };
        let mark = CaptureMark {
            at,
            age,
            kept,
            lost: frames - kept,
        };
        // There was room, and nobody else writes.
        let _ = self.marks.push(mark);
        self.wake_sender.wake();
    }
}

impl CaptureTap {
    /// The shared counts.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// From now on sound is wanted. What there was before never gets into the ring.
    pub fn listen(&mut self) {
        self.shared.listening.store(true, Ordering::Relaxed);
    }

    /// The next callback's mark; its samples are appended to `out`.
    pub fn take(&mut self, out: &mut Vec<f32>) -> Option<CaptureMark> {
        let mark = self.marks.pop().ok()?;
        if let Ok(chunk) = self.samples.read_chunk(mark.kept) {
            let (first, second) = chunk.as_slices();
            out.extend_from_slice(first);
            out.extend_from_slice(second);
            chunk.commit_all();
        }
        Some(mark)
    }
}

impl PlaybackEnd {
    /// The shared counts.
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Fills a callback's interleaved samples, which `write` makes of floats from −1.0 to a little less than 1.0. What is
    /// missing is silence.
    pub fn play<T: Copy>(&mut self, at: Instant, out: &mut [T], write: impl Fn(f32) -> T) {
        let frames = out.len() / self.channels;
        count(&self.shared, frames);
        self.drop_stale(at, frames);
        let index = self.taken;
        let queued = self.samples.slots();
        let there = queued.min(frames);
        // As many are there, and nobody else takes any.
        if let Ok(chunk) = self.samples.read_chunk(there) {
            let (first, second) = chunk.as_slices();
            let mut queue = first.iter().chain(second);
            for frame in out.chunks_exact_mut(self.channels) {
                let sample = self.fader.play(queue.next().map(|sample| sane(*sample)));
                frame.fill(write(sample.clamp(-1.0, BELOW_ONE)));
            }
            chunk.commit_all();
        }
        self.taken += there as u64;
        // The call has stood still for long if there is no room: it does not need this one.
        let _ = self.marks.push(PlaybackMark {
            at,
            index,
            queued,
            frames,
        });
    }

    fn drop_stale(&mut self, at: Instant, frames: usize) {
        let length = Duration::from_secs_f64(frames as f64 / f64::from(self.rate));
        let before = self.last_call.replace(at);
        let skip = match self.shared.skip.swap(0, Ordering::Relaxed) {
            _ if before.is_some_and(|before| is_stale(at, before, length)) => self.samples.slots(),
            skip => self.samples.slots().min(skip as usize),
        };
        if skip > 0
            && let Ok(chunk) = self.samples.read_chunk(skip)
        {
            chunk.commit_all();
            self.taken += skip as u64;
            self.fader.jump();
        }
    }
}

impl PlaybackTap {
    /// The shared counts.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Samples for which there is room.
    pub fn room(&self) -> usize {
        self.samples.slots()
    }

    /// Queues samples, all or, when there is no room, none.
    pub fn push(&mut self, samples: &[f32]) -> bool {
        self.samples.push_entire_slice(samples).is_ok()
    }

    /// Has the oldest `samples` thrown away, at the next callback.
    pub fn skip(&mut self, samples: u64) {
        self.shared.skip.fetch_add(samples, Ordering::Relaxed);
    }

    /// The next callback's mark.
    pub fn mark(&mut self) -> Option<PlaybackMark> {
        self.marks.pop().ok()
    }
}

/// True when speakers whose last callback was at `before` stood still up to `now`. A callback takes `length` of sound.
pub fn is_stale(now: Instant, before: Instant, length: Duration) -> bool {
    now.saturating_duration_since(before) > STALE_AFTER + 2 * length
}

fn ring_len(rate: u32) -> usize {
    (rate as usize * RING_MS as usize / 1000).max(1)
}

fn count(shared: &Shared, frames: usize) {
    shared.calls.fetch_add(1, Ordering::Relaxed);
    shared.frames.fetch_add(frames as u64, Ordering::Relaxed);
}

/// A device may give anything.
fn sane(sample: f32) -> f32 {
    if sample.is_finite() {
        sample.clamp(-1.0, 1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const MS: Duration = Duration::from_millis(1);

    fn played(end: &mut PlaybackEnd, at: Instant, frames: usize) -> Vec<f32> {
        let mut out = vec![9.0; frames * end.channels];
        end.play(at, &mut out, |sample| sample);
        out
    }

    #[test]
    fn captured_samples_keep_their_time() {
        let (mut end, mut tap) = capture(48_000, 2, WakeSender::disconnected());
        let start = Instant::now();
        end.write_captured(start, MS, &[0.5, 0.25, 0.5, 0.25], |s: f32| s);
        let mut out = Vec::new();
        assert!(tap.take(&mut out).is_none(), "nobody listened");
        assert_eq!(tap.shared().frames.load(Ordering::Relaxed), 2);
        tap.listen();
        end.write_captured(
            start + MS,
            2 * MS,
            &[0.5, 0.25, f32::NAN, 0.0, 7.0, 0.0],
            |s: f32| s,
        );
        let mark = tap.take(&mut out).unwrap();
        assert_eq!((mark.at, mark.age), (start + MS, 2 * MS));
        assert_eq!((mark.kept, mark.lost), (3, 0));
        assert_eq!(out, [0.5, 0.0, 1.0]);
        assert!(tap.take(&mut out).is_none());
    }

    #[test]
    fn a_call_that_stands_still_does_not_stop_the_microphone() {
        let (mut end, mut tap) = capture(48_000, 1, WakeSender::disconnected());
        tap.listen();
        let start = Instant::now();
        for n in 0..2000 {
            end.write_captured(start + 10 * MS * n, 10 * MS, &[0.1; 480], |s: f32| s);
        }
        let mut out = Vec::new();
        let mut marks = Vec::new();
        while let Some(mark) = tap.take(&mut out) {
            marks.push(mark);
        }
        assert_eq!(out.len(), 48_000);
        assert_eq!(marks.iter().map(|mark| mark.kept).sum::<usize>(), 48_000);
        assert!(marks.last().unwrap().lost > 0);
        end.write_captured(start, MS, &[0.2; 480], |s: f32| s);
        out.clear();
        assert_eq!(tap.take(&mut out).unwrap().kept, 480);
        assert_eq!(out[0], 0.2);
    }

    #[test]
    fn speakers_get_what_was_queued_on_every_channel_and_silence_after_it() {
        let (mut end, mut tap) = playback(48_000, 2);
        let start = Instant::now();
        assert!(tap.push(&[0.5; 960]));
        let first = played(&mut end, start, 480);
        assert!(first.chunks(2).all(|frame| frame[0] == frame[1]));
        assert_eq!(first[959], 0.5);
        played(&mut end, start + 10 * MS, 480);
        let rest = played(&mut end, start + 20 * MS, 480);
        assert_eq!(rest[959], 0.0);
        let steepest = rest
            .windows(3)
            .fold(0.0_f32, |m, w| m.max((w[2] - w[0]).abs()));
        assert!(steepest < 0.05, "{steepest}");
        let marks: Vec<_> = std::iter::from_fn(|| tap.mark()).collect();
        let seen: Vec<_> = marks
            .iter()
            .map(|m| (m.index, m.queued, m.frames))
            .collect();
        assert_eq!(seen, [(0, 960, 480), (480, 480, 480), (960, 0, 480)]);
    }

    #[test]
    fn samples_queued_during_a_stall_of_the_speakers_are_not_played() {
        let (mut end, mut tap) = playback(48_000, 1);
        let start = Instant::now();
        tap.push(&[0.5; 960]);
        played(&mut end, start, 480);
        tap.push(&[0.5; 9600]);
        let late = played(&mut end, start + 3000 * MS, 480);
        assert_eq!(late[479], 0.0);
        tap.push(&[0.25; 480]);
        assert_eq!(played(&mut end, start + 3010 * MS, 480)[479], 0.25);
    }

    #[test]
    fn samples_are_skipped_from_the_oldest_on() {
        let (mut end, mut tap) = playback(48_000, 1);
        let samples: Vec<f32> = (0..2000).map(|n| n as f32 / 2000.0).collect();
        tap.push(&samples);
        tap.skip(1000);
        let out = played(&mut end, Instant::now(), 480);
        assert_eq!(out[479], samples[1479]);
        assert_eq!(tap.mark().unwrap().index, 1000);
        tap.skip(5000);
        played(&mut end, Instant::now(), 480);
        assert_eq!(tap.mark().unwrap().index, 2000);
    }

    #[test]
    fn a_ring_that_is_full_takes_a_block_whole_or_not_at_all() {
        let (_end, mut tap) = playback(48_000, 1);
        let mut blocks = 0;
        while tap.push(&[0.1; 480]) {
            blocks += 1;
        }
        assert_eq!(blocks, 100);
        assert_eq!(tap.room(), 0);
    }

    /// Both ends at once, on two threads: everything comes whole and in order.
    #[test]
    fn threads_on_both_ends_lose_nothing() {
        let (mut end, mut tap) = capture(48_000, 1, WakeSender::disconnected());
        tap.listen();
        let sent = 200_000;
        let writer = thread::spawn(move || {
            let now = Instant::now();
            for n in (0..sent).step_by(100) {
                let piece: Vec<f32> = (n..n + 100).map(|n| n as f32 / sent as f32).collect();
                while end.samples.slots() < piece.len() || end.marks.slots() == 0 {
                    thread::yield_now();
                }
                end.write_captured(now, MS, &piece, |s| s);
            }
        });
        let mut out = Vec::new();
        while out.len() < sent {
            if tap.take(&mut out).is_none() {
                thread::yield_now();
            }
        }
        writer.join().unwrap();
        let expected = (0..sent).map(|n| n as f32 / sent as f32);
        assert!(out.iter().copied().eq(expected));
    }
}
