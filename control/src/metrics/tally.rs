//! Counters with a label: one for each value.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use confab_telemetry::Page;

/// A label with a fixed set of values.
pub trait Label: Copy + PartialEq + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// All values, with their names in metrics.
    const ALL: &'static [(Self, &'static str)];
}

/// One counter for each value of `L`. Clones share them.
pub struct Tally<L> {
    counts: Arc<[AtomicU64]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Tally<L> {
    /// Increments the counter of `value`.
    pub fn count(&self, value: L) {
        let at = L::ALL.iter().position(|(known, _)| *known == value);
        if let Some(count) = at.and_then(|at| self.counts.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The count of `value`.
    pub fn of(&self, value: L) -> u64 {
        let at = L::ALL.iter().position(|(known, _)| *known == value);
        let count = at.and_then(|at| self.counts.get(at));
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Writes the counters as one metric.
    pub fn write(&self, page: &mut Page, metric: &str, help: &str) {
        page.head(metric, "counter", help);
        for ((_, value), count) in L::ALL.iter().zip(&*self.counts) {
            let labels = format!("{}=\"{value}\"", L::NAME);
            page.line(metric, &labels, count.load(Ordering::Relaxed));
        }
    }
}

impl<L: Label> Default for Tally<L> {
    fn default() -> Self {
        Self {
            counts: L::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            label: PhantomData,
        }
    }
}

impl<L> Clone for Tally<L> {
    fn clone(&self) -> Self {
        Self {
            counts: self.counts.clone(),
            label: PhantomData,
        }
    }
}
