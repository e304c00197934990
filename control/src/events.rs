//! The event queue of one client, bounded by count and bytes, so that a client that does not read neither blocks others nor uses
//! more memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use confab_protocol::control::framing;
use confab_protocol::wire;
use tokio::sync::{Notify, mpsc};

/// Maximum number of queued events; one more disconnects the client.
pub const EVENT_QUEUE: usize = 1024;
/// Maximum of queued bytes, four of the largest events; more disconnects the client.
pub const EVENT_BYTES: usize = 1024 * 1024;

/// The sending end.
#[derive(Clone, Debug)]
pub struct EventSink {
    queue: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
}

/// The receiving end.
#[derive(Debug)]
pub struct EventSource {
    queue: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    overflow: Notify,
    /// Bytes of the queued events.
    bytes: AtomicUsize,
}

/// An event did not fit into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// Creates a queue.
pub fn event_queue() -> (EventSink, EventSource) {
    let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
    let shared = Arc::<Shared>::default();
    let sink = EventSink {
        queue: sender,
        shared: shared.clone(),
    };
    let source = EventSource {
        queue: receiver,
        shared,
    };
    (sink, source)
}

/// Frames an event that belongs to no room.
pub fn connection_event(kind: wire::event::Kind) -> Bytes {
    framing::encode(&wire::Event {
        conference_id: Bytes::new(),
        revision: 0,
        kind: Some(kind),
    })
}

impl EventSink {
    /// Adds a framed event. If it does not fit, the queue ends with [`Overflow`] and the client has to reconnect.
    pub fn push(&self, event: Bytes) {
        let (len, bytes) = (event.len(), &self.shared.bytes);
        let fits = bytes.fetch_add(len, Ordering::Relaxed) + len <= EVENT_BYTES;
        let result = match fits {
            true => self.queue.try_send(event),
            false => Err(mpsc::error::TrySendError::Full(event)),
        };
        if let Err(error) = result {
            bytes.fetch_sub(len, Ordering::Relaxed);
            if let mpsc::error::TrySendError::Full(_) = error {
                self.shared.overflow.notify_one();
            }
        }
    }
}

impl EventSource {
    /// The next event; `None` after the sending end is dropped.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Overflow> {
        tokio::select! {
            biased;
            () = self.shared.overflow.notified() => Err(Overflow),
            event = self.queue.recv() => {
                let len = event.as_ref().map_or(0, Bytes::len);
                self.shared.bytes.fetch_sub(len, Ordering::Relaxed);
                Ok(event)
            }
        }
    }

    /// Resolves when an event did not fit.
    pub async fn overflowed(&self) -> Overflow {
        self.shared.overflow.notified().await;
        Overflow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_over_the_limit_ends_the_queue_without_blocking() {
        let (sink, mut source) = event_queue();
        sink.push(Bytes::from_static(b"first"));
        assert_eq!(source.next().await, Ok(Some(Bytes::from_static(b"first"))));
        for _ in 0..=EVENT_QUEUE {
            sink.push(Bytes::from_static(b"event"));
        }
        assert_eq!(source.next().await, Err(Overflow));
    }

    #[tokio::test]
    async fn a_byte_over_the_limit_ends_the_queue_and_read_events_do_not_count() {
        let (sink, mut source) = event_queue();
        let half = Bytes::from(vec![7; EVENT_BYTES / 2]);
        for _ in 0..3 {
            sink.push(half.clone());
            assert_eq!(source.next().await, Ok(Some(half.clone())));
        }
        sink.push(half.clone());
        sink.push(half.clone());
        assert_eq!(source.next().await, Ok(Some(half.clone())));
        sink.push(half.clone());
        sink.push(Bytes::from_static(b"e"));
        assert_eq!(source.next().await, Err(Overflow));
    }
}
