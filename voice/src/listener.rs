//! The receiving side of a conference: frames of any speaker in, one mix out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::codec::{CodecError, packet_duration};
use crate::mixer::{Gain, Mixer};
use crate::redundancy::{Block, Recovery};
use crate::stream::{Pulled, SpeakerStream, StreamStats};

/// A frame after decryption.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedFrame<'a> {
    /// Timestamp of its first sample, 48 kHz, wraps.
    pub timestamp: u32,
    /// First frame after a pause.
    pub talkspurt: bool,
    /// The Opus packet.
    pub packet: &'a [u8],
}

/// The streams of all speakers, by leaf.
pub struct Listener {
    longest_wait: Duration,
    speakers: BTreeMap<u32, Speaker>,
    mixer: Mixer,
    pcm: Vec<f32>,
}

struct Speaker {
    stream: SpeakerStream,
    recovery: Recovery,
    /// Where the present talkspurt begins: its first packet that was sent by itself.
    spurt: Option<u32>,
    gain: Gain,
}

impl Listener {
    /// Hears nobody yet. For lost frames that redundancy brings back it waits `longest_wait` at most.
    pub fn new(longest_wait: Duration) -> Self {
        Self {
            longest_wait,
            speakers: BTreeMap::new(),
            mixer: Mixer::default(),
            pcm: Vec::new(),
        }
    }

    /// Takes a frame of the speaker `leaf` with its redundant blocks. A leaf never heard before becomes a speaker; the only
    /// error is that a decoder for it could not be made.
    pub fn push(
        &mut self,
        arrival: Instant,
        leaf: u32,
        frame: ReceivedFrame<'_>,
        blocks: &[Block<'_>],
    ) -> Result<(), CodecError> {
        let Speaker {
            stream,
            recovery,
            spurt,
            ..
        } = self.speaker(leaf)?;
        let ReceivedFrame {
            timestamp,
            talkspurt,
            packet,
        } = frame;
        stream.push(arrival, timestamp, packet, talkspurt);
        // A packet that is none is counted by the stream.
        if let Ok(duration) = packet_duration(packet) {
            let duration = duration as u32;
            if talkspurt {
                *spurt = Some(timestamp);
            }
            // Copies of what comes before the talkspurt are not there because something was lost, and nothing is to wait for it.
            let since = spurt.map_or(u32::MAX, |spurt| timestamp.wrapping_sub(spurt));
            let reach_of = |block: &Block<'_>| match (block, block.reach(duration)) {
                (Block::Copy { .. }, reach) if reach > since => None,
                (_, reach) => Some(reach.min(since)).filter(|reach| *reach > 0),
            };
            let reach = blocks.iter().filter_map(reach_of).max();
            if let Some(reach) = reach {
                stream.protected(arrival, reach);
            }
            for lost in recovery.push(timestamp, duration, packet, blocks) {
                stream.push_redundant(lost.timestamp, &lost.packet);
            }
        }
        Ok(())
    }

    /// Tells that nothing more comes of a speaker for now, as when a relay forwards only the loudest.
    pub fn pause(&mut self, leaf: u32) {
        if let Some(speaker) = self.speakers.get_mut(&leaf) {
            speaker.stream.pause();
        }
    }

    /// Fills `out` with the mix of all speakers at `now`.
    pub fn pull(&mut self, now: Instant, out: &mut [f32]) {
        self.pull_each(now, out, |_, _, _| {});
    }

    /// Fills `out` with the mix, and shows each speaker's own samples, before gain: leaf, what was pulled, samples.
    pub fn pull_each(
        &mut self,
        now: Instant,
        out: &mut [f32],
        mut each: impl FnMut(u32, Pulled, &[f32]),
    ) {
        self.pcm.resize(out.len(), 0.0);
        self.mixer.begin(out.len());
        for (&leaf, speaker) in &mut self.speakers {
            let pulled = speaker.stream.pull(now, &mut self.pcm);
            each(leaf, pulled, &self.pcm);
            self.mixer.add(&self.pcm, &mut speaker.gain);
        }
        self.mixer.finish(out);
    }

    /// Sets how loud a speaker is mixed, 0 (silent) to 2. A leaf never heard before becomes a speaker; the only error is that a
    /// decoder for it could not be made.
    pub fn set_gain(&mut self, leaf: u32, gain: f32) -> Result<(), CodecError> {
        self.speaker(leaf)?.gain.set(gain);
        Ok(())
    }

    /// Forgets a speaker who left.
    pub fn remove(&mut self, leaf: u32) {
        self.speakers.remove(&leaf);
    }

    /// Each speaker's counts.
    pub fn stats(&self) -> impl Iterator<Item = (u32, StreamStats)> {
        self.speakers
            .iter()
            .map(|(&leaf, speaker)| (leaf, speaker.stream.stats()))
    }

    fn speaker(&mut self, leaf: u32) -> Result<&mut Speaker, CodecError> {
        use std::collections::btree_map::Entry;
        Ok(match self.speakers.entry(leaf) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Speaker {
                stream: SpeakerStream::new(self.longest_wait)?,
                recovery: Recovery::new(),
                spurt: None,
                gain: Gain::default(),
            }),
        })
    }
}
