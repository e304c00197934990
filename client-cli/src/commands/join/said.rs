//! What `join` says. `docs/client.md` lists the JSON forms; they do not change without a word there.

use confab_console::Class;
use confab_protocol::control::Participant;
use confab_protocol::control::room::LeaveReason;
use serde::Serialize;

use super::super::conference::role_name;
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
    Stats(Stats),
    Left {
        reason: &'static str,
        #[serde(flatten)]
        stats: Stats,
    },
    Warning {
        message: String,
    },
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
            Self::Left { reason, stats } => left(reason, stats),
            Self::Warning { message } => format!("warning: {message}"),
        })
    }

    fn lines(&self) -> Vec<String> {
        let speakers = match self {
            Self::Left { stats, .. } => &stats.speakers[..],
            _ => &[],
        };
        let first = self.text().into_iter();
        first.chain(speakers.iter().map(heard)).collect()
    }
}

fn left(reason: &str, stats: &Stats) -> String {
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
    use super::*;
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

    fn person() -> Person {
        Person {
            username: "ann".into(),
            sender: 1,
            role: "member",
            muted: false,
        }
    }

    fn everything() -> Vec<Said> {
        vec![
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
            Said::Stats(stats()),
            Said::Left {
                reason: "duration",
                stats: stats(),
            },
            Said::Warning {
                message: "x".into(),
            },
        ]
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
    fn a_line_for_a_person_is_one_line_except_the_last() {
        for said in everything() {
            let lines = said.lines();
            assert!(lines.len() <= 1 || matches!(said, Said::Left { .. }));
            assert!(!lines.concat().contains('\n'), "{lines:?}");
        }
    }
}
