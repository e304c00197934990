//! The atomics of this folder, in one place: tests put others here, which try every order of events.

pub(super) use std::sync::atomic::{AtomicU8, Ordering};
