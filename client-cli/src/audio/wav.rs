//! The contents of a WAV file, read as a stream: the `header`, then the samples in their `format`, then perhaps a
//! `trailer`.

mod format;
mod header;
#[cfg(test)]
mod tests;
mod trailer;

use std::io::{self, Cursor, Read};

use super::downmix::Downmix;
pub use format::Format;
use header::Header;
use trailer::is_trailer;

/// The kind of a file's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Samples a second in each channel.
    pub rate: u32,
    pub channels: u16,
    /// How each sample is written.
    pub format: Format,
}

/// Why bytes are not a WAV file.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// The bytes end or cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The bytes are not a WAV file.
    #[error("{0}")]
    Not(&'static str),
    /// The bytes are a recording of another kind.
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
    /// The last read, as bytes of the file and as samples.
    bytes: Vec<u8>,
    samples: Vec<f32>,
}

impl<R: Read> WavReader<R> {
    /// Reads up to the first sample.
    pub fn new(mut from: R) -> Result<Self, WavError> {
        let Header { spec, length } = Header::read(&mut from)?;
        Ok(Self {
            from,
            spec,
            left: length,
            is_in_doubt: length.is_none(),
            begin: Cursor::default(),
            downmix: Downmix::new(spec.channels, spec.rate),
            bytes: Vec::new(),
            samples: Vec::new(),
        })
    }

    /// The kind of the samples.
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
