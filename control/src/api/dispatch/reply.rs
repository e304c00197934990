//! The answers of requests.

use bytes::Bytes;
use confab_protocol::control::Refusal;
use confab_protocol::wire::{self, response};

use crate::store::Cursor;

/// The answer to a request.
pub(super) type Answer = Result<response::Kind, Refusal>;

/// The cursor of the next page; empty after the last one.
pub(super) fn next(cursor: Option<Cursor>) -> Bytes {
    cursor.map(|cursor| cursor.0).unwrap_or_default()
}

/// The answer to a request that is carried out.
pub(super) fn done() -> Answer {
    Ok(response::Kind::Done(wire::Done { pending: false }))
}
