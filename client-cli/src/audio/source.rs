//! Input without a microphone: a file, standard input, a tone or silence, block by block.

use std::f32::consts::TAU;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use confab_console::{BlockingFile, StandardInput};
use confab_voice::SAMPLE_RATE;
use tokio::sync::oneshot;

use super::resample::Resampler;
use super::wav::{WavError, WavReader};
use super::{AudioError, BLOCK, Block};

/// Blocks that are read ahead: half a second, so that a slow disk is not heard.
const READ_AHEAD: usize = 50;

/// A tone's amplitude: 12 dB under full scale.
const TONE_AMPLITUDE: f32 = 0.25;

/// Blocks at the pace of the caller.
#[derive(Debug)]
pub enum Source {
    /// From a thread that opens the file and reads ahead.
    Read(Receiver<Result<Block, String>>),
    Tone {
        /// Phase of the next sample, 0 to 1.
        phase: f32,
        step: f32,
    },
    /// Silence without end.
    Silence,
}

/// Result of opening a source.
#[derive(Debug)]
pub struct Opening {
    /// Name of the file.
    name: String,
    opened: oneshot::Receiver<Result<(), AudioError>>,
}

/// The next item of a source.
#[derive(Debug)]
pub enum Next {
    Block(Box<Block>),
    /// Nothing yet: the other side is too slow.
    Starved,
    /// Nothing more; why, if it broke off.
    Ended(Option<String>),
}

impl Source {
    /// A WAV file, or a named pipe or a device that carries a WAV stream. With `repeat` it is played repeatedly.
    pub fn file(path: &Path, repeat: bool) -> Result<(Self, Opening), AudioError> {
        let path: PathBuf = path.to_owned();
        let mut is_first = true;
        Self::read(path.display().to_string(), move || {
            match is_first || repeat {
                true => {
                    is_first = false;
                    open(&path).map(Some)
                }
                false => Ok(None),
            }
        })
    }

    /// A WAV stream on standard input.
    pub fn stdin() -> Result<(Self, Opening), AudioError> {
        let name = "standard input".to_owned();
        let mut unread = Some(name.clone());
        Self::read(name, move || {
            let Some(name) = unread.take() else {
                return Ok(None);
            };
            let stream: Box<dyn Read + Send> = Box::new(StandardInput::default());
            parse(stream, &name).map(Some)
        })
    }

    /// A sine of `hertz`.
    pub fn tone(hertz: f32) -> Self {
        Self::Tone {
            phase: 0.0,
            step: hertz / SAMPLE_RATE as f32,
        }
    }

    /// The next block. Never waits.
    pub fn next_block(&mut self) -> Next {
        match self {
            Self::Read(blocks) => Self::receive(blocks),
            Self::Tone { phase, step } => {
                let block = std::array::from_fn(|_| {
                    let sample = TONE_AMPLITUDE * (*phase * TAU).sin();
                    *phase = (*phase + *step).fract();
                    sample
                });
                Next::Block(Box::new(block))
            }
            Self::Silence => Next::Block(Box::new([0.0; BLOCK])),
        }
    }

    fn receive(blocks: &Receiver<Result<Block, String>>) -> Next {
        match blocks.try_recv() {
            Ok(Ok(block)) => Next::Block(Box::new(block)),
            Ok(Err(reason)) => Next::Ended(Some(reason)),
            Err(TryRecvError::Empty) => Next::Starved,
            Err(TryRecvError::Disconnected) => Next::Ended(None),
        }
    }

    /// `open` gives the next stream to play, or `None` at the end.
    fn read(
        name: String,
        mut open: impl FnMut() -> Result<Option<Stream>, AudioError> + Send + 'static,
    ) -> Result<(Self, Opening), AudioError> {
        let (to, blocks) = sync_channel(READ_AHEAD);
        let (opened_to, opened) = oneshot::channel();
        let mut opened_to = Some(opened_to);
        let play = move || {
            let mut rest = Vec::new();
            loop {
                let stream = match open() {
                    Ok(Some(stream)) => stream,
                    Ok(None) => return finish(&to, rest, None),
                    Err(error) => {
                        let reason = error.to_string();
                        let told = opened_to.take().map(|to| to.send(Err(error)));
                        // Nobody waits for the result any more: the error goes into the call.
                        if told.is_none_or(|told| told.is_err()) {
                            finish(&to, rest, Some(reason));
                        }
                        return;
                    }
                };
                if let Some(to) = opened_to.take() {
                    let _ = to.send(Ok(()));
                }
                match play_stream(stream, &to, &mut rest) {
                    // Repeating a file without samples would only use CPU.
                    Ok(0) => return finish(&to, rest, None),
                    Ok(_) => {}
                    Err(Stop::NoReader) => return,
                    Err(Stop::Broken(reason)) => return finish(&to, rest, Some(reason)),
                }
            }
        };
        let thread = thread::Builder::new().name("audio in".into()).spawn(play);
        thread.map_err(|error| AudioError::File {
            doing: "read",
            file: name.clone(),
            reason: error.to_string(),
        })?;
        Ok((Self::Read(blocks), Opening { name, opened }))
    }
}

impl Opening {
    /// Waits up to `patience` for the WAV header. A named pipe without a writer, a stream that has not begun and a hung disk
    /// may deliver it later: returns the name of the source then.
    ///
    /// # Errors
    ///
    /// The source cannot be opened, or is no WAV stream.
    pub async fn wait(self, patience: Duration) -> Result<Option<String>, AudioError> {
        match tokio::time::timeout(patience, self.opened).await {
            Ok(Ok(opened)) => opened.map(|()| None),
            // The thread panicked; the panic was reported.
            Ok(Err(_)) => Ok(None),
            Err(_) => Ok(Some(self.name)),
        }
    }
}

type Stream = WavReader<BufReader<Box<dyn Read + Send>>>;

enum Stop {
    NoReader,
    Broken(String),
}

fn open(path: &Path) -> Result<Stream, AudioError> {
    let file = path.display().to_string();
    let failed = |error: io::Error| AudioError::File {
        doing: "open",
        file: file.clone(),
        reason: error.to_string(),
    };
    let opened = File::open(path).map_err(failed)?;
    if opened.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    parse(Box::new(BlockingFile::from(opened)), &file)
}

fn parse(stream: Box<dyn Read + Send>, file: &str) -> Result<Stream, AudioError> {
    WavReader::new(BufReader::new(stream)).map_err(|error: WavError| AudioError::NotWav {
        file: file.to_owned(),
        reason: error.to_string(),
    })
}

/// Plays a stream to its end and returns its number of samples. `rest` holds samples that do not fill a block.
fn play_stream(
    mut stream: Stream,
    to: &SyncSender<Result<Block, String>>,
    rest: &mut Vec<f32>,
) -> Result<u64, Stop> {
    let rate = stream.spec().rate;
    let mut resampler = Resampler::new(rate, SAMPLE_RATE);
    // As much as a block needs and no more: standard input may be somebody speaking.
    let frames = (rate as usize / 100).max(1);
    let mut piece = Vec::with_capacity(frames);
    let mut samples = 0;
    loop {
        piece.clear();
        let read = stream
            .read(frames, &mut piece)
            .map_err(|error| Stop::Broken(error.to_string()))?;
        samples += read as u64;
        if read == 0 {
            resampler.finish(rest);
        } else {
            resampler.push(&piece, rest);
        }
        while let Some(block) = rest.first_chunk::<BLOCK>() {
            to.send(Ok(*block)).map_err(|_| Stop::NoReader)?;
            rest.drain(..BLOCK);
        }
        if read == 0 {
            return Ok(samples);
        }
    }
}

/// The last block is filled up with silence. Whether somebody still listens does not matter any more.
fn finish(to: &SyncSender<Result<Block, String>>, rest: Vec<f32>, broken: Option<String>) {
    if !rest.is_empty() {
        let mut block = [0.0; BLOCK];
        block[..rest.len()].copy_from_slice(&rest);
        let _ = to.send(Ok(block));
    }
    if let Some(reason) = broken {
        let _ = to.send(Err(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn write(path: &Path, rate: u32, samples: u32) {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        (0..samples).for_each(|_| writer.write_sample(3000i16).unwrap());
        writer.finalize().unwrap();
    }

    fn blocks(source: &mut Source, most: usize) -> usize {
        let mut count = 0;
        while count < most {
            match source.next_block() {
                Next::Block(_) => count += 1,
                Next::Starved => thread::sleep(Duration::from_millis(1)),
                Next::Ended(None) => break,
                Next::Ended(Some(reason)) => panic!("{reason}"),
            }
        }
        count
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn opened(path: &Path, repeat: bool) -> Result<Source, AudioError> {
        let (source, opening) = Source::file(path, repeat)?;
        assert_eq!(opening.wait(PATIENCE).await?, None);
        Ok(source)
    }

    #[tokio::test]
    async fn a_file_gives_as_many_blocks_as_it_is_long_and_then_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.wav");
        write(&path, 44_100, 44_100 / 2 + 10);
        let mut once = opened(&path, false).await.unwrap();
        assert_eq!(blocks(&mut once, 1000), 51);
        let mut repeated = opened(&path, true).await.unwrap();
        assert_eq!(blocks(&mut repeated, 400), 400);
        write(&path, 44_100, 0);
        let mut empty = opened(&path, true).await.unwrap();
        assert_eq!(blocks(&mut empty, 1), 0);
    }

    #[tokio::test]
    async fn a_missing_or_a_wrong_file_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let missing = opened(&dir.path().join("none.wav"), false).await;
        assert!(matches!(missing, Err(AudioError::File { .. })));
        let folder = opened(dir.path(), false).await;
        assert!(matches!(folder, Err(AudioError::File { .. })));
        let path = dir.path().join("text.wav");
        std::fs::write(&path, "hello, this is text and no sound").unwrap();
        let wrong = opened(&path, false).await;
        assert!(matches!(wrong, Err(AudioError::NotWav { .. })));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_pipe_without_a_writer_is_starved_until_a_writer_comes() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, file) = (dir.path().join("pipe"), dir.path().join("in.wav"));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        write(&file, 48_000, 4800);
        let (mut source, opening) = Source::file(&pipe, false).unwrap();
        let waiting = opening.wait(Duration::from_millis(20)).await.unwrap();
        assert_eq!(waiting, Some(pipe.display().to_string()));
        assert!(matches!(source.next_block(), Next::Starved));
        std::fs::copy(&file, &pipe).unwrap();
        // The resampler delays some samples: one block more.
        assert_eq!(blocks(&mut source, 1000), 11);

        // An error after the deadline is reported in the call.
        let (mut source, opening) = Source::file(&pipe, false).unwrap();
        let waiting = opening.wait(Duration::from_millis(20)).await.unwrap();
        assert!(waiting.is_some());
        std::fs::write(&pipe, "hello, this is text and no sound").unwrap();
        let problem = loop {
            match source.next_block() {
                Next::Starved => thread::sleep(Duration::from_millis(1)),
                Next::Ended(problem) => break problem,
                Next::Block(_) => panic!("text is no sound"),
            }
        };
        assert!(problem.unwrap().contains("is not a WAV file"));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_non_blocking_standard_input_is_played_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.wav");
        write(&path, 48_000, 4800);
        let sound = std::fs::read(&path).unwrap();
        let pieces = [
            &sound[..20],
            &sound[20..44],
            &sound[44..5001],
            &sound[5001..],
        ];
        let name = "audio::source::tests::a_non_blocking_standard_input_is_played_to_its_end";
        if crate::late_stdin::is_here(name, &pieces) {
            let (mut source, opening) = Source::stdin().unwrap();
            assert_eq!(opening.wait(PATIENCE).await.unwrap(), None);
            // The resampler delays some samples: one block more.
            assert_eq!(blocks(&mut source, 1000), 11);
        }
    }

    #[test]
    fn a_tone_goes_on_smoothly_over_blocks() {
        let mut source = Source::tone(440.0);
        let mut before: Option<f32> = None;
        for _ in 0..20 {
            let Next::Block(block) = source.next_block() else {
                panic!("a tone never ends")
            };
            for sample in block.iter() {
                if let Some(before) = before {
                    assert!((sample - before).abs() < 0.02);
                }
                before = Some(*sample);
            }
        }
    }
}
