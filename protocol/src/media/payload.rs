//! What is inside an SFrame: for the members alone.
//!
//! `flags (1) · timestamp (4) · redundant blocks · Opus packet`. A redundant block is `age (1) · length (1 or 2) ·
//! Opus packet`: a frame sent before, again. The last Opus packet goes on to the end.

use super::{MediaError, take};

/// Most redundant blocks of one frame.
pub const MAX_REDUNDANT: usize = 3;

/// Longest Opus packet, in bytes (RFC 6716 §3.4: 48 frames; here one frame, R2).
pub const MAX_OPUS: usize = 1275;

/// Unit of a block's age: 2.5 ms, the shortest Opus frame, in ticks of the 48 kHz timestamp.
pub const AGE_UNIT: u32 = 120;

/// Flags, byte 0: bits 0–1 count the redundant blocks.
const REDUNDANT_MASK: u8 = 0b0000_0011;
/// Bits 2–4: version of the DRED extension inside the Opus packet's padding; 0: none.
const DRED_SHIFT: u8 = 2;
const DRED_MASK: u8 = 0b0001_1100;
/// Bit 5: first frame after a pause.
const TALKSPURT: u8 = 0b0010_0000;
/// Bit 6 is sent as 0 and ignored.
const _RESERVED: u8 = 0b0100_0000;
/// Bit 7, critical: what follows has a layout of a later version. A receiver that does not know it drops the frame.
const CRITICAL: u8 = 0b1000_0000;

/// The plaintext of one voice frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FramePayload<'a> {
    /// Media time of the frame's first sample, in 48 kHz ticks; wraps.
    pub timestamp: u32,
    /// First frame after a pause: the receiver may take its delay anew.
    pub talkspurt: bool,
    /// Version of the DRED extension in `opus`, 0 (none) to 7.
    pub dred_version: u8,
    /// Earlier frames, [`MAX_REDUNDANT`] at most.
    pub redundant: Vec<RedundantBlock<'a>>,
    /// The Opus packet: one frame, at least 1 byte.
    pub opus: &'a [u8],
}

/// An earlier frame, once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RedundantBlock<'a> {
    /// How long before `timestamp` it began, in units of [`AGE_UNIT`] ticks; at least 1.
    pub age: u8,
    /// Its Opus packet, at least 1 byte.
    pub opus: &'a [u8],
}

impl<'a> FramePayload<'a> {
    /// Takes a plaintext apart. `UnknownLayout` when it is one of a later version.
    pub fn parse(plaintext: &'a [u8]) -> Result<Self, MediaError> {
        let ([flags], rest) = take::<1>(plaintext)?;
        if flags & CRITICAL != 0 {
            return Err(MediaError::UnknownLayout);
        }
        let (timestamp, mut rest) = take::<4>(rest)?;
        let mut redundant = Vec::new();
        for _ in 0..flags & REDUNDANT_MASK {
            let ([age], after) = take::<1>(rest)?;
            let (length, after) = read_length(after)?;
            let (opus, after) = after
                .split_at_checked(length)
                .ok_or(MediaError::Truncated {
                    got: after.len(),
                    needed: length,
                })?;
            if age == 0 {
                return Err(MediaError::OutOfRange);
            }
            check_opus(opus)?;
            redundant.push(RedundantBlock { age, opus });
            rest = after;
        }
        check_opus(rest)?;
        Ok(Self {
            timestamp: u32::from_be_bytes(timestamp),
            talkspurt: flags & TALKSPURT != 0,
            dred_version: (flags & DRED_MASK) >> DRED_SHIFT,
            redundant,
            opus: rest,
        })
    }

    /// Appends the plaintext to `out`.
    ///
    /// `OutOfRange` for more than [`MAX_REDUNDANT`] blocks, an age of 0 or a DRED version over 7; `Truncated` or
    /// `TooLong` for an empty or a too long Opus packet. Then `out` is as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), MediaError> {
        let ages_fit = self.redundant.iter().all(|block| block.age > 0);
        if self.redundant.len() > MAX_REDUNDANT || self.dred_version > 7 || !ages_fit {
            return Err(MediaError::OutOfRange);
        }
        check_opus(self.opus)?;
        for block in &self.redundant {
            check_opus(block.opus)?;
        }
        let talkspurt = if self.talkspurt { TALKSPURT } else { 0 };
        out.push(self.redundant.len() as u8 | self.dred_version << DRED_SHIFT | talkspurt);
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        for block in &self.redundant {
            out.push(block.age);
            write_length(block.opus.len(), out);
            out.extend_from_slice(block.opus);
        }
        out.extend_from_slice(self.opus);
        Ok(())
    }
}

impl RedundantBlock<'_> {
    /// The block's timestamp, in a frame whose own is `timestamp`.
    pub fn timestamp(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_sub(u32::from(self.age) * AGE_UNIT)
    }
}

fn check_opus(opus: &[u8]) -> Result<(), MediaError> {
    match opus.len() {
        0 => Err(MediaError::Truncated { got: 0, needed: 1 }),
        len if len > MAX_OPUS => Err(MediaError::TooLong {
            got: len,
            limit: MAX_OPUS,
        }),
        _ => Ok(()),
    }
}

/// A variable-length integer (RFC 9000 §16) of 1 or 2 bytes, in its shortest form.
fn read_length(bytes: &[u8]) -> Result<(usize, &[u8]), MediaError> {
    let ([first], rest) = take::<1>(bytes)?;
    match first >> 6 {
        0 => Ok((usize::from(first), rest)),
        1 => {
            let ([second], rest) = take::<1>(rest)?;
            let length = usize::from(first & 0x3f) << 8 | usize::from(second);
            if length < 64 {
                return Err(MediaError::NotMinimal);
            }
            Ok((length, rest))
        }
        _ => Err(MediaError::OutOfRange),
    }
}

/// `length` is at most [`MAX_OPUS`], which 14 bits hold.
fn write_length(length: usize, out: &mut Vec<u8>) {
    if length < 64 {
        out.push(length as u8);
    } else {
        out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes());
    }
}
