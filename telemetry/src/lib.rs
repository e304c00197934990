//! What a server tells of itself over HTTP: `/metrics` for Prometheus, `/healthz`, `/readyz`.
//!
//! * [`serve`] answers, by what a [`Source`] says;
//! * [`Page`] writes figures in the text format of Prometheus, version 0.0.4.

mod http;
mod page;

pub use http::{Health, Readiness, Source, serve};
pub use page::Page;
