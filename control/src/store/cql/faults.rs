//! Faults that tests put between an operation's statements.

use std::sync::{Arc, Mutex, PoisonError};

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;
use tokio::sync::Notify;

use super::StoreError;

/// What goes wrong at a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The program ends before the statement is sent: nothing after it happens either.
    CrashBefore,
    /// The program ends after the statement was done: its answer and all that comes after are lost.
    CrashAfter,
    /// The statement is lost on its way; what comes after is as ever.
    LostRequest,
    /// The statement is done, but its answer is lost; what comes after is as ever.
    LostAnswer,
    /// The same as [`Self::LostRequest`], but the statement lies somewhere, and is sent when the test says so.
    Late,
}

/// Makes one statement of an operation fail. Does nothing unless a test says so.
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

/// A statement that is kept from being sent.
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

    /// Lets it go.
    pub fn release(&self) {
        self.released.notify_one();
    }
}

impl Faults {
    /// From now on the statement of that number, counted from 0, goes wrong.
    pub fn arm(&self, fault: Fault, statement: usize) {
        let mut state = self.state();
        (state.plan, state.statements, state.fired) = (Some((fault, statement)), 0, false);
    }

    /// From now on the statement of that number, counted from 0, waits until it is released.
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

    /// The statement that is late, to be sent now.
    #[cfg(test)]
    pub(super) fn late(&self) -> Option<Sent> {
        self.state().late.take()
    }

    /// Nothing goes wrong any more; whether something did.
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

    /// Called before each statement is sent; gives what [`Self::after`] has to do.
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

    /// Called after each statement with what [`Self::before`] gave.
    pub(super) fn after(lost: bool) -> Result<(), StoreError> {
        if lost { Err(injected()) } else { Ok(()) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn injected() -> StoreError {
    StoreError::Unavailable("a test lets this statement fail".to_owned())
}
