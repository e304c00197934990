//! A store that answers from recent answers while the database below it does not answer.
//!
//! Participants with a session can join live rooms while the database is down. So the sessions, accounts, conferences and standings
//! that this node has read or written are cached for [`KEPT_FOR`], and the `recall_` operations of [`Store`] use them: a sign-in by
//! token, and a join to a room that this node owns. All other operations only ever return the database's answer, above all the
//! owner of a room.
//!
//! * `memory`: the cache, without I/O; `recent`: maps of bounded size;
//! * `breaker`: a circuit breaker, which decides whether a request waits for the database;
//! * `operations`: each operation of the store.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{Recalled, Store, StoreError, StoreFuture};

mod breaker;
mod memory;
mod operations;
mod recent;

use breaker::{Breaker, Source};
use memory::{Key, Memory};

use crate::mutex::lock;

pub use memory::KEPT_FOR;

/// The wait for the database before a request is answered from memory.
const PATIENCE: Duration = Duration::from_secs(1);

/// Passes each operation to an inner store. Clones share the cache.
#[derive(Clone)]
pub struct RememberingStore {
    inner: Arc<dyn Store>,
    memory: Arc<Mutex<Memory>>,
    breaker: Arc<Mutex<Breaker>>,
}

impl RememberingStore {
    /// Starts with an empty cache.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            memory: Arc::default(),
            breaker: Arc::default(),
        }
    }

    /// Whether the breaker is open: requests are answered from memory at once, because the database did not answer the last one.
    pub fn is_open(&self) -> bool {
        self.breaker().is_open()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        lock(&self.breaker)
    }

    /// Tells the breaker whether the database answered.
    fn judge<T>(&self, answer: &Result<T, StoreError>) {
        match answer {
            Err(StoreError::Unavailable(_)) => self.breaker().failed(Instant::now()),
            // The database was not asked.
            Err(StoreError::Busy) => {}
            _ => self.breaker().answered(),
        }
    }

    /// Reads a value, and caches it.
    async fn read<T: Clone>(
        &self,
        key: Key,
        read: StoreFuture<'_, Option<T>>,
        keep: impl FnOnce(&mut Memory, memory::WriteCount, Option<&T>),
    ) -> Result<Option<T>, StoreError> {
        let count = self.memory().write_count(key);
        let answer = read.await;
        self.judge(&answer);
        let found = answer?;
        keep(&mut self.memory(), count, found.as_ref());
        Ok(found)
    }

    /// Forgets the cached value, writes, and caches the written value unless another write of the same key began meanwhile.
    async fn write<T>(
        &self,
        key: Key,
        write: StoreFuture<'_, T>,
        keep: impl FnOnce(&mut Memory, memory::WriteCount, &T),
    ) -> Result<T, StoreError> {
        let count = self.memory().change(key);
        let answer = write.await;
        let mut memory = self.memory();
        if let Ok(written) = &answer {
            keep(&mut memory, count, written);
        }
        // A concurrent read may have returned the old value.
        memory.invalidate_in_flight(key);
        answer
    }

    /// Answers from memory if the database does not answer and `known` returns a value; else with the database's answer.
    async fn recall<T: Send + 'static>(
        &self,
        known: impl Fn(&mut Memory) -> Option<T>,
        read: impl Future<Output = Result<Option<T>, StoreError>> + Send + 'static,
    ) -> Result<Option<Recalled<T>>, StoreError> {
        let fresh = |value| Recalled {
            value,
            from_memory: false,
        };
        let from_memory = |value| Recalled {
            value,
            from_memory: true,
        };
        let Some(value) = known(&mut self.memory()) else {
            return Ok(read.await?.map(fresh));
        };
        let source = self.breaker().source(Instant::now());
        match source {
            Source::Memory => return Ok(Some(from_memory(value))),
            Source::MemoryAndProbe => {
                tokio::spawn(read);
                return Ok(Some(from_memory(value)));
            }
            Source::Database => {}
        }
        let error = match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(found)) => return Ok(found.map(fresh)),
            Ok(Err(error)) if !error.is_outage() => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => {
                self.breaker().failed(Instant::now());
                StoreError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()))
            }
        };
        // It may have been forgotten during the wait.
        match known(&mut self.memory()) {
            Some(value) => Ok(Some(from_memory(value))),
            None => Err(error),
        }
    }
}
