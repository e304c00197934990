use std::time::Duration;

use super::*;
use crate::audio::device::slot::DeviceInfo;
use crate::audio::device::stats::DeviceStats;
use crate::audio::device::stats::{DeviceState, MicrophoneStats, SpeakersStats};
use crate::audio::device::wanted::Listed;
use crate::engine::stats::{Drops, SpeakerStats};
use crate::output::Printed as _;

const PAGE: &str = include_str!("../../../../../docs/client.md");

fn stats() -> Stats {
    Stats {
        frames_sent: 1,
        talked_ms: 9_000,
        rtt_ms: Some(1.0),
        uplink_loss: None,
        receivers_loss: None,
        redundancy: "off",
        voice_bitrate: 24_000,
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

fn shown_participant() -> ParticipantShown {
    ParticipantShown {
        username: "ann".into(),
        sender: 1,
        role: "member",
        muted: false,
    }
}

fn everything() -> Vec<CallEvent> {
    let devices = device_notices()
        .into_iter()
        .map(|notice| CallEvent::device(Side::Speakers, notice));
    let mut all = vec![
        CallEvent::Joined {
            slug: "friday".into(),
            conference: "00".into(),
            me: shown_participant(),
            participants: vec![shown_participant()],
        },
        CallEvent::ParticipantJoined(shown_participant()),
        CallEvent::ParticipantLeft {
            username: "ann".into(),
            sender: 1,
            reason: leave_reason(LeaveReason::Kicked),
        },
        CallEvent::ParticipantChanged {
            participant: shown_participant(),
            is_me: true,
        },
        CallEvent::Speaking {
            username: "ann".into(),
            sender: 1,
            speaking: true,
        },
        CallEvent::FramesUnreadable {
            username: "ann".into(),
            sender: 1,
            accounts: None,
        },
        CallEvent::FramesUnreadable {
            username: "ann".into(),
            sender: 1,
            accounts: Some(2),
        },
        CallEvent::Text {
            from: "ann".into(),
            text: "x".into(),
        },
        CallEvent::TextRefused { reason: "x" },
        CallEvent::Unannounced {
            username: "ann".into(),
            leaf: 1,
        },
        CallEvent::Announced,
        CallEvent::NotInGroup,
        CallEvent::Suite { post_quantum: true },
        CallEvent::Suite {
            post_quantum: false,
        },
        CallEvent::RoomCode {
            code: Some("00000 11111".into()),
            is_shown: true,
        },
        CallEvent::OwnVoice {
            muted: true,
            talking: None,
        },
        CallEvent::OwnVoice {
            muted: false,
            talking: Some(true),
        },
        CallEvent::Volume {
            username: "ann".into(),
            percent: 50,
        },
        CallEvent::Devices(DeviceTable::new(
            vec![Listed {
                id: "desk".into(),
                name: "Desk".into(),
                input: true,
                output: false,
            }],
            Default::default(),
        )),
        CallEvent::Who {
            me: shown_participant(),
            participants: vec![shown_participant()],
        },
        CallEvent::Help,
        CallEvent::Media {
            state: MediaState::Live,
        },
        CallEvent::Media {
            state: MediaState::Silent,
        },
        CallEvent::Reconnecting { reason: "x".into() },
        CallEvent::Reconnected { resumed: true },
        CallEvent::CaptureStarted { unix_ns: 1 },
        CallEvent::RecordingStarted {
            unix_ns: 1,
            file: "x".into(),
        },
        CallEvent::InputEnded {
            problem: Some("x".into()),
        },
        CallEvent::Stats(counts()),
        CallEvent::Left {
            reason: "duration",
            lasted_ms: 1,
            for_texts: false,
            counts: counts(),
        },
        CallEvent::Warning {
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
    for event in everything() {
        let value = serde_json::to_value(&event).unwrap();
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
fn device_events_are_printed_in_plain_words() {
    let lost = |device: Option<&str>, fault, reason: Option<&str>| {
        let notice = Notice::Lost {
            device: device.map(str::to_owned),
            fault,
            reason: reason.map(str::to_owned),
        };
        CallEvent::device(Side::Microphone, notice).text().unwrap()
    };
    assert_eq!(
        lost(Some("Headset"), Fault::Gone, Some("No such device")),
        "microphone: Headset is lost, it is not there any more; trying again"
    );
    assert_eq!(
        lost(None, Fault::Other, Some("error 5")),
        "microphone: no device can be opened, error 5; trying again"
    );
    let left = CallEvent::Left {
        reason: "duration",
        lasted_ms: 14 * 60_000,
        for_texts: false,
        counts: counts(),
    };
    let lines = left.lines();
    assert_eq!(
        lines[0],
        "left (duration); you talked 9 s of 14 min; connection good"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("  speakers: 2 xruns, 1 time lost")),
        "{lines:?}"
    );
}

#[test]
fn a_line_for_a_person_is_one_line_except_lists_and_the_last() {
    for event in everything() {
        let lines = event.lines();
        let has_more = matches!(
            event,
            CallEvent::Left { .. }
                | CallEvent::Devices(_)
                | CallEvent::Who { .. }
                | CallEvent::Help
        );
        assert!(lines.len() <= 1 || has_more);
        assert!(!lines.concat().contains('\n'), "{lines:?}");
    }
}
