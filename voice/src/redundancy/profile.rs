//! Profiles: which blocks go beside which frames, and how many bytes that leaves for the voice itself.

use super::Code::{self, Copy, RandomLinear, Xor};
use super::symbol::LENGTH_LEN;
use crate::{FrameDuration, SAMPLE_RATE};

/// Lowest bit rate for the voice itself, in bits a second.
const MIN_BITRATE: u32 = 6000;

/// A way to protect frames: codes beside the frames of a cycle, in turn.
#[derive(PartialEq, Eq, Debug)]
pub struct Profile {
    /// For people.
    pub name: &'static str,
    cycle: &'static [&'static [Code]],
}

/// Masks: the frames of so many before, and some of them. Bit 0 is the frame before.
const TWO: u16 = 0b11;
const THREE: u16 = 0b111;
const SEVEN: u16 = 0x7f;
const TEN: u16 = 0x3ff;
const FIRST_AND_THIRD: u16 = 0b101;
const FIRST_THIRD_NINTH: u16 = 0b1_0000_0101;

impl Profile {
    /// Nothing is protected.
    pub const OFF: &'static Self = &Self::new("off", &[&[]]);
    /// Each frame is sent again with the next one: all that fits into one frame's time.
    pub const COPY_1: &'static Self = &Self::new("copy1", &[&[Copy(1)]]);
    /// Each frame is sent again three frames later, for bursts.
    pub const COPY_3: &'static Self = &Self::new("copy3", &[&[Copy(3)]]);
    /// Each frame is sent again ten frames later, for longer bursts.
    pub const COPY_10: &'static Self = &Self::new("copy10", &[&[Copy(10)]]);
    /// The same, and a symbol over three frames that lie apart.
    pub const COPY_10_XOR: &'static Self =
        &Self::new("copy10+xor139", &[&[Copy(10), Xor(FIRST_THIRD_NINTH)]]);
    /// One symbol for two frames.
    pub const XOR_2_HALF: &'static Self = &Self::new("xor2-1in2", &[&[], &[Xor(TWO)]]);
    /// One symbol for three frames.
    pub const XOR_3_THIRD: &'static Self = &Self::new("xor3-1in3", &[&[], &[], &[Xor(THREE)]]);
    /// A symbol beside each frame, over the first and the third before it: two losses in a row come back too.
    pub const XOR_13: &'static Self = &Self::new("xor13", &[&[Xor(FIRST_AND_THIRD)]]);
    /// Two symbols beside each frame.
    pub const XOR_13_12: &'static Self =
        &Self::new("xor13+xor12", &[&[Xor(FIRST_AND_THIRD), Xor(TWO)]]);
    /// Two symbols for three frames.
    pub const RLC_3: &'static Self = &Self::new(
        "rlc3-2in3",
        &[&[], &[RandomLinear(THREE)], &[RandomLinear(THREE)]],
    );
    /// A symbol beside each frame, over seven.
    pub const RLC_7: &'static Self = &Self::new("rlc7", &[&[RandomLinear(SEVEN)]]);
    /// A symbol beside each third frame, over ten.
    pub const RLC_10_THIRD: &'static Self =
        &Self::new("rlc10-1in3", &[&[], &[], &[RandomLinear(TEN)]]);
    /// A symbol beside each second frame, over ten.
    pub const RLC_10_HALF: &'static Self = &Self::new("rlc10-1in2", &[&[], &[RandomLinear(TEN)]]);
    /// A symbol beside each frame, over ten.
    pub const RLC_10: &'static Self = &Self::new("rlc10", &[&[RandomLinear(TEN)]]);

    /// All profiles.
    pub const ALL: [&'static Self; 14] = [
        Self::OFF,
        Self::COPY_1,
        Self::COPY_3,
        Self::COPY_10,
        Self::COPY_10_XOR,
        Self::XOR_2_HALF,
        Self::XOR_3_THIRD,
        Self::XOR_13,
        Self::XOR_13_12,
        Self::RLC_3,
        Self::RLC_7,
        Self::RLC_10_THIRD,
        Self::RLC_10_HALF,
        Self::RLC_10,
    ];

    /// A profile of one's own, to compare with. `cycle` is not empty.
    pub const fn new(name: &'static str, cycle: &'static [&'static [Code]]) -> Self {
        assert!(!cycle.is_empty());
        Self { name, cycle }
    }

    /// The profile with a name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        Self::ALL.into_iter().find(|profile| profile.name == name)
    }

    /// The codes beside the `turn`th frame.
    pub fn codes(&self, turn: usize) -> &'static [Code] {
        self.cycle[turn % self.cycle.len()]
    }

    /// True if there is anything beside any frame.
    pub fn protects(&self) -> bool {
        self.cycle.iter().any(|codes| !codes.is_empty())
    }

    /// True if of `total` bits a second, in frames of `frame`, enough is left for the voice itself.
    pub fn leaves_enough(&self, total: u32, frame: FrameDuration) -> bool {
        self.rest(total, frame) >= u64::from(MIN_BITRATE)
    }

    /// Bits a second for the voice itself, of `total` for all, in frames of `frame`: whole bytes, and 6000 at least.
    pub fn voice_bitrate(&self, total: u32, frame: FrameDuration) -> u32 {
        u32::try_from(self.rest(total, frame))
            .unwrap_or(total)
            .clamp(MIN_BITRATE, total.max(MIN_BITRATE))
    }

    /// Bits a second that are left for the voice, however few.
    fn rest(&self, total: u32, frame: FrameDuration) -> u64 {
        let samples = frame.samples() as u64;
        let frames = self.cycle.len() as u64;
        let blocks = self.cycle.iter().map(|codes| codes.len() as u64);
        let blocks: u64 = blocks.sum();
        // Each symbol is as long as a packet with its length.
        let bytes = u64::from(total) * samples * frames / (8 * u64::from(SAMPLE_RATE));
        let lengths = blocks * LENGTH_LEN as u64;
        let packet = bytes.saturating_sub(lengths) / (frames + blocks);
        packet * 8 * u64::from(SAMPLE_RATE) / samples
    }
}
