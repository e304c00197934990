//! Argon2id (RFC 9106) on blocking threads, behind a bounded queue.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use confab_protocol::control::Password;
use confab_telemetry::Histogram;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::{HashCost, PasswordHash};
use crate::metrics::connections::{Limit, Refusals};
use crate::metrics::timed;
use crate::mutex::lock;
use crate::random;

/// Length of a hash in bytes.
const HASH_LEN: usize = 32;

/// The share of the queue that a hash may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queue {
    /// Three quarters of the queue, for unknown devices.
    Unauthenticated,
    /// The whole queue, for known devices and signed-in clients, so that unknown devices cannot fill it.
    Known,
}

/// Hashes passwords, a limited number at a time.
#[derive(Clone)]
pub struct Hasher {
    cost: HashCost,
    /// A hash that matches no password. Checking it costs as much as checking a real one.
    dummy: PasswordHash,
    /// One permit for each hash that waits or runs.
    admitted: Arc<Semaphore>,
    /// One permit for each of these that comes from an unknown device.
    unauthenticated: Arc<Semaphore>,
    /// One permit for each running hash.
    running: Arc<Semaphore>,
    /// Reusable memory, one piece for each hash that ever ran at once. Threads come and go, and an allocator that caches 19 MiB
    /// per thread would hold hundreds.
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
    waited: Arc<Histogram>,
    refusals: Refusals,
    /// Maximum number of hashes that wait or run, and of hashes that run.
    capacity: (usize, usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashError {
    Busy,
    /// The cost parameters are invalid, or the thread ended.
    Failed,
}

impl Hasher {
    /// Computes up to `parallel` hashes at a time; up to `queue` more wait. Further ones are refused and counted in `refusals`.
    pub fn new(cost: HashCost, parallel: usize, queue: usize, refusals: Refusals) -> Self {
        Self {
            cost,
            dummy: PasswordHash {
                cost,
                salt: random::bytes(),
                hash: random::bytes(),
            },
            admitted: Arc::new(Semaphore::new(parallel + queue)),
            unauthenticated: Arc::new(Semaphore::new(parallel + queue - queue / 4)),
            running: Arc::new(Semaphore::new(parallel)),
            memory: Arc::default(),
            waited: Arc::new(timed::histogram()),
            refusals,
            capacity: (parallel + queue, parallel),
        }
    }

    /// Histogram of the time that hashes waited.
    pub fn waited(&self) -> &Histogram {
        &self.waited
    }

    /// Number of waiting hashes.
    pub fn waiting(&self) -> usize {
        let (all, parallel) = self.capacity;
        let begun = all.saturating_sub(self.admitted.available_permits());
        let running = parallel.saturating_sub(self.running.available_permits());
        begun.saturating_sub(running)
    }

    /// Hashes the password with a new random salt.
    pub async fn hash(&self, password: Password, queue: Queue) -> Result<PasswordHash, HashError> {
        let cost = self.cost;
        let salt = random::bytes();
        let work = move |memory: &mut Vec<Block>| {
            compute(cost, &salt, password.reveal().as_bytes(), memory)
        };
        let hash = self.run(queue, work).await?;
        Ok(PasswordHash { cost, salt, hash })
    }

    /// True if the typed password matches `hash`. Without a hash, or with text that cannot be a password, the same work is done
    /// and the result is false.
    pub async fn verify(
        &self,
        text: impl Into<zeroize::Zeroizing<String>>,
        stored: Option<PasswordHash>,
        queue: Queue,
    ) -> Result<bool, HashError> {
        let text = text.into();
        let exists = stored.is_some();
        let expected = stored.unwrap_or_else(|| self.dummy.clone());
        let work = move |memory: &mut Vec<Block>| {
            let password: Option<Password> = text.parse().ok();
            let shown = password.as_ref().map_or("", Password::reveal);
            let hash = compute(expected.cost, &expected.salt, shown.as_bytes(), memory)?;
            let is_equal = verify_slices_are_equal(&hash, &expected.hash).is_ok();
            Some(is_equal && password.is_some())
        };
        Ok(self.run(queue, work).await? && exists)
    }

    async fn run<T: Send + 'static>(
        &self,
        queue: Queue,
        work: impl FnOnce(&mut Vec<Block>) -> Option<T> + Send + 'static,
    ) -> Result<T, HashError> {
        let admitted = self.admit(queue).inspect_err(|_| {
            self.refusals.count(Limit::PasswordQueue);
        })?;
        let began = Instant::now();
        let running = self.running.clone().acquire_owned().await;
        let running = running.map_err(|_| HashError::Failed)?;
        self.waited.record_duration(began.elapsed(), 1);
        let pool = self.memory.clone();
        let result = tokio::task::spawn_blocking(move || {
            // Held by the thread, because the work continues after the client has disconnected.
            let _permits = (admitted, running);
            let take = || lock(&pool);
            let mut memory = take().pop().unwrap_or_default();
            let result = work(&mut memory);
            take().push(memory);
            result
        });
        result
            .await
            .map_err(|_| HashError::Failed)?
            .ok_or(HashError::Failed)
    }

    /// Takes a place in the queue until the hash is computed.
    fn admit(&self, queue: Queue) -> Result<[Option<OwnedSemaphorePermit>; 2], HashError> {
        let place = |of: &Arc<Semaphore>| of.clone().try_acquire_owned();
        let among_strangers = match queue {
            Queue::Unauthenticated => {
                Some(place(&self.unauthenticated).map_err(|_| HashError::Busy)?)
            }
            Queue::Known => None,
        };
        let among_all = place(&self.admitted).map_err(|_| HashError::Busy)?;
        Ok([Some(among_all), among_strangers])
    }
}

fn compute(
    cost: HashCost,
    salt: &[u8],
    password: &[u8],
    memory: &mut Vec<Block>,
) -> Option<[u8; HASH_LEN]> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(HASH_LEN)).ok()?;
    let count = params.block_count();
    if memory.len() < count {
        memory.resize(count, Block::default());
    }
    let blocks = &mut memory[..count];
    let mut hash = [0; HASH_LEN];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, &mut hash, blocks)
        .ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: HashCost = HashCost {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };

    #[tokio::test]
    async fn a_stored_hash_verifies_only_its_password() {
        let hasher = Hasher::new(CHEAP, 1, 4, Refusals::default());
        let hash = hasher
            .hash("correct horse".parse().unwrap(), Queue::Known)
            .await
            .unwrap();
        let kept = PasswordHash::from_bytes(&hash.to_bytes()).unwrap();
        assert_eq!(kept, hash);
        assert_eq!(kept.to_bytes().len(), 60);
        let text = |text: &str| text.to_owned();
        for (typed, stored, is_right) in [
            ("correct horse", Some(kept.clone()), true),
            ("correct hearse", Some(kept), false),
            ("correct horse", None, false),
        ] {
            let checked = hasher
                .verify(text(typed), stored, Queue::Unauthenticated)
                .await;
            assert_eq!(checked, Ok(is_right), "{typed}");
        }
    }

    #[tokio::test]
    async fn a_password_verifies_in_any_unicode_composition() {
        let hasher = Hasher::new(CHEAP, 1, 4, Refusals::default());
        let hash = hasher.hash("čtyři psi u řeky".parse().unwrap(), Queue::Known);
        let hash = hash.await.unwrap();
        for (typed, is_right) in [
            ("c\u{30c}tyr\u{30c}i\u{a0}psi u r\u{30c}eky", true),
            ("čtyři psi u řeky\u{200b}", false),
            ("ctyri psi u reky", false),
        ] {
            let checked = hasher.verify(typed.to_owned(), Some(hash.clone()), Queue::Known);
            assert_eq!(checked.await, Ok(is_right), "{typed:?}");
        }
    }

    #[tokio::test]
    async fn hashes_agree_with_the_reference_implementation() {
        // `echo -n "password" | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32`, from the reference's own tests.
        let cost = HashCost {
            memory_kib: 65536,
            passes: 2,
            lanes: 1,
        };
        let hash = compute(cost, b"somesalt", b"password", &mut Vec::new()).unwrap();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&hash),
            "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
        );
        assert_eq!(
            (HashCost::default().memory_kib, HashCost::default().passes),
            (19456, 2)
        );
    }

    /// Starts `count` slow hashes and waits until each is queued or refused.
    async fn start(hasher: &Hasher, queue: Queue, count: usize) -> Vec<Started> {
        let started = (0..count).map(|_| {
            let hasher = hasher.clone();
            tokio::spawn(async move { hasher.verify("a password".to_owned(), None, queue).await })
        });
        let started = started.collect();
        tokio::task::yield_now().await;
        started
    }

    type Started = tokio::task::JoinHandle<Result<bool, HashError>>;

    async fn refused(started: Vec<Started>) -> usize {
        let mut refused = 0;
        for hash in started {
            refused += usize::from(hash.await.unwrap() == Err(HashError::Busy));
        }
        refused
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_keeps_a_quarter_for_known_devices() {
        let slow = HashCost {
            memory_kib: 32 * 1024,
            ..CHEAP
        };
        let refusals = Refusals::default();
        let hasher = Hasher::new(slow, 1, 4, refusals.clone());
        let unauthenticated = start(&hasher, Queue::Unauthenticated, 9).await;
        let known = start(&hasher, Queue::Known, 3).await;
        // One runs and three wait; the fourth waiting place is reserved for known devices.
        assert_eq!(refused(unauthenticated).await, 5);
        assert_eq!(refused(known).await, 2);
        assert_eq!(refusals.of(Limit::PasswordQueue), 7);
        let again = start(&hasher, Queue::Unauthenticated, 1).await;
        assert_eq!(refused(again).await, 0);
    }
}
