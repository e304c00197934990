//! WAV files, 48 kHz 16-bit mono, that stay readable whatever happens to the program or the disk.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::Path;

use confab_voice::SAMPLE_RATE;

use super::AudioError;

/// Bytes of the header.
const HEADER_LEN: usize = 44;

/// Bytes of a sample.
const SAMPLE_LEN: u64 = 2;

/// Samples that are gathered before they are written: 100 ms.
const GATHER: usize = SAMPLE_RATE as usize / 10;

/// Samples after which the header is brought up to date: a second.
const HEADER_EVERY: u64 = SAMPLE_RATE as u64;

/// A WAV file that grows.
pub struct WavSink {
    to: Target,
    gathered: Vec<u8>,
    /// Samples that are in the file for certain.
    written: u64,
    /// Samples that the header tells of.
    told: u64,
}

enum Target {
    File(File),
    /// Cannot be gone back in: the header tells no length.
    Stream(Box<dyn Write + Send>),
}

impl WavSink {
    /// Creates `path`, or writes over it.
    pub fn create(path: &Path) -> Result<Self, AudioError> {
        let open = || {
            let file = File::create(path)?;
            let seekable = file.metadata()?.is_file();
            Self::new(if seekable {
                Target::File(file)
            } else {
                Target::Stream(Box::new(file))
            })
        };
        open().map_err(|error: io::Error| AudioError::File {
            doing: "create",
            file: path.display().to_string(),
            reason: error.to_string(),
        })
    }

    /// Streams to standard output.
    pub fn stdout() -> Result<Self, AudioError> {
        Self::new(Target::Stream(Box::new(io::stdout()))).map_err(|error| AudioError::File {
            doing: "write to",
            file: "standard output".into(),
            reason: error.to_string(),
        })
    }

    /// Adds samples, clipped to ±1.0. After an error the file holds what came before, and no more should be added.
    pub fn write(&mut self, samples: &[f32]) -> io::Result<()> {
        let bytes = samples
            .iter()
            .flat_map(|sample| to_i16(*sample).to_le_bytes());
        self.gathered.extend(bytes);
        if self.gathered.len() as u64 >= GATHER as u64 * SAMPLE_LEN || self.is_stream() {
            self.flush()?;
        }
        if self.written - self.told >= HEADER_EVERY {
            self.tell_length()?;
        }
        Ok(())
    }

    /// Samples added so far.
    pub fn len(&self) -> u64 {
        self.written + self.gathered.len() as u64 / SAMPLE_LEN
    }

    /// True before the first sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes what is left, and the header.
    pub fn finish(&mut self) -> io::Result<()> {
        let flushed = self.flush();
        // The header takes no room of its own, so this works on a full disk too.
        self.tell_length()?;
        flushed
    }

    fn new(mut to: Target) -> io::Result<Self> {
        match &mut to {
            Target::File(file) => file.write_all(&header(Some(0)))?,
            Target::Stream(stream) => stream
                .write_all(&header(None))
                .and_then(|()| stream.flush())?,
        }
        Ok(Self {
            to,
            gathered: Vec::new(),
            written: 0,
            told: 0,
        })
    }

    fn is_stream(&self) -> bool {
        matches!(self.to, Target::Stream(_))
    }

    /// Piece by piece, so that it is known how much of them arrived when one fails.
    fn flush(&mut self) -> io::Result<()> {
        let mut done = 0;
        let result = loop {
            if done == self.gathered.len() {
                break Ok(());
            }
            let to: &mut dyn Write = match &mut self.to {
                Target::File(file) => file,
                Target::Stream(stream) => stream,
            };
            match to.write(&self.gathered[done..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.gathered.clear();
        self.written += done as u64 / SAMPLE_LEN;
        if let Target::Stream(stream) = &mut self.to {
            result.and(stream.flush())
        } else {
            result
        }
    }

    fn tell_length(&mut self) -> io::Result<()> {
        let Target::File(file) = &mut self.to else {
            self.told = self.written;
            return Ok(());
        };
        let end = file.stream_position()?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header(Some(self.written)))?;
        file.seek(SeekFrom::Start(end))?;
        self.told = self.written;
        Ok(())
    }
}

fn to_i16(sample: f32) -> i16 {
    // NaN becomes 0 by the saturating cast.
    (sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16
}

/// `samples`: how many there are, or `None` for a stream of unknown length, whose lengths are all ones.
fn header(samples: Option<u64>) -> [u8; HEADER_LEN] {
    let data = samples
        .and_then(|samples| u32::try_from(samples * SAMPLE_LEN).ok())
        .unwrap_or(u32::MAX);
    let riff = data.saturating_add(HEADER_LEN as u32 - 8);
    let mut out = [0; HEADER_LEN];
    let parts: [&[u8]; 13] = [
        b"RIFF",
        &riff.to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16u32.to_le_bytes(),
        &1u16.to_le_bytes(),
        &1u16.to_le_bytes(),
        &SAMPLE_RATE.to_le_bytes(),
        &(SAMPLE_RATE * SAMPLE_LEN as u32).to_le_bytes(),
        &(SAMPLE_LEN as u16).to_le_bytes(),
        &16u16.to_le_bytes(),
        b"data",
        &data.to_le_bytes(),
    ];
    let mut at = 0;
    for part in parts {
        out[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_library_reads_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.wav");
        let mut sink = WavSink::create(&path).unwrap();
        sink.write(&[0.0, 0.5, -1.0, 2.0, f32::NAN]).unwrap();
        sink.finish().unwrap();
        let mut reader = hound::WavReader::open(&path).unwrap();
        assert_eq!(
            (reader.spec().sample_rate, reader.spec().channels),
            (48_000, 1)
        );
        let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
        assert_eq!(samples, [0, 16_384, -32_767, 32_767, 0]);
    }

    #[test]
    fn a_file_that_was_never_finished_is_readable_to_the_last_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.wav");
        let mut sink = WavSink::create(&path).unwrap();
        for _ in 0..250 {
            sink.write(&[0.1; 480]).unwrap();
        }
        let reader = hound::WavReader::open(&path).unwrap();
        assert!(reader.duration() >= 96_000, "{}", reader.duration());
        drop(sink);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_and_not_a_crash() {
        let created = WavSink::create(Path::new("/dev/full"));
        assert!(matches!(created, Err(AudioError::File { .. })));
    }

    /// Takes `room` bytes and then says that it is full.
    struct SmallDisk(usize);

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.0);
            self.0 -= count;
            if count == 0 {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(count)
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_fitted_before_the_disk_was_full_is_counted() {
        let mut sink =
            WavSink::new(Target::Stream(Box::new(SmallDisk(HEADER_LEN + 1000)))).unwrap();
        sink.write(&[0.1; 480]).unwrap();
        assert_eq!(
            sink.write(&[0.1; 480]).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        assert_eq!(sink.len(), 500);
    }
}
