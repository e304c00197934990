//! The events of a call. Their JSON form is in `docs/client.md`, which changes with it.

mod summary;
mod text;

#[cfg(test)]
mod tests;

use confab_protocol::control::Participant;
use confab_protocol::control::room::LeaveReason;
use serde::Serialize;

use super::super::devices::DeviceTable;
use crate::audio::device::Side;
use crate::audio::device::fault::Fault;
use crate::audio::device::keeper::{Choice, Notice};
use crate::audio::device::stats::DevicesStats;
use crate::engine::stats::Stats;
use crate::identity::IdentityShown;
use confab_protocol::control::room::role_name;

/// A participant as it is printed.
#[derive(Serialize)]
pub(super) struct ParticipantShown {
    username: String,
    sender: u16,
    role: &'static str,
    muted: bool,
}

/// An event of a call.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum CallEvent {
    Joined {
        slug: String,
        conference: String,
        #[serde(rename = "self")]
        me: ParticipantShown,
        participants: Vec<ParticipantShown>,
    },
    ParticipantJoined(ParticipantShown),
    ParticipantLeft {
        username: String,
        sender: u16,
        reason: &'static str,
    },
    ParticipantChanged {
        #[serde(flatten)]
        participant: ParticipantShown,
        #[serde(rename = "self")]
        is_me: bool,
    },
    Speaking {
        username: String,
        sender: u16,
        speaking: bool,
    },
    FramesUnreadable {
        username: String,
        sender: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        accounts: Option<u32>,
    },
    /// Somebody is on a device that was not known, or under a name of another.
    Identity(IdentityShown),
    /// By --strict-trust nothing is sent while these are there, or again.
    SendingHeld {
        held: bool,
        names: Vec<String>,
    },
    /// A participant wrote.
    Text {
        from: String,
        text: String,
    },
    /// The server's operator says something to everybody.
    OperatorNotice {
        text: String,
    },
    /// An own text was not passed on.
    TextRefused {
        reason: &'static str,
    },
    Unannounced {
        username: String,
        leaf: u32,
    },
    Announced,
    /// The server has offered keys that are not post-quantum, in a room that is small enough for them: refused.
    Downgrade,
    /// Frames do not open that should: the server may have split the group.
    Forked {
        username: String,
    },
    /// Others are in an epoch of the group that this client does not get to.
    Unreachable,
    /// This client has no keys of the group, some seconds after it joined.
    NotInGroup,
    Suite {
        post_quantum: bool,
    },
    /// Whether one's own voice is to be heard.
    OwnVoice {
        muted: bool,
        /// There only with `--talk push`.
        #[serde(skip_serializing_if = "Option::is_none")]
        talking: Option<bool>,
    },
    /// Somebody is played so loud from now on.
    Volume {
        username: String,
        percent: u8,
    },
    /// The answer to `/devices`.
    Devices(DeviceTable),
    /// The answer to `/who`.
    Who {
        #[serde(rename = "self")]
        me: ParticipantShown,
        participants: Vec<ParticipantShown>,
    },
    /// The answer to `/help`.
    Help,
    RoomCode {
        code: Option<String>,
        /// A person is to see it, too.
        #[serde(skip)]
        is_shown: bool,
    },
    Media {
        state: MediaState,
    },
    Reconnecting {
        reason: String,
    },
    Reconnected {
        resumed: bool,
    },
    CaptureStarted {
        unix_ns: u64,
    },
    RecordingStarted {
        unix_ns: u64,
        file: String,
    },
    InputEnded {
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    },
    DeviceInUse {
        side: Side,
        device: String,
        /// True when the device replaces the wanted one.
        stands_in: bool,
        /// True when another device was in use before.
        again: bool,
        rate: u32,
        channels: u16,
        format: String,
        period_ms: f32,
    },
    DeviceLost {
        side: Side,
        device: Option<String>,
        cause: Fault,
        problem: Option<String>,
    },
    DeviceTrouble {
        side: Side,
        cause: Fault,
        count: u64,
        problem: Option<String>,
    },
    DevicePeriod {
        side: Side,
        period_ms: f32,
        wider: bool,
    },
    Stats(Counts),
    Left {
        reason: &'static str,
        /// How long the call was.
        lasted_ms: u64,
        /// The call was there for texts alone: nobody wants to read of its voice.
        #[serde(skip)]
        for_texts: bool,
        #[serde(flatten)]
        counts: Counts,
    },
    Warning {
        message: String,
    },
}

/// The counts of a call.
#[derive(Serialize)]
pub(super) struct Counts {
    #[serde(flatten)]
    pub(super) engine: Stats,
    pub(super) devices: DevicesStats,
}

/// The state of the media path.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum MediaState {
    Live,
    Silent,
    Gone,
}

impl From<&Participant> for ParticipantShown {
    fn from(participant: &Participant) -> Self {
        Self {
            username: participant.username.to_string(),
            sender: participant.sender,
            role: role_name(participant.role),
            muted: participant.muted,
        }
    }
}

impl CallEvent {
    /// A device's notice as an event.
    pub(super) fn device(side: Side, notice: Notice) -> Self {
        match notice {
            Notice::InUse {
                device,
                choice,
                again,
            } => Self::DeviceInUse {
                side,
                device: device.name,
                stands_in: choice == Choice::Other,
                again,
                rate: device.rate,
                channels: device.channels,
                format: device.format,
                period_ms: device.period.as_secs_f32() * 1000.0,
            },
            Notice::Lost {
                device,
                fault,
                reason,
            } => Self::DeviceLost {
                side,
                device,
                cause: fault,
                problem: reason,
            },
            Notice::Trouble {
                fault,
                count,
                reason,
            } => Self::DeviceTrouble {
                side,
                cause: fault,
                count,
                problem: reason,
            },
            Notice::Period { period, wider } => Self::DevicePeriod {
                side,
                period_ms: period.as_secs_f32() * 1000.0,
                wider,
            },
        }
    }
}

/// The reason of a leave, as it is printed.
pub(super) fn leave_reason(reason: LeaveReason) -> &'static str {
    match reason {
        LeaveReason::Left => "left",
        LeaveReason::Lost => "lost",
        LeaveReason::Kicked => "kicked",
        LeaveReason::Banned => "banned",
        LeaveReason::Closed => "closed",
        LeaveReason::SessionEnded => "session_ended",
        LeaveReason::Unspecified => "unknown",
    }
}
