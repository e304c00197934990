//! An event of a call as a line for a person.

use confab_console::Class;

use super::super::typed::HELP;
use super::{CallEvent, MediaState, ParticipantShown, summary};
use crate::audio::device::Side;
use crate::audio::device::fault::Fault;
use crate::audio::device::stats::{DeviceStats, DevicesStats};
use crate::engine::stats::SpeakerStats;
use crate::output::Printed;

impl ParticipantShown {
    fn text(&self) -> String {
        let muted = if self.muted { ", muted" } else { "" };
        format!("{} ({}{muted})", self.username, self.role)
    }
}

impl Printed for CallEvent {
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
                slug,
                participants,
                me,
                ..
            } if participants.is_empty() => {
                format!("in {slug}; nobody else is here yet{}", unheard(me))
            }
            Self::Joined {
                slug,
                participants,
                me,
                ..
            } => {
                let names: Vec<_> = participants.iter().map(ParticipantShown::text).collect();
                format!("in {slug} with {}{}", names.join(", "), unheard(me))
            }
            Self::ParticipantJoined(participant) => format!("{} came", participant.text()),
            Self::ParticipantLeft {
                username, reason, ..
            } => format!("{username} left ({reason})"),
            Self::ParticipantChanged {
                participant,
                is_me: false,
            } => format!("{} now", participant.text()),
            Self::ParticipantChanged {
                participant,
                is_me: true,
            } => format!("you are {} now", participant.text()),
            Self::Speaking { .. } | Self::CaptureStarted { .. } | Self::Stats(_) => return None,
            Self::FramesUnreadable {
                username,
                accounts: None,
                ..
            } => format!("cannot open {username}'s frames: you do not hear this participant"),
            Self::FramesUnreadable {
                username,
                accounts: Some(accounts),
                ..
            } => format!(
                "{accounts} participants say that they cannot open {username}'s frames. If you do not hear {username} either, \
                 `confab conference kick` sends {username} out"
            ),
            Self::Identity(shown) => shown.text().to_owned(),
            Self::SendingHeld { held: true, names } => format!(
                "nothing is sent while {} is here, whom you have not accepted (--strict-trust)",
                names.join(", ")
            ),
            Self::SendingHeld { held: false, .. } => "everybody here is accepted: sending is held no more".into(),
            Self::Text { from, text } => format!("{from}: {text}"),
            Self::OperatorNotice { text } => format!("the server's operator says: {text}"),
            Self::TextRefused { reason } => format!("your text was not passed on: {reason}"),
            Self::Unannounced { username, .. } => format!(
                "WARNING: {username} is in the call but the server has not announced it: nothing is sent until it is gone"
            ),
            Self::Announced => "everybody in the call is announced again; sending goes on".into(),
            Self::Downgrade => "WARNING: the server wants weaker encryption for this call than it needs; that was refused. If it lasts, \
                                leave, and ask its operator"
                .into(),
            Self::Forked { username } => format!(
                "WARNING: {username}'s voice does not open under the keys that you share: the server may have split the call, or \
                 {username} sends what nobody can open. Compare the room's code with {username} by another way than this call \
                 (type /code)"
            ),
            Self::Unreachable => {
                "the others have keys that this client does not get: you hear nobody who uses them. It asks for them"
                    .into()
            }
            Self::NotInGroup => {
                "the others have not let this client into the keys of the call: nobody hears you, and you hear nobody. It asks again"
                    .into()
            }
            Self::Suite { post_quantum: true }
            | Self::RoomCode {
                is_shown: false, ..
            } => return None,
            Self::Suite {
                post_quantum: false,
            } => "this call is protected against today's computers only".into(),
            Self::RoomCode {
                code: Some(code), ..
            } => format!("the room's code: {code}"),
            Self::RoomCode { code: None, .. } => "the room has no code yet".into(),
            Self::OwnVoice { muted: true, .. } => "your microphone is off: nobody hears you until /unmute".into(),
            Self::OwnVoice {
                talking: Some(true), ..
            } => "you talk now; Enter ends it".into(),
            Self::OwnVoice {
                talking: Some(false),
                ..
            } => "nobody hears you until you press Enter".into(),
            Self::OwnVoice { .. } => "your microphone is on".into(),
            Self::Volume { username, percent } => format!("{username} is played at {percent} % from now on"),
            Self::Devices(_) | Self::Help | Self::Who { .. } => return None,
            Self::Media {
                state: MediaState::Live,
            } => "voice connected".into(),
            Self::Media {
                state: MediaState::Silent,
            } => "the relay does not answer; trying to reach it".into(),
            Self::Media {
                state: MediaState::Gone,
            } => "voice is gone: the server has no relay for the room; it comes back when there is one".into(),
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
            Self::Left {
                reason,
                for_texts: true,
                ..
            } => format!("left ({reason})"),
            Self::Left {
                reason,
                lasted_ms,
                counts,
                ..
            } => summary::left(reason, *lasted_ms, &counts.engine),
            Self::Warning { message } => format!("warning: {message}"),
        })
    }

    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.text().into_iter().collect();
        match self {
            Self::Left {
                counts,
                for_texts: false,
                ..
            } => {
                lines.extend(counts.engine.speakers.iter().map(heard));
                lines.extend(device_troubles(&counts.devices));
            }
            Self::Devices(table) => lines.extend(table.lines()),
            Self::Help => lines.extend(HELP.map(|(form, what)| format!("  {form:<21} {what}"))),
            Self::Who { me, participants } => {
                lines.push(format!("  {} (you)", me.text()));
                lines.extend(participants.iter().map(|one| format!("  {}", one.text())));
            }
            _ => {}
        }
        lines
    }
}

/// Why nobody hears this participant, if so.
fn unheard(me: &ParticipantShown) -> &'static str {
    match (me.role, me.muted) {
        ("listener", _) => "; you may listen here, and nobody hears you",
        (_, true) => "; a moderator has muted you here: nobody hears you",
        _ => "",
    }
}

/// The cause of a fault: the system's text where it says more than the class.
fn why(cause: Fault, problem: Option<&str>) -> String {
    match problem {
        Some(problem) if !cause.says_it_all() => problem.to_owned(),
        _ => cause.reason().to_owned(),
    }
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
