//! What the relay tells of itself over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use confab_telemetry::{Health, Page, Readiness, Source};
use tokio::sync::watch;

use crate::core::{Counters, DropCause, Registry};
pub use crate::heartbeat::{Heartbeat, STUCK_AFTER};

/// The sources of all figures.
pub struct Figures {
    /// Of each worker.
    pub counters: Vec<Arc<Counters>>,
    /// Of each worker.
    pub heartbeats: Vec<Arc<Heartbeat>>,
    /// Sessions and rooms.
    pub registry: Arc<Registry>,
    /// Control nodes that are linked.
    pub linked: Arc<AtomicUsize>,
    /// True while the relay drains.
    pub draining: watch::Receiver<bool>,
}

impl Source for Figures {
    fn figures(&self) -> String {
        let mut page = Page::new("confab_relay");
        self.write_counters(&mut page);
        self.write_drops(&mut page);
        self.write_latency(&mut page);
        self.write_batches(&mut page);
        page.gauge(
            "sessions",
            "Media sessions that are open.",
            self.registry.sessions(),
        );
        page.gauge("rooms", "Rooms with sessions.", self.registry.rooms());
        let linked = self.linked.load(Ordering::Relaxed);
        page.gauge("control_links", "Control nodes that are linked.", linked);
        page.into_text()
    }

    fn health(&self) -> Health {
        let now = Instant::now();
        if self.heartbeats.iter().any(|heart| heart.is_stuck(now)) {
            Health::Ill("a worker stands still".to_owned())
        } else {
            Health::Well
        }
    }

    fn readiness(&self) -> Readiness {
        if *self.draining.borrow() {
            Readiness::NotReady("draining")
        } else if self.linked.load(Ordering::Relaxed) > 0 {
            Readiness::Ready("ok")
        } else {
            Readiness::NotReady("no control node is linked")
        }
    }
}

impl Figures {
    /// Each counter, by worker.
    fn write_counters(&self, page: &mut Page) {
        for (at, (name, help)) in Counters::names().enumerate() {
            let name = format!("{name}_total");
            page.head(&name, "counter", help);
            for (worker, counters) in self.counters.iter().enumerate() {
                if let Some(value) = counters.values().nth(at) {
                    page.line(&name, &format!("worker=\"{worker}\""), value);
                }
            }
        }
    }

    fn write_drops(&self, page: &mut Page) {
        let help = "Datagrams and frames that were dropped, by cause.";
        page.head("drops_total", "counter", help);
        for cause in DropCause::ALL {
            let of_workers = self
                .counters
                .iter()
                .map(|counters| counters.dropped(*cause));
            let label = format!("cause=\"{}\"", cause.name());
            page.line("drops_total", &label, of_workers.sum::<u64>());
        }
    }

    fn write_latency(&self, page: &mut Page) {
        let help = "From the kernel's receive timestamp of a datagram's oldest frame to the end of the call that sent it.";
        page.head("send_latency_seconds", "histogram", help);
        let of_workers = self.counters.iter().map(|counters| &counters.send_latency);
        page.histogram("send_latency_seconds", "", of_workers);
    }

    fn write_batches(&self, page: &mut Page) {
        let help = "Datagrams that one look at the sockets brought.";
        page.head("batch_datagrams", "histogram", help);
        let of_workers = self.counters.iter().map(|counters| &counters.batch_sizes);
        page.histogram("batch_datagrams", "", of_workers);
    }
}
