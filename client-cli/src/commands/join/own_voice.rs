//! Whether one's own voice is to be heard, as the person has said.

use std::time::Instant;

use super::event::CallEvent;
use crate::engine::Engine;
use crate::flags::{TalkFlag, Voice};

/// The person's will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnVoice {
    is_muted: bool,
    /// `None` where no key has to be held.
    is_talking: Option<bool>,
}

impl OwnVoice {
    /// As the call begins.
    pub(super) fn new(flags: &Voice, engine: &mut Engine) -> Self {
        let own = Self {
            is_muted: flags.muted,
            is_talking: (flags.talk == TalkFlag::Push).then_some(false),
        };
        own.tell(engine);
        own
    }

    /// An event if there is something to be known at the begin.
    pub(super) fn first_event(self) -> Option<CallEvent> {
        (self.is_muted || self.is_talking.is_some()).then(|| self.event())
    }

    /// Turns the microphone off, or on again.
    pub(super) fn mute(&mut self, is_muted: bool, engine: &mut Engine) -> CallEvent {
        self.is_muted = is_muted;
        // Whoever unmutes begins to talk by the key.
        self.is_talking = self.is_talking.map(|_| false);
        self.tell(engine);
        self.event()
    }

    /// Begins to talk, or stops; `None`: the other of both. No event where no key has to be held, or nothing changes.
    pub(super) fn talk(&mut self, wanted: Option<bool>, engine: &mut Engine) -> Option<CallEvent> {
        let is_talking = self.is_talking?;
        if self.is_muted {
            return Some(self.event());
        }
        let wanted = wanted.unwrap_or(!is_talking);
        self.is_talking = Some(wanted);
        self.tell(engine);
        (wanted != is_talking).then(|| self.event())
    }

    fn tell(self, engine: &mut Engine) {
        let now = Instant::now();
        engine.mute(now, self.is_muted);
        engine.push_to_talk(now, self.is_talking.unwrap_or(false));
    }

    fn event(self) -> CallEvent {
        CallEvent::OwnVoice {
            muted: self.is_muted,
            talking: self.is_talking,
        }
    }
}
