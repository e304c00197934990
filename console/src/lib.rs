//! Standard input, output and error, signals and the end of a program. A stopped terminal, a pipe without a reader or with a
//! slow one, and a full disk must not block the program.
//!
//! In the order in which a line passes through:
//!
//! * [`run`] and [`end`]: start and end of a program;
//! * [`parse`]: the flags, with their help and their errors;
//! * [`configuration`]: flags from the command line, the environment and a file;
//! * [`values`]: durations, sizes and rates, as flags have them;
//! * [`logs`]: the writer for `tracing`;
//! * [`out`] and [`err`]: the two [`Channel`]s;
//! * [`escape`]: escaping of all output;
//! * `queue`: the bounded queue, and `notes`: the lines that tell how many lines were dropped;
//! * `descriptor`: `write(2)`;
//! * [`StandardInput`] and [`BlockingFile`]: inputs that another process may have made non-blocking;
//! * [`Signals`]: signals on a thread of their own;
//! * [`Finding`] and [`report`]: what a program's `check` command has found;
//! * [`file_remedy`]: what helps against an error of a file;
//! * [`Repeated`] and [`beside`]: work that may block while the program hears signals;
//! * `os`: system calls without a safe wrapper.

mod channel;
pub mod configuration;
mod descriptor;
pub mod escape;
mod finding;
mod input;
mod log;
mod notes;
mod os;
mod parse;
mod program;
mod queue;
mod remedy;
mod signals;
pub mod values;
mod work;

pub use channel::{Channel, Health, WriteError, err, out};
pub use descriptor::StandardOutput;
pub use finding::{Finding, open_files, report};
pub use input::{BlockingFile, StandardInput};
pub use log::logs;
pub use parse::parse;
pub use program::{end, run};
pub use queue::{Class, Form};
pub use remedy::file_remedy;
pub use signals::{Hangup, Plan, Signal, Signals};
pub use work::{Repeated, beside};
