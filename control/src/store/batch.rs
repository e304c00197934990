//! Several operations for one request, a few at a time.
//!
//! `buffered` of futures-util would do the same, but with it the compiler does not see that the futures of callers are `Send` for every
//! lifetime (rust-lang/rust issue 102211).

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Poll;

/// The largest number of concurrent operations of one request.
pub const STATEMENTS_AT_ONCE: usize = 8;

/// Runs all futures, [`STATEMENTS_AT_ONCE`] at a time, in the caller's task. The outputs are in the order of `futures`.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: VecDeque<F> = futures.into_iter().collect();
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let mut outputs: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        loop {
            while running.len() < STATEMENTS_AT_ONCE
                && let Some(next) = waiting.pop_front()
            {
                running.push((outputs.len() - waiting.len() - 1, Box::pin(next)));
            }
            let before = running.len();
            running.retain_mut(|(at, future)| match future.as_mut().poll(context) {
                Poll::Ready(ready) => {
                    outputs[*at] = Some(ready);
                    false
                }
                Poll::Pending => true,
            });
            if running.is_empty() && waiting.is_empty() {
                return Poll::Ready(());
            }
            // If one has ended, the next one is polled now, because nothing else wakes this task for it.
            if running.len() == before || waiting.is_empty() {
                return Poll::Pending;
            }
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn all_are_waited_for_and_few_run_at_a_time() {
        let (running, most) = (Cell::new(0), Cell::new(0));
        let outputs = join_all((0..50).map(|number: u64| {
            let (running, most) = (&running, &most);
            async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                for _ in (number..50).step_by(7) {
                    tokio::task::yield_now().await;
                }
                running.set(running.get() - 1);
                number
            }
        }));
        assert_eq!(outputs.await, (0..50).collect::<Vec<_>>());
        assert_eq!(most.get(), STATEMENTS_AT_ONCE);
        assert!(join_all(None::<std::future::Ready<()>>).await.is_empty());
    }
}
