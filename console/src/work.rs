//! Work whose progress a program does not wait for, so that it still hears signals.

use std::panic::resume_unwind;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Runs `work` beside the caller, who may be dropped: it may block, as on a file that does not answer. A panic of `work` is
/// the caller's.
pub async fn beside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Only the end of the runtime cancels it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Work that is done once for each wish, one at a time. Wishes that come meanwhile are one. Ends when dropped.
#[derive(Debug)]
pub struct Repeated {
    wish: std::sync::Arc<Notify>,
    working: JoinHandle<()>,
}

impl Repeated {
    /// Waits for the first wish.
    pub fn new<F>(mut work: impl FnMut() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let wish = std::sync::Arc::new(Notify::new());
        let wished = wish.clone();
        let working = tokio::spawn(async move {
            loop {
                wished.notified().await;
                work().await;
            }
        });
        Self { wish, working }
    }

    /// Wishes for the work to be done, once more if it is being done.
    pub fn wish(&self) {
        self.wish.notify_one();
    }
}

impl Drop for Repeated {
    fn drop(&mut self) {
        self.working.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    async fn until(done: impl Fn() -> bool) {
        while !done() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn wishes_that_come_while_it_is_being_done_are_one() {
        let (begun, may_end) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
        let (count, gate) = (begun.clone(), may_end.clone());
        let work = Repeated::new(move || {
            let (count, gate) = (count.clone(), gate.clone());
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                gate.acquire().await.unwrap().forget();
            }
        });
        let is_begun = |times| begun.load(Ordering::Relaxed) == times;
        work.wish();
        until(|| is_begun(1)).await;
        for _ in 0..5 {
            work.wish();
        }
        may_end.add_permits(10);
        until(|| may_end.available_permits() == 8).await;
        assert!(is_begun(2));
        work.wish();
        until(|| is_begun(3)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_that_blocks_its_thread_does_not_block_who_gives_it_up() {
        let blocked = beside(async { std::thread::sleep(Duration::from_secs(2)) });
        let given_up = tokio::select! {
            () = blocked => false,
            () = std::future::ready(()) => true,
        };
        assert!(given_up);
        assert_eq!(beside(async { 7 }).await, 7);
    }
}
