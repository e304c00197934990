//! Responses to requests.

use bytes::Bytes;
use confab_protocol::control::Refusal;
use confab_protocol::wire::{self, response};

use crate::store::Cursor;

pub(super) type Answer = Result<response::Kind, Refusal>;

/// Encodes the cursor of the next page; empty after the last page.
pub(super) fn next(cursor: Option<Cursor>) -> Bytes {
    cursor.map(|cursor| cursor.0).unwrap_or_default()
}

/// The response without content.
pub(super) fn done() -> Answer {
    Ok(response::Kind::Done(wire::Done { pending: false }))
}
