//! The threads that hold the file open. SQLite's calls block, so no async thread makes them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::store::{StoreError, StoreFuture};

/// The largest number of waiting writes.
const WRITE_QUEUE: usize = 1024;
/// The largest number of waiting reads.
const READ_QUEUE: usize = 1024;
/// The number of threads that read.
const READERS: usize = 2;
/// The largest number of writes in one transaction, which share one wait for the disk.
const BATCH: usize = 64;

/// A write within a transaction. It returns the function that answers the caller once the transaction is on disk or lost.
type Write = Box<dyn FnOnce(&mut rusqlite::Transaction<'_>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Option<StoreError>) + Send>;
type Read = Box<dyn FnOnce(&Connection) + Send>;

#[derive(Clone)]
pub(super) struct Threads {
    writes: mpsc::Sender<Write>,
    reads: Arc<[mpsc::Sender<Read>]>,
    next_reader: Arc<std::sync::atomic::AtomicUsize>,
}

impl Threads {
    pub(super) fn start(
        writer: Connection,
        reader: impl Fn() -> Result<Connection, StoreError>,
    ) -> Result<Self, StoreError> {
        let (writes, queue) = mpsc::channel(WRITE_QUEUE);
        spawn("store-write", move || write_all(writer, queue))?;
        let mut reads = Vec::new();
        for _ in 0..READERS {
            let (sender, mut queue) = mpsc::channel::<Read>(READ_QUEUE / READERS);
            let db = reader()?;
            spawn("store-read", move || {
                while let Some(read) = queue.blocking_recv() {
                    attempt(|| read(&db));
                }
            })?;
            reads.push(sender);
        }
        Ok(Self {
            writes,
            reads: reads.into(),
            next_reader: Arc::default(),
        })
    }

    /// Runs a write on the writing thread; the future resolves when it is on disk.
    pub(super) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let (answer, answered) = oneshot::channel();
        let write: Write = Box::new(move |transaction| {
            let result = within_savepoint(transaction, work);
            Box::new(move |lost| {
                // Nobody waits any more when the caller has gone; the write stands all the same.
                let _ = answer.send(lost.map_or(result, Err));
            })
        });
        let sent = self.writes.try_send(write).map_err(full_or_closed);
        Box::pin(async move {
            sent?;
            answered.await.map_err(|_| given_up())?
        })
    }

    /// Runs a read on a reading thread; it includes every write whose future has resolved.
    pub(super) fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let (answer, answered) = oneshot::channel();
        let read: Read = Box::new(move |db| {
            let _ = answer.send(work(db));
        });
        let turn = self
            .next_reader
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let reader = &self.reads[turn % self.reads.len()];
        let sent = reader.try_send(read).map_err(full_or_closed);
        Box::pin(async move {
            sent?;
            answered.await.map_err(|_| given_up())?
        })
    }
}

fn write_all(mut db: Connection, mut queue: mpsc::Receiver<Write>) {
    let mut is_failing = false;
    while let Some(first) = queue.blocking_recv() {
        let mut answers: Vec<Answer> = Vec::new();
        let outcome = match db.transaction_with_behavior(TransactionBehavior::Immediate) {
            Err(error) => {
                // Dropping the job tells its caller that nothing came of it.
                drop(first);
                Err(error)
            }
            Ok(mut transaction) => {
                answers.extend(attempt(|| first(&mut transaction)));
                while answers.len() < BATCH
                    && let Ok(next) = queue.try_recv()
                {
                    answers.extend(attempt(|| next(&mut transaction)));
                }
                transaction.commit()
            }
        };
        let lost = outcome.err().map(StoreError::from);
        match &lost {
            Some(StoreError::Full) if !is_failing => {
                let path = db.path().unwrap_or_default();
                tracing::error!(path, "the store cannot write: its disk is full");
            }
            Some(error) if !is_failing => tracing::error!(%error, "a write to the store failed"),
            None if is_failing => tracing::info!("the store is written again"),
            _ => {}
        }
        is_failing = lost.is_some();
        for answer in answers {
            attempt(|| answer(lost.clone()));
        }
    }
    // Leaves a small file behind and a write-ahead log that is empty.
    if let Err(error) = db.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);") {
        tracing::warn!(%error, "the store could not be tidied");
    }
}

/// Runs a job, and survives its panic: the caller's answer is dropped, and the savepoint is rolled back.
fn attempt<T>(job: impl FnOnce() -> T) -> Option<T> {
    // Nothing of a job is looked at after it panicked.
    let done = catch_unwind(AssertUnwindSafe(job));
    if done.is_err() {
        tracing::error!("a statement of the store panicked; the store goes on");
    }
    done.ok()
}

/// A write that fails is rolled back alone, and the batch goes on.
fn within_savepoint<T>(
    transaction: &mut rusqlite::Transaction<'_>,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let savepoint = transaction.savepoint()?;
    let result = work(&savepoint)?;
    savepoint.commit()?;
    Ok(result)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}

fn full_or_closed<T>(error: mpsc::error::TrySendError<T>) -> StoreError {
    match error {
        mpsc::error::TrySendError::Full(_) => StoreError::Busy,
        mpsc::error::TrySendError::Closed(_) => closed(),
    }
}

fn given_up() -> StoreError {
    StoreError::Unavailable("the statement was given up; the log says why".to_owned())
}

fn closed() -> StoreError {
    StoreError::Unavailable("its thread has ended".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_leaves_nothing_behind_and_the_threads_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let open = |path: &std::path::Path| Ok(Connection::open(path)?);
        let threads = Threads::start(open(&path).unwrap(), || open(&path)).unwrap();
        let make = |db: &Connection| Ok(db.execute_batch("CREATE TABLE numbers (number)")?);
        threads.write(make).await.unwrap();
        // In one batch with two that are well, as far as they meet.
        let insert = |number: u32| {
            threads.write(move |db| Ok(db.execute("INSERT INTO numbers VALUES (?1)", [number])?))
        };
        let panicking = threads.write::<()>(|db| {
            db.execute("INSERT INTO numbers VALUES (2)", [])?;
            panic!("a test's panic");
        });
        let (first, lost, third) = tokio::join!(insert(1), panicking, insert(3));
        first.unwrap();
        third.unwrap();
        assert!(lost.unwrap_err().is_outage());
        for _ in 0..READERS {
            let lost = threads.read::<()>(|_| panic!("a test's panic")).await;
            assert!(lost.unwrap_err().is_outage());
        }
        for _ in 0..READERS {
            let sum = threads.read(|db| {
                Ok(db.query_row("SELECT sum(number) FROM numbers", [], |row| {
                    row.get::<_, u32>(0)
                })?)
            });
            assert_eq!(sum.await, Ok(4));
        }
    }
}
