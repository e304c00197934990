//! The header of a WAV file, up to the first sample: RIFF, and RF64 (EBU Tech 3306) for files over 4 GiB.
//!
//! A header that was written before the samples does not give their length: all ones, or 0 in a header that was never
//! brought up to date, stand for "up to the end". The same holds for the lengths in `ds64`. A 0 is an empty recording where
//! the header is finished or where another chunk follows.

use std::io::{self, Read};

use super::format::Format;
use super::{Spec, WavError};
use crate::audio::downmix;

pub(super) const TAG_PCM: u16 = 1;
pub(super) const TAG_FLOAT: u16 = 3;
const TAG_EXTENSIBLE: u16 = 0xfffe;

/// Longest `fmt` or `ds64` chunk that is looked at, in bytes.
const MAX_DESCRIPTION: u32 = 4096;

/// A length that its writer did not know. Some programs take the highest multiple of a frame below 2^32 or 2^31 for it.
const UNKNOWN_LENGTHS: [std::ops::RangeInclusive<u32>; 2] =
    [u32::MAX - 0xff..=u32::MAX, 0x7fff_f000..=0x7fff_ffff];

/// How recordings of other kinds begin.
const OTHERS: [(&[u8], &str); 7] = [
    (b"OggS", "an Ogg file"),
    (b"fLaC", "a FLAC file"),
    (b"ID3", "an MP3 file"),
    (b"\xff\xfb", "an MP3 file"),
    (b"FORM", "an AIFF file"),
    (b"caff", "a CAF file"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
];

/// Rates that can be resampled, in hertz.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// Most channels of a file.
const MAX_CHANNELS: u16 = downmix::MAX_CHANNELS as u16;

/// The description of the samples that follow.
pub(super) struct Header {
    pub(super) spec: Spec,
    /// Length of the samples in bytes; `None`: up to the end, or none where a known chunk follows.
    pub(super) length: Option<u64>,
}

impl Header {
    /// Reads up to the first sample.
    pub(super) fn read(from: &mut impl Read) -> Result<Self, WavError> {
        let form = Form::read(from)?;
        // Bytes that the form has, its own identifier included, and how many of them were read.
        let (mut size, mut at) = (form.size(), 4u64);
        let (mut spec, mut data_size) = (None, None);
        loop {
            let head = read::<8>(from).map_err(|_| WavError::Not("it has no samples"))?;
            at += 8;
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            match &head[..4] {
                b"ds64" if form == Form::Rf64 => {
                    let sizes = read_description(from, length, 16)?;
                    (size, data_size) = (Some(long(&sizes, 0)), Some(long(&sizes, 8)));
                }
                b"fmt " => spec = Some(read_fmt(from, length)?),
                b"data" => {
                    let spec =
                        spec.ok_or(WavError::Not("its samples come before their description"))?;
                    let is_finished = size.is_some_and(|size| size > at && size != u64::MAX);
                    let length = match data_size {
                        Some(known) if length == u32::MAX => Some(known),
                        _ => (!is_unknown(length)).then_some(length.into()),
                    };
                    // A finished form has more behind its empty samples; else nobody has counted them.
                    let length = length
                        .filter(|length| *length != u64::MAX && (*length != 0 || is_finished));
                    return Ok(Self { spec, length });
                }
                _ => skip(from, padded(length))?,
            }
            at += padded(length);
        }
    }
}

/// The kind of a file of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// With its length; `None`: not known.
    Riff(Option<u32>),
    /// Its lengths are in the chunk `ds64`.
    Rf64,
}

impl Form {
    fn read(from: &mut impl Read) -> Result<Self, WavError> {
        let mut head = Vec::with_capacity(12);
        from.take(12).read_to_end(&mut head)?;
        if let Some((_, other)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Err(WavError::Other(other));
        }
        if head.get(4..8) == Some(b"ftyp") {
            return Err(WavError::Other("an MP4 file"));
        }
        let Some((head, _)) = head.split_first_chunk::<12>() else {
            return Err(WavError::Not("it is too short for a WAV header"));
        };
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        match (&head[..4], &head[8..]) {
            (b"RIFF", b"WAVE") => Ok(Self::Riff(
                (length != 0 && !is_unknown(length)).then_some(length),
            )),
            (b"RF64" | b"BW64", b"WAVE") => Ok(Self::Rf64),
            _ => Err(WavError::Not("it does not begin with RIFF and WAVE")),
        }
    }

    fn size(self) -> Option<u64> {
        match self {
            Self::Riff(size) => size.map(u64::from),
            Self::Rf64 => None,
        }
    }
}

fn is_unknown(length: u32) -> bool {
    UNKNOWN_LENGTHS.iter().any(|range| range.contains(&length))
}

/// Bytes of a chunk's content: chunks begin at even places.
fn padded(length: u32) -> u64 {
    u64::from(length) + u64::from(length % 2)
}

/// A chunk of at least `least` bytes that describes what follows.
fn read_description(from: &mut impl Read, length: u32, least: u32) -> Result<Vec<u8>, WavError> {
    if !(least..=MAX_DESCRIPTION).contains(&length) {
        return Err(WavError::Not(
            "the description of its samples has no sensible length",
        ));
    }
    let mut bytes = vec![0; (length + length % 2) as usize];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The 8 bytes at a place, little-endian; 0 past the end.
fn long(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn read_fmt(from: &mut impl Read, length: u32) -> Result<Spec, WavError> {
    let fmt = read_description(from, length, 16)?;
    let word = |at: usize| u16::from_le_bytes([fmt[at], fmt[at + 1]]);
    let rate = u32::from_le_bytes([fmt[4], fmt[5], fmt[6], fmt[7]]);
    let (channels, align, bits) = (word(2), word(12), word(14));
    let tag = match word(0) {
        // The first two bytes of the sub-format's GUID are the tag that would stand here otherwise.
        TAG_EXTENSIBLE if fmt.len() >= 26 => word(24),
        tag => tag,
    };
    if channels == 0 || channels > MAX_CHANNELS || !RATES.contains(&rate) {
        return Err(WavError::Not(
            "its rate or its number of channels makes no sense",
        ));
    }
    let bytes = align / channels;
    if bytes * channels != align || bits == 0 || bits > bytes.saturating_mul(8) {
        return Err(WavError::Not(
            "its samples are not packed as its header says",
        ));
    }
    let format = match (tag, bytes) {
        (TAG_PCM, 1) => Format::U8,
        (TAG_PCM, 2) => Format::I16,
        (TAG_PCM, 3) => Format::I24,
        (TAG_PCM, 4) => Format::I32,
        (TAG_FLOAT, 4) if bits == 32 => Format::F32,
        (TAG_FLOAT, 8) if bits == 64 => Format::F64,
        (tag, bytes) => return Err(WavError::Kind { tag, bits, bytes }),
    };
    Ok(Spec {
        rate,
        channels,
        format,
    })
}

fn read<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn skip(from: &mut impl Read, length: u64) -> io::Result<()> {
    let skipped = io::copy(&mut from.by_ref().take(length), &mut io::sink())?;
    if skipped < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
