//! WAV files, 48 kHz 16-bit mono, that stay readable whatever happens to the program or the disk.
//!
//! A file beyond 4 GiB becomes RF64 (EBU Tech 3306). Its `ds64` chunk takes the place of a `JUNK` chunk, which every file has
//! and readers skip.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write};

use confab_voice::SAMPLE_RATE;

/// Bytes of a stream's header.
const STREAM_HEADER_LEN: usize = 44;

/// Bytes of a file's header.
const HEADER_LEN: usize = STREAM_HEADER_LEN + 8 + DS64_LEN;

/// Bytes of the `ds64` chunk without its head.
const DS64_LEN: usize = 28;

/// Bytes of a sample.
const SAMPLE_LEN: u64 = 2;

/// Samples that are gathered before they are written: 100 ms.
const GATHER: usize = SAMPLE_RATE as usize / 10;

/// Samples after which the header is brought up to date: a second.
const HEADER_EVERY: u64 = SAMPLE_RATE as u64;

/// Samples of silence that are written to a stream at once.
const SILENCE: usize = SAMPLE_RATE as usize;

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
    /// Starts a recording in an empty file, or in a named pipe or a device.
    pub fn file(file: File) -> io::Result<Self> {
        let is_file = file.metadata()?.is_file();
        Self::new(match is_file {
            true => Target::File(file),
            false => Target::Stream(Box::new(file)),
        })
    }

    /// Starts a recording in a stream.
    pub fn stream(to: impl Write + Send + 'static) -> io::Result<Self> {
        Self::new(Target::Stream(Box::new(to)))
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

    /// Adds silence. In a file it is a hole, which takes no space on most file systems.
    pub fn skip(&mut self, samples: u64) -> io::Result<()> {
        if samples == 0 {
            return Ok(());
        }
        if let Target::Stream(_) = self.to {
            let mut left = samples;
            while left > 0 {
                let now = left.min(SILENCE as u64);
                self.write(&vec![0.0; now as usize])?;
                left -= now;
            }
            return Ok(());
        }
        self.flush()?;
        self.written += samples;
        self.go_to_end()?;
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
            Target::File(file) => file.write_all(&file_header(0))?,
            Target::Stream(stream) => {
                stream
                    .write_all(&stream_header())
                    .and_then(|()| stream.flush())?;
            }
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
        if let Target::File(file) = &mut self.to {
            // A hole at the end exists only once the file has its full length.
            let end = HEADER_LEN as u64 + self.written * SAMPLE_LEN;
            if file.metadata()?.len() < end {
                file.set_len(end)?;
            }
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&file_header(self.written))?;
            self.go_to_end()?;
        }
        self.told = self.written;
        Ok(())
    }

    fn go_to_end(&mut self) -> io::Result<()> {
        if let Target::File(file) = &mut self.to {
            file.seek(SeekFrom::Start(
                HEADER_LEN as u64 + self.written * SAMPLE_LEN,
            ))?;
        }
        Ok(())
    }
}

fn to_i16(sample: f32) -> i16 {
    // NaN becomes 0 by the saturating cast.
    (sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16
}

/// Header of a stream of unknown length: its lengths are all ones.
fn stream_header() -> Vec<u8> {
    let mut out = Vec::with_capacity(STREAM_HEADER_LEN);
    put_chunk_head(&mut out, b"RIFF", u32::MAX);
    out.extend_from_slice(b"WAVE");
    put_format(&mut out);
    put_chunk_head(&mut out, b"data", u32::MAX);
    out
}

/// Header of a file with this number of samples.
fn file_header(samples: u64) -> Vec<u8> {
    let data = samples * SAMPLE_LEN;
    let riff = data + HEADER_LEN as u64 - 8;
    let mut out = Vec::with_capacity(HEADER_LEN);
    match (u32::try_from(riff), u32::try_from(data)) {
        (Ok(riff), Ok(data)) => {
            put_chunk_head(&mut out, b"RIFF", riff);
            out.extend_from_slice(b"WAVE");
            put_chunk_head(&mut out, b"JUNK", DS64_LEN as u32);
            out.extend_from_slice(&[0; DS64_LEN]);
            put_format(&mut out);
            put_chunk_head(&mut out, b"data", data);
        }
        _ => {
            put_chunk_head(&mut out, b"RF64", u32::MAX);
            out.extend_from_slice(b"WAVE");
            put_chunk_head(&mut out, b"ds64", DS64_LEN as u32);
            for length in [riff, data, samples] {
                out.extend_from_slice(&length.to_le_bytes());
            }
            // The table of further chunks is empty.
            out.extend_from_slice(&0u32.to_le_bytes());
            put_format(&mut out);
            put_chunk_head(&mut out, b"data", u32::MAX);
        }
    }
    out
}

fn put_chunk_head(out: &mut Vec<u8>, name: &[u8; 4], length: u32) {
    out.extend_from_slice(name);
    out.extend_from_slice(&length.to_le_bytes());
}

fn put_format(out: &mut Vec<u8>) {
    const PCM: u16 = 1;
    const CHANNELS: u16 = 1;
    put_chunk_head(out, b"fmt ", 16);
    out.extend_from_slice(&PCM.to_le_bytes());
    out.extend_from_slice(&CHANNELS.to_le_bytes());
    out.extend_from_slice(&SAMPLE_RATE.to_le_bytes());
    out.extend_from_slice(&(SAMPLE_RATE * SAMPLE_LEN as u32).to_le_bytes());
    out.extend_from_slice(&(SAMPLE_LEN as u16).to_le_bytes());
    out.extend_from_slice(&(SAMPLE_LEN as u16 * 8).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::files::create_new;
    use std::path::Path;

    fn create(path: &Path) -> WavSink {
        WavSink::file(create_new(path).unwrap()).unwrap()
    }

    #[test]
    fn another_library_reads_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.wav");
        let mut sink = create(&path);
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
        let mut sink = create(&path);
        for _ in 0..250 {
            sink.write(&[0.1; 480]).unwrap();
        }
        let mut reader = hound::WavReader::open(&path).unwrap();
        assert!(reader.duration() >= 96_000, "{}", reader.duration());
        assert!(reader.samples::<i16>().all(|sample| sample.is_ok()));
        // The header does not count a hole that the file does not have yet.
        sink.skip(1_000_000).unwrap();
        let mut reader = hound::WavReader::open(&path).unwrap();
        assert!(reader.samples::<i16>().all(|sample| sample.is_ok()));
    }

    #[cfg(unix)]
    #[test]
    fn silence_is_sparse_and_reads_as_zeros() {
        use std::os::unix::fs::MetadataExt as _;
        const SECONDS: u64 = 600;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.wav");
        let mut sink = create(&path);
        sink.skip(SECONDS * HEADER_EVERY).unwrap();
        sink.write(&[0.5; 480]).unwrap();
        sink.skip(SECONDS * HEADER_EVERY).unwrap();
        sink.finish().unwrap();
        let on_disk = std::fs::metadata(&path).unwrap().blocks() * 512;
        assert!(on_disk < 100_000, "{on_disk} bytes of zeros were written");
        let mut reader = hound::WavReader::open(&path).unwrap();
        let length = 2 * SECONDS * HEADER_EVERY + 480;
        assert_eq!(u64::from(reader.duration()), length);
        let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
        let loud = samples.iter().filter(|sample| **sample != 0).count();
        assert_eq!((samples.len() as u64, loud), (length, 480));
        assert_ne!(samples[(SECONDS * HEADER_EVERY) as usize], 0);
    }

    #[test]
    fn a_stream_gets_silence_of_the_same_length() {
        let (to, from) = std::sync::mpsc::channel();
        struct Sent(std::sync::mpsc::Sender<u8>);
        impl Write for Sent {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                bytes.iter().for_each(|byte| self.0.send(*byte).unwrap());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = WavSink::stream(Sent(to)).unwrap();
        sink.skip(100_000).unwrap();
        sink.write(&[0.5]).unwrap();
        let bytes: Vec<u8> = from.try_iter().collect();
        assert_eq!(bytes.len(), STREAM_HEADER_LEN + 200_002);
        assert!(
            bytes[STREAM_HEADER_LEN..STREAM_HEADER_LEN + 200_000]
                .iter()
                .all(|b| *b == 0)
        );
    }

    #[test]
    fn a_file_beyond_four_gibibytes_is_rf64_with_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.wav");
        let mut sink = create(&path);
        // 24 h are 8.3 GB; on disk they take a few kilobytes.
        let day = 24 * 3600 * HEADER_EVERY;
        sink.skip(day).unwrap();
        sink.write(&[0.5; 480]).unwrap();
        sink.finish().unwrap();
        let mut head = [0; HEADER_LEN];
        io::Read::read_exact(&mut File::open(&path).unwrap(), &mut head).unwrap();
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
        assert_eq!((&head[..4], &head[8..16]), (&b"RF64"[..], &b"WAVEds64"[..]));
        let (samples, length) = (day + 480, std::fs::metadata(&path).unwrap().len());
        assert_eq!(
            [number(20), number(28), number(36)],
            [length - 8, samples * 2, samples]
        );
        assert_eq!(&head[HEADER_LEN - 8..], b"data\xff\xff\xff\xff");
        // Shorter files stay RIFF, which all readers know.
        let most = u64::from(u32::MAX) / 2 - HEADER_LEN as u64;
        assert_eq!(&file_header(most)[..4], b"RIFF");
        assert_eq!(&file_header(most + HEADER_LEN as u64)[..4], b"RF64");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_and_not_a_crash() {
        let file = File::options().write(true).open("/dev/full").unwrap();
        assert!(WavSink::file(file).is_err());
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
    fn samples_written_before_the_disk_was_full_are_counted() {
        let mut sink = WavSink::stream(SmallDisk(STREAM_HEADER_LEN + 1000)).unwrap();
        sink.write(&[0.1; 480]).unwrap();
        assert_eq!(
            sink.write(&[0.1; 480]).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        assert_eq!(sink.len(), 500);
    }
}
