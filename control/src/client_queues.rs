//! The queues of what the server says to one client unasked, bounded by count and bytes, so that a client that does not read neither
//! blocks others nor uses more memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use bytes::Bytes;
use confab_protocol::control::{MAX_GROUP_MESSAGE, framing};
use confab_protocol::wire;
use tokio::sync::{Notify, mpsc};

/// Maximum number of queued items of each queue; one more disconnects the client.
pub const MAX_QUEUED: usize = 1024;
/// Maximum of queued bytes of events, four of the largest; more disconnects the client.
pub const EVENT_BYTES: usize = 1024 * 1024;
/// The same of group messages. Members share most of these bytes.
pub const GROUP_BYTES: usize = 4 * MAX_GROUP_MESSAGE;
/// Commits that a client may owe, over all of its participants.
const MAX_COMMITS: u32 = 8;

/// The sending ends of a client's queues.
#[derive(Clone, Debug)]
pub struct ClientSink {
    /// Framed events.
    pub events: Queue<Bytes>,
    /// Framed messages of delivery services.
    pub group: Queue<Pieces>,
    /// Commits that delivery services have asked it for.
    pub commits: CommitPermits,
}

/// The receiving ends.
#[derive(Debug)]
pub struct ClientSource {
    pub events: QueueReader<Bytes>,
    pub group: QueueReader<Pieces>,
}

/// A framed message in pieces that are sent one after the other.
pub type Pieces = Vec<Bytes>;

/// The sending end of a queue. Clones share it.
#[derive(Debug)]
pub struct Queue<T> {
    items: mpsc::Sender<T>,
    shared: Arc<Shared>,
}

/// The receiving end of a queue.
#[derive(Debug)]
pub struct QueueReader<T> {
    items: mpsc::Receiver<T>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    overflow: Notify,
    /// Bytes of the queued items.
    bytes: AtomicUsize,
    limit: usize,
}

/// How many requests a client may send that are as long as a commit: one for each that it was asked for.
#[derive(Clone, Debug, Default)]
pub struct CommitPermits(Arc<AtomicU32>);

/// An item did not fit into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// The items of a queue.
pub trait Queued {
    /// Bytes of the item.
    fn size(&self) -> usize;

    /// The item as it is sent: one piece after the other.
    fn into_pieces(self) -> impl Iterator<Item = Bytes> + Send;
}

impl Queued for Bytes {
    fn size(&self) -> usize {
        self.len()
    }

    fn into_pieces(self) -> impl Iterator<Item = Bytes> + Send {
        std::iter::once(self)
    }
}

impl Queued for Pieces {
    fn size(&self) -> usize {
        self.iter().map(Bytes::len).sum()
    }

    fn into_pieces(self) -> impl Iterator<Item = Bytes> + Send {
        self.into_iter()
    }
}

/// Creates the queues of a client.
pub fn client_queues() -> (ClientSink, ClientSource) {
    let (events, events_reader) = queue(EVENT_BYTES);
    let (group, group_reader) = queue(GROUP_BYTES);
    let sink = ClientSink {
        events,
        group,
        commits: CommitPermits::default(),
    };
    let source = ClientSource {
        events: events_reader,
        group: group_reader,
    };
    (sink, source)
}

fn queue<T>(limit: usize) -> (Queue<T>, QueueReader<T>) {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED);
    let shared = Arc::new(Shared {
        overflow: Notify::new(),
        bytes: AtomicUsize::new(0),
        limit,
    });
    let queue = Queue {
        items: sender,
        shared: shared.clone(),
    };
    let reader = QueueReader {
        items: receiver,
        shared,
    };
    (queue, reader)
}

/// Frames an event that belongs to no room.
pub fn connection_event(kind: wire::event::Kind) -> Bytes {
    framing::encode(&wire::Event {
        conference_id: Bytes::new(),
        revision: 0,
        kind: Some(kind),
    })
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<T: Queued> Queue<T> {
    /// Adds an item. If it does not fit, the queue ends with [`Overflow`] and the client has to reconnect.
    pub fn push(&self, item: T) {
        let (len, bytes) = (item.size(), &self.shared.bytes);
        let fits = bytes.fetch_add(len, Ordering::Relaxed) + len <= self.shared.limit;
        let result = match fits {
            true => self.items.try_send(item),
            false => Err(mpsc::error::TrySendError::Full(item)),
        };
        if let Err(error) = result {
            bytes.fetch_sub(len, Ordering::Relaxed);
            if let mpsc::error::TrySendError::Full(_) = error {
                self.shared.overflow.notify_one();
            }
        }
    }
}

impl<T: Queued> QueueReader<T> {
    /// The next item; `None` after the sending end is dropped.
    pub async fn next(&mut self) -> Result<Option<T>, Overflow> {
        tokio::select! {
            biased;
            () = self.shared.overflow.notified() => Err(Overflow),
            item = self.items.recv() => {
                let len = item.as_ref().map_or(0, Queued::size);
                self.shared.bytes.fetch_sub(len, Ordering::Relaxed);
                Ok(item)
            }
        }
    }

    /// Resolves when an item did not fit.
    pub async fn overflowed(&self) -> Overflow {
        self.shared.overflow.notified().await;
        Overflow
    }
}

impl CommitPermits {
    /// The client is asked for a commit.
    pub fn grant(&self) {
        let more = |owed: u32| (owed < MAX_COMMITS).then_some(owed + 1);
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Takes one; false without any.
    pub fn take(&self) -> bool {
        let less = |owed: u32| owed.checked_sub(1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_over_the_limit_ends_the_queue_without_blocking() {
        let (sink, mut source) = client_queues();
        sink.events.push(Bytes::from_static(b"first"));
        assert_eq!(
            source.events.next().await,
            Ok(Some(Bytes::from_static(b"first")))
        );
        for _ in 0..=MAX_QUEUED {
            sink.events.push(Bytes::from_static(b"event"));
        }
        assert_eq!(source.events.next().await, Err(Overflow));
    }

    #[tokio::test]
    async fn a_byte_over_the_limit_ends_the_queue_and_read_events_do_not_count() {
        let (sink, mut source) = client_queues();
        let half = Bytes::from(vec![7; EVENT_BYTES / 2]);
        for _ in 0..3 {
            sink.events.push(half.clone());
            assert_eq!(source.events.next().await, Ok(Some(half.clone())));
        }
        sink.events.push(half.clone());
        sink.events.push(half.clone());
        assert_eq!(source.events.next().await, Ok(Some(half.clone())));
        sink.events.push(half.clone());
        sink.events.push(Bytes::from_static(b"e"));
        assert_eq!(source.events.next().await, Err(Overflow));
    }

    #[test]
    fn there_is_one_permit_for_each_commit_that_is_wanted() {
        let permits = CommitPermits::default();
        assert!(!permits.take());
        for _ in 0..100 {
            permits.grant();
        }
        let taken = std::iter::from_fn(|| permits.take().then_some(())).count();
        assert_eq!(taken, MAX_COMMITS as usize);
    }
}
