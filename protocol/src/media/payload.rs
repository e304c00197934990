//! What is inside an SFrame: for the members alone. Payload layout 2.
//!
//! `flags (1) · timestamp (4) · Opus length (1 or 2) · Opus packet · blocks · zeros`. A length is a variable-length
//! integer (RFC 9000 §16) in its shortest form.
//!
//! | block | kind (1) | then |
//! |---|---|---|
//! | copy of an earlier frame | 1 | age (1) · length · Opus packet |
//! | XOR of earlier frames | 2 | mask (2) · length · symbol |
//! | random linear combination of earlier frames | 3 | mask (2) · length · symbol |
//!
//! Blocks end with the kind 0 or with the plaintext; what follows a kind 0 is zeros, so that a sender can give frames of
//! different content one length.
//!
//! A repair symbol combines source symbols. The source symbol of a frame is `length (2) · Opus packet · zeros`, as long as
//! the repair symbol. Bit `i` of a mask (of value `1 << i`) is the frame that began `i + 1` durations of this frame before
//! `timestamp`. Frames of one symbol all have this frame's duration, and no pause lies between them and this frame. The
//! coefficients of random linear symbols are those of RFC 8681 §3.6 (`m` = 8, `DT` = 15: none is 0) over the field
//! GF(2^8) of RFC 8681 §3.7.1: one for each bit that is set, lowest bit first. One generator (TinyMT32, RFC 8682), seeded
//! with `timestamp`, serves all of a frame's symbols in their order.

use super::{MediaError, take};

/// Most redundant blocks of one frame.
pub const MAX_BLOCKS: usize = 7;

/// Longest Opus packet, in bytes (RFC 6716 §3.4: 48 frames; here one frame, R2).
pub const MAX_OPUS: usize = 1275;

/// Unit of a copy's age: 2.5 ms, the shortest Opus frame, in ticks of the 48 kHz timestamp.
pub const AGE_UNIT: u32 = 120;

/// Largest age of a copy, in [`AGE_UNIT`]s: 320 ms. Nothing older is sent again: a participant who joined later cannot hear
/// what was said before by more than that.
pub const MAX_AGE: u8 = 128;

/// Bytes of the length at the beginning of a source symbol.
pub const SYMBOL_LENGTH_LEN: usize = 2;

/// Bytes of flags and timestamp.
const HEAD_LEN: usize = 1 + 4;

/// A length of this many bytes or more is written in two bytes.
const TWO_BYTE_LENGTH: usize = 64;

/// Flags, byte 0. Bits 0 and 1 are critical and sent as 0: a receiver drops a frame in which it does not know a critical bit.
const UNKNOWN_CRITICAL: u8 = 0b0000_0011;
/// Bits 2–4: version of the DRED extension inside the Opus packet's padding; 0: none.
const DRED_SHIFT: u8 = 2;
const DRED_MASK: u8 = 0b0001_1100;
/// Bit 5: first frame after a pause.
const TALKSPURT: u8 = 0b0010_0000;
/// Bit 6: the frame is sent only to hide a pause.
const COMFORT: u8 = 0b0100_0000;
/// Bit 7, critical: layout 2. There is no frame without it.
const LAYOUT_2: u8 = 0b1000_0000;

/// Kinds of blocks.
const END: u8 = 0;
const COPY: u8 = 1;
const XOR: u8 = 2;
const RANDOM_LINEAR: u8 = 3;

/// The plaintext of one voice frame, without its padding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FramePayload<'a> {
    /// Media time of the frame's first sample, in 48 kHz ticks; wraps.
    pub timestamp: u32,
    /// First frame after a pause: the receiver may take its delay anew.
    pub talkspurt: bool,
    /// Nobody speaks in this frame: it is sent only to hide a pause from the path.
    pub comfort: bool,
    /// Version of the DRED extension in `opus`, 0 (none) to 7.
    pub dred_version: u8,
    /// The Opus packet: one frame, 1 to [`MAX_OPUS`] bytes.
    pub opus: &'a [u8],
    /// Redundancy for earlier frames, [`MAX_BLOCKS`] at most.
    pub blocks: Vec<Block<'a>>,
}

/// Redundancy for one or several earlier frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block<'a> {
    /// An earlier frame, once more.
    Copy {
        /// How long before `timestamp` it began, in units of [`AGE_UNIT`] ticks; 1 to [`MAX_AGE`].
        age: u8,
        /// Its Opus packet, 1 to [`MAX_OPUS`] bytes.
        opus: &'a [u8],
    },
    /// The XOR of source symbols.
    Xor {
        /// Which frames, as the [module](self) says; not 0.
        mask: u16,
        /// The repair symbol: [`SYMBOL_LENGTH_LEN`] bytes more than an Opus packet may have.
        symbol: &'a [u8],
    },
    /// A random linear combination of source symbols.
    RandomLinear {
        /// Which frames, as the [module](self) says; not 0.
        mask: u16,
        /// The repair symbol: [`SYMBOL_LENGTH_LEN`] bytes more than an Opus packet may have.
        symbol: &'a [u8],
    },
}

impl<'a> FramePayload<'a> {
    /// Takes a plaintext apart.
    ///
    /// # Errors
    ///
    /// `UnknownLayout` if the layout is not 2 or an unknown critical flag is set; `OutOfRange` for an unknown kind of block,
    /// more than [`MAX_BLOCKS`], a mask or an age out of its range, or padding that is not zeros; `NotMinimal` for a length
    /// in a longer form than it needs; `Truncated` or `TooLong` for a packet or a symbol of a wrong size.
    pub fn parse(plaintext: &'a [u8]) -> Result<Self, MediaError> {
        let ([flags], rest) = take::<1>(plaintext)?;
        if flags & LAYOUT_2 == 0 || flags & UNKNOWN_CRITICAL != 0 {
            return Err(MediaError::UnknownLayout);
        }
        let (timestamp, rest) = take::<4>(rest)?;
        let (opus, mut rest) = read_sized(rest, 1, MAX_OPUS)?;
        let mut blocks = Vec::new();
        while let Some((&kind, after)) = rest.split_first() {
            if kind == END {
                if after.iter().any(|byte| *byte != 0) {
                    return Err(MediaError::OutOfRange);
                }
                break;
            }
            if blocks.len() == MAX_BLOCKS {
                return Err(MediaError::OutOfRange);
            }
            let (block, after) = Block::read(kind, after)?;
            blocks.push(block);
            rest = after;
        }
        Ok(Self {
            timestamp: u32::from_be_bytes(timestamp),
            talkspurt: flags & TALKSPURT != 0,
            comfort: flags & COMFORT != 0,
            dred_version: (flags & DRED_MASK) >> DRED_SHIFT,
            opus,
            blocks,
        })
    }

    /// Appends the plaintext to `out`.
    ///
    /// # Errors
    ///
    /// `OutOfRange` for more than [`MAX_BLOCKS`], an age or a mask out of its range or a DRED version over 7; `Truncated` or
    /// `TooLong` for a packet or a symbol of a wrong size. Then `out` is as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), MediaError> {
        let start = out.len();
        let written = self.write(out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    /// Appends the plaintext to `out`, filled up with zeros to `size` bytes.
    ///
    /// # Errors
    ///
    /// Those of [`encode`](Self::encode), and `TooLong` if the payload has more than `size` bytes. Then `out` is as it was.
    pub fn encode_to_size(&self, size: usize, out: &mut Vec<u8>) -> Result<(), MediaError> {
        let start = out.len();
        self.encode(out)?;
        let got = out.len() - start;
        if got > size {
            out.truncate(start);
            return Err(MediaError::TooLong { got, limit: size });
        }
        out.resize(start + size, END);
        Ok(())
    }

    /// Bytes of a payload with an Opus packet of `opus` bytes, without blocks and padding.
    pub fn size_without_blocks(opus: usize) -> usize {
        HEAD_LEN + length_len(opus) + opus
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), MediaError> {
        if self.blocks.len() > MAX_BLOCKS || self.dred_version > 7 {
            return Err(MediaError::OutOfRange);
        }
        let talkspurt = if self.talkspurt { TALKSPURT } else { 0 };
        let comfort = if self.comfort { COMFORT } else { 0 };
        out.push(LAYOUT_2 | self.dred_version << DRED_SHIFT | talkspurt | comfort);
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        write_sized(self.opus, 1, MAX_OPUS, out)?;
        for block in &self.blocks {
            block.write(out)?;
        }
        Ok(())
    }
}

impl<'a> Block<'a> {
    /// Bytes that it takes in a payload.
    pub fn encoded_len(&self) -> usize {
        let sized = |bytes: &[u8]| length_len(bytes.len()) + bytes.len();
        match *self {
            Self::Copy { opus, .. } => 1 + 1 + sized(opus),
            Self::Xor { symbol, .. } | Self::RandomLinear { symbol, .. } => 1 + 2 + sized(symbol),
        }
    }

    /// Bytes of the shortest and the longest repair symbol.
    const SYMBOL_SIZES: (usize, usize) = (SYMBOL_LENGTH_LEN + 1, SYMBOL_LENGTH_LEN + MAX_OPUS);

    /// Reads what follows the byte of the kind.
    fn read(kind: u8, bytes: &'a [u8]) -> Result<(Self, &'a [u8]), MediaError> {
        if kind == COPY {
            let ([age], rest) = take::<1>(bytes)?;
            if !(1..=MAX_AGE).contains(&age) {
                return Err(MediaError::OutOfRange);
            }
            let (opus, rest) = read_sized(rest, 1, MAX_OPUS)?;
            return Ok((Self::Copy { age, opus }, rest));
        }
        if !matches!(kind, XOR | RANDOM_LINEAR) {
            return Err(MediaError::OutOfRange);
        }
        let (mask, rest) = take::<2>(bytes)?;
        let mask = u16::from_be_bytes(mask);
        if mask == 0 {
            return Err(MediaError::OutOfRange);
        }
        let (least, most) = Self::SYMBOL_SIZES;
        let (symbol, rest) = read_sized(rest, least, most)?;
        let block = match kind {
            XOR => Self::Xor { mask, symbol },
            _ => Self::RandomLinear { mask, symbol },
        };
        Ok((block, rest))
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), MediaError> {
        let (kind, mask, symbol) = match *self {
            Self::Copy { age, opus } => {
                if !(1..=MAX_AGE).contains(&age) {
                    return Err(MediaError::OutOfRange);
                }
                out.extend_from_slice(&[COPY, age]);
                return write_sized(opus, 1, MAX_OPUS, out);
            }
            Self::Xor { mask, symbol } => (XOR, mask, symbol),
            Self::RandomLinear { mask, symbol } => (RANDOM_LINEAR, mask, symbol),
        };
        if mask == 0 {
            return Err(MediaError::OutOfRange);
        }
        out.push(kind);
        out.extend_from_slice(&mask.to_be_bytes());
        let (least, most) = Self::SYMBOL_SIZES;
        write_sized(symbol, least, most, out)
    }
}

/// Reads a length of `least` to `most`, and so many bytes.
fn read_sized(bytes: &[u8], least: usize, most: usize) -> Result<(&[u8], &[u8]), MediaError> {
    let (length, rest) = read_length(bytes)?;
    check_size(length, least, most)?;
    rest.split_at_checked(length).ok_or(MediaError::Truncated {
        got: rest.len(),
        needed: length,
    })
}

/// Appends the length of `bytes` and `bytes`.
fn write_sized(
    bytes: &[u8],
    least: usize,
    most: usize,
    out: &mut Vec<u8>,
) -> Result<(), MediaError> {
    check_size(bytes.len(), least, most)?;
    write_length(bytes.len(), out);
    out.extend_from_slice(bytes);
    Ok(())
}

fn check_size(got: usize, least: usize, most: usize) -> Result<(), MediaError> {
    if got < least {
        return Err(MediaError::Truncated { got, needed: least });
    }
    if got > most {
        return Err(MediaError::TooLong { got, limit: most });
    }
    Ok(())
}

/// Bytes of a length.
fn length_len(length: usize) -> usize {
    if length < TWO_BYTE_LENGTH { 1 } else { 2 }
}

/// A variable-length integer (RFC 9000 §16) of 1 or 2 bytes, in its shortest form.
fn read_length(bytes: &[u8]) -> Result<(usize, &[u8]), MediaError> {
    let ([first], rest) = take::<1>(bytes)?;
    match first >> 6 {
        0 => Ok((usize::from(first), rest)),
        1 => {
            let ([second], rest) = take::<1>(rest)?;
            let length = usize::from(first & 0x3f) << 8 | usize::from(second);
            if length < TWO_BYTE_LENGTH {
                return Err(MediaError::NotMinimal);
            }
            Ok((length, rest))
        }
        _ => Err(MediaError::OutOfRange),
    }
}

/// `length` is at most that of the longest repair symbol, which 14 bits hold.
fn write_length(length: usize, out: &mut Vec<u8>) {
    if length < TWO_BYTE_LENGTH {
        out.push(length as u8);
    } else {
        out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes());
    }
}
