//! The lines that a person types in a call: texts for the room, and commands for this client.

use crate::audio::device::Side;

/// Words that begin with this are commands.
const COMMAND: char = '/';

/// Loudest that somebody can be played, in percent.
const MAX_VOLUME: u8 = 200;

/// The commands, for a person.
pub(super) const HELP: [(&str, &str); 10] = [
    ("/mute, /unmute", "turn your microphone off, or on again"),
    (
        "/talk",
        "with --talk push: begin to talk, or stop; an empty line does the same",
    ),
    (
        "/volume NAME PERCENT",
        "play somebody quieter or louder, 0 to 200; remembered",
    ),
    ("/who", "who is in the room"),
    ("/devices", "the microphones and speakers of this machine"),
    (
        "/input DEVICE",
        "change the microphone: an id, a part of a name, or default; remembered",
    ),
    ("/output DEVICE", "change the speakers, likewise"),
    ("/code", "the room's code, to compare with others"),
    ("/leave", "leave the room, as Ctrl-C does"),
    (
        "//TEXT",
        "send a text that begins with a slash; every other line is a text",
    ),
];

/// A line that was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// A text for the room.
    Text(String),
    Command(Command),
    /// It begins like a command and is none; why, for the person.
    Wrong(String),
}

/// Something that this client is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    /// Show the room's code.
    Code,
    /// Show who is here.
    Who,
    Mute(bool),
    /// Begin to talk, or stop.
    Talk,
    /// The same by an empty line, which may have been typed by the way.
    Enter,
    Leave,
    /// Play somebody so loud, in percent.
    Volume(String, u8),
    /// Show the devices.
    Devices,
    /// Take another device.
    Device(Side, String),
}

impl Typed {
    /// Reads a line without its end.
    pub(super) fn read(line: &str) -> Self {
        let Some(command) = line.strip_prefix(COMMAND) else {
            return match line.is_empty() {
                true => Self::Command(Command::Enter),
                false => Self::Text(line.to_owned()),
            };
        };
        if command.starts_with(COMMAND) {
            return Self::Text(command.to_owned());
        }
        let (word, rest) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        let rest = rest.trim();
        let device = |side| match rest.is_empty() {
            true => Err(format!("say which: /{word} DEVICE; /devices shows them")),
            false => Ok(Command::Device(side, rest.to_owned())),
        };
        let read = match word {
            "help" | "?" => Ok(Command::Help),
            "code" => Ok(Command::Code),
            "who" => Ok(Command::Who),
            "mute" => Ok(Command::Mute(true)),
            "unmute" => Ok(Command::Mute(false)),
            "talk" => Ok(Command::Talk),
            "leave" | "quit" | "exit" => Ok(Command::Leave),
            "volume" => volume(rest),
            "devices" => Ok(Command::Devices),
            "input" => device(Side::Microphone),
            "output" => device(Side::Speakers),
            _ => Err(format!(
                "there is no command /{word}: /help lists them, and // begins a text with a slash"
            )),
        };
        match read {
            Ok(command) => Self::Command(command),
            Err(why) => Self::Wrong(why),
        }
    }
}

fn volume(rest: &str) -> Result<Command, String> {
    let form = || format!("say who and how loud: /volume NAME PERCENT, 0 to {MAX_VOLUME}");
    let (name, percent) = rest.rsplit_once(char::is_whitespace).ok_or_else(form)?;
    let percent = percent.trim_end_matches('%').parse().map_err(|_| form())?;
    match percent <= MAX_VOLUME {
        true => Ok(Command::Volume(name.trim().to_lowercase(), percent)),
        false => Err(form()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_texts_unless_they_begin_with_one_slash() {
        let text = |line: &str| Typed::Text(line.to_owned());
        assert_eq!(Typed::read("hello /mute"), text("hello /mute"));
        assert_eq!(Typed::read("//mute"), text("/mute"));
        assert_eq!(Typed::read(" /mute"), text(" /mute"));
        assert_eq!(Typed::read("/mute"), Typed::Command(Command::Mute(true)));
    }

    #[test]
    fn commands_are_read_with_what_they_take() {
        for (line, command) in [
            ("", Command::Enter),
            ("/quit", Command::Leave),
            ("/unmute ", Command::Mute(false)),
            ("/volume Ben 50%", Command::Volume("ben".into(), 50)),
            ("/volume  ben   0", Command::Volume("ben".into(), 0)),
            (
                "/input USB Headset",
                Command::Device(Side::Microphone, "USB Headset".into()),
            ),
            (
                "/output default",
                Command::Device(Side::Speakers, "default".into()),
            ),
        ] {
            assert_eq!(Typed::read(line), Typed::Command(command), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_right() {
        for (line, says) in [
            ("/mutr", "/help"),
            ("/", "/help"),
            ("/volume ben", "/volume NAME PERCENT"),
            ("/volume ben 201", "0 to 200"),
            ("/volume ben loud", "0 to 200"),
            ("/input", "/devices"),
        ] {
            match Typed::read(line) {
                Typed::Wrong(why) => assert!(why.contains(says), "{line}: {why}"),
                other => panic!("{line} was read as {other:?}"),
            }
        }
    }

    #[test]
    fn every_command_is_in_the_help() {
        let help: String = HELP.iter().map(|(form, _)| *form).collect();
        for word in [
            "mute", "unmute", "talk", "volume", "who", "devices", "input", "output", "code",
        ] {
            assert!(help.contains(&format!("/{word}")), "{word}");
        }
    }
}
