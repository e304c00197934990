//! How clients read the errors of services: a code of the wire, a sentence that says what to do, the field at fault, and when to try again.
//!
//! Services return errors of their own. They become [`Refusal`](confab_protocol::control::Refusal)s here and nowhere else.

mod accounts;
mod clients;
mod conferences;
mod rooms;
mod store;
