//! A store that goes on answering what this node has just heard while the database below it does not.
//!
//! Signed-in people are to get into live rooms while the database is down. So what reads and writes of this node have shown of
//! sessions, accounts, conferences and standings is kept for [`KEPT_FOR`], and given to whoever asks for it by one of the
//! `recall_` operations of [`Store`]: a sign-in by token, or a join to a room that is here. Everything else, whose room it is
//! above all, is only ever what the database says.
//!
//! * `memory`: what is kept, without I/O; `recent`: maps that never grow beyond a size;
//! * `breaker`: who still waits for a database that is down;
//! * `operations`: each operation of the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Recalled, Store, StoreError, StoreFuture};

mod breaker;
mod memory;
mod operations;
mod recent;

use breaker::{Breaker, Way};
use memory::{Key, Memory};

pub use memory::KEPT_FOR;

/// So long the database is waited for by those who could be answered from memory.
const PATIENCE: Duration = Duration::from_secs(1);

/// The decorator. Clones share what is kept.
#[derive(Clone)]
pub struct RememberingStore {
    inner: Arc<dyn Store>,
    memory: Arc<Mutex<Memory>>,
    breaker: Arc<Mutex<Breaker>>,
}

impl RememberingStore {
    /// Nothing is kept yet of what `inner` says.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            memory: Arc::default(),
            breaker: Arc::default(),
        }
    }

    /// Whether those who can be answered from memory are, at once, because the database did not answer lately.
    pub fn is_open(&self) -> bool {
        self.breaker().is_open()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the breaker learn from an answer.
    fn judge<T>(&self, answer: &Result<T, StoreError>) {
        match answer {
            Err(StoreError::Unavailable(_)) => self.breaker().failed(Instant::now()),
            // It was never asked.
            Err(StoreError::Busy) => {}
            _ => self.breaker().answered(),
        }
    }

    /// Reads what may be kept.
    async fn read<T: Clone>(
        &self,
        key: Key,
        read: StoreFuture<'_, Option<T>>,
        keep: impl FnOnce(&mut Memory, memory::Since, Option<&T>),
    ) -> Result<Option<T>, StoreError> {
        let since = self.memory().since(key);
        let answer = read.await;
        self.judge(&answer);
        let found = answer?;
        keep(&mut self.memory(), since, found.as_ref());
        Ok(found)
    }

    /// Writes what may be kept: what was known of it is forgotten before, and what is learned by it is kept if nobody else
    /// has written it meanwhile.
    async fn write<T>(
        &self,
        key: Key,
        write: StoreFuture<'_, T>,
        keep: impl FnOnce(&mut Memory, memory::Since, &T),
    ) -> Result<T, StoreError> {
        let since = self.memory().change(key);
        let answer = write.await;
        let mut memory = self.memory();
        if let Ok(written) = &answer {
            keep(&mut memory, since, written);
        }
        // Who read it while it was written may have read what was there before.
        memory.disturb(key);
        answer
    }

    /// Answers from memory if `known` gives something and the database does not answer, else as the database does.
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
        let way = self.breaker().way(Instant::now());
        match way {
            Way::Memory => return Ok(Some(from_memory(value))),
            Way::MemoryAndProbe => {
                tokio::spawn(read);
                return Ok(Some(from_memory(value)));
            }
            Way::Database => {}
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
        // It may have ended while the database was waited for.
        match known(&mut self.memory()) {
            Some(value) => Ok(Some(from_memory(value))),
            None => Err(error),
        }
    }
}
