//! Supervises tasks that run as long as the server: restarts a task that ends, and ends the server when a task keeps failing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::mutex::lock;

/// When a task is restarted, and when it is given up.
#[derive(Clone, Copy)]
struct RestartPolicy {
    /// Delay before the first restart; doubles with each further one.
    delay: Duration,
    /// Maximum delay.
    max_delay: Duration,
    /// A task is healthy after it has run for this time.
    healthy_after: Duration,
    /// Number of consecutive failures after which the task is given up.
    max_failures: u32,
}

/// Gives up after delays of 11 s in total.
const RESTART_POLICY: RestartPolicy = RestartPolicy {
    delay: Duration::from_millis(100),
    max_delay: Duration::from_secs(5),
    healthy_after: Duration::from_secs(10),
    max_failures: 8,
};

/// Health of the server's tasks. Clones share state.
#[derive(Clone, Default)]
pub struct Health(Arc<State>);

#[derive(Default)]
struct State {
    /// Names of tasks that have ended and have not been healthy since.
    failing: Mutex<BTreeSet<&'static str>>,
    lost: watch::Sender<Option<&'static str>>,
}

/// A task of the server keeps failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server ends because its task \"{0}\" keeps failing: see the log for the cause, restart the server, and report it"
)]
pub struct TaskLost(pub &'static str);

impl Health {
    /// Names of tasks that do not run, or have run for less than 10 s since they ended.
    pub fn failing(&self) -> Vec<&'static str> {
        self.lock().iter().copied().collect()
    }

    /// Resolves when a task keeps failing.
    pub async fn lost(&self) -> TaskLost {
        let mut lost = self.0.lost.subscribe();
        // The sender lives as long as `self`.
        let found = lost.wait_for(Option::is_some).await;
        match found.ok().and_then(|name| *name) {
            Some(name) => TaskLost(name),
            None => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        lock(&self.0.failing)
    }
}

/// A set of supervised tasks. Dropping it aborts them.
#[derive(Default)]
pub(super) struct Supervisor {
    health: Health,
    tasks: JoinSet<()>,
}

impl Supervisor {
    /// Creates an empty set that reports to `health`.
    pub(super) fn new(health: Health) -> Self {
        Self {
            health,
            tasks: JoinSet::new(),
        }
    }

    /// Runs the task that `start` creates, and creates another one whenever it ends or panics.
    pub(super) fn supervise<T>(
        &mut self,
        name: &'static str,
        start: impl FnMut() -> T + Send + 'static,
    ) where
        T: Future<Output = ()> + Send + 'static,
    {
        self.tasks
            .spawn(supervise(name, start, self.health.clone(), RESTART_POLICY));
    }

    /// Aborts all tasks.
    pub(super) fn abort(&mut self) {
        self.tasks.abort_all();
    }
}

async fn supervise<T>(
    name: &'static str,
    mut start: impl FnMut() -> T,
    health: Health,
    policy: RestartPolicy,
) where
    T: Future<Output = ()> + Send + 'static,
{
    let (mut delay, mut ends) = (policy.delay, 0);
    loop {
        // In a set, so that aborting this task aborts the inner one.
        let mut task = JoinSet::new();
        task.spawn(start());
        if tokio::time::timeout(policy.healthy_after, task.join_next())
            .await
            .is_err()
        {
            (delay, ends) = (policy.delay, 0);
            health.lock().remove(name);
            task.join_next().await;
        }
        ends += 1;
        health.lock().insert(name);
        if ends == policy.max_failures {
            tracing::error!(task = name, "a task of the server keeps failing: giving up");
            health.0.lost.send_replace(Some(name));
            return;
        }
        tracing::error!(
            task = name,
            "a task of the server ended unexpectedly: restarting it"
        );
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(policy.max_delay);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const FAST: RestartPolicy = RestartPolicy {
        delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(4),
        healthy_after: Duration::from_millis(500),
        max_failures: 8,
    };
    const PATIENCE: Duration = Duration::from_secs(15);

    /// Supervises a task of which every start panics except number `healthy`; also returns the number of starts.
    fn all_panic_but(healthy: u32) -> (JoinSet<()>, Health, Arc<AtomicU32>) {
        let (health, starts) = (Health::default(), Arc::new(AtomicU32::new(0)));
        let counted = starts.clone();
        let start = move || {
            let start = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                if start == healthy {
                    std::future::pending::<()>().await;
                }
                panic!("a test's panic");
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(supervise("test", start, health.clone(), FAST));
        (tasks, health, starts)
    }

    async fn eventually(mut is_so: impl FnMut() -> bool) {
        let waiting = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let so = tokio::time::timeout(PATIENCE, waiting).await;
        so.expect("it becomes so");
    }

    #[tokio::test]
    async fn a_task_that_panics_restarts_and_becomes_healthy() {
        let (_tasks, health, starts) = all_panic_but(2);
        eventually(|| starts.load(Ordering::Relaxed) == 3).await;
        assert_eq!(health.failing(), ["test"]);
        eventually(|| health.failing().is_empty()).await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_task_that_keeps_failing_ends_the_server() {
        let (_tasks, health, starts) = all_panic_but(u32::MAX);
        let lost = tokio::time::timeout(PATIENCE, health.lost()).await;
        assert_eq!(lost, Ok(TaskLost("test")));
        assert_eq!(health.failing(), ["test"]);
        assert_eq!(starts.load(Ordering::Relaxed), FAST.max_failures);
    }

    #[tokio::test]
    async fn tasks_end_with_their_supervisor() {
        let (mut tasks, _, starts) = all_panic_but(0);
        eventually(|| starts.load(Ordering::Relaxed) == 1).await;
        let all = starts.clone();
        tasks.abort_all();
        // The closure and its running task hold one reference each.
        eventually(|| Arc::strong_count(&all) == 2).await;
        assert_eq!(starts.load(Ordering::Relaxed), 1);
    }
}
