//! The audit log: sign-ins, moderation and operators' acts, as JSON lines in a file.
//!
//! A thread of its own writes. What clients did is noted without waiting: a line that finds the queue full, or cannot be written, is
//! counted, and the next line that is written says how many are missing. An operator's act waits until its line is on disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use crate::clock::{Clock, UnixMillis};
use crate::metrics::timed::shown;

/// Most lines that wait to be written.
const QUEUE: usize = 4096;

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit log {path}: {source}; choose another file with --audit-log")]
pub struct OpenError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// A line is not on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub struct NotWritten(String);

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    Operator,
    /// An account, by its username.
    Account(String),
    /// Nobody who is signed in; the name that was typed, unless it is an address that the log does not show.
    Unknown(Option<String>),
}

/// Something that was done or tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    pub act: &'static str,
    pub by: By,
    /// What it concerns: a conference's slug, a username, a role.
    pub of: Vec<(&'static str, String)>,
}

/// The log. Clones share it. Without a file it takes everything and keeps nothing.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Open>>);

struct Open {
    jobs: SyncSender<Job>,
    missed: Arc<AtomicU64>,
    clock: Clock,
    shows_addresses: bool,
}

enum Job {
    Note(String),
    Record(String, oneshot::Sender<Result<(), NotWritten>>),
    Reopen,
}

impl Audit {
    /// Opens the file, to append to it. `shows_addresses`: the lines have the addresses of clients, and e-mail addresses that were
    /// typed.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if it cannot be opened.
    pub fn open(path: &Path, shows_addresses: bool, clock: Clock) -> Result<Self, OpenError> {
        let failed = |source| OpenError {
            path: path.to_owned(),
            source,
        };
        let file = open(path).map_err(failed)?;
        let (jobs, queue) = sync_channel(QUEUE);
        let missed = Arc::new(AtomicU64::new(0));
        let mut writer = Writer {
            path: path.to_owned(),
            file: Ok(file),
            missed: missed.clone(),
            clock: clock.clone(),
            is_failing: false,
        };
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(failed)?;
        Ok(Self(Some(Arc::new(Open {
            jobs,
            missed,
            clock,
            shows_addresses,
        }))))
    }

    /// True if there is a file.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether lines may have addresses.
    pub fn shows_addresses(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.shows_addresses)
    }

    /// Notes what was done, with its result: `ok` or the code of the refusal. Does not wait.
    pub fn note(&self, act: &Act, result: &str, address: Option<String>) {
        if let Some(open) = &self.0 {
            let line = open.line(act, result, address);
            if open.jobs.try_send(Job::Note(line)).is_err() {
                open.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Records what is about to be done, and waits until that is on disk.
    ///
    /// # Errors
    ///
    /// [`NotWritten`] if it is not.
    pub async fn record(&self, act: &Act, result: &str) -> Result<(), NotWritten> {
        let Some(open) = &self.0 else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        let job = Job::Record(open.line(act, result, None), answer);
        let busy = || NotWritten("it is written more slowly than things happen".to_owned());
        open.jobs.try_send(job).map_err(|_| busy())?;
        answered.await.map_err(|_| busy())?
    }

    /// Opens the file again: it was renamed.
    pub fn reopen(&self) {
        if let Some(open) = &self.0 {
            // A full queue is written by the next turn.
            let _ = open.jobs.try_send(Job::Reopen);
        }
    }
}

impl Open {
    fn line(&self, act: &Act, result: &str, address: Option<String>) -> String {
        let mut line = json!({ "time": time(self.clock.now()), "act": act.act });
        match &act.by {
            By::Operator => line["operator"] = true.into(),
            By::Account(name) => line["by"] = name.as_str().into(),
            By::Unknown(Some(name)) => line["tried_as"] = name.as_str().into(),
            By::Unknown(None) => {}
        }
        let of = act.of.iter();
        let of: Map<String, Value> = of
            .map(|(key, value)| ((*key).to_owned(), value.as_str().into()))
            .collect();
        if !of.is_empty() {
            line["of"] = of.into();
        }
        line["result"] = shown(result).into();
        if let Some(address) = address.filter(|_| self.shows_addresses) {
            line["address"] = address.into();
        }
        format!("{line}\n")
    }
}

/// The thread that writes.
struct Writer {
    path: PathBuf,
    file: io::Result<File>,
    missed: Arc<AtomicU64>,
    clock: Clock,
    is_failing: bool,
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Note(line) => {
                    if self.write(&line, false).is_err() {
                        self.missed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Job::Record(line, answer) => {
                    let written = self.write(&line, true);
                    let written = written.map_err(|error| NotWritten(error.to_string()));
                    // Its operator may have gone.
                    let _ = answer.send(written);
                }
                Job::Reopen => self.file = open(&self.path),
            }
        }
    }

    /// Writes the line, after one that says how many are missing.
    fn write(&mut self, line: &str, to_disk: bool) -> io::Result<()> {
        let written = self.try_write(line, to_disk);
        match &written {
            Ok(()) if self.is_failing => tracing::info!("the audit log is written again"),
            Err(error) if !self.is_failing => {
                tracing::error!(%error, path = %self.path.display(), "the audit log cannot be written");
            }
            _ => {}
        }
        self.is_failing = written.is_err();
        written
    }

    fn try_write(&mut self, line: &str, to_disk: bool) -> io::Result<()> {
        if self.file.is_err() {
            self.file = open(&self.path);
        }
        let file = match &mut self.file {
            Ok(file) => file,
            Err(error) => return Err(error.kind().into()),
        };
        let missed = self.missed.load(Ordering::Relaxed);
        let mut lines = String::new();
        if missed > 0 {
            let note = json!({ "time": time(self.clock.now()), "act": "missed", "count": missed });
            lines = format!("{note}\n");
        }
        lines.push_str(line);
        append(file, lines.as_bytes())?;
        self.missed.fetch_sub(missed, Ordering::Relaxed);
        if to_disk {
            file.sync_data()?;
        }
        Ok(())
    }
}

/// Appends all of it, or nothing: a line that is cut off would make the next one unreadable.
fn append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(lines).inspect_err(|_| {
        // A pipe has no length to go back to.
        let _ = file.set_len(before);
    })
}

/// Opens the file with mode 0600, because it says who did what.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// RFC 3339 in UTC, to a millisecond.
fn time(now: UnixMillis) -> String {
    let time = now.timestamp();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(by: By) -> Act {
        Act {
            act: "ban",
            by,
            of: vec![
                ("slug", "friday".to_owned()),
                ("username", "eve".to_owned()),
            ],
        }
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn a_recorded_act_is_in_the_file_with_what_was_noted_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let audit = Audit::open(&path, false, Clock::System).unwrap();
        let address = Some("192.0.2.1".to_owned());
        audit.note(&act(By::Account("ann".to_owned())), "ok", address);
        audit.record(&act(By::Operator), "begun").await.unwrap();
        let lines = lines(&path);
        assert_eq!(lines[0]["by"], "ann");
        assert_eq!(lines[0]["of"]["username"], "eve");
        assert_eq!(lines[0]["address"], Value::Null, "it was not asked for");
        assert_eq!(
            (&lines[1]["operator"], &lines[1]["result"]),
            (&true.into(), &"begun".into())
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn a_renamed_file_is_followed_after_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("audit"), dir.path().join("audit.1"));
        let audit = Audit::open(&path, true, Clock::System).unwrap();
        audit.record(&act(By::Operator), "begun").await.unwrap();
        std::fs::rename(&path, &old).unwrap();
        audit.record(&act(By::Operator), "begun").await.unwrap();
        audit.reopen();
        audit.record(&act(By::Operator), "begun").await.unwrap();
        assert_eq!((lines(&old).len(), lines(&path).len()), (2, 1));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn on_a_full_disk_an_act_is_refused_and_missing_lines_are_counted() {
        let audit = Audit::open(Path::new("/dev/full"), false, Clock::System).unwrap();
        audit.note(&act(By::Unknown(None)), "ok", None);
        let refused = audit.record(&act(By::Operator), "begun").await;
        assert!(refused.is_err());
        let open = audit.0.as_ref().unwrap();
        assert_eq!(open.missed.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn without_a_file_nothing_is_refused() {
        let audit = Audit::default();
        audit.note(&act(By::Operator), "ok", None);
        assert_eq!(audit.record(&act(By::Operator), "begun").await, Ok(()));
        let missing = Audit::open(Path::new("/nowhere/audit"), false, Clock::System);
        assert!(missing.is_err());
    }
}
