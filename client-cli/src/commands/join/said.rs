//! What `join` says. `docs/client.md` lists the JSON forms; they do not change without a word there.

use confab_console::Class;
use confab_protocol::control::Participant;
use confab_protocol::control::room::LeaveReason;
use serde::Serialize;

use super::super::conference::role_name;
use crate::audio::device::Side;
use crate::audio::device::fault::Fault;
use crate::audio::device::keeper::{Choice, Notice};
use crate::audio::device::stats::{DeviceStats, DevicesStats};
use crate::engine::stats::{SpeakerStats, Stats};
use crate::output::Say;

/// A participant as it is shown.
#[derive(Serialize)]
pub(super) struct Person {
    username: String,
    sender: u16,
    role: &'static str,
    muted: bool,
}

/// Everything that `join` says.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Said {
    Joined {
        slug: String,
        conference: String,
        #[serde(rename = "self")]
        me: Person,
        participants: Vec<Person>,
    },
    ParticipantJoined(Person),
    ParticipantLeft {
        username: String,
        sender: u16,
        reason: &'static str,
    },
    ParticipantChanged {
        #[serde(flatten)]
        person: Person,
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
        /// It is not the wanted one.
        stands_in: bool,
        /// It is not the first one of the call.
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
        #[serde(flatten)]
        counts: Counts,
    },
    Warning {
        message: String,
    },
}

/// All counts of a call.
#[derive(Serialize)]
pub(super) struct Counts {
    #[serde(flatten)]
    pub(super) engine: Stats,
    pub(super) devices: DevicesStats,
}

/// How the way to the relay is.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum MediaState {
    Live,
    Silent,
}

impl From<&Participant> for Person {
    fn from(participant: &Participant) -> Self {
        Self {
            username: participant.username.to_string(),
            sender: participant.sender,
            role: role_name(participant.role),
            muted: participant.muted,
        }
    }
}

impl Said {
    /// What became of the device of a side.
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

impl Person {
    fn text(&self) -> String {
        let muted = if self.muted { ", muted" } else { "" };
        format!("{} ({}{muted})", self.username, self.role)
    }
}

impl Say for Said {
    /// Events may be dropped; the last one may not.
    fn class(&self) -> Class {
        match self {
            Self::Left { .. } => Class::Answer,
            _ => Class::Event,
        }
    }

    fn text(&self) -> Option<String> {
        Some(match self {
            Self::Joined {
                slug, participants, ..
            } if participants.is_empty() => {
                format!("in {slug}; nobody else is here yet")
            }
            Self::Joined {
                slug, participants, ..
            } => {
                let names: Vec<_> = participants.iter().map(Person::text).collect();
                format!("in {slug} with {}", names.join(", "))
            }
            Self::ParticipantJoined(person) => format!("{} came", person.text()),
            Self::ParticipantLeft {
                username, reason, ..
            } => format!("{username} left ({reason})"),
            Self::ParticipantChanged {
                person,
                is_me: false,
            } => format!("{} now", person.text()),
            Self::ParticipantChanged {
                person,
                is_me: true,
            } => format!("you are {} now", person.text()),
            Self::Speaking { .. } | Self::CaptureStarted { .. } | Self::Stats(_) => return None,
            Self::FramesUnreadable {
                username,
                accounts: None,
                ..
            } => format!("cannot open {username}'s frames: nothing is heard of them"),
            Self::FramesUnreadable {
                username,
                accounts: Some(accounts),
                ..
            } => format!(
                "{accounts} participants cannot open {username}'s frames; `confab conference kick` sends them out"
            ),
            Self::Media {
                state: MediaState::Live,
            } => "voice connected".into(),
            Self::Media {
                state: MediaState::Silent,
            } => "the relay does not answer; trying to reach it".into(),
            Self::Reconnecting { reason } => {
                format!("connection to the server lost ({reason}); reconnecting")
            }
            Self::Reconnected { resumed: true } => "reconnected".into(),
            Self::Reconnected { resumed: false } => "reconnected; joined anew".into(),
            Self::RecordingStarted { file, .. } => format!("recording to {file}"),
            Self::InputEnded { problem: None } => "the input has ended; still listening".into(),
            Self::InputEnded {
                problem: Some(problem),
            } => format!("the input broke off: {problem}; still listening"),
            Self::DeviceInUse {
                stands_in: false,
                again: false,
                ..
            } => return None,
            Self::DeviceInUse {
                side,
                device,
                stands_in,
                ..
            } => {
                let until = if *stands_in {
                    " until the wanted one works"
                } else {
                    ""
                };
                format!("{}: now by {device}{until}", side.name())
            }
            Self::DeviceLost {
                side,
                device,
                cause,
                problem,
            } => {
                let why = why(*cause, problem.as_deref());
                match device {
                    Some(device) => {
                        format!("{}: {device} is lost, {why}; trying again", side.name())
                    }
                    None => format!(
                        "{}: no device can be opened, {why}; trying again",
                        side.name()
                    ),
                }
            }
            Self::DeviceTrouble {
                side,
                cause,
                count,
                problem,
            } => {
                let why = why(*cause, problem.as_deref());
                let times = if *count == 1 {
                    String::new()
                } else {
                    format!(" ({count} times)")
                };
                format!("{}: a gap, {why}{times}", side.name())
            }
            Self::DevicePeriod {
                side,
                period_ms,
                wider,
            } => {
                let why = if *wider {
                    "after repeated gaps"
                } else {
                    "for it was calm"
                };
                format!(
                    "{}: periods of {period_ms:.0} ms from now on, {why}",
                    side.name()
                )
            }
            Self::Left { reason, counts } => left(reason, counts),
            Self::Warning { message } => format!("warning: {message}"),
        })
    }

    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.text().into_iter().collect();
        if let Self::Left { counts, .. } = self {
            lines.extend(counts.engine.speakers.iter().map(heard));
            lines.extend(device_troubles(&counts.devices));
        }
        lines
    }
}

/// What the system says says more than the class, if it says anything.
fn why(cause: Fault, problem: Option<&str>) -> String {
    match problem {
        Some(problem) if !cause.says_it_all() => problem.to_owned(),
        _ => cause.reason().to_owned(),
    }
}

fn left(reason: &str, counts: &Counts) -> String {
    let stats = &counts.engine;
    let mut text = format!("left ({reason}); {} frames sent", stats.frames_sent);
    if let Some(rtt) = stats.rtt_ms {
        text.push_str(&format!(", {rtt:.0} ms to the relay and back"));
    }
    text
}

fn heard(speaker: &SpeakerStats) -> String {
    format!(
        "  {}: {} frames, {} lost, {} late, {} concealed",
        speaker.username, speaker.frames_received, speaker.lost, speaker.late, speaker.concealed
    )
}

/// A line for each side whose devices had trouble.
fn device_troubles(devices: &DevicesStats) -> impl Iterator<Item = String> {
    let microphone = devices.microphone.as_ref().map(|side| &side.device);
    let speakers = devices.speakers.as_ref().map(|side| &side.device);
    let sides = [(Side::Microphone, microphone), (Side::Speakers, speakers)];
    sides.into_iter().filter_map(|(side, device)| {
        let trouble = device.and_then(DeviceStats::trouble)?;
        Some(format!("  {}: {trouble}", side.name()))
    })
}

/// Why somebody left, as it is shown.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audio::device::slot::DeviceInfo;
    use crate::audio::device::stats::{DeviceState, MicrophoneStats, SpeakersStats};
    use crate::engine::stats::Drops;

    const PAGE: &str = include_str!("../../../../docs/client.md");

    fn stats() -> Stats {
        Stats {
            frames_sent: 1,
            rtt_ms: Some(1.0),
            uplink_loss: None,
            speakers: vec![SpeakerStats {
                username: "ann".into(),
                sender: 1,
                frames_received: 1,
                lost: 0,
                late: 0,
                concealed: 0,
                recovered: 0,
                duplicate: 0,
                undecodable: 0,
                unheard_ms: 0,
                mean_level_dbov: None,
                delay_ms: 0.0,
            }],
            drops: Drops::default(),
        }
    }

    fn counts() -> Counts {
        let device = DeviceStats {
            device: Some("Headset".into()),
            stands_in: false,
            state: DeviceState::Moving,
            rate: Some(48_000),
            channels: Some(2),
            format: Some("f32".into()),
            period_ms: Some(10.0),
            drift_ppm: None,
            xruns: 2,
            errors: 0,
            lost: 1,
        };
        Counts {
            engine: stats(),
            devices: DevicesStats {
                microphone: Some(MicrophoneStats {
                    device: device.clone(),
                    dropped_ms: 0,
                }),
                speakers: Some(SpeakersStats {
                    device,
                    starved_ms: 0,
                    unheard_ms: 0,
                    waits_ms: None,
                }),
            },
        }
    }

    fn device_notices() -> Vec<Notice> {
        let device = DeviceInfo {
            id: "hw:1".into(),
            name: "Headset".into(),
            rate: 48_000,
            channels: 2,
            format: "f32".into(),
            period: Duration::from_millis(10),
        };
        let in_use = |choice, again| Notice::InUse {
            device: device.clone(),
            choice,
            again,
        };
        let mut notices = vec![
            in_use(Choice::Wanted, false),
            in_use(Choice::Wanted, true),
            in_use(Choice::Other, true),
            Notice::Period {
                period: device.period,
                wider: true,
            },
        ];
        for fault in Fault::ALL {
            notices.push(Notice::Lost {
                device: Some(device.name.clone()),
                fault,
                reason: Some("x".into()),
            });
            notices.push(Notice::Trouble {
                fault,
                count: 3,
                reason: None,
            });
        }
        notices
    }

    fn person() -> Person {
        Person {
            username: "ann".into(),
            sender: 1,
            role: "member",
            muted: false,
        }
    }

    fn everything() -> Vec<Said> {
        let devices = device_notices()
            .into_iter()
            .map(|notice| Said::device(Side::Speakers, notice));
        let mut all = vec![
            Said::Joined {
                slug: "friday".into(),
                conference: "00".into(),
                me: person(),
                participants: vec![person()],
            },
            Said::ParticipantJoined(person()),
            Said::ParticipantLeft {
                username: "ann".into(),
                sender: 1,
                reason: leave_reason(LeaveReason::Kicked),
            },
            Said::ParticipantChanged {
                person: person(),
                is_me: true,
            },
            Said::Speaking {
                username: "ann".into(),
                sender: 1,
                speaking: true,
            },
            Said::FramesUnreadable {
                username: "ann".into(),
                sender: 1,
                accounts: None,
            },
            Said::FramesUnreadable {
                username: "ann".into(),
                sender: 1,
                accounts: Some(2),
            },
            Said::Media {
                state: MediaState::Live,
            },
            Said::Media {
                state: MediaState::Silent,
            },
            Said::Reconnecting { reason: "x".into() },
            Said::Reconnected { resumed: true },
            Said::CaptureStarted { unix_ns: 1 },
            Said::RecordingStarted {
                unix_ns: 1,
                file: "x".into(),
            },
            Said::InputEnded {
                problem: Some("x".into()),
            },
            Said::Stats(counts()),
            Said::Left {
                reason: "duration",
                counts: counts(),
            },
            Said::Warning {
                message: "x".into(),
            },
        ];
        all.extend(devices);
        all
    }

    fn check_keys(value: &serde_json::Value) {
        if let serde_json::Value::Object(fields) = value {
            for (key, value) in fields.iter().filter(|(key, _)| *key != "event") {
                let listed = [
                    format!("`{key}`"),
                    format!("{{{key},"),
                    format!(" {key},"),
                    format!(" {key}}}"),
                ];
                assert!(
                    listed.iter().any(|form| PAGE.contains(form)),
                    "{key} is not in the page"
                );
                check_keys(value);
            }
        } else if let serde_json::Value::Array(values) = value {
            values.iter().for_each(check_keys);
        }
    }

    #[test]
    fn the_page_lists_every_event_and_every_field() {
        for said in everything() {
            let value = serde_json::to_value(&said).unwrap();
            let event = value["event"].as_str().unwrap();
            assert!(
                PAGE.contains(&format!("| `{event}` |")),
                "{event} is not in the page"
            );
            check_keys(&value);
        }
    }

    #[test]
    fn the_page_lists_every_cause() {
        for fault in Fault::ALL {
            let cause = serde_json::to_value(fault).unwrap();
            let cause = format!("`{}`", cause.as_str().unwrap());
            assert!(PAGE.contains(&cause), "{cause} is not in the page");
        }
    }

    #[test]
    fn what_happens_to_a_device_is_said_in_plain_words() {
        let lost = |device: Option<&str>, fault, reason: Option<&str>| {
            let notice = Notice::Lost {
                device: device.map(str::to_owned),
                fault,
                reason: reason.map(str::to_owned),
            };
            Said::device(Side::Microphone, notice).text().unwrap()
        };
        assert_eq!(
            lost(Some("Headset"), Fault::Gone, Some("No such device")),
            "microphone: Headset is lost, it is not there any more; trying again"
        );
        assert_eq!(
            lost(None, Fault::Other, Some("error 5")),
            "microphone: no device can be opened, error 5; trying again"
        );
        let left = Said::Left {
            reason: "duration",
            counts: counts(),
        };
        let lines = left.lines();
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("  speakers: 2 xruns, 1 time lost")),
            "{lines:?}"
        );
    }

    #[test]
    fn a_line_for_a_person_is_one_line_except_the_last() {
        for said in everything() {
            let lines = said.lines();
            assert!(lines.len() <= 1 || matches!(said, Said::Left { .. }));
            assert!(!lines.concat().contains('\n'), "{lines:?}");
        }
    }
}
