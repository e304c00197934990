//! Errors of the store.

use std::fmt;

/// The error of an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another account or conference has the name.
    #[error("the {0} is taken")]
    Taken(Name),
    /// The account, session, conference or standing does not exist.
    #[error("there is no such row")]
    NotFound,
    /// A concurrent write changed the row first. Read again, then decide again.
    #[error("a concurrent write changed the row first")]
    Conflict,
    /// The new home's era is lower than the old one's, or belongs to another owner.
    #[error("a room's era belongs to one owner and never falls")]
    BadEra,
    /// The cursor is not this store's.
    #[error("the page's cursor is not one that this store gave")]
    BadCursor,
    /// The store's queue is full; nothing was changed.
    #[error("the store's queue is full")]
    Busy,
    /// The store does not answer. A write may have been done.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The disk of the store is full. Nothing was written.
    #[error("disk full")]
    Full,
    /// A row that this program cannot have written.
    #[error("the store has a row that this program cannot have written: {0}")]
    Corrupt(&'static str),
}

impl StoreError {
    /// Whether the store does not answer now. The operation may be repeated later.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Busy | Self::Full | Self::Unavailable(_))
    }
}

/// A name that is unique in the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// An account's username.
    Username,
    /// An account's e-mail address.
    Email,
    /// A conference's slug.
    Slug,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Username => "username",
            Self::Email => "e-mail address",
            Self::Slug => "slug",
        })
    }
}
