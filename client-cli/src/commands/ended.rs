//! Commands that a signal ends.

use confab_console::Signal;

use crate::failure::Exit;

/// Exit code of a command other than `join` that a signal ended.
pub(super) fn ended_by(signal: Signal) -> Exit {
    match signal {
        Signal::Interrupt => Exit::Interrupted,
        Signal::Terminate => Exit::Terminated,
        Signal::Hangup => Exit::HungUp,
    }
}
