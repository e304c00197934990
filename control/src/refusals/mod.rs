//! Translates errors of services for clients: wire code, sentence with advice, field at fault and retry time.
//!
//! Services have their own error types. Only this module converts them to [`Refusal`](confab_protocol::control::Refusal)s.

mod accounts;
mod clients;
mod conferences;
mod rooms;
mod store;
