//! The refusals that clients get for errors of the store.

use std::time::Duration;

use confab_protocol::control::{ErrorCode, Refusal};

use crate::store::{Name, StoreError};

/// Time for a queue to become empty.
const BUSY_RETRY: Duration = Duration::from_millis(500);
/// Time for a concurrent write to end.
const CONFLICT_RETRY: Duration = Duration::from_millis(50);

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken(Name::Username) => Refusal::new(
                ErrorCode::UsernameTaken,
                "this username is taken: choose another",
            )
            .about("username"),
            StoreError::Taken(Name::Email) => Refusal::new(
                ErrorCode::EmailTaken,
                "there is an account with this e-mail address: log in, or use another address",
            )
            .about("email"),
            StoreError::Taken(Name::Slug) => {
                Refusal::new(ErrorCode::SlugTaken, "this slug is taken: choose another")
                    .about("slug")
            }
            StoreError::NotFound => Refusal::new(
                ErrorCode::NotFound,
                "what the request names no longer exists: read the list again",
            ),
            StoreError::Conflict => Refusal::new(
                ErrorCode::Busy,
                "another request changed the record at the same time: read it again, then retry",
            )
            .after(CONFLICT_RETRY),
            StoreError::BadCursor => Refusal::invalid(
                "cursor",
                "the cursor is not from this server: begin at the first page",
            ),
            StoreError::Busy => {
                Refusal::new(ErrorCode::Busy, "the server is busy; try again in a moment")
                    .after(BUSY_RETRY)
            }
            StoreError::Full => Refusal::new(
                ErrorCode::Busy,
                "the disk of the server's store is full, and nothing was changed: its operator has to make room",
            ),
            StoreError::Unavailable(reason) => {
                tracing::warn!(reason, "the store does not answer");
                Refusal::new(
                    ErrorCode::Busy,
                    "the server cannot reach its store; try again in a moment",
                )
                .after(BUSY_RETRY)
            }
            StoreError::BadEra => {
                tracing::error!("a room was claimed with an outdated era");
                Refusal::new(ErrorCode::Internal, "the server failed; see its log")
            }
            StoreError::Corrupt(what) => {
                tracing::error!(what, "the store has an invalid row");
                Refusal::new(ErrorCode::Internal, "the server failed; see its log")
            }
        }
    }
}
