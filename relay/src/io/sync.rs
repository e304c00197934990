//! The atomics of this folder, in one place: the loom test replaces them.

pub(super) use std::sync::atomic::{AtomicU8, Ordering};
