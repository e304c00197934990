//! Counts of a call, as they are printed.

use std::time::Duration;

use confab_e2ee::OpenError;
use serde::Serialize;

use super::talker::SealedFrame;

/// Own frames given to a relay.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) frames: u64,
    /// How long those with a voice in them were.
    pub(super) voiced: Duration,
}

impl Sent {
    pub(super) fn count(&mut self, frame: &SealedFrame) {
        self.frames += 1;
        self.voiced += frame.voiced;
    }
}

/// Datagrams and frames that were dropped, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// Datagrams that do not parse.
    pub malformed: u64,
    /// Datagrams that the relay did not tag: forged, damaged, or of a session that is over.
    pub wrong_tag: u64,
    /// Datagrams that were received before.
    pub replayed: u64,
    /// Records that are not an SFrame.
    pub not_sframe: u64,
    /// Frames under this client's own key id.
    pub own_leaf: u64,
    /// Frames under a key id that no member had within 300 ms.
    pub unknown_leaf: u64,
    /// Frames of a member whom the server did not announce within 300 ms.
    pub unannounced: u64,
    /// Frames that do not decrypt: forged or damaged.
    pub not_authentic: u64,
    /// Frames with a counter that no sender may reach.
    pub counter_too_high: u64,
    /// Frames that were received before, as during a move between relays.
    pub duplicate: u64,
    /// Decrypted frames whose payload is not voice.
    pub bad_payload: u64,
    /// Own frames that could not be encoded or sealed.
    pub unsealed: u64,
    /// Own frames dropped because no relay address had answered.
    pub unsent: u64,
}

impl Drops {
    /// Counts a frame that the cipher refused.
    pub(super) fn count_unopened(&mut self, error: &OpenError) {
        let counter = match error {
            OpenError::Malformed(_) => &mut self.not_sframe,
            OpenError::OwnLeaf => &mut self.own_leaf,
            OpenError::UnknownKey(_) => &mut self.unknown_leaf,
            OpenError::NotAuthentic => &mut self.not_authentic,
            OpenError::CounterTooHigh(_) => &mut self.counter_too_high,
            OpenError::Replay(_) => &mut self.duplicate,
        };
        *counter += 1;
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpeakerStats {
    pub username: String,
    /// Label in the room: distinguishes two devices of one account.
    pub sender: u16,
    /// Frames that were received and decrypted.
    pub frames_received: u64,
    /// Frames that were missing at their playout time.
    pub lost: u64,
    /// Frames that arrived after their playout time.
    pub late: u64,
    pub concealed: u64,
    /// Lost frames that a redundant copy replaced.
    pub recovered: u64,
    /// Frames that were received more than once.
    pub duplicate: u64,
    /// Frames that are not valid Opus.
    pub undecodable: u64,
    /// Decoded voice that no device played, in milliseconds.
    pub unheard_ms: u64,
    /// Mean level of the played samples, in dBov (0 loudest); `None` without samples.
    pub mean_level_dbov: Option<f32>,
    /// Current delay of the jitter buffer, in milliseconds.
    pub delay_ms: f32,
}

/// The counts of a participation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Own frames that went to a relay.
    pub frames_sent: u64,
    /// Time in which the own voice was sent, in milliseconds, pauses not counted.
    pub talked_ms: u64,
    /// Smoothed round trip to the relay, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Smoothed share of own datagrams lost on their way to the relay, 0.0 to 1.0.
    pub uplink_loss: Option<f32>,
    /// Share of the relay's datagrams that get lost on their way to the others, as the relay told last: a high percentile.
    pub receivers_loss: Option<f32>,
    /// How own frames are protected against that: a profile of [`confab_voice::Profile`].
    pub redundancy: &'static str,
    /// Bits a second of the own voice itself, without what protects it.
    pub voice_bitrate: u32,
    /// The other participants, those who left first.
    pub speakers: Vec<SpeakerStats>,
    pub drops: Drops,
}
