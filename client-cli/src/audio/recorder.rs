//! The mix and each speaker, written to disk by a thread of its own: a slow disk must not be heard.
//!
//! Every file begins at the same moment, the first block played; where a speaker is not heard there is silence.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use super::sink::WavSink;
use super::{AudioError, BLOCK, Block};

/// Blocks that wait for the disk: 20 seconds.
const QUEUE: usize = 2000;

/// Where to write the mix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutFile {
    /// A file.
    Path(PathBuf),
    /// Standard output, as a stream.
    Stdout,
}

/// One block as it was played.
#[derive(Debug, Clone)]
pub struct Played {
    /// What was heard.
    pub mix: Box<Block>,
    /// What each speaker gave to it: a name for its file, and the samples.
    pub speakers: Vec<(String, Block)>,
}

/// What the recorder tells.
#[derive(Debug)]
pub enum RecorderEvent {
    /// A file was begun.
    Started(PathBuf),
    /// A file could not be gone on with. Told once; what follows for other files goes to the log.
    Failed(AudioError),
}

/// A recorder that runs.
#[derive(Debug)]
pub struct Recorder {
    to: Option<SyncSender<Piece>>,
    /// Blocks that the queue had no room for, to be written as silence.
    missed: u64,
    events: mpsc::UnboundedReceiver<RecorderEvent>,
    thread: Option<JoinHandle<()>>,
}

struct Piece {
    /// Blocks of silence before it.
    missed: u64,
    played: Option<Played>,
}

impl Recorder {
    /// Opens the files. `out` is the mix; into `dir` goes one file for each speaker.
    pub fn start(out: Option<OutFile>, dir: Option<PathBuf>) -> Result<Self, AudioError> {
        let (events_to, events) = mpsc::unbounded_channel();
        let mix = match &out {
            None => None,
            Some(OutFile::Stdout) => Some((PathBuf::from("-"), WavSink::stdout()?)),
            Some(OutFile::Path(path)) => Some((path.clone(), WavSink::create(path)?)),
        };
        if let Some(dir) = &dir {
            fs::create_dir_all(dir).map_err(|error| AudioError::File {
                doing: "create",
                file: dir.display().to_string(),
                reason: error.to_string(),
            })?;
        }
        let (to, pieces) = sync_channel(QUEUE);
        let mut writer = Writer {
            mix: None,
            dir,
            speakers: BTreeMap::new(),
            blocks: 0,
            events: events_to,
            failed: false,
        };
        if let Some((path, sink)) = mix {
            writer.tell(RecorderEvent::Started(path.clone()));
            writer.mix = Some(Track {
                path,
                sink: Some(sink),
            });
        }
        let thread = thread::Builder::new()
            .name("recorder".into())
            .spawn(move || writer.run(&pieces));
        let thread = thread.map_err(|error| AudioError::File {
            doing: "write",
            file: "the recording".into(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            to: Some(to),
            missed: 0,
            events,
            thread: Some(thread),
        })
    }

    /// Records a block. Never waits.
    pub fn record(&mut self, played: Played) {
        self.push(Some(played));
    }

    /// Records `blocks` blocks that were not played.
    pub fn skip(&mut self, blocks: u64) {
        self.missed += blocks;
    }

    /// What happened since the last call.
    pub fn poll_event(&mut self) -> Option<RecorderEvent> {
        self.events.try_recv().ok()
    }

    /// Writes what is left and waits for it.
    pub fn finish(&mut self) {
        if self.missed > 0 {
            self.push(None);
        }
        self.to = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was reported by it.
            let _ = thread.join();
        }
    }

    fn push(&mut self, played: Option<Played>) {
        let Some(to) = &self.to else {
            return;
        };
        match to.try_send(Piece {
            missed: self.missed,
            played,
        }) {
            Ok(()) => self.missed = 0,
            Err(TrySendError::Full(piece)) => self.missed += u64::from(piece.played.is_some()),
            Err(TrySendError::Disconnected(_)) => self.to = None,
        }
    }
}

struct Writer {
    mix: Option<Track>,
    dir: Option<PathBuf>,
    speakers: BTreeMap<String, Track>,
    /// Blocks played so far.
    blocks: u64,
    events: mpsc::UnboundedSender<RecorderEvent>,
    failed: bool,
}

/// `sink` is gone once it failed.
struct Track {
    path: PathBuf,
    sink: Option<WavSink>,
}

impl Writer {
    fn run(mut self, pieces: &Receiver<Piece>) {
        while let Ok(piece) = pieces.recv() {
            self.blocks += piece.missed;
            if let Some(played) = piece.played {
                self.write(&played);
                self.blocks += 1;
            }
        }
        let end = self.blocks;
        let tracks = self
            .mix
            .take()
            .into_iter()
            .chain(std::mem::take(&mut self.speakers).into_values());
        for mut track in tracks.collect::<Vec<_>>() {
            let finished = track.fill_up(end).and_then(|()| track.finish());
            self.judge(&mut track, finished);
        }
    }

    fn write(&mut self, played: &Played) {
        let start = self.blocks;
        if let Some(mut mix) = self.mix.take() {
            let written = mix.write(start, &played.mix[..]);
            self.judge(&mut mix, written);
            self.mix = Some(mix);
        }
        let Some(dir) = self.dir.clone() else {
            return;
        };
        for (name, block) in &played.speakers {
            let mut track = match self.speakers.remove(name) {
                Some(track) => track,
                None => self.begin(&dir, name),
            };
            let written = track.write(start, block);
            self.judge(&mut track, written);
            self.speakers.insert(name.clone(), track);
        }
    }

    fn begin(&mut self, dir: &Path, name: &str) -> Track {
        let path = dir.join(format!("{name}.wav"));
        match WavSink::create(&path) {
            Ok(sink) => {
                self.tell(RecorderEvent::Started(path.clone()));
                Track {
                    path,
                    sink: Some(sink),
                }
            }
            Err(error) => {
                self.fail(error);
                Track { path, sink: None }
            }
        }
    }

    fn judge(&mut self, track: &mut Track, result: io::Result<()>) {
        if let Err(error) = result {
            if let Some(mut sink) = track.sink.take() {
                // The header is all that can still be saved.
                let _ = sink.finish();
            }
            self.fail(AudioError::Recording {
                file: track.path.clone(),
                reason: error.to_string(),
            });
        }
    }

    fn fail(&mut self, error: AudioError) {
        if std::mem::replace(&mut self.failed, true) {
            tracing::warn!(%error, "another recording stopped");
        } else {
            self.tell(RecorderEvent::Failed(error));
        }
    }

    fn tell(&self, event: RecorderEvent) {
        // Nobody listens any more when the call is over.
        let _ = self.events.send(event);
    }
}

impl Track {
    fn write(&mut self, start: u64, block: &[f32]) -> io::Result<()> {
        self.fill_up(start)?;
        self.sink.as_mut().map_or(Ok(()), |sink| sink.write(block))
    }

    /// Silence up to the block `start`.
    fn fill_up(&mut self, start: u64) -> io::Result<()> {
        let Some(sink) = &mut self.sink else {
            return Ok(());
        };
        while sink.len() < start * BLOCK as u64 {
            let missing = start * BLOCK as u64 - sink.len();
            let length = missing.min(BLOCK as u64 * 100) as usize;
            sink.write(&vec![0.0; length])?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.sink.as_mut().map_or(Ok(()), WavSink::finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(speakers: &[(&str, f32)]) -> Played {
        Played {
            mix: Box::new([0.5; BLOCK]),
            speakers: speakers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), [*value; BLOCK]))
                .collect(),
        }
    }

    fn blocks(path: &Path) -> Vec<i16> {
        let samples: Vec<i16> = hound::WavReader::open(path)
            .unwrap()
            .samples()
            .map(Result::unwrap)
            .collect();
        assert_eq!(samples.len() % BLOCK, 0);
        samples.chunks(BLOCK).map(|block| block[0]).collect()
    }

    #[test]
    fn all_files_begin_together_and_are_silent_where_nobody_speaks() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("mix.wav");
        let mut recorder = Recorder::start(
            Some(OutFile::Path(out.clone())),
            Some(dir.path().join("each")),
        )
        .unwrap();
        recorder.record(played(&[("ann-1", 0.5)]));
        recorder.skip(2);
        recorder.record(played(&[("ann-1", 0.5), ("bob-2", -0.5)]));
        recorder.record(played(&[]));
        recorder.skip(1);
        recorder.finish();
        assert_eq!(blocks(&out), [16_384, 0, 0, 16_384, 16_384, 0]);
        assert_eq!(
            blocks(&dir.path().join("each/ann-1.wav")),
            [16_384, 0, 0, 16_384, 0, 0]
        );
        assert_eq!(
            blocks(&dir.path().join("each/bob-2.wav")),
            [0, 0, 0, -16_384, 0, 0]
        );
        let started = std::iter::from_fn(|| recorder.poll_event()).count();
        assert_eq!(started, 3);
    }

    #[test]
    fn a_file_that_fails_is_told_once_and_the_others_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let each = dir.path().join("each");
        let out = dir.path().join("mix.wav");
        let mut recorder =
            Recorder::start(Some(OutFile::Path(out.clone())), Some(each.clone())).unwrap();
        // A directory stands where two of the files would be created.
        fs::create_dir_all(each.join("ann-1.wav")).unwrap();
        fs::create_dir_all(each.join("bob-2.wav")).unwrap();
        for _ in 0..3 {
            recorder.record(played(&[("ann-1", 0.5), ("bob-2", 0.5), ("cy-3", 0.5)]));
        }
        recorder.finish();
        let failed = std::iter::from_fn(|| recorder.poll_event())
            .filter(|event| matches!(event, RecorderEvent::Failed(_)))
            .count();
        assert_eq!(failed, 1);
        assert_eq!(blocks(&out).len(), 3);
        assert_eq!(blocks(&each.join("cy-3.wav")).len(), 3);
    }
}
