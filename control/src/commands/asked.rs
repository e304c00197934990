//! Whom an operator's command asks.

use crate::clock::Clock;
use crate::flags::OperatorFlags;
use crate::operator::{Operator, OperatorError};

/// A client for the requests of the operator whose keys are in the folder.
pub(super) fn operator(flags: &OperatorFlags) -> Result<Operator, OperatorError> {
    Operator::new(&flags.data_dir, flags.node.as_deref(), Clock::System.now())
}
