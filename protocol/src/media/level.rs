//! Audio levels as the relay sees them (RFC 6464).

/// A frame's level byte: bit 7 says that there is a voice, bits 0–6 are the level in −dBov (0 loudest, 127 silent).
///
/// Self-declared by the speaker, in steps of [`AudioLevel::STEP_DB`] so that the servers learn little.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AudioLevel(u8);

impl AudioLevel {
    /// Steps in which a client tells its level, in dB.
    pub const STEP_DB: u8 = 6;

    /// Silence: 126 dB under the overload point, the last step.
    pub const SILENCE: Self = Self(126);

    /// Rounds `minus_dbov` (0 loudest) to the nearest step.
    pub fn new(voice: bool, minus_dbov: f32) -> Self {
        let steps = (minus_dbov / f32::from(Self::STEP_DB)).round();
        // NaN and negative values become 0 by the saturating cast.
        let level = (steps as u8).min(126 / Self::STEP_DB) * Self::STEP_DB;
        Self(u8::from(voice) << 7 | level)
    }

    /// The level in the nearest step, half a step away from 0, and whether it is another one than before.
    ///
    /// What a client sends is in steps; a relay rounds what is not, so that levels tell no more than they have to.
    pub fn in_steps(self) -> (Self, bool) {
        let steps = (self.minus_dbov() + Self::STEP_DB / 2) / Self::STEP_DB;
        let level = (steps * Self::STEP_DB).min(Self::SILENCE.0);
        let rounded = Self(self.0 & 0x80 | level);
        (rounded, rounded != self)
    }

    /// Reads the byte of the wire; each value of it is valid.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte of the wire.
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    /// True when the speaker says that the frame holds a voice.
    pub const fn is_voice(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// The level in dB under the overload point: 0 loudest, 127 silent.
    pub const fn minus_dbov(self) -> u8 {
        self.0 & 0x7f
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_of_the_wire_goes_to_the_nearest_step() {
        for byte in 0..=u8::MAX {
            let level = AudioLevel::from_byte(byte);
            let (rounded, changed) = level.in_steps();
            assert_eq!(rounded.minus_dbov() % AudioLevel::STEP_DB, 0);
            assert!(rounded.minus_dbov() <= 126);
            assert_eq!(rounded.is_voice(), level.is_voice());
            assert_eq!(changed, rounded != level);
            let same = AudioLevel::new(level.is_voice(), level.minus_dbov().into());
            assert_eq!(rounded, same, "as a client rounds it");
            assert!(rounded.minus_dbov().abs_diff(level.minus_dbov()) <= 3);
        }
        let (half, _) = AudioLevel::from_byte(3).in_steps();
        assert_eq!(half.minus_dbov(), 6, "half a step goes away from 0");
        assert_eq!(
            AudioLevel::new(true, 127.0),
            AudioLevel::from_byte(0x80 | 126)
        );
    }
}
