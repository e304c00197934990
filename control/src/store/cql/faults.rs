//! Faults that tests inject between an operation's statements.

use std::sync::{Arc, Mutex};

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;
use tokio::sync::Notify;

use crate::mutex::lock;
use crate::store::StoreError;

/// A fault at a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The program crashes before the statement is sent: no later statement is sent either.
    CrashBefore,
    /// The program crashes after the statement was done: its answer is lost, and no later statement is sent.
    CrashAfter,
    /// The statement is lost; later ones are not affected.
    LostRequest,
    /// The statement is done, but its answer is lost; later ones are not affected.
    LostAnswer,
    /// As [`Self::LostRequest`], but the test sends the statement later.
    Late,
}

/// Makes one statement of an operation fail, if a test arms it.
#[derive(Default, Debug)]
pub struct Faults(Mutex<State>);

#[derive(Default, Debug)]
struct State {
    plan: Option<(Fault, usize)>,
    statements: usize,
    fired: bool,
    late: Option<Sent>,
    held: Option<(Held, usize)>,
}

/// A statement with its values.
pub(super) type Sent = (PreparedStatement, Vec<Option<CqlValue>>);

/// A statement that waits before it is sent.
#[derive(Clone, Default, Debug)]
pub struct Held {
    reached: Arc<Notify>,
    released: Arc<Notify>,
}

impl Held {
    /// Resolves once the statement is about to be sent.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Sends the statement.
    pub fn release(&self) {
        self.released.notify_one();
    }
}

impl Faults {
    /// The statement with this number, counted from 0 from now on, fails.
    pub fn arm(&self, fault: Fault, statement: usize) {
        let mut state = self.state();
        (state.plan, state.statements, state.fired) = (Some((fault, statement)), 0, false);
    }

    /// The statement with this number, counted from 0 from now on, waits until it is released.
    pub fn hold(&self, statement: usize) -> Held {
        let held = Held::default();
        self.state().held = Some((held.clone(), statement));
        held
    }

    /// Called before each statement is sent.
    pub(super) async fn hold_here(&self) {
        let held = match &mut self.state().held {
            None => return,
            Some((_, ahead)) if *ahead > 0 => {
                *ahead -= 1;
                return;
            }
            held => held.take(),
        };
        if let Some((held, _)) = held {
            held.reached.notify_one();
            held.released.notified().await;
        }
    }

    /// The late statement.
    #[cfg(test)]
    pub(super) fn late(&self) -> Option<Sent> {
        self.state().late.take()
    }

    /// Removes the fault. Returns whether it happened.
    pub fn disarm(&self) -> bool {
        let mut state = self.state();
        let late = state.late.take();
        let before = std::mem::replace(
            &mut *state,
            State {
                late,
                ..State::default()
            },
        );
        before.fired
    }

    /// Called before each statement is sent. Returns the argument for [`Self::after`].
    pub(super) fn before(&self, sent: impl FnOnce() -> Sent) -> Result<bool, StoreError> {
        let mut state = self.state();
        let Some((fault, at)) = state.plan else {
            return Ok(false);
        };
        let number = state.statements;
        state.statements += 1;
        let is_crash = matches!(fault, Fault::CrashBefore | Fault::CrashAfter);
        if number < at || (number > at && !is_crash) {
            return Ok(false);
        }
        state.fired = true;
        match fault {
            Fault::CrashAfter | Fault::LostAnswer if number == at => Ok(true),
            Fault::Late => {
                state.late = Some(sent());
                Err(injected())
            }
            _ => Err(injected()),
        }
    }

    /// Called after each statement with the result of [`Self::before`].
    pub(super) fn after(lost: bool) -> Result<(), StoreError> {
        if lost { Err(injected()) } else { Ok(()) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.0)
    }
}

fn injected() -> StoreError {
    StoreError::Unavailable("a test lets this statement fail".to_owned())
}
