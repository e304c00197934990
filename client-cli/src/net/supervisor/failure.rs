//! The consequences of a failed attempt: for the person, for the log, for the next attempt.

use std::time::Duration;

use confab_protocol::control::text::Shown;

use crate::net::sign_in::SignInError;
use crate::net::{ApiError, ConnectError};

/// True for errors that only the person can mend, or that may come from an attacker on the path.
pub(super) fn is_for_the_person(error: &SignInError) -> bool {
    matches!(
        error,
        SignInError::Connect(ConnectError::Trust(_) | ConnectError::Version(_))
    )
}

/// Logs a failed attempt. The texts of other errors are left out: they have addresses and file names.
pub(super) fn log_failure(error: &SignInError) {
    match error {
        SignInError::Api(error) => {
            tracing::debug!(error = %Shown(error), "not signed in and joined yet")
        }
        SignInError::Store(_) => tracing::debug!("the config directory cannot be used now"),
        _ => tracing::debug!("no connection yet"),
    }
}

pub(super) fn retry_after(error: &SignInError) -> Option<Duration> {
    match error.api()? {
        ApiError::Refused(refusal) => refusal.retry_after,
        _ => None,
    }
}
