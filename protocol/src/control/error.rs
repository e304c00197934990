//! Refusals: what a request gets when it cannot be done.

use std::time::Duration;

use crate::wire;

pub use crate::wire::ErrorCode;

/// Characters of a refusal's message at most; the rest of a longer one is not looked at.
pub const MAX_MESSAGE: usize = 500;

/// A request was refused. Programs match on `code`; `message` tells the person what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// In English: what is wrong and what to do.
    pub message: String,
    /// Not before this has passed.
    pub retry_after: Option<Duration>,
    /// Which field of the request, where one is to blame.
    pub field: Option<&'static str>,
}

impl Refusal {
    /// A refusal with nothing but a code and a message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            field: None,
        }
    }

    /// A value of `field` is out of its range.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message).about(field)
    }

    /// Says which field is to blame.
    #[must_use]
    pub fn about(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl From<Refusal> for wire::Error {
    fn from(refusal: Refusal) -> Self {
        let retry_after = refusal.retry_after.unwrap_or_default().as_millis();
        Self {
            code: refusal.code.into(),
            message: refusal.message,
            retry_after_ms: u32::try_from(retry_after).unwrap_or(u32::MAX),
            field: refusal.field.unwrap_or_default().to_owned(),
        }
    }
}

impl From<wire::Error> for Refusal {
    /// A code that this side does not know becomes `Internal`; `field` stays in the message alone, and that is
    /// [`MAX_MESSAGE`] characters long at most.
    fn from(error: wire::Error) -> Self {
        let code = match error.code() {
            ErrorCode::Unspecified => ErrorCode::Internal,
            code => code,
        };
        let wait = Duration::from_millis(error.retry_after_ms.into());
        Self {
            code,
            message: error.message.chars().take(MAX_MESSAGE).collect(),
            retry_after: (!wait.is_zero()).then_some(wait),
            field: None,
        }
    }
}
