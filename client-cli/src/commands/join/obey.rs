//! What a call does when its person says so.

use std::time::Instant;

use super::call::Call;
use super::choices::Chosen;
use super::ending::Ending;
use super::event::{CallEvent, ParticipantShown};
use super::typed::{Command, Typed};
use crate::commands::devices::DeviceTable;
use crate::failure::Exit;

impl Call {
    /// Takes a line that was typed, or that a script has written.
    pub(super) fn take_typed(&mut self, typed: Typed) {
        match typed {
            Typed::Text(text) => self.send_text(&text),
            Typed::Command(command) => self.obey(command),
            Typed::Wrong(message) => self.output.print(&CallEvent::Warning { message }),
        }
    }

    /// A hot key is held, or was let go.
    pub(super) fn take_hot_key(&mut self, is_held: bool) {
        let event = self.own_voice.talk(Some(is_held), &mut self.engine);
        event.iter().for_each(|event| self.output.print(event));
    }

    /// Takes what came of a choice.
    pub(super) fn take_chosen(&mut self, chosen: Chosen) {
        match chosen {
            Chosen::Devices(devices) => {
                let table = DeviceTable::new(devices, self.audio.wanted());
                self.output.print(&CallEvent::Devices(table));
            }
            // The devices themselves tell when they are in use.
            Chosen::Device(side, wanted) => {
                self.choices.keep_device(side, &wanted);
                self.audio.want(Instant::now(), side, wanted);
            }
            Chosen::Failed(message) => self.output.print(&CallEvent::Warning { message }),
        }
    }

    fn obey(&mut self, command: Command) {
        let event = match command {
            Command::Help => CallEvent::Help,
            Command::Code => CallEvent::RoomCode {
                code: self.engine.member().code().map(|code| code.to_string()),
                is_shown: true,
            },
            Command::Who => CallEvent::Who {
                me: ParticipantShown::from(self.engine.me()),
                participants: self.engine.others().map(ParticipantShown::from).collect(),
            },
            Command::Mute(is_muted) => {
                let event = self.own_voice.mute(is_muted, &mut self.engine);
                self.output.print(&event);
                if is_muted || self.engine.me().may_speak() {
                    return;
                }
                warning(
                    "nobody hears you all the same: a moderator has muted you, or you may only listen here",
                )
            }
            Command::Talk => self.own_voice.talk(None, &mut self.engine).unwrap_or_else(|| {
                warning("/talk is for calls with --talk push; here /mute and /unmute turn your microphone off and on")
            }),
            Command::Enter => match self.own_voice.talk(None, &mut self.engine) {
                Some(event) => event,
                None => return,
            },
            Command::Leave => return self.finish(Ending::Wanted("left", Exit::Done)),
            Command::Volume(username, percent) => self.set_volume(username, percent),
            Command::Devices => return self.choices.show_devices(),
            Command::Device(side, name) if self.audio.has_device(side) => {
                return self.choices.find_device(side, name);
            }
            Command::Device(side, _) => warning(format!(
                "this call has no {}: its sound is a file or nothing",
                side.name()
            )),
        };
        self.output.print(&event);
    }

    fn set_volume(&mut self, username: String, percent: u8) -> CallEvent {
        if self.engine.me().username.as_str() == username {
            return warning(format!(
                "{username} is you: your own voice is not played here"
            ));
        }
        let is_here = self
            .engine
            .set_volume(&username, f32::from(percent) / 100.0);
        if !is_here && self.choices.volume_of(&username).is_none() {
            self.engine.set_volume(&username, 1.0);
            return warning(format!(
                "nobody here is called {username}: /who shows who is here"
            ));
        }
        self.choices.keep_volume(&username, percent);
        CallEvent::Volume { username, percent }
    }
}

fn warning(message: impl Into<String>) -> CallEvent {
    CallEvent::Warning {
        message: message.into(),
    }
}
