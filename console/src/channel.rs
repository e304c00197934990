//! A descriptor, its queue, and the thread that writes. The thread may wait for the reader; callers do not wait for the
//! thread.

use std::io;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::descriptor::{self, Descriptor};
use crate::queue::{Class, Form, Line, Queue};
use crate::{escape, notes, os};

/// Time between two attempts to write after an error, such as a full disk.
const RETRY: Duration = Duration::from_millis(500);

/// Interval at which an idle channel checks that its pipe still has a reader.
const LOOK: Duration = Duration::from_millis(500);

pub fn out() -> &'static Channel {
    static OUT: LazyLock<Channel> = LazyLock::new(|| Channel::start(Descriptor::Stdout));
    &OUT
}

pub fn err() -> &'static Channel {
    static ERR: LazyLock<Channel> = LazyLock::new(|| Channel::start(Descriptor::Stderr));
    &ERR
}

/// Writes lines to a descriptor. Only [`Channel::wait`] waits for the reader.
#[derive(Debug)]
pub struct Channel {
    shared: Arc<Shared>,
}

/// State of the descriptor of a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// Writes succeed, or block.
    Open,
    /// The last write failed, for example because the disk is full. Events and logs are retried.
    Failing(WriteError),
    /// The reader is gone (`EPIPE`), or the descriptor was closed before the program started. Nothing is written any more.
    Gone(WriteError),
}

/// Why an answer was not written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot write to {to}: {reason}")]
pub struct WriteError {
    /// Name of the descriptor.
    pub to: &'static str,
    /// The error of the system call.
    pub reason: String,
}

#[derive(Debug)]
struct Shared {
    descriptor: Descriptor,
    state: Mutex<State>,
    /// Wakes the thread: the queue has a line.
    more: Condvar,
    /// Wakes waiting callers: a line was written or lost.
    progress: Condvar,
}

struct State {
    queue: Queue,
    /// Class of the line that the thread is writing.
    writing: Option<Class>,
    health: Health,
    /// The error that lost the first lost answer.
    lost: Option<WriteError>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

impl Channel {
    pub(crate) fn start(descriptor: Descriptor) -> Self {
        let closed = descriptor.was_closed().then(descriptor::closed);
        let name = descriptor.name();
        let shared = Arc::new(Shared {
            descriptor,
            state: Mutex::new(State {
                queue: Queue::new(notes::missed),
                writing: None,
                health: Health::Open,
                lost: None,
            }),
            more: Condvar::new(),
            progress: Condvar::new(),
        });
        let failed = match closed {
            Some(closed) => Some(closed),
            None => {
                let of = shared.clone();
                let thread = thread::Builder::new().name(name.into());
                thread.spawn(move || of.write_all()).err()
            }
        };
        if let Some(error) = failed {
            shared.give_up(&error, false);
        }
        Self { shared }
    }

    /// Queues a text of one or more lines. Returns at once. Lines are written in the order of the calls. An event or a log
    /// line that finds the queue full is dropped and counted.
    pub fn put(&self, class: Class, form: Form, text: &str) {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let shown = match (form, class) {
            (Form::Json, _) => escape::json(text),
            (Form::Text, Class::Log) => escape::line(text),
            (Form::Text, Class::Event | Class::Answer) => escape::text(text),
        };
        let mut bytes = shown.into_owned().into_bytes();
        bytes.push(b'\n');
        self.shared.put(Line { class, form, bytes });
    }

    /// State of the descriptor.
    pub fn health(&self) -> Health {
        self.shared.lock().health.clone()
    }

    /// True in state [`Health::Gone`].
    pub fn is_gone(&self) -> bool {
        matches!(self.shared.lock().health, Health::Gone(_))
    }

    /// Waits without a time limit until all queued lines are written. Does not wait for events and logs that failed and
    /// are retried.
    ///
    /// # Errors
    ///
    /// At least one answer since the start of the program was not written completely.
    pub fn wait(&self) -> Result<(), WriteError> {
        let state = self.shared.lock();
        let state = self
            .shared
            .progress
            .wait_while(state, |state| !state.is_done())
            .unwrap_or_else(PoisonError::into_inner);
        state.lost.clone().map_or(Ok(()), Err)
    }

    /// Waits until all queued lines are written or lost, or until `until`.
    pub(crate) fn wait_until(&self, until: Instant) {
        let mut state = self.shared.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.is_done() || left.is_zero() {
                return;
            }
            state = self
                .shared
                .progress
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl State {
    /// True when the queue is empty, or holds only lines that failed and are retried.
    fn is_done(&self) -> bool {
        let answers = self.queue.has_answer() || self.writing == Some(Class::Answer);
        let refused = matches!(self.health, Health::Failing(_)) && !answers;
        refused || (self.writing.is_none() && self.queue.is_empty())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: Line) {
        let mut state = self.lock();
        match &state.health {
            Health::Gone(error) if line.class == Class::Answer => {
                let error = error.clone();
                state.lost.get_or_insert(error);
            }
            Health::Gone(_) => {}
            Health::Open | Health::Failing(_) => {
                state.queue.push(line);
                self.more.notify_one();
            }
        }
    }

    /// Body of the thread. Returns when the reader is gone.
    fn write_all(&self) {
        os::let_background_jobs_write();
        let has_reader = self.descriptor.has_reader();
        while let Some(line) = self.next(has_reader) {
            if !self.write(&line) {
                return;
            }
            self.lock().writing = None;
            self.progress.notify_all();
        }
    }

    /// Waits for the next line. `None`: the reader is gone. `has_reader`: the descriptor is a pipe or a socket, whose reader
    /// can go while nothing is written.
    fn next(&self, has_reader: bool) -> Option<Line> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.queue.pop() {
                state.writing = Some(line.class);
                return Some(line);
            }
            if !has_reader {
                let waited = self.more.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (waited, timeout) = self
                .more
                .wait_timeout(state, LOOK)
                .unwrap_or_else(PoisonError::into_inner);
            state = waited;
            if timeout.timed_out() && self.descriptor.reader_is_gone() {
                drop(state);
                self.give_up(&io::ErrorKind::BrokenPipe.into(), false);
                return None;
            }
        }
    }

    /// Writes a line or loses it. False: the reader is gone.
    fn write(&self, line: &Line) -> bool {
        let mut rest = &line.bytes[..];
        while !rest.is_empty() {
            match self.descriptor.write(rest) {
                Ok(written) => {
                    rest = &rest[written..];
                    self.lock().health = Health::Open;
                }
                Err(error) if descriptor::is_gone(&error) => {
                    self.give_up(&error, line.class == Class::Answer);
                    return false;
                }
                Err(error) => {
                    if !self.refused(line, &error) {
                        return true;
                    }
                }
            }
        }
        true
    }

    /// Handles a write error other than a missing reader. An answer, and everything behind it, is lost at once, so that the
    /// command can report it. An event or a log line is retried from the first unwritten byte, unless an answer waits behind
    /// it. True: retry.
    fn refused(&self, line: &Line, error: &io::Error) -> bool {
        let error = self.error(error);
        let mut state = self.lock();
        state.health = Health::Failing(error.clone());
        self.progress.notify_all();
        if line.class != Class::Answer && !state.queue.has_answer() {
            let waited = self.more.wait_timeout_while(state, RETRY, |state| {
                // Every queued line wakes this wait; only an answer ends it.
                !state.queue.has_answer()
            });
            drop(waited.unwrap_or_else(PoisonError::into_inner).0);
            return true;
        }
        state.queue.drop_line(line);
        state.queue.clear();
        state.lost.get_or_insert(error);
        false
    }

    /// Enters state [`Health::Gone`]. `answer_in_hand`: the line that was being written is an answer.
    fn give_up(&self, error: &io::Error, answer_in_hand: bool) {
        let error = self.error(error);
        let mut state = self.lock();
        if state.queue.has_answer() || answer_in_hand {
            state.lost.get_or_insert(error.clone());
        }
        state.queue = Queue::new(notes::missed);
        state.writing = None;
        state.health = Health::Gone(error);
        self.progress.notify_all();
    }

    fn error(&self, error: &io::Error) -> WriteError {
        WriteError {
            to: self.descriptor.name(),
            reason: plain(error),
        }
    }
}

/// The message of the system, without the error number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((plain, _)) => plain.to_owned(),
        None => text,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::os::fd::OwnedFd;

    use crate::queue::{MAX_BYTES, MAX_LINES};

    /// Upper bound for one step on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A channel that writes into a pipe, and the read end of the pipe.
    fn piped() -> (Channel, File) {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        (Channel::start(Descriptor::Owned(write)), File::from(read))
    }

    fn into(file: File) -> Channel {
        Channel::start(Descriptor::Owned(OwnedFd::from(file)))
    }

    fn eventually(mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "it does not become so");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_lost(waited: Result<(), WriteError>) -> bool {
        waited.is_err()
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let (channel, read) = piped();
        for number in 0..1000 {
            channel.put(Class::Event, Form::Text, &format!("line {number}"));
        }
        assert!(channel.wait().is_ok());
        drop(channel);
        let lines = BufReader::new(read).lines().take(1000);
        for (number, line) in lines.enumerate() {
            assert_eq!(line.expect("it is there"), format!("line {number}"));
        }
    }

    #[test]
    fn a_reader_that_never_reads_holds_nobody_up_and_is_told_what_it_missed_when_it_does() {
        let (channel, read) = piped();
        let line = "x".repeat(1000);
        let began = Instant::now();
        let put = 3 * MAX_BYTES / line.len();
        for _ in 0..put {
            channel.put(Class::Event, Form::Json, &format!("\"{line}\""));
        }
        channel.wait_until(Instant::now() + Duration::from_millis(50));
        assert!(began.elapsed() < PATIENCE);
        let mut seen = 0;
        for line in BufReader::new(read).lines() {
            let line = line.expect("it is there");
            let value: serde_json::Value = serde_json::from_str(&line).expect("whole lines");
            seen += value["count"].as_u64().unwrap_or(1);
            if value["event"] == "missed" {
                break;
            }
        }
        assert_eq!(seen, put as u64);
    }

    #[test]
    fn an_answer_waits_for_a_slow_reader_and_is_whole() {
        let (channel, mut read) = piped();
        let answer = "y".repeat(3 * MAX_BYTES);
        channel.put(Class::Answer, Form::Text, &answer);
        let reader = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            let mut all = vec![0; 3 * MAX_BYTES + 1];
            read.read_exact(&mut all).map(|()| all)
        });
        assert_eq!(channel.wait(), Ok(()));
        let all = reader.join().expect("it does not panic").expect("it reads");
        assert!(all.starts_with(answer.as_bytes()) && all.ends_with(b"\n"));
    }

    #[test]
    fn a_closed_reader_is_noticed_with_and_without_a_write() {
        let (channel, read) = piped();
        drop(read);
        eventually(|| channel.is_gone());
        // No answer was lost.
        assert_eq!(channel.wait(), Ok(()));
        channel.put(Class::Answer, Form::Text, "too late");
        assert!(is_lost(channel.wait()));

        let (channel, read) = piped();
        channel.put(Class::Answer, Form::Text, &"z".repeat(MAX_BYTES));
        drop(read);
        let error = channel.wait().expect_err("nobody reads it");
        assert_eq!(error.to_string(), "cannot write to the test: Broken pipe");
        assert!(channel.is_gone());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_loses_answers_and_keeps_events_waiting() {
        let full = || {
            let file = File::options().write(true).open("/dev/full");
            into(file.expect("it is there"))
        };
        let channel = full();
        channel.put(Class::Answer, Form::Text, "asked for");
        let error = channel.wait().expect_err("it is full");
        assert!(error.reason.contains("No space"), "{error}");

        let channel = full();
        channel.put(Class::Event, Form::Text, "happened");
        eventually(|| matches!(channel.health(), Health::Failing(_)));
        let began = Instant::now();
        channel.wait_until(began + PATIENCE);
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "nothing to wait for"
        );
        assert!(!channel.is_gone());
        // The event in front of the answer is retried no longer.
        channel.put(Class::Answer, Form::Text, "asked for");
        assert!(is_lost(channel.wait()));
    }

    #[test]
    fn a_pipe_that_another_program_made_non_blocking_gets_every_line() {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&write, true).expect("it can be");
        let channel = Channel::start(Descriptor::Owned(write));
        for _ in 0..MAX_LINES / 2 {
            channel.put(Class::Event, Form::Text, &"e".repeat(99));
        }
        let reader = thread::spawn(move || {
            let mut all = String::new();
            let mut read = BufReader::new(File::from(read));
            for _ in 0..MAX_LINES / 2 {
                read.read_line(&mut all).expect("it reads");
            }
            all
        });
        assert_eq!(channel.wait(), Ok(()));
        let all = reader.join().expect("it does not panic");
        assert!(all.lines().all(|line| line == "e".repeat(99)));
    }
}
