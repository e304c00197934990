//! Texts that a person types or a script gives, on their way into the room.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _};
use std::time::{Duration, Instant};

use confab_console::StandardInput;
use confab_e2ee::mls::member::{MAX_TEXT, TextError};
use confab_e2ee::mls::messages::TextRefusal;
use tokio::sync::mpsc;

use super::typed::Typed;
use crate::engine::Engine;
use crate::failure::{Exit, Failure};
use crate::flags::Join;

/// Time between two texts: a server takes five a second.
const PAUSE: Duration = Duration::from_millis(250);

/// Time in which a text has to be passed on, where the command ends with its texts.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lines that were read and wait.
const MAX_LINES: usize = 16;

/// Texts of a person that wait to be sent; more are refused.
const MAX_PENDING: usize = 256;

/// Longest line that is read whole: one that is longer is no text.
const MAX_LINE: u64 = MAX_TEXT as u64 + 2;

/// How often a terminal is looked at.
#[cfg(unix)]
const TERMINAL_CHECK: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// Where texts come from.
enum Source {
    None,
    Given(VecDeque<String>),
    Lines(mpsc::Receiver<String>),
}

impl Source {
    /// The next text; pending without an end where there is none to come.
    async fn next(&mut self) -> Option<String> {
        match self {
            Self::None => std::future::pending().await,
            Self::Given(texts) => texts.pop_front(),
            Self::Lines(lines) => lines.recv().await,
        }
    }
}

/// The texts of a call.
pub(super) struct Texts {
    source: Source,
    /// What was read and is to be sent.
    pending: VecDeque<String>,
    /// The call ends when all texts were passed on.
    is_purpose: bool,
    not_before: Instant,
    give_up_at: Instant,
    failure: Option<Failure>,
}

impl Texts {
    /// What a person types at the terminal, unless the input of the call is sound from there; or what a script writes.
    pub(super) fn typed(flags: &Join) -> Self {
        let is_wanted = flags.commands || io::stdin().is_terminal();
        let is_typed = is_wanted && flags.input.as_deref() != Some("-");
        let source = match is_typed {
            true => lines(),
            false => Source::None,
        };
        Self::of(source, false)
    }

    /// These texts, or else each line of standard input; then the call ends.
    pub(super) fn to_be_sent(given: Vec<String>) -> Self {
        let source = match given.is_empty() {
            true => lines(),
            false => Source::Given(given.into()),
        };
        Self::of(source, true)
    }

    fn of(source: Source, is_purpose: bool) -> Self {
        let now = Instant::now();
        Self {
            source,
            pending: VecDeque::new(),
            is_purpose,
            not_before: now,
            give_up_at: now + PATIENCE,
            failure: None,
        }
    }

    /// True if the call is there for its texts alone.
    pub(super) fn is_purpose(&self) -> bool {
        self.is_purpose
    }

    /// The next text, not before the one before it was passed on; or a command, at once. Pending without an end when there is
    /// none.
    pub(super) async fn next(&mut self, under_way: usize) -> Typed {
        loop {
            let may_send = under_way == 0 && !self.pending.is_empty();
            tokio::select! {
                () = tokio::time::sleep_until(self.not_before.into()), if may_send => {
                    if let Some(text) = self.pending.pop_front() {
                        return Typed::Text(text);
                    }
                }
                // Also while many texts wait: a command is not to wait for them.
                line = self.source.next(), if !self.is_purpose || self.pending.len() < MAX_LINES => match line {
                    Some(line) if self.is_purpose => {
                        self.pending.extend(Some(line).filter(|line| !line.is_empty()));
                    }
                    Some(line) => match Typed::read(&line) {
                        Typed::Text(_) if self.pending.len() >= MAX_PENDING => {
                            let why = format!("{MAX_PENDING} texts wait to be sent: this one is not");
                            return Typed::Wrong(why);
                        }
                        Typed::Text(text) => self.pending.push_back(text),
                        command => return command,
                    },
                    None => {
                        self.source = Source::None;
                        if !self.is_purpose && io::stdin().is_terminal() {
                            let why = "the input has ended: nothing that you type is read any more; Ctrl-C leaves";
                            return Typed::Wrong(why.to_owned());
                        }
                    }
                },
                else => std::future::pending().await,
            }
        }
    }

    /// Gives a text to the room; why not, in words for the person.
    pub(super) fn send(&mut self, engine: &mut Engine, text: &str) -> Result<(), TextError> {
        let now = Instant::now();
        self.not_before = now + PAUSE;
        self.give_up_at = now + PATIENCE;
        engine.send_text(text).inspect_err(|error| {
            let failure = Failure::usage(format!("a text was not sent: {error}"));
            self.failure.get_or_insert(failure);
        })
    }

    /// The server has refused a text.
    pub(super) fn refused(&mut self, why: TextRefusal) {
        let exit = match why {
            TextRefusal::NotAllowed => Exit::Denied,
            TextRefusal::TooMany => Exit::Network,
        };
        let message = format!("a text was not passed on: {}", refusal(why));
        self.failure
            .get_or_insert(Failure::new(exit, "text_refused", message));
    }

    /// When [`is_over`](Self::is_over) is to be asked at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.is_purpose.then_some(self.give_up_at)
    }

    /// Whether the call ends: all texts were passed on, or one was not.
    pub(super) fn is_over(
        &mut self,
        now: Instant,
        under_way: usize,
    ) -> Option<Result<(), Failure>> {
        if !self.is_purpose {
            return None;
        }
        let has_more = match &self.source {
            Source::None => false,
            Source::Given(texts) => !texts.is_empty(),
            Source::Lines(_) => true,
        };
        if under_way > 0 {
            return (now >= self.give_up_at).then(|| {
                let message = "a text was not passed on within 30 s: try again";
                Err(Failure::new(Exit::Network, "text_timeout", message))
            });
        }
        self.give_up_at = now + PATIENCE;
        (!has_more && self.pending.is_empty()).then(|| self.failure.take().map_or(Ok(()), Err))
    }
}

/// Why a text was refused, for the person.
pub(super) fn refusal(why: TextRefusal) -> &'static str {
    match why {
        TextRefusal::NotAllowed => "you are muted, or may only listen",
        TextRefusal::TooMany => "the server takes 5 a second: try again",
    }
}

/// The lines of standard input, read by a thread that may be left behind.
fn lines() -> Source {
    let (to, lines) = mpsc::channel(MAX_LINES);
    let reading = std::thread::Builder::new()
        .name("texts".into())
        .spawn(move || {
            if let Err(error) = read_lines(&to) {
                tracing::debug!(%error, "standard input gives no more texts");
            }
        });
    match reading {
        Ok(_) => Source::Lines(lines),
        Err(error) => {
            tracing::warn!(%error, "no texts are read from standard input");
            Source::None
        }
    }
}

fn read_lines(to: &mpsc::Sender<String>) -> io::Result<()> {
    let mut input = BufReader::new(StandardInput::default());
    let mut line = Vec::new();
    loop {
        if input.buffer().is_empty() && !wait_for_input(to)? {
            return Ok(());
        }
        line.clear();
        if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n") || (line.len() as u64) < MAX_LINE;
        if !is_whole {
            skip_line(&mut input)?;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        if to.blocking_send(text.to_owned()).is_err() {
            return Ok(());
        }
    }
}

/// Passes over the rest of a line, however long it is.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffered = input.fill_buf()?;
        let end = buffered.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(buffered.len(), |end| end + 1);
        let is_over = end.is_some() || buffered.is_empty();
        input.consume(length);
        if is_over {
            return Ok(());
        }
    }
}

/// Waits until a read from a terminal does not stop the program: the kernel stops one that reads in the background. False if
/// nobody wants the lines any more.
#[cfg(unix)]
fn wait_for_input(to: &mpsc::Sender<String>) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::getpgrp;
    use rustix::termios::tcgetpgrp;

    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(!to.is_closed());
    }
    while !to.is_closed() {
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut fds, Some(&TERMINAL_CHECK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        if tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp()) {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(false)
}

#[cfg(not(unix))]
fn wait_for_input(to: &mpsc::Sender<String>) -> io::Result<bool> {
    Ok(!to.is_closed())
}
