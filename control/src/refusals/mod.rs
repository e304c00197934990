//! Translates errors of services for clients: wire code, sentence with advice, field at fault and retry time.
//!
//! Each service has its own error types. Only this module converts them to [`Refusal`](confab_protocol::control::Refusal)s.

mod accounts;
mod clients;
mod conferences;
mod rooms;
mod store;

pub(crate) use accounts::wrong_code;
