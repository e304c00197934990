//! Which frames of one's own voice may be sent: all that can be heard, speech, what is loud, or what a person says.

use crate::SAMPLES_PER_MS;
use crate::level::{HANGOVER_SAMPLES, QUIETEST_VOICE_DBOV};
use crate::speech::SpeechDetector;

/// How long the gate stays open after the key was let go, in samples (200 ms): people let go while they end a word.
const RELEASE: usize = 200 * SAMPLES_PER_MS;

/// When one's own voice is sent.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum TalkMode {
    /// While there is anything to hear: music, tones and distant speech are not cut to pieces.
    #[default]
    Open,
    /// While somebody speaks, by a model of speech.
    Voice,
    /// While it is louder than this, in −dBov.
    Threshold(f32),
    /// While a person says so ([`Gate::push`]), and there is anything to hear.
    Push,
}

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passage {
    /// It may be sent.
    Open,
    /// It is not sent, unless the next ones show that it belongs to them.
    Shut,
    /// It is not sent, nor later: the person does not want it to be heard.
    Locked,
}

/// Decides frame by frame.
#[derive(Debug, Default)]
pub struct Gate {
    mode: TalkMode,
    detector: Option<SpeechDetector>,
    is_muted: bool,
    is_pushed: bool,
    /// The next frame is of before the person wanted to be heard.
    is_unwanted: bool,
    /// Samples for which a key that was let go still counts.
    release: usize,
    /// Samples for which it stays open without a reason.
    open: usize,
}

impl Gate {
    /// A gate that is shut until there is something.
    pub fn new(mode: TalkMode) -> Self {
        Self {
            mode,
            detector: (mode == TalkMode::Voice).then(SpeechDetector::new),
            ..Self::default()
        }
    }

    /// From now on the person wants to be heard, or not. Only [`TalkMode::Push`] asks.
    pub fn push(&mut self, is_pushed: bool) {
        if self.is_pushed && !is_pushed {
            self.release = RELEASE;
        }
        self.is_pushed = is_pushed;
    }

    /// From now on nothing is let through, or again.
    pub fn mute(&mut self, is_muted: bool) {
        self.is_muted = is_muted;
    }

    /// True while the person does not want to be heard. In the moment after a key was let go it still does.
    pub fn is_locked(&self) -> bool {
        let is_let_go = self.release == 0 && !self.is_pushed;
        self.is_muted || self.mode == TalkMode::Push && is_let_go
    }

    /// Tells whether the next frame is of before the person wanted to be heard: then it is not let through.
    pub fn set_unwanted(&mut self, is_unwanted: bool) {
        self.is_unwanted = is_unwanted;
    }

    /// Hearing breaks off for a while: what kept it open is over when it goes on.
    pub fn break_off(&mut self) {
        (self.release, self.open) = (0, 0);
    }

    /// Hears the next frame, of any length, with its level in −dBov.
    pub fn hear(&mut self, pcm: &[f32], heard_dbov: f32) -> Passage {
        let has_reason = match (self.mode, &mut self.detector) {
            (TalkMode::Voice, Some(detector)) => detector.hear(pcm),
            (TalkMode::Threshold(dbov), _) => heard_dbov < dbov,
            _ => heard_dbov < QUIETEST_VOICE_DBOV,
        };
        let is_locked = self.is_locked() || self.is_unwanted;
        self.release = self.release.saturating_sub(pcm.len());
        if is_locked {
            self.open = 0;
            return Passage::Locked;
        }
        self.open = match has_reason {
            true => HANGOVER_SAMPLES,
            false => self.open.saturating_sub(pcm.len()),
        };
        match self.open {
            0 => Passage::Shut,
            _ => Passage::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::level_dbov;

    const FRAME: usize = 20 * SAMPLES_PER_MS;

    fn hear(gate: &mut Gate, amplitude: f32, frames: usize) -> Vec<Passage> {
        let pcm: Vec<f32> = (0..FRAME)
            .map(|n| amplitude * if n % 40 < 20 { 1.0 } else { -1.0 })
            .collect();
        let level = level_dbov(&pcm);
        (0..frames).map(|_| gate.hear(&pcm, level)).collect()
    }

    #[test]
    fn a_key_opens_it_and_its_release_shuts_it_a_moment_later() {
        let mut gate = Gate::new(TalkMode::Push);
        assert_eq!(hear(&mut gate, 0.2, 5), [Passage::Locked; 5]);
        gate.push(true);
        assert_eq!(hear(&mut gate, 0.2, 5), [Passage::Open; 5]);
        // A person who thinks and says nothing sends nothing.
        assert_eq!(hear(&mut gate, 0.0, 50)[49], Passage::Shut);
        hear(&mut gate, 0.2, 1);
        gate.push(false);
        let after = hear(&mut gate, 0.2, 20);
        let open = after.iter().filter(|one| **one == Passage::Open).count();
        assert_eq!(open, RELEASE / FRAME);
        assert_eq!(after[19], Passage::Locked);
    }

    #[test]
    fn a_mute_is_heard_at_once_in_every_mode() {
        for mode in [TalkMode::Open, TalkMode::Threshold(40.0), TalkMode::Push] {
            let mut gate = Gate::new(mode);
            gate.push(true);
            assert_eq!(hear(&mut gate, 0.2, 2), [Passage::Open; 2]);
            gate.mute(true);
            assert_eq!(hear(&mut gate, 0.2, 2), [Passage::Locked; 2]);
            gate.mute(false);
            gate.set_unwanted(true);
            assert_eq!(hear(&mut gate, 0.2, 2), [Passage::Locked; 2]);
            gate.set_unwanted(false);
            assert_eq!(hear(&mut gate, 0.2, 2), [Passage::Open; 2]);
        }
    }

    #[test]
    fn a_key_that_was_let_go_while_nothing_was_heard_does_not_count_later() {
        let mut gate = Gate::new(TalkMode::Push);
        gate.push(true);
        hear(&mut gate, 0.2, 5);
        gate.push(false);
        gate.break_off();
        assert_eq!(hear(&mut gate, 0.2, 5), [Passage::Locked; 5]);
    }

    #[test]
    fn what_is_not_loud_enough_does_not_open_it() {
        let mut gate = Gate::new(TalkMode::Threshold(30.0));
        assert_eq!(hear(&mut gate, 0.02, 5), [Passage::Shut; 5]);
        assert_eq!(hear(&mut gate, 0.05, 5), [Passage::Open; 5]);
    }

    #[test]
    fn hiss_is_no_speech() {
        let mut gate = Gate::new(TalkMode::Voice);
        let mut state = 1u32;
        let mut hiss = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            0.1 * ((state >> 8) as f32 / 8_388_608.0 - 1.0)
        };
        for n in 0..400 {
            let pcm: Vec<f32> = (0..FRAME).map(|_| hiss()).collect();
            let passage = gate.hear(&pcm, level_dbov(&pcm));
            assert!(n < 100 || passage == Passage::Shut, "frame {n}");
        }
    }
}
