//! Start and end of a program.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::time::{Duration, Instant};

use crate::channel::{err, out};
use crate::os;
use crate::queue::{Class, Form};

/// Time that the last lines get to be written. Lines that are not written by then are lost.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Exit code after a panic of the main thread, as in the standard library.
const PANICKED: u8 = 101;

/// Runs `body` and ends the process with the exit code that it returns. Panics are reported on standard error.
pub fn run(body: impl FnOnce() -> u8) -> ! {
    os::survive_file_size_limit();
    os::unblock_signals();
    panic::set_hook(Box::new(tell_panic));
    end(panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(PANICKED))
}

/// Ends the process within one second, even if threads are blocked in system calls.
pub fn end(code: u8) -> ! {
    let until = Instant::now() + LAST_WORDS;
    out().wait_until(until);
    err().wait_until(until);
    std::process::exit(code.into());
}

/// Reports a panic in the form of the standard library, without waiting for the reader.
fn tell_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let at = info
        .location()
        .map_or_else(String::new, |location| format!(" at {location}"));
    let mut text = format!("thread '{name}' panicked{at}: {}", message(info.payload()));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("\n{backtrace}"));
    }
    // An event, not an answer: a task that panics repeatedly must not fill the memory.
    err().put(Class::Event, Form::Text, &text);
}

fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else {
        payload
            .downcast_ref::<String>()
            .map_or("no message", String::as_str)
    }
}
