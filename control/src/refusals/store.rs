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
            StoreError::NotFound => Refusal::new(ErrorCode::NotFound, "it is not there any more"),
            StoreError::Conflict => Refusal::new(
                ErrorCode::Busy,
                "somebody else changed it at the same moment: look again, then try again",
            )
            .after(CONFLICT_RETRY),
            StoreError::BadCursor => Refusal::invalid(
                "cursor",
                "the cursor is not one that this server gave: begin at the first page",
            ),
            StoreError::Busy => {
                Refusal::new(ErrorCode::Busy, "the server is busy; try again in a moment")
                    .after(BUSY_RETRY)
            }
            StoreError::Unavailable(reason) => {
                tracing::warn!(reason, "the store does not answer");
                Refusal::new(
                    ErrorCode::Busy,
                    "the server cannot reach its store; try again in a moment",
                )
                .after(BUSY_RETRY)
            }
            StoreError::BadEra => {
                tracing::error!("a room was about to be claimed in an era that is over");
                Refusal::new(ErrorCode::Internal, "the server failed; its log says why")
            }
            StoreError::Corrupt(what) => {
                tracing::error!(what, "the store holds a row that is not right");
                Refusal::new(ErrorCode::Internal, "the server failed; its log says why")
            }
        }
    }
}
