//! Queue of lines for one descriptor, bounded for events and logs. No I/O.

use std::collections::VecDeque;

/// Maximum number of queued lines.
pub(crate) const MAX_LINES: usize = 4096;

/// Maximum number of queued bytes.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// Kind of a line: decides whether it may be dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// An event. Dropped and counted when the queue is full; an event tells the count later.
    Event,
    /// A log line. Dropped and counted when the queue is full; a log line tells the count later.
    Log,
    /// The result of a command, or the last line of a program. Never dropped.
    Answer,
}

/// Format of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Text for a person.
    Text,
    /// A JSON value for a program.
    Json,
}

/// A queued line, with its line break.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub(crate) class: Class,
    pub(crate) form: Form,
    pub(crate) bytes: Vec<u8>,
}

/// Makes the line that tells how many lines of a class were dropped.
pub(crate) type Note = fn(Class, Form, u64) -> String;

pub(crate) struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
    answers: usize,
    events: Missed,
    logs: Missed,
    note: Note,
}

/// Dropped lines of a class that were not reported yet.
struct Missed {
    count: u64,
    /// Format of the last of them.
    form: Form,
}

impl Queue {
    pub(crate) fn new(note: Note) -> Self {
        const NONE: Missed = Missed {
            count: 0,
            form: Form::Text,
        };
        Self {
            lines: VecDeque::new(),
            bytes: 0,
            answers: 0,
            events: NONE,
            logs: NONE,
            note,
        }
    }

    /// Queues a line, or drops and counts it. After a drop, further events and logs are dropped until half of the queue is
    /// free: a slow reader then gets few long gaps instead of many short ones.
    pub(crate) fn push(&mut self, line: Line) {
        if line.class != Class::Answer && (self.has_missed() || !self.has_room(line.bytes.len())) {
            return self.drop_line(&line);
        }
        self.bytes += line.bytes.len();
        self.answers += usize::from(line.class == Class::Answer);
        self.lines.push_back(line);
    }

    /// Takes the oldest line. Once half of the queue is free, appends the lines that tell of drops.
    pub(crate) fn pop(&mut self) -> Option<Line> {
        if self.has_missed() && self.lines.len() <= MAX_LINES / 2 && self.bytes <= MAX_BYTES / 2 {
            for class in [Class::Event, Class::Log] {
                self.tell_missed(class);
            }
        }
        let line = self.lines.pop_front()?;
        self.bytes -= line.bytes.len();
        self.answers -= usize::from(line.class == Class::Answer);
        Some(line)
    }

    /// Drops all lines, answers included.
    pub(crate) fn clear(&mut self) {
        (self.bytes, self.answers) = (0, 0);
        for line in std::mem::take(&mut self.lines) {
            self.drop_line(&line);
        }
    }

    /// True when there is nothing to write, not even a count of dropped lines.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.has_missed()
    }

    /// True when an answer is queued.
    pub(crate) fn has_answer(&self) -> bool {
        self.answers > 0
    }

    /// Counts a dropped line.
    pub(crate) fn drop_line(&mut self, line: &Line) {
        if let Some(missed) = self.missed(line.class) {
            missed.count += 1;
            missed.form = line.form;
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        // A line that is larger than the limit is accepted by an empty queue.
        self.lines.is_empty() || (self.lines.len() < MAX_LINES && self.bytes + bytes <= MAX_BYTES)
    }

    fn has_missed(&self) -> bool {
        self.events.count > 0 || self.logs.count > 0
    }

    fn missed(&mut self, class: Class) -> Option<&mut Missed> {
        match class {
            Class::Event => Some(&mut self.events),
            Class::Log => Some(&mut self.logs),
            Class::Answer => None,
        }
    }

    fn tell_missed(&mut self, class: Class) {
        let note = self.note;
        let Some(missed) = self.missed(class) else {
            return;
        };
        let (count, form) = (std::mem::take(&mut missed.count), missed.form);
        if count > 0 {
            let mut bytes = note(class, form, count).into_bytes();
            bytes.push(b'\n');
            self.bytes += bytes.len();
            self.lines.push_back(Line { class, form, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn note(class: Class, _: Form, count: u64) -> String {
        format!("{class:?} {count}")
    }

    fn line(class: Class, bytes: &[u8]) -> Line {
        Line {
            class,
            form: Form::Text,
            bytes: bytes.to_vec(),
        }
    }

    fn text(line: &Line) -> String {
        String::from_utf8(line.bytes.clone()).expect("lines of these tests are text")
    }

    #[test]
    fn events_that_find_no_room_are_counted_and_told_once_half_is_free() {
        let mut queue = Queue::new(note);
        for _ in 0..MAX_LINES + 10 {
            queue.push(line(Class::Event, b"e"));
        }
        for _ in 0..MAX_LINES / 2 {
            assert_eq!(text(&queue.pop().expect("it waits")), "e");
            // Dropped: there is room, but the gap was not reported yet.
            queue.push(line(Class::Event, b"late"));
        }
        assert_eq!(text(&queue.pop().expect("it waits")), "e");
        queue.push(line(Class::Event, b"after"));
        let rest: Vec<String> = std::iter::from_fn(|| queue.pop())
            .map(|line| text(&line))
            .collect();
        let told = format!("Event {}\n", 10 + MAX_LINES / 2);
        assert_eq!(rest[rest.len() - 2..], [told, "after".to_owned()]);
        assert_eq!(rest.len(), MAX_LINES / 2 - 1 + 2);
        assert!(queue.is_empty());
    }

    #[test]
    fn answers_are_kept_however_many_lines_wait() {
        let mut queue = Queue::new(note);
        for _ in 0..2 * MAX_LINES {
            queue.push(line(Class::Log, b"l"));
        }
        queue.push(line(Class::Answer, &[b'x'; 2 * MAX_BYTES]));
        assert!(queue.has_answer());
        let lines: Vec<Line> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(lines.iter().filter(|l| l.class == Class::Answer).count(), 1);
    }

    #[test]
    fn a_line_larger_than_the_room_waits_when_nothing_else_does() {
        let mut queue = Queue::new(note);
        queue.push(line(Class::Event, &[b'x'; 2 * MAX_BYTES]));
        queue.push(line(Class::Event, b"next"));
        assert_eq!(
            queue.pop().map(|line| line.bytes.len()),
            Some(2 * MAX_BYTES)
        );
        assert_eq!(
            queue.pop().map(|line| text(&line)),
            Some("Event 1\n".into())
        );
    }

    proptest! {
        /// Written lines and counts add up to the queued lines, the order holds, and the queue is bounded.
        #[test]
        fn every_line_is_written_or_counted(steps in prop::collection::vec((any::<bool>(), 1usize..200_000), 1..400)) {
            fn count(_: Class, _: Form, count: u64) -> String {
                format!("missed {count}")
            }
            let mut queue = Queue::new(count);
            let (mut put, mut seen, mut last) = (0u64, 0u64, None);
            let mut look = |line: &Line| {
                let text = text(line);
                // What pads a line is not looked at: there is much of it.
                let first = |text: &str| text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
                if let Some(missed) = text.strip_prefix("missed ") {
                    seen += first(missed).expect("a count");
                } else {
                    seen += 1;
                    let number = first(&text).expect("a number");
                    assert!(last.is_none_or(|last| number > last));
                    last = Some(number);
                }
            };
            for (push, size) in steps {
                if push {
                    let mut bytes = put.to_string().into_bytes();
                    bytes.resize(bytes.len().max(size), b' ');
                    queue.push(line(Class::Event, &bytes));
                    put += 1;
                } else if let Some(line) = queue.pop() {
                    look(&line);
                }
                prop_assert!(queue.lines.len() <= MAX_LINES + 1);
                prop_assert!(queue.bytes <= MAX_BYTES + 200_000);
            }
            while let Some(line) = queue.pop() {
                look(&line);
            }
            prop_assert_eq!(seen, put);
        }
    }
}
