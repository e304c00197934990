//! The metrics of a server, over HTTP: `/metrics` for Prometheus, `/healthz`, `/readyz`.
//!
//! * [`serve`] answers requests from a [`Source`];
//! * [`Histogram`] counts values, and [`Page`] writes metrics in the text format of Prometheus, version 0.0.4.

mod histogram;
mod http;
mod page;

pub use histogram::Histogram;
pub use http::{Health, Readiness, Source, serve};
pub use page::Page;
