//! Records the mix and each speaker. The call never waits for a disk or for a reader.
//!
//! The mix and the speakers' files are written by two threads, so a pipe that nobody reads does not affect the files. All
//! files begin with the first block played. Silence replaces blocks of speakers who are not heard, and blocks that were
//! dropped because the disk was too slow.
//!
//! Files are opened at the start and changed with the first block. A recorder that is abandoned before leaves no files.
//!
//! * `event`: events of the recorder; `writer`: the bounded queue to a thread;
//! * `mix`, `speakers`: the two threads.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{AudioError, Mix};
use event::Events;
pub use event::{Limited, OutFile, RecorderEvent, Speaker};
use speakers::Limits;
use writer::Writer;

mod event;
mod mix;
mod speakers;
mod writer;

/// A block as it was played: what is mixed at once.
#[derive(Debug, Clone)]
pub struct Played {
    pub mix: Box<Mix>,
    /// The voices in it.
    pub speakers: Vec<(Speaker, Mix)>,
}

#[derive(Debug)]
pub struct Recorder {
    mix: Option<Writer<Box<Mix>>>,
    speakers: Option<Writer<Vec<(Speaker, Mix)>>>,
    /// Blocks that were played or skipped so far.
    blocks: u64,
    events: mpsc::UnboundedReceiver<RecorderEvent>,
    events_to: Events,
}

impl Recorder {
    /// Starts the threads, which open the files. `out` is the mix, which may be in `dir`; `dir` gets one file for each speaker,
    /// and is created if it does not exist.
    pub fn start(out: Option<OutFile>, dir: Option<PathBuf>) -> Result<Self, AudioError> {
        // Unbounded: there is at most one event for each file and each account.
        let (to, events) = mpsc::unbounded_channel();
        let events_to = Events::new(to);
        let (folder_tried_to, folder_tried) = std::sync::mpsc::channel();
        let speakers = dir.map(|dir| {
            let tried = Some(folder_tried_to);
            speakers::start(dir, Limits::default(), events_to.clone(), tried)
        });
        let speakers = speakers.transpose()?;
        let mix = out.map(|out| mix::start(out, events_to.clone(), Some(folder_tried)));
        Ok(Self {
            mix: mix.transpose()?,
            speakers,
            blocks: 0,
            events,
            events_to,
        })
    }

    /// Waits up to `patience` until the files are open. A named pipe without a reader and a hung disk may open later: returns
    /// the names that are not open yet.
    ///
    /// # Errors
    ///
    /// A file cannot be opened.
    pub async fn opened(&mut self, patience: Duration) -> Result<Vec<String>, AudioError> {
        let give_up = tokio::time::Instant::now() + patience;
        let mut waiting = Vec::new();
        // First: if the folder cannot be created, a mix in it cannot either.
        if let Some(speakers) = &mut self.speakers {
            waiting.extend(speakers.opened(give_up).await?);
        }
        if let Some(mix) = &mut self.mix {
            waiting.extend(mix.opened(give_up).await?);
        }
        Ok(waiting)
    }

    /// True when [`Played::speakers`] is recorded.
    pub fn wants_speakers(&self) -> bool {
        self.speakers.is_some()
    }

    /// Records a block. Never waits.
    pub fn record(&mut self, played: Played) {
        let at = self.blocks;
        self.blocks += 1;
        if let Some(mix) = &mut self.mix {
            mix.push(at, 1, played.mix);
        }
        if let Some(speakers) = &mut self.speakers
            && !played.speakers.is_empty()
        {
            speakers.push(at, played.speakers.len(), played.speakers);
        }
    }

    /// Records `blocks` blocks that were not played.
    pub fn skip(&mut self, blocks: u64) {
        self.blocks += blocks;
    }

    pub fn poll_event(&mut self) -> Option<RecorderEvent> {
        self.events.try_recv().ok()
    }

    /// Ends the recording and waits up to `patience` until everything is written. Sound that is not written by then is
    /// reported as a failure.
    pub async fn finish(&mut self, patience: Duration) {
        let give_up = tokio::time::Instant::now() + patience;
        let (mix, speakers) = (self.mix.take(), self.speakers.take());
        // Both threads are told to end before the first wait.
        let finishing = [
            mix.map(|writer| writer.finish(self.blocks)),
            speakers.map(|writer| writer.finish(self.blocks)),
        ];
        for writer in finishing.into_iter().flatten() {
            if let Err(unwritten) = writer.wait(give_up).await {
                self.events_to.failed(unwritten);
            }
        }
    }
}

impl Recorder {
    /// Ends without a recording: removes the file of the mix and the folder if they were created for this recorder and are
    /// empty. Existing files stay as they are. Waits up to `patience` for each of the two threads.
    pub async fn abandon(self, patience: Duration) {
        let give_up = || tokio::time::Instant::now() + patience;
        // First: the mix may be in the folder.
        if let Some(mix) = self.mix {
            mix.abandon(give_up()).await;
        }
        if let Some(speakers) = self.speakers {
            speakers.abandon(give_up()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::MIX;
    use std::fs;
    use std::path::Path;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn speaker(name: &str) -> Speaker {
        let (account, label) = name.rsplit_once('-').unwrap();
        Speaker {
            account: account.to_owned(),
            label: label.parse().unwrap(),
        }
    }

    fn played(speakers: &[(&str, f32)]) -> Played {
        Played {
            mix: Box::new([0.5; MIX]),
            speakers: speakers
                .iter()
                .map(|(name, value)| (speaker(name), [*value; MIX]))
                .collect(),
        }
    }

    fn blocks(path: &Path) -> Vec<i16> {
        let samples: Vec<i16> = hound::WavReader::open(path)
            .unwrap()
            .samples()
            .map(Result::unwrap)
            .collect();
        assert_eq!(samples.len() % MIX, 0);
        samples.chunks(MIX).map(|block| block[0]).collect()
    }

    fn to_file(path: &Path) -> Option<OutFile> {
        Some(OutFile::Path {
            path: path.to_owned(),
            overwrite: false,
            taken: Vec::new(),
        })
    }

    fn failures(recorder: &mut Recorder) -> Vec<String> {
        std::iter::from_fn(|| recorder.poll_event())
            .filter_map(|event| match event {
                RecorderEvent::Failed(error) => Some(error.to_string()),
                _ => None,
            })
            .collect()
    }

    #[tokio::test]
    async fn all_files_begin_together_and_are_silent_where_nobody_speaks() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("mix.wav");
        let mut recorder = Recorder::start(to_file(&out), Some(dir.path().join("each"))).unwrap();
        recorder.record(played(&[("ann-1", 0.5)]));
        recorder.skip(2);
        recorder.record(played(&[("ann-1", 0.5), ("bob-2", -0.5)]));
        recorder.record(played(&[]));
        recorder.skip(1);
        recorder.finish(PATIENCE).await;
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

    #[tokio::test]
    async fn a_recording_never_replaces_an_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        let each = dir.path().join("each");
        for _ in 0..3 {
            let mut recorder = Recorder::start(None, Some(each.clone())).unwrap();
            recorder.record(played(&[("ann-1", 0.5)]));
            recorder.finish(PATIENCE).await;
        }
        for name in ["ann-1.wav", "ann-1-2.wav", "ann-1-3.wav"] {
            assert_eq!(blocks(&each.join(name)), [16_384], "{name}");
        }
        let out = each.join("ann-1.wav");
        let mut recorder = Recorder::start(to_file(&out), None).unwrap();
        let refused = recorder.opened(PATIENCE).await;
        assert!(
            matches!(refused, Err(AudioError::Taken { .. })),
            "{refused:?}"
        );
        assert_eq!(blocks(&out), [16_384]);
    }

    #[tokio::test]
    async fn an_abandoned_recorder_leaves_earlier_recordings_and_no_new_files() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new, each] = ["old.wav", "new.wav", "a/each"].map(|name| dir.path().join(name));
        fs::write(&old, "precious").unwrap();
        let replace = Some(OutFile::Path {
            path: old.clone(),
            overwrite: true,
            taken: Vec::new(),
        });
        let inside = to_file(&each.join("mix.wav"));
        for out in [replace.clone(), to_file(&new), inside] {
            let mut recorder = Recorder::start(out.clone(), Some(each.clone())).unwrap();
            assert_eq!(
                recorder.opened(PATIENCE).await.unwrap(),
                [] as [String; 0],
                "{out:?}"
            );
            assert!(each.is_dir());
            recorder.abandon(PATIENCE).await;
            let left: Vec<_> = fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            assert_eq!(left, std::slice::from_ref(&old), "{out:?}");
            assert_eq!(fs::read(&old).unwrap(), b"precious");
        }
        // Abandoned before the files were open.
        let recorder = Recorder::start(to_file(&new), Some(each)).unwrap();
        recorder.abandon(PATIENCE).await;
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        let mut recorder = Recorder::start(replace, None).unwrap();
        recorder.record(played(&[]));
        recorder.finish(PATIENCE).await;
        assert_eq!(blocks(&old), [16_384]);
    }

    #[tokio::test]
    async fn a_recording_without_a_block_is_an_empty_wav_file() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("mix.wav");
        let mut recorder = Recorder::start(to_file(&out), None).unwrap();
        recorder.finish(PATIENCE).await;
        assert_eq!(blocks(&out), [] as [i16; 0]);
        assert!(matches!(
            recorder.poll_event(),
            Some(RecorderEvent::Started(_))
        ));
    }

    #[tokio::test]
    async fn the_mix_may_be_in_the_folder_that_the_recorder_creates() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..50 {
            let each = dir.path().join(number.to_string());
            let out = each.join("../.").join(number.to_string()).join("mix.wav");
            let mut recorder = Recorder::start(to_file(&out), Some(each)).unwrap();
            recorder.opened(PATIENCE).await.unwrap();
            recorder.record(played(&[("ann-1", 0.5)]));
            recorder.finish(PATIENCE).await;
            assert_eq!(blocks(&out), [16_384]);
        }
        // The reason is reported, not its effect on the mix.
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let each = file.join("each");
        let mut recorder = Recorder::start(to_file(&each.join("mix.wav")), Some(each.clone()));
        let failed = recorder.as_mut().unwrap().opened(PATIENCE).await;
        let expected = format!("cannot create {}:", each.display());
        assert!(failed.unwrap_err().to_string().starts_with(&expected));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_created_is_reported_once_and_the_others_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let each = dir.path().join("each");
        let out = dir.path().join("mix.wav");
        let mut recorder = Recorder::start(to_file(&out), Some(each.clone())).unwrap();
        recorder.opened(PATIENCE).await.unwrap();
        // The folder of two of the files does not exist.
        for _ in 0..3 {
            recorder.record(played(&[
                ("no/ann-1", 0.5),
                ("no/bob-2", 0.5),
                ("cy-3", 0.5),
            ]));
        }
        recorder.finish(PATIENCE).await;
        assert_eq!(failures(&mut recorder).len(), 1);
        assert_eq!(blocks(&out).len(), 3);
        assert_eq!(blocks(&each.join("cy-3.wav")).len(), 3);
    }

    #[cfg(unix)]
    fn named_pipe(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_pipe_without_a_reader_delays_neither_the_files_nor_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, each) = (dir.path().join("pipe"), dir.path().join("each"));
        named_pipe(&pipe);
        let mut recorder = Recorder::start(to_file(&pipe), Some(each.clone())).unwrap();
        let waiting = recorder.opened(Duration::from_millis(50)).await.unwrap();
        assert_eq!(waiting, [pipe.display().to_string()]);
        for _ in 0..3 * mix::ROOM {
            recorder.record(played(&[("ann-1", 0.5)]));
            tokio::task::yield_now().await;
        }
        let began = std::time::Instant::now();
        recorder.finish(Duration::from_secs(2)).await;
        assert!(began.elapsed() < PATIENCE);
        let failures = failures(&mut recorder);
        assert_eq!(failures.len(), 1);
        assert!(
            failures[0].contains("was not written in time"),
            "{failures:?}"
        );
        assert_eq!(blocks(&each.join("ann-1.wav")).len(), 3 * mix::ROOM);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn blocks_that_a_slow_reader_missed_become_silence_of_the_same_length() {
        use std::io::Read as _;
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        named_pipe(&pipe);
        let mut recorder = Recorder::start(to_file(&pipe), None).unwrap();
        // More than the queue holds: the last blocks are dropped.
        let total = mix::ROOM + 500;
        for _ in 0..total {
            recorder.record(played(&[]));
        }
        recorder.skip(7);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            fs::File::open(pipe).unwrap().read_to_end(&mut all).unwrap();
            all
        });
        recorder.finish(PATIENCE).await;
        assert_eq!(failures(&mut recorder), [] as [String; 0]);
        let sound = reader.join().unwrap().split_off(44);
        assert_eq!(sound.len(), (total + 7) * MIX * 2);
        let loud = sound.chunks(MIX * 2).filter(|block| block[1] != 0);
        assert_eq!(loud.count(), mix::ROOM);
        assert!(sound[mix::ROOM * MIX * 2..].iter().all(|b| *b == 0));
    }
}
