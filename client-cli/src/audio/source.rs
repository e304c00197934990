//! What is said when there is no microphone: a file, standard input or a tone, block by block.

use std::f32::consts::TAU;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use confab_voice::SAMPLE_RATE;

use super::resample::Resampler;
use super::wav::{WavError, WavReader};
use super::{AudioError, BLOCK, Block};

/// Blocks that are read ahead: half a second, so that a slow disk is not heard.
const READ_AHEAD: usize = 50;

/// A tone's amplitude: 12 dB under full scale.
const TONE_AMPLITUDE: f32 = 0.25;

/// Blocks at the pace of whoever asks for them.
#[derive(Debug)]
pub enum Source {
    /// From a thread that reads ahead.
    Read {
        /// The first block of a file, so that it is there when it is due.
        first: Option<Box<Block>>,
        /// What follows.
        blocks: Receiver<Result<Block, String>>,
    },
    /// A sine.
    Tone {
        /// Phase of the next sample, 0 to 1.
        phase: f32,
        /// Periods a sample.
        step: f32,
    },
}

/// What a source has next.
#[derive(Debug)]
pub enum Next {
    /// A block.
    Block(Box<Block>),
    /// Nothing yet: the other side is too slow.
    Starved,
    /// Nothing more; why, if it broke off.
    Ended(Option<String>),
}

impl Source {
    /// A WAV file; from its beginning again and again where `repeat` says so.
    pub fn file(path: &Path, repeat: bool) -> Result<Self, AudioError> {
        let file = path.display().to_string();
        let mut opened = Some(open(path)?);
        let path: PathBuf = path.to_owned();
        let mut source = Self::read(file, move || {
            if opened.is_some() || !repeat {
                return Ok(opened.take());
            }
            open(&path).map(Some).map_err(|error| error.to_string())
        })?;
        if let Self::Read { first, blocks } = &mut source {
            // An empty file has none; a broken one says so when it is its turn.
            *first = blocks.recv().ok().and_then(Result::ok).map(Box::new);
        }
        Ok(source)
    }

    /// A WAV stream on standard input.
    pub fn stdin() -> Result<Self, AudioError> {
        let file = "standard input".to_owned();
        let stream: Box<dyn Read + Send> = Box::new(std::io::stdin());
        let mut reader = Some(parse(stream, &file)?);
        Self::read(file, move || Ok(reader.take()))
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
            Self::Read { first, blocks } => match first.take() {
                Some(block) => Next::Block(block),
                None => Self::receive(blocks),
            },
            Self::Tone { phase, step } => {
                let block = std::array::from_fn(|_| {
                    let sample = TONE_AMPLITUDE * (*phase * TAU).sin();
                    *phase = (*phase + *step).fract();
                    sample
                });
                Next::Block(Box::new(block))
            }
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
        file: String,
        mut open: impl FnMut() -> Result<Option<Stream>, String> + Send + 'static,
    ) -> Result<Self, AudioError> {
        let (to, blocks) = sync_channel(READ_AHEAD);
        let play = move || {
            let mut rest = Vec::new();
            loop {
                match open() {
                    Ok(Some(stream)) => match play_stream(stream, &to, &mut rest) {
                        Ok(()) => {}
                        Err(Stop::NobodyListens) => return,
                        Err(Stop::Broken(reason)) => return finish(&to, rest, Some(reason)),
                    },
                    Ok(None) => return finish(&to, rest, None),
                    Err(reason) => return finish(&to, rest, Some(reason)),
                }
            }
        };
        thread::Builder::new()
            .name("audio in".into())
            .spawn(play)
            .map_err(|error| AudioError::File {
                doing: "read",
                file,
                reason: error.to_string(),
            })?;
        Ok(Self::Read {
            first: None,
            blocks,
        })
    }
}

type Stream = WavReader<BufReader<Box<dyn Read + Send>>>;

enum Stop {
    NobodyListens,
    Broken(String),
}

fn open(path: &Path) -> Result<Stream, AudioError> {
    let file = path.display().to_string();
    let opened = File::open(path).map_err(|error| AudioError::File {
        doing: "open",
        file: file.clone(),
        reason: error.to_string(),
    })?;
    parse(Box::new(opened), &file)
}

fn parse(stream: Box<dyn Read + Send>, file: &str) -> Result<Stream, AudioError> {
    WavReader::new(BufReader::new(stream)).map_err(|error: WavError| AudioError::NotWav {
        file: file.to_owned(),
        reason: error.to_string(),
    })
}

/// `rest` is what did not fill a block, before and after.
fn play_stream(
    mut stream: Stream,
    to: &SyncSender<Result<Block, String>>,
    rest: &mut Vec<f32>,
) -> Result<(), Stop> {
    let rate = stream.spec().rate;
    let mut resampler = Resampler::new(rate, SAMPLE_RATE);
    // As much as a block needs and no more: standard input may be somebody speaking.
    let frames = (rate as usize / 100).max(1);
    let mut piece = Vec::with_capacity(frames);
    loop {
        piece.clear();
        let read = stream
            .read(frames, &mut piece)
            .map_err(|error| Stop::Broken(error.to_string()))?;
        if read == 0 {
            resampler.finish(rest);
        } else {
            resampler.push(&piece, rest);
        }
        while let Some(block) = rest.first_chunk::<BLOCK>() {
            to.send(Ok(*block)).map_err(|_| Stop::NobodyListens)?;
            rest.drain(..BLOCK);
        }
        if read == 0 {
            return Ok(());
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

    #[test]
    fn a_file_gives_as_many_blocks_as_it_is_long_and_then_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.wav");
        write(&path, 44_100, 44_100 / 2 + 10);
        assert_eq!(blocks(&mut Source::file(&path, false).unwrap(), 1000), 51);
        assert_eq!(blocks(&mut Source::file(&path, true).unwrap(), 400), 400);
    }

    #[test]
    fn a_missing_or_a_wrong_file_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Source::file(&dir.path().join("none.wav"), false);
        assert!(matches!(missing, Err(AudioError::File { .. })));
        let path = dir.path().join("text.wav");
        std::fs::write(&path, "hello, this is text and no sound").unwrap();
        assert!(matches!(
            Source::file(&path, false),
            Err(AudioError::NotWav { .. })
        ));
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
