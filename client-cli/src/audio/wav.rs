//! The contents of a WAV file: header in front, samples behind, read as a stream. RIFF, and RF64 (EBU Tech 3306) for files
//! over 4 GiB.
//!
//! A header that was written before the samples does not know how many follow: all ones, or 0 in a header that was never
//! brought up to date, stand for "up to the end". The same holds for the lengths in `ds64`. A 0 is an empty recording where
//! the header is finished or where another chunk follows.

use std::io::{self, Cursor, Read};

use super::downmix::{self, Downmix};

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

/// How a sample is written; little-endian. Fewer bits than its bytes hold are its highest ones, as in 24 bits in 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Unsigned in 1 byte, 128 is silence.
    U8,
    /// Signed in 2 bytes.
    I16,
    /// Signed in 3 bytes.
    I24,
    /// Signed in 4 bytes.
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
    /// They are a recording of another kind.
    #[error("it is {0}; `ffmpeg -i FILE -ar 48000 FILE.wav` makes a WAV file of it")]
    Other(&'static str),
    /// A kind of samples that is not known.
    #[error(
        "samples of kind {tag} with {bits} bits in {bytes} bytes are not supported; \
         `ffmpeg -i FILE -c:a pcm_s16le FILE.wav` converts them"
    )]
    Kind {
        /// The format tag of the header.
        tag: u16,
        /// Bits of a sample.
        bits: u16,
        /// Bytes of a sample.
        bytes: u16,
    },
}

const TAG_PCM: u16 = 1;
const TAG_FLOAT: u16 = 3;
const TAG_EXTENSIBLE: u16 = 0xfffe;

/// Longest `fmt` or `ds64` chunk that is looked at, in bytes.
const MAX_DESCRIPTION: u32 = 4096;

/// A length that its writer did not know. Some programs take the highest multiple of a frame below 2^32 or 2^31 for it.
const UNKNOWN_LENGTHS: [std::ops::RangeInclusive<u32>; 2] =
    [u32::MAX - 0xff..=u32::MAX, 0x7fff_f000..=0x7fff_ffff];

/// Chunks that programs write behind the samples.
const TRAILERS: [&[u8; 4]; 25] = [
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"fact", b"JUNK", b"junk", b"PAD ", b"FLLR",
    b"smpl", b"inst", b"iXML", b"axml", b"bxml", b"sxml", b"_PMX", b"PEAK", b"levl", b"cart",
    b"chna", b"plst", b"acid", b"strc", b"DISP",
];

/// Longest chunk that is taken for a trailer in bytes: metadata with a large picture.
const MAX_TRAILER: u32 = 64 << 20;

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

/// Reads mono samples out of a WAV stream.
#[derive(Debug)]
pub struct WavReader<R> {
    from: R,
    spec: Spec,
    /// Bytes of samples that the header still promises; `None`: up to the end.
    left: Option<u64>,
    /// The first [`read`](Self::read) has yet to tell samples from a chunk behind an empty recording.
    is_in_doubt: bool,
    /// Bytes that were read to tell them apart and are samples.
    begin: Cursor<Vec<u8>>,
    downmix: Downmix,
    /// What was read last, as it is in the file and as samples.
    bytes: Vec<u8>,
    samples: Vec<f32>,
}

impl<R: Read> WavReader<R> {
    /// Reads up to the first sample.
    pub fn new(mut from: R) -> Result<Self, WavError> {
        let form = Form::read(&mut from)?;
        // Bytes that the form has, its own identifier included, and how many of them were read.
        let (mut size, mut at) = (form.size(), 4u64);
        let (mut spec, mut data_size) = (None, None);
        loop {
            let head = read::<8>(&mut from).map_err(|_| WavError::Not("it has no samples"))?;
            at += 8;
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            match &head[..4] {
                b"ds64" if form == Form::Rf64 => {
                    let sizes = read_description(&mut from, length, 16)?;
                    (size, data_size) = (Some(long(&sizes, 0)), Some(long(&sizes, 8)));
                }
                b"fmt " => spec = Some(read_fmt(&mut from, length)?),
                b"data" => {
                    let spec =
                        spec.ok_or(WavError::Not("its samples come before their description"))?;
                    let is_finished = size.is_some_and(|size| size > at && size != u64::MAX);
                    let length = match data_size {
                        Some(known) if length == u32::MAX => Some(known),
                        _ => (!is_unknown(length)).then_some(length.into()),
                    };
                    // A finished form has more behind its empty samples; else nobody has counted them.
                    let left = length
                        .filter(|length| *length != u64::MAX && (*length != 0 || is_finished));
                    return Ok(Self {
                        from,
                        spec,
                        left,
                        is_in_doubt: left.is_none(),
                        begin: Cursor::default(),
                        downmix: Downmix::new(spec.channels, spec.rate),
                        bytes: Vec::new(),
                        samples: Vec::new(),
                    });
                }
                _ => skip(&mut from, padded(length))?,
            }
            at += padded(length);
        }
    }

    /// What the samples are.
    pub fn spec(&self) -> Spec {
        self.spec
    }

    /// Appends up to `frames` samples to `out`, of the loudest channel; the number that came. 0 is the end.
    ///
    /// A last frame that is cut short is left out.
    pub fn read(&mut self, frames: usize, out: &mut Vec<f32>) -> io::Result<usize> {
        if std::mem::take(&mut self.is_in_doubt) {
            self.look_for_trailer()?;
        }
        let format = self.spec.format;
        let frame_len = format.bytes() * usize::from(self.spec.channels);
        let wanted = (frames * frame_len) as u64;
        let wanted = self.left.map_or(wanted, |left| left.min(wanted));
        self.bytes.clear();
        self.begin
            .by_ref()
            .chain(self.from.by_ref())
            .take(wanted)
            .read_to_end(&mut self.bytes)?;
        if let Some(left) = &mut self.left {
            *left -= self.bytes.len() as u64;
        }
        self.samples.clear();
        self.samples.extend(
            self.bytes
                .chunks_exact(format.bytes())
                .map(|sample| format.read(sample)),
        );
        let before = out.len();
        self.downmix
            .mix(&self.samples, |sample| sample, |sample| out.push(sample));
        Ok(out.len() - before)
    }

    /// Reads the head of a chunk where the samples would be. Not done with the header: a live stream may have sent that
    /// alone so far. Samples are mistaken for a chunk only if their first 32 bits are one of the identifiers and the next
    /// 32 bits are a small number.
    fn look_for_trailer(&mut self) -> io::Result<()> {
        let mut head = Vec::with_capacity(8);
        self.from.by_ref().take(8).read_to_end(&mut head)?;
        if is_trailer(&head) {
            self.left = Some(0);
        } else {
            self.begin = Cursor::new(head);
        }
        Ok(())
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

/// What a file of chunks is.
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

/// True for the head of a chunk that programs write behind the samples.
fn is_trailer(head: &[u8]) -> bool {
    let Some(([id @ .., a, b, c, d], _)) = head.split_first_chunk::<8>() else {
        return false;
    };
    TRAILERS.iter().any(|known| known[..] == *id)
        && u32::from_le_bytes([*a, *b, *c, *d]) <= MAX_TRAILER
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

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{SampleFormat, WavSpec, WavWriter};
    use proptest::prelude::*;

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
                for (n, sample) in samples.iter().enumerate() {
                    let expected = (n as f32 - 10.0) / 16.0;
                    assert!(
                        (sample - expected).abs() < 0.01,
                        "{bits} bits, {channels} channels: {sample} {expected}"
                    );
                }
            }
        }
    }

    /// The same with other lengths of the form and of its samples.
    fn with_lengths(bytes: &[u8], riff: u32, data: u32) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let at = bytes.windows(4).position(|w| w == b"data").unwrap() + 4;
        bytes[4..8].copy_from_slice(&riff.to_le_bytes());
        bytes[at..at + 4].copy_from_slice(&data.to_le_bytes());
        bytes
    }

    #[test]
    fn a_stream_of_unknown_length_is_read_to_its_end() {
        let written = written(16, SampleFormat::Int, 1);
        for (riff, data) in [
            (0, 0),
            (36, 0),
            (u32::MAX, u32::MAX),
            (u32::MAX, 0),
            (0x7fff_ffff, 0x7fff_ffff),
            (0x7fff_ff24, 0x7fff_ff00),
            (36, u32::MAX - 36),
        ] {
            let bytes = with_lengths(&written, riff, data);
            assert_eq!(all(&bytes).1.len(), 20, "{riff:#x} {data:#x}");
            assert_eq!(all(&bytes[..bytes.len() - 1]).1.len(), 19);
        }
    }

    /// A second of a voice with these gains on the channels.
    fn voice_on(gains: &[f32]) -> Vec<f32> {
        let channels = gains.len() as u16;
        let data = 48_000 * u32::from(channels) * 4;
        let mut file = header(TAG_FLOAT, channels, 4, 32, data);
        for n in 0..48_000 {
            let sample = (n as f32 * 0.05).sin();
            for gain in gains {
                file.extend_from_slice(&(sample * gain).to_le_bytes());
            }
        }
        all(&file).1
    }

    #[test]
    fn a_voice_is_as_loud_on_one_channel_of_several_or_with_opposite_signs_as_alone() {
        let alone = voice_on(&[0.5]);
        for gains in [
            &[0.0, 0.5][..],
            &[0.5, -0.5],
            &[0.5, 0.5],
            &[0.0, 0.0, 0.0, 0.0, 0.0, 0.5],
        ] {
            let heard = voice_on(gains);
            assert_eq!(heard.len(), alone.len());
            for (n, (heard, alone)) in heard.iter().zip(&alone).enumerate().skip(480) {
                assert!((heard - alone).abs() < 0.001, "{gains:?}, sample {n}");
            }
        }
    }

    #[test]
    fn an_empty_recording_has_no_samples_whatever_follows_it() {
        let mut bytes = header(TAG_PCM, 1, 1, 8, 0);
        bytes.extend_from_slice(
            b"LIST\x14\0\0\0INFO\xff\0\x80\x20\xff\0\x80\x20\xff\0\x80\x20\xff\0\x80\x20",
        );
        let size = u32::try_from(bytes.len() - 8).unwrap();
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        assert!(all(&bytes).1.is_empty());
    }

    #[test]
    fn an_empty_recording_with_an_unfinished_header_does_not_play_the_chunk_behind_it() {
        for id in [b"LIST", b"id3 ", b"bext", b"iXML", b"PEAK"] {
            let mut bytes = header(TAG_PCM, 1, 2, 16, 0);
            bytes.extend_from_slice(id);
            bytes.extend_from_slice(&4096u32.to_le_bytes());
            bytes.extend_from_slice(&[0x55; 4096]);
            for (riff, data) in [(0, 0), (36, 0), (u32::MAX, 0), (u32::MAX, u32::MAX)] {
                let bytes = with_lengths(&bytes, riff, data);
                assert!(all(&bytes).1.is_empty(), "{riff:#x} {data:#x}");
            }
        }
    }

    #[test]
    fn samples_that_resemble_the_head_of_a_chunk_are_played() {
        for begin in [
            // No sensible length.
            &b"LIST\x10\0\0\x40"[..],
            b"LIST\xff\xff\xff\xff",
            // No known identifier.
            b"Loud\x10\0\0\0",
            b"\0\0\0\0\0\0\0\0",
            // Too few bytes for a chunk.
            b"LIST\0\0",
            b"LI",
        ] {
            let bytes = [&header(TAG_PCM, 1, 1, 8, 0), begin].concat();
            let (_, samples) = all(&bytes);
            assert_eq!(samples.len(), begin.len());
            let expected: Vec<f32> = begin.iter().map(|byte| Format::U8.read(&[*byte])).collect();
            assert_eq!(samples, expected);
        }
    }

    #[test]
    fn a_header_is_read_before_the_first_sample_is_there() {
        struct Live<'a>(&'a [u8]);
        impl Read for Live<'_> {
            fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
                assert!(!self.0.is_empty(), "it would wait for the first sample");
                self.0.read(bytes)
            }
        }
        let bytes = header(TAG_PCM, 1, 2, 16, 0);
        assert!(WavReader::new(Live(&bytes)).is_ok());
    }

    /// A header for samples of `bits` in `bytes` bytes, and a length of theirs.
    fn header(tag: u16, channels: u16, bytes: u16, bits: u16, data: u32) -> Vec<u8> {
        let align = bytes * channels;
        let mut out = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        for word in [tag, channels] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&48_000u32.to_le_bytes());
        out.extend_from_slice(&(48_000 * u32::from(align)).to_le_bytes());
        for word in [align, bits] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(b"data");
        out.extend_from_slice(&data.to_le_bytes());
        out
    }

    #[test]
    fn fewer_bits_than_the_bytes_hold_are_the_highest_ones() {
        for (bytes, bits) in [(4, 24), (4, 20), (3, 20), (2, 12), (4, 32)] {
            let mut file = header(TAG_PCM, 1, bytes, bits, u32::from(bytes) * 3);
            for value in [0.5f64, -0.25, 0.0] {
                let sample = (value * 2_147_483_648.0) as i32;
                file.extend_from_slice(&sample.to_le_bytes()[usize::from(4 - bytes)..]);
            }
            assert_eq!(all(&file).1, [0.5, -0.25, 0.0], "{bits} in {bytes}");
        }
        for (bytes, bits) in [(2, 24), (2, 0), (5, 40)] {
            let file = header(TAG_PCM, 1, bytes, bits, 20);
            assert!(WavReader::new(&file[..]).is_err());
        }
    }

    /// An RF64 file of 20 samples and a chunk behind them, with these lengths of the form and of the samples in `ds64`.
    fn rf64(form: u64, data: u64) -> Vec<u8> {
        let short = written(16, SampleFormat::Int, 1);
        let at = short.windows(4).position(|w| w == b"data").unwrap();
        let mut bytes = b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0".to_vec();
        for length in [form, data, data / 2] {
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&short[12..at + 4]);
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&short[at + 8..]);
        bytes.extend_from_slice(b"LIST\x04\0\0\0INFO");
        bytes
    }

    #[test]
    fn a_file_over_four_gib_is_read_by_its_long_lengths() {
        let long = |samples: u64| rf64(samples * 2 + 80, samples * 2);
        assert_eq!(all(&long(20)).1.len(), 20);
        // Cut short: what is there is read, 5 GiB or not.
        assert_eq!(all(&long(3 << 30)).1.len(), 26);
    }

    #[test]
    fn long_lengths_that_were_never_brought_up_to_date_mean_up_to_the_end() {
        // 72: the form ends where the samples begin.
        for (form, data) in [(0, 0), (72, 0), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
            assert_eq!(all(&rf64(form, data)).1.len(), 26, "{form} {data}");
        }
        // The form has more: the recording is finished and empty.
        assert!(all(&rf64(92, 0)).1.is_empty());
    }

    #[test]
    fn recordings_of_other_kinds_are_called_by_their_name() {
        for (begin, name) in [
            (&b"OggS\0\x02"[..], "Ogg"),
            (b"fLaC\0\0\0\x22", "FLAC"),
            (b"ID3\x04", "MP3"),
            (b"\0\0\0\x20ftypM4A ", "MP4"),
        ] {
            let bytes = [begin, &[0; 40]].concat();
            let error = WavReader::new(&bytes[..]).err().unwrap().to_string();
            assert!(error.contains(name) && error.contains("ffmpeg"), "{error}");
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
