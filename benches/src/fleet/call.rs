//! A `confab join` that runs, and what it says.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::programs::signal;
use super::{Counts, DEADLINE, FleetError, Programs};

/// A `confab join` that runs.
pub struct Call {
    pub name: String,
    child: Child,
    input: Option<UnboundedSender<Vec<u8>>>,
    lines: UnboundedReceiver<(Instant, String)>,
    /// Every event so far, when it came; counts are apart, for there are many of them.
    events: Vec<(Instant, Value)>,
    /// Every count so far.
    pub counts: Vec<Counts>,
}

impl Call {
    /// Starts `command`, which is the client with `join` and its options.
    pub(super) fn start(
        programs: &Programs,
        name: &str,
        command: &mut Command,
    ) -> Result<Self, FleetError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = programs.spawn("confab", command)?;
        let stdout = child.stdout.take().expect("standard output was piped");
        let mut stdin = child.stdin.take().expect("standard input was piped");
        let (input, mut pieces) = unbounded_channel::<Vec<u8>>();
        tokio::spawn(async move {
            while let Some(piece) = pieces.recv().await {
                // A call that ends early does not want the rest.
                if stdin.write_all(&piece).await.is_err() {
                    return;
                }
            }
        });
        let (lines_to, lines) = unbounded_channel();
        // Read at once, so that each line has its time.
        tokio::spawn(async move {
            let mut read = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = read.next_line().await {
                if lines_to.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            name: name.to_owned(),
            child,
            input: Some(input),
            lines,
            events: Vec::new(),
            counts: Vec::new(),
        })
    }

    /// Its process id; `None` when it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Reads on until an event of this name comes.
    pub async fn wait_for(&mut self, event: &str) -> Result<Value, FleetError> {
        self.wait_until(event, |_| true).await
    }

    /// Reads on until an event of this name comes that `is_it`.
    pub async fn wait_until(
        &mut self,
        event: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value, FleetError> {
        self.wait_within(DEADLINE, event, is_it).await
    }

    /// The same, for so long between two events at most.
    pub async fn wait_within(
        &mut self,
        deadline: Duration,
        event: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value, FleetError> {
        let give_up = Instant::now() + deadline;
        loop {
            let line = tokio::time::timeout_at(give_up, self.lines.recv()).await;
            let Ok(Some((at, line))) = line else {
                let last = self.last_events();
                return Err(self.failed(format!(
                    "no event {event:?} came within {deadline:?}; the last: {last}"
                )));
            };
            let value = self.take(at, &line)?;
            match value["event"].as_str() {
                Some(name) if name == event && is_it(&value) => return Ok(value),
                Some("error") => return Err(self.failed(value["message"].to_string())),
                _ => {}
            }
        }
    }

    /// The first event of this name, which is waited for if it has not come yet.
    pub async fn first(&mut self, event: &str) -> Result<Value, FleetError> {
        match self.event(event).cloned() {
            Some(event) => Ok(event),
            None => self.wait_for(event).await,
        }
    }

    /// Takes in what has come and waits for nothing.
    pub fn catch_up(&mut self) -> Result<(), FleetError> {
        while let Ok((at, line)) = self.lines.try_recv() {
            self.take(at, &line)?;
        }
        Ok(())
    }

    /// An event that came before; counts are none.
    pub fn event(&self, name: &str) -> Option<&Value> {
        self.event_since(name, None)
    }

    /// The first event of this name that came from `since` on; counts are none.
    pub fn event_since(&self, name: &str, since: Option<Instant>) -> Option<&Value> {
        let mut events = self.events.iter();
        let found = events.find(|(at, event)| event["event"] == name && Some(*at) >= since);
        found.map(|(_, event)| event)
    }

    /// The events of this name so far, without `stats`.
    pub fn events_named<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Value> {
        let events = self.events.iter().map(|(_, event)| event);
        events.filter(move |event| event["event"] == name)
    }

    /// The events from `since` on, a line for each: time in seconds, and event. Counts are left out.
    pub fn told_since(&self, since: Instant) -> String {
        let events = self.events.iter().filter(|(at, _)| *at >= since);
        events
            .map(|(at, event)| format!("\n{:8.2} {event}", (*at - since).as_secs_f64()))
            .collect()
    }

    /// The counts that came from `since` on.
    pub fn counts_since(&self, since: Instant) -> &[Counts] {
        let from = self.counts.partition_point(|counts| counts.at < since);
        &self.counts[from..]
    }

    /// The longest time between two moments without a new frame of `speaker`, as the counts tell.
    pub fn longest_gap(&self, speaker: &str, from: Instant, to: Instant) -> Duration {
        let (mut last, mut received, mut longest) = (from, 0, Duration::ZERO);
        for counts in &self.counts {
            let now = counts.of(speaker).received;
            if now > received && counts.at > last {
                longest = longest.max(counts.at - last);
                last = counts.at;
            }
            received = now;
        }
        longest.max(to.saturating_duration_since(last))
    }

    /// Gives the call more of its standard input.
    pub fn feed(&mut self, bytes: &[u8]) {
        if let Some(input) = &self.input {
            // A call that has ended does not want it.
            let _ = input.send(bytes.to_vec());
        }
    }

    /// Ends the call's standard input.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Lets it stand still, as a computer that sleeps.
    pub fn stall(&self) {
        signal(&self.child, Signal::STOP);
    }

    /// Lets it go on.
    pub fn wake(&self) {
        signal(&self.child, Signal::CONT);
    }

    /// Ends it at once, as a crash would.
    pub async fn crash(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }

    /// Tells the call to leave, reads on to its last event and waits for its end.
    pub async fn leave(&mut self) -> Result<Value, FleetError> {
        signal(&self.child, Signal::TERM);
        self.finish().await
    }

    /// Tells it to end, wherever it is, and waits until it has; its exit code.
    pub async fn end(&mut self) -> Option<i32> {
        signal(&self.child, Signal::TERM);
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        status.ok()?.ok()?.code()
    }

    /// Reads on to the last event and waits for the end.
    pub async fn finish(&mut self) -> Result<Value, FleetError> {
        let left = self.wait_for("left").await?;
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        match status {
            Ok(Ok(status)) if status.success() => Ok(left),
            other => Err(self.failed(format!("did not end in order: {other:?}"))),
        }
    }

    fn take(&mut self, at: Instant, line: &str) -> Result<Value, FleetError> {
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            return Err(self.failed(format!("printed what is no JSON: {line}")));
        };
        match value["event"].as_str() {
            Some("stats") => self.counts.push(Counts::read(at, &value)),
            _ => self.events.push((at, value.clone())),
        }
        Ok(value)
    }

    /// Its last events, for messages.
    fn last_events(&self) -> String {
        let last = &self.events[self.events.len().saturating_sub(12)..];
        let said: Vec<String> = last.iter().map(|(_, event)| event.to_string()).collect();
        said.join(" ")
    }

    fn failed(&self, what: String) -> FleetError {
        FleetError::Program {
            program: format!("confab join as {}", self.name),
            what,
        }
    }
}
