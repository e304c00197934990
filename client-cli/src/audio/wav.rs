//! What stands in a WAV file: header in front, samples behind, read as a stream.
//!
//! A stream's header does not know how long it will be: lengths of 0, of all ones or past the end mean "up to the end".

use std::io::{self, Read};

/// What a file's samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Samples a second in each channel.
    pub rate: u32,
    /// Interleaved channels.
    pub channels: u16,
    /// How each sample is written.
    pub format: Format,
}

/// How a sample is written; little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Unsigned, 128 is silence.
    U8,
    /// Signed 16 bits.
    I16,
    /// Signed 24 bits in 3 bytes.
    I24,
    /// Signed 32 bits.
    I32,
    /// 32-bit float, ±1.0.
    F32,
    /// 64-bit float, ±1.0.
    F64,
}

/// Why bytes are not a WAV file.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// The bytes end or cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// They are something else.
    #[error("{0}")]
    Not(&'static str),
    /// A kind of samples that is not known.
    #[error("samples of kind {tag} with {bits} bits are not supported: convert it to 16-bit PCM")]
    Kind {
        /// The format tag of the header.
        tag: u16,
        /// Bits of a sample.
        bits: u16,
    },
}

const TAG_PCM: u16 = 1;
const TAG_FLOAT: u16 = 3;
const TAG_EXTENSIBLE: u16 = 0xfffe;

/// Longest `fmt` chunk that is looked at, in bytes.
const MAX_FMT: u32 = 4096;

/// Rates that can be resampled, in hertz.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// Most channels that are mixed to one.
const MAX_CHANNELS: u16 = 64;

/// Reads mono samples out of a WAV stream.
#[derive(Debug)]
pub struct WavReader<R> {
    from: R,
    spec: Spec,
    /// Bytes of samples that the header still promises; `None`: up to the end.
    left: Option<u64>,
    bytes: Vec<u8>,
}

impl<R: Read> WavReader<R> {
    /// Reads up to the first sample.
    pub fn new(mut from: R) -> Result<Self, WavError> {
        let riff =
            read::<12>(&mut from).map_err(|_| WavError::Not("it is too short for a WAV header"))?;
        if &riff[..4] != b"RIFF" || &riff[8..] != b"WAVE" {
            return Err(WavError::Not("it does not begin with RIFF and WAVE"));
        }
        let mut spec = None;
        loop {
            let head = read::<8>(&mut from).map_err(|_| WavError::Not("it has no samples"))?;
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            match &head[..4] {
                b"fmt " => spec = Some(read_fmt(&mut from, length)?),
                b"data" => {
                    let spec =
                        spec.ok_or(WavError::Not("its samples come before their description"))?;
                    let left = (length != 0 && length < u32::MAX - 0xff).then_some(length.into());
                    return Ok(Self {
                        from,
                        spec,
                        left,
                        bytes: Vec::new(),
                    });
                }
                _ => skip(&mut from, u64::from(length) + u64::from(length % 2))?,
            }
        }
    }

    /// What the samples are.
    pub fn spec(&self) -> Spec {
        self.spec
    }

    /// Appends up to `frames` samples to `out`, all channels mixed to one; the number that came. 0 is the end.
    ///
    /// A last frame that is cut short is left out.
    pub fn read(&mut self, frames: usize, out: &mut Vec<f32>) -> io::Result<usize> {
        let frame_len = self.spec.format.bytes() * usize::from(self.spec.channels);
        let wanted = (frames * frame_len) as u64;
        let wanted = self.left.map_or(wanted, |left| left.min(wanted));
        self.bytes.clear();
        self.from
            .by_ref()
            .take(wanted)
            .read_to_end(&mut self.bytes)?;
        if let Some(left) = &mut self.left {
            *left -= self.bytes.len() as u64;
        }
        let before = out.len();
        let gain = 1.0 / f32::from(self.spec.channels);
        for frame in self.bytes.chunks_exact(frame_len) {
            let samples = frame.chunks_exact(self.spec.format.bytes());
            out.push(
                samples
                    .map(|sample| self.spec.format.read(sample))
                    .sum::<f32>()
                    * gain,
            );
        }
        Ok(out.len() - before)
    }
}

impl Format {
    /// Bytes of a sample.
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// `bytes` has [`bytes`](Self::bytes) bytes. What is not a number is silence; floats are held within ±1.0.
    fn read(self, bytes: &[u8]) -> f32 {
        let value = match (self, bytes) {
            (Self::U8, [a]) => (f32::from(*a) - 128.0) / 128.0,
            (Self::I16, [a, b]) => f32::from(i16::from_le_bytes([*a, *b])) / 32_768.0,
            (Self::I24, [a, b, c]) => {
                (i32::from_le_bytes([0, *a, *b, *c]) as f64 / 2_147_483_648.0) as f32
            }
            (Self::I32, [a, b, c, d]) => {
                (i32::from_le_bytes([*a, *b, *c, *d]) as f64 / 2_147_483_648.0) as f32
            }
            (Self::F32, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]),
            (Self::F64, bytes) => bytes
                .try_into()
                .map_or(0.0, |bytes| f64::from_le_bytes(bytes) as f32),
            _ => 0.0,
        };
        if value.is_finite() {
            value.clamp(-1.0, 1.0)
        } else {
            0.0
        }
    }
}

fn read_fmt(from: &mut impl Read, length: u32) -> Result<Spec, WavError> {
    if !(16..=MAX_FMT).contains(&length) {
        return Err(WavError::Not(
            "the description of its samples has no sensible length",
        ));
    }
    let mut fmt = vec![0; (length + length % 2) as usize];
    from.read_exact(&mut fmt)?;
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
    let format = match (tag, bits) {
        (TAG_PCM, 8) => Format::U8,
        (TAG_PCM, 16) => Format::I16,
        (TAG_PCM, 24) if align / channels == 3 => Format::I24,
        (TAG_PCM, 32) => Format::I32,
        (TAG_FLOAT, 32) => Format::F32,
        (TAG_FLOAT, 64) => Format::F64,
        (tag, bits) => return Err(WavError::Kind { tag, bits }),
    };
    if usize::from(align) != format.bytes() * usize::from(channels) {
        return Err(WavError::Not(
            "its samples are not packed as its header says",
        ));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{SampleFormat, WavSpec, WavWriter};
    use proptest::prelude::*;
    use std::io::Cursor;

    fn all(bytes: &[u8]) -> (Spec, Vec<f32>) {
        let mut reader = WavReader::new(bytes).unwrap();
        let mut out = Vec::new();
        while reader.read(7, &mut out).unwrap() > 0 {}
        (reader.spec(), out)
    }

    fn written(bits: u16, format: SampleFormat, channels: u16) -> Vec<u8> {
        let spec = WavSpec {
            channels,
            sample_rate: 44_100,
            bits_per_sample: bits,
            sample_format: format,
        };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        for n in 0..20 {
            for channel in 0..channels {
                let value = (f64::from(n) - 10.0) / 16.0 * if channel == 0 { 1.0 } else { 0.5 };
                match format {
                    SampleFormat::Float => writer.write_sample(value as f32).unwrap(),
                    SampleFormat::Int => {
                        let full = f64::from(1u32 << (bits - 1));
                        writer.write_sample((value * full) as i32).unwrap();
                    }
                }
            }
        }
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    #[test]
    fn files_that_another_library_wrote_are_read() {
        let kinds = [
            (8, SampleFormat::Int),
            (16, SampleFormat::Int),
            (24, SampleFormat::Int),
            (32, SampleFormat::Int),
            (32, SampleFormat::Float),
        ];
        for (bits, format) in kinds {
            for channels in [1, 2] {
                let (spec, samples) = all(&written(bits, format, channels));
                assert_eq!((spec.rate, spec.channels), (44_100, channels));
                assert_eq!(samples.len(), 20);
                let scale = if channels == 1 { 1.0 } else { 0.75 };
                for (n, sample) in samples.iter().enumerate() {
                    let expected = (n as f32 - 10.0) / 16.0 * scale;
                    assert!(
                        (sample - expected).abs() < 0.01,
                        "{bits} bits, {channels} channels: {sample} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_stream_of_unknown_length_is_read_to_its_end() {
        let mut bytes = written(16, SampleFormat::Int, 1);
        let at = bytes.windows(4).position(|w| w == b"data").unwrap() + 4;
        for length in [0u32, u32::MAX, 0x7fff_ffff] {
            bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
            assert_eq!(all(&bytes).1.len(), 20);
            assert_eq!(all(&bytes[..bytes.len() - 1]).1.len(), 19);
        }
    }

    #[test]
    fn what_follows_the_samples_is_not_played() {
        let mut bytes = written(16, SampleFormat::Int, 1);
        bytes.extend_from_slice(b"LIST\x04\0\0\0INFO");
        assert_eq!(all(&bytes).1.len(), 20);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), keep in 0usize..50) {
            let good = written(16, SampleFormat::Int, 2);
            let keep = keep.min(bytes.len());
            bytes[..keep].copy_from_slice(&good[..keep]);
            if let Ok(mut reader) = WavReader::new(&bytes[..]) {
                let mut out = Vec::new();
                while reader.read(16, &mut out).unwrap() > 0 {}
            }
        }
    }
}
