//! The thread that writes one file for each speaker.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::super::files::{OpenError, create_folder, create_new};
use super::super::sink::WavSink;
use super::super::{AudioError, MIX, Mix};
use super::event::{Events, Limited, RecorderEvent, Speaker};
use super::mix::fill_up;
use super::writer::{Incoming, Writer};

/// Maximum number of queued blocks: 20 s of four simultaneous speakers, 16 MB.
const ROOM: usize = 16_000;

/// Bytes of a block in a file.
const BLOCK_LEN: u64 = MIX as u64 * 2;

/// Highest number in a file name.
const MAX_NUMBER: u32 = 10_000;

/// Limits of one account in a call: an account that joins again and again must not fill the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) files: u32,
    /// Bytes of sound in them, without the silence between, which takes no space.
    pub(super) bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files: 8,
            bytes: 4 << 30,
        }
    }
}

type Blocks = Vec<(Speaker, Mix)>;

/// Starts the thread. `folder_tried` is dropped when the folder exists or cannot be created.
pub(super) fn start(
    dir: PathBuf,
    limits: Limits,
    events: Events,
    folder_tried: Option<mpsc::Sender<()>>,
) -> Result<Writer<Blocks>, AudioError> {
    let name = dir.display().to_string();
    Writer::start(name, ROOM, move |mut incoming| {
        let created = create_folder(&dir);
        drop(folder_tried);
        let folder = match created {
            Ok(folder) => folder,
            Err(error) => {
                let error = AudioError::File {
                    doing: "create",
                    file: dir.display().to_string(),
                    reason: error.to_string(),
                };
                if let Some(error) = incoming.opened(Err(error)) {
                    events.failed(error);
                }
                return;
            }
        };
        incoming.opened(Ok(()));
        if !incoming.is_wanted() {
            if let Err(error) = folder.discard() {
                tracing::debug!(%error, "the folder of an abandoned recording stays");
            }
            return;
        }
        let files = SpeakerFiles {
            dir,
            limits,
            tracks: BTreeMap::new(),
            accounts: BTreeMap::new(),
            events,
        };
        files.run(&mut incoming);
    })
}

struct SpeakerFiles {
    dir: PathBuf,
    limits: Limits,
    /// `None`: it failed, or the account has reached its limit of files.
    tracks: BTreeMap<Speaker, Option<Track>>,
    accounts: BTreeMap<String, Account>,
    events: Events,
}

struct Track {
    path: PathBuf,
    sink: WavSink,
}

/// The recordings of an account.
#[derive(Default)]
struct Account {
    files: u32,
    bytes: u64,
    is_limited: bool,
}

impl SpeakerFiles {
    fn run(mut self, incoming: &mut Incoming<Blocks>) {
        while let Some((at, blocks)) = incoming.next() {
            for (speaker, block) in &blocks {
                self.write(at, speaker, block);
            }
            incoming.written(at + 1);
        }
        let length = incoming.length();
        incoming.written(length);
        for mut track in std::mem::take(&mut self.tracks).into_values().flatten() {
            let finished = fill_up(&mut track.sink, length).and_then(|()| track.sink.finish());
            if let Err(error) = finished {
                self.broke(track, &error);
            }
        }
    }

    fn write(&mut self, at: u64, speaker: &Speaker, block: &Mix) {
        let account = self.accounts.entry(speaker.account.clone()).or_default();
        if account.bytes + BLOCK_LEN > self.limits.bytes {
            let enough = format!("{} GiB", self.limits.bytes >> 30);
            return self.limit(&speaker.account, enough);
        }
        if !self.tracks.contains_key(speaker) {
            if account.files >= self.limits.files {
                let enough = format!("{} files", self.limits.files);
                self.limit(&speaker.account, enough);
                self.tracks.insert(speaker.clone(), None);
            } else {
                account.files += 1;
                let track = self.begin(speaker);
                self.tracks.insert(speaker.clone(), track);
            }
        }
        let Entry::Occupied(mut entry) = self.tracks.entry(speaker.clone()) else {
            return;
        };
        let Some(mut track) = entry.get_mut().take() else {
            return;
        };
        match fill_up(&mut track.sink, at).and_then(|()| track.sink.write(&block[..])) {
            Ok(()) => {
                entry.insert(Some(track));
                if let Some(account) = self.accounts.get_mut(&speaker.account) {
                    account.bytes += BLOCK_LEN;
                }
            }
            Err(error) => self.broke(track, &error),
        }
    }

    fn begin(&self, speaker: &Speaker) -> Option<Track> {
        let stem = format!("{}-{}", speaker.account, speaker.label);
        let begun = create_numbered(&self.dir, &stem).and_then(|(path, file)| {
            let sink = WavSink::file(file)?;
            Ok(Track { path, sink })
        });
        match begun {
            Ok(track) => {
                self.events.send(RecorderEvent::Started(track.path.clone()));
                Some(track)
            }
            Err(error) => {
                self.events.failed(AudioError::File {
                    doing: "create",
                    file: self.dir.join(format!("{stem}.wav")).display().to_string(),
                    reason: error.to_string(),
                });
                None
            }
        }
    }

    fn broke(&self, mut track: Track, error: &io::Error) {
        // The header makes the part before the error readable.
        let _ = track.sink.finish();
        self.events.failed(AudioError::Recording {
            file: track.path,
            reason: error.to_string(),
        });
    }

    fn limit(&mut self, account: &str, what: String) {
        let Some(known) = self.accounts.get_mut(account) else {
            return;
        };
        if !std::mem::replace(&mut known.is_limited, true) {
            self.events.send(RecorderEvent::Limited(Limited {
                account: account.to_owned(),
                what,
            }));
        }
    }
}

/// Creates the first of `STEM.wav`, `STEM-2.wav`, `STEM-3.wav` and so on that does not exist.
fn create_numbered(dir: &Path, stem: &str) -> io::Result<(PathBuf, File)> {
    for number in 1..=MAX_NUMBER {
        let path = dir.join(match number {
            1 => format!("{stem}.wav"),
            number => format!("{stem}-{number}.wav"),
        });
        match create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(OpenError::Exists | OpenError::InUse) => {}
            Err(OpenError::Io(error)) => return Err(error),
        }
    }
    Err(io::Error::other(format!(
        "{MAX_NUMBER} files of that name are there already"
    )))
}

#[cfg(test)]
mod tests {
    use super::super::super::MIX_TIME;
    use super::*;
    use std::fs;
    use std::time::Duration;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn speaker(account: &str, label: u16) -> Speaker {
        Speaker {
            account: account.to_owned(),
            label,
        }
    }

    /// Records one block of each speaker of each step. Returns the reported limits.
    async fn record(dir: &Path, limits: Limits, steps: &[Vec<Speaker>]) -> Vec<Limited> {
        let (to, mut events) = mpsc::unbounded_channel();
        let mut writer = start(dir.to_owned(), limits, Events::new(to), None).unwrap();
        for (at, speakers) in steps.iter().enumerate() {
            let blocks: Blocks = speakers
                .iter()
                .map(|one| (one.clone(), [0.5; MIX]))
                .collect();
            writer.push(at as u64, blocks.len(), blocks);
        }
        let finishing = writer.finish(steps.len() as u64);
        finishing.wait(Instant::now() + PATIENCE).await.unwrap();
        std::iter::from_fn(|| events.try_recv().ok())
            .filter_map(|event| match event {
                RecorderEvent::Limited(limited) => Some(limited),
                RecorderEvent::Failed(error) => panic!("{error}"),
                _ => None,
            })
            .collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn an_account_that_rejoins_repeatedly_gets_eight_files_and_other_accounts_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let mut steps: Vec<_> = (0..20).map(|label| vec![speaker("ann", label)]).collect();
        steps.push(vec![speaker("ben", 20), speaker("ann", 0)]);
        let limited = record(dir.path(), Limits::default(), &steps).await;
        assert_eq!(limited.len(), 1, "{limited:?}");
        assert_eq!(limited[0].account, "ann");
        let names = names(dir.path());
        let of_ann = names.iter().filter(|name| name.starts_with("ann-"));
        assert_eq!((of_ann.count(), names.len()), (8, 9));
        // The files within the limit go on.
        let reader = hound::WavReader::open(dir.path().join("ann-0.wav")).unwrap();
        let samples: Vec<i16> = reader.into_samples().map(Result::unwrap).collect();
        assert_ne!(samples[20 * MIX], 0);
    }

    #[tokio::test]
    async fn the_byte_limit_of_an_account_covers_all_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            bytes: 5 * BLOCK_LEN,
            ..Limits::default()
        };
        let step = vec![speaker("ann", 1), speaker("ann", 2), speaker("ben", 3)];
        let limited = record(dir.path(), limits, &vec![step; 10]).await;
        let accounts: Vec<_> = limited.iter().map(|one| one.account.as_str()).collect();
        assert_eq!(accounts, ["ann", "ben"]);
        let loud = |name: &str| {
            let reader = hound::WavReader::open(dir.path().join(name)).unwrap();
            let samples: Vec<i16> = reader.into_samples().map(Result::unwrap).collect();
            assert_eq!(samples.len(), 10 * MIX, "{name} is as long as the others");
            samples.iter().filter(|sample| **sample != 0).count() / MIX
        };
        assert_eq!(loud("ann-1.wav") + loud("ann-2.wav"), 5);
        assert_eq!(loud("ben-3.wav"), 5);
    }

    #[tokio::test]
    async fn the_file_of_a_late_speaker_is_sparse() {
        let dir = tempfile::tempdir().unwrap();
        // The first sound comes after ten minutes.
        let late = (600.0 / MIX_TIME.as_secs_f64()) as u64;
        let (to, _events) = mpsc::unbounded_channel();
        let (path, events_to) = (dir.path().to_owned(), Events::new(to));
        let mut writer = start(path, Limits::default(), events_to, None).unwrap();
        writer.push(late, 1, vec![(speaker("ann", 1), [0.5; MIX])]);
        let finishing = writer.finish(2 * late);
        finishing.wait(Instant::now() + PATIENCE).await.unwrap();
        let path = dir.path().join("ann-1.wav");
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            assert!(fs::metadata(&path).unwrap().blocks() * 512 < 100_000);
        }
        let reader = hound::WavReader::open(&path).unwrap();
        assert_eq!(u64::from(reader.duration()), 2 * late * MIX as u64);
    }
}
