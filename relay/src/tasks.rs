//! Long-lived tasks: a task that panics is started again. One that fails again and again ends the relay, which could not
//! serve without it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

/// Wait before a task is started again.
const PAUSE: Duration = Duration::from_millis(200);
/// A task that fails this often within [`FAILURE_MEMORY`] is not started again.
const MOST_FAILURES: usize = 10;
/// Failures longer ago are forgotten.
const FAILURE_MEMORY: Duration = Duration::from_secs(60);

/// Work that goes on for as long as the relay lives.
pub(crate) trait LongLived: Send + 'static {
    /// The name of the task in messages.
    fn name(&self) -> String;

    /// Does the work. Called again after a panic, with the state as that left it.
    fn run(&mut self) -> impl Future<Output = ()> + Send;
}

/// A task that failed too often.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} failed {MOST_FAILURES} times within {} s: the log says why", FAILURE_MEMORY.as_secs())]
pub struct TaskFailed {
    name: String,
}

/// The long-lived tasks of a relay. They end when this is dropped.
#[derive(Default)]
pub(crate) struct Tasks {
    running: JoinSet<TaskFailed>,
}

impl Tasks {
    /// Starts a task, inside a tokio runtime.
    pub(crate) fn spawn(&mut self, task: impl LongLived) {
        self.running.spawn(keep_running(task));
    }

    /// Waits until a task has failed too often. Cancelling the wait loses nothing.
    pub(crate) async fn failed(&mut self) -> TaskFailed {
        match self.running.join_next().await {
            Some(Ok(failed)) => failed,
            // The supervisor itself.
            Some(Err(error)) => TaskFailed {
                name: format!("a task of the relay ({error})"),
            },
            None => std::future::pending().await,
        }
    }

    /// Ends all tasks.
    pub(crate) async fn end(&mut self) {
        self.running.shutdown().await;
    }
}

async fn keep_running(mut task: impl LongLived) -> TaskFailed {
    let name = task.name();
    let mut failures = VecDeque::new();
    loop {
        let how = match without_panic(task.run()).await {
            Ok(()) => "ended",
            Err(Panicked) => "panicked",
        };
        let now = Instant::now();
        failures.push_back(now);
        failures.retain(|failed| now.duration_since(*failed) < FAILURE_MEMORY);
        if failures.len() >= MOST_FAILURES {
            return TaskFailed { name };
        }
        tracing::error!("{name} {how}; it is started again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// A future that panicked.
struct Panicked;

async fn without_panic<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let poll = AssertUnwindSafe(|| work.as_mut().poll(context));
        match catch_unwind(poll) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// Panics at each of its first `panics` starts.
    struct Clumsy {
        starts: Arc<AtomicUsize>,
        panics: usize,
    }

    impl LongLived for Clumsy {
        fn name(&self) -> String {
            "a clumsy task".to_owned()
        }

        async fn run(&mut self) {
            let start = self.starts.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(start >= self.panics, "it stumbles");
            std::future::pending().await
        }
    }

    fn clumsy(panics: usize) -> (Tasks, Arc<AtomicUsize>) {
        let starts = Arc::new(AtomicUsize::new(0));
        let mut tasks = Tasks::default();
        tasks.spawn(Clumsy {
            starts: Arc::clone(&starts),
            panics,
        });
        (tasks, starts)
    }

    #[tokio::test]
    async fn a_task_that_panics_is_started_again_with_its_state() {
        let (mut tasks, starts) = clumsy(3);
        let started_again = async {
            while starts.load(Relaxed) < 4 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            failed = tasks.failed() => panic!("{failed}"),
            () = started_again => {}
            () = tokio::time::sleep(DEADLINE) => panic!("it is not started again"),
        }
    }

    #[tokio::test]
    async fn a_task_that_panics_again_and_again_is_given_up() {
        let (mut tasks, starts) = clumsy(usize::MAX);
        let failed = tasks.failed().await;
        assert_eq!(failed.name, "a clumsy task");
        assert_eq!(starts.load(Relaxed), MOST_FAILURES);
    }

    /// Says that it is over at once.
    struct Lazy;

    impl LongLived for Lazy {
        fn name(&self) -> String {
            "a lazy task".to_owned()
        }

        async fn run(&mut self) {}
    }

    #[tokio::test]
    async fn a_task_that_ends_is_treated_as_one_that_panics() {
        let mut tasks = Tasks::default();
        tasks.spawn(Lazy);
        assert_eq!(tasks.failed().await.name, "a lazy task");
    }
}
