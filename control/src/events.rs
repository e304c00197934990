//! Events on their way to one client: bounded, so that a client that does not read holds nobody up.

use std::sync::Arc;

use bytes::Bytes;
use confab_protocol::control::framing;
use confab_protocol::wire;
use tokio::sync::{Notify, mpsc};

/// Events that wait for a client at most; one more ends its connection.
pub const EVENT_QUEUE: usize = 1024;

/// Where a client's events are put in.
#[derive(Clone, Debug)]
pub struct EventSink {
    queue: mpsc::Sender<Bytes>,
    overflow: Arc<Notify>,
}

/// Where a client's events come out.
#[derive(Debug)]
pub struct EventSource {
    queue: mpsc::Receiver<Bytes>,
    overflow: Arc<Notify>,
}

/// The client reads too slowly to be told everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// A queue for one client.
pub fn event_queue() -> (EventSink, EventSource) {
    let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
    let overflow = Arc::new(Notify::new());
    let sink = EventSink {
        queue: sender,
        overflow: overflow.clone(),
    };
    let source = EventSource {
        queue: receiver,
        overflow,
    };
    (sink, source)
}

/// A framed event of the connection, not of a room.
pub fn connection_event(kind: wire::event::Kind) -> Bytes {
    framing::encode(&wire::Event {
        conference_id: Bytes::new(),
        revision: 0,
        kind: Some(kind),
    })
}

impl EventSink {
    /// Puts a framed event in. When there is no room the client is told nothing more: it has to come again.
    pub fn push(&self, event: Bytes) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(event) {
            self.overflow.notify_one();
        }
    }
}

impl EventSource {
    /// The next event; `None` when there will be no more.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Overflow> {
        tokio::select! {
            biased;
            () = self.overflow.notified() => Err(Overflow),
            event = self.queue.recv() => Ok(event),
        }
    }

    /// Resolves when an event has found no room.
    pub async fn overflowed(&self) -> Overflow {
        self.overflow.notified().await;
        Overflow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_event_too_many_ends_it_and_never_blocks() {
        let (sink, mut source) = event_queue();
        sink.push(Bytes::from_static(b"first"));
        assert_eq!(source.next().await, Ok(Some(Bytes::from_static(b"first"))));
        for _ in 0..=EVENT_QUEUE {
            sink.push(Bytes::from_static(b"event"));
        }
        assert_eq!(source.next().await, Err(Overflow));
    }
}
