//! The thread that accesses the files. A hung disk or network file system blocks only this thread.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::StoreError;

/// Time limit of one step, such as reading a file. A step that exceeds it is still carried out later.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Maximum number of queued steps.
const WAITING: usize = 64;

type Step = Box<dyn FnOnce() + Send>;

/// The queue to the thread. Steps are carried out in order.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    steps: SyncSender<Step>,
    patience: Duration,
}

impl Disk {
    /// Starts the thread. It ends when all handles are dropped and all steps are done.
    pub(super) fn start(patience: Duration) -> std::io::Result<Self> {
        let (steps, waiting): (_, Receiver<Step>) = sync_channel(WAITING);
        thread::Builder::new()
            .name("config directory".into())
            .spawn(move || waiting.into_iter().for_each(|step| step()))?;
        Ok(Self { steps, patience })
    }

    /// Carries out a step and waits for its result. `path` is for the error message.
    ///
    /// The step is queued at the first poll of the future. From then on it is carried out even if the future is dropped.
    ///
    /// # Errors
    ///
    /// The error of the step, or [`StoreError::Stalled`] after the time limit.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        path: &Path,
        step: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stalled = || StoreError::Stalled {
            path: path.to_owned(),
        };
        let (done_to, done) = oneshot::channel();
        let step = Box::new(move || drop(done_to.send(step())));
        self.steps.try_send(step).map_err(|_| stalled())?;
        match tokio::time::timeout(self.patience, done).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(stalled()),
        }
    }

    /// Queues a step without waiting for it.
    pub(super) fn later(&self, step: impl FnOnce() + Send + 'static) {
        // If the queue is full the disk hangs, and the step could not run either.
        let _ = self.steps.try_send(Box::new(step));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[tokio::test]
    async fn a_step_beyond_the_time_limit_is_an_error_and_is_carried_out_later_in_order() {
        let disk = Disk::start(Duration::from_millis(50)).unwrap();
        let (go, wait) = channel::<()>();
        let path = Path::new("/the/file");
        let stuck = disk.run(path, move || {
            let _ = wait.recv();
            Ok(())
        });
        let error = stuck.await.unwrap_err().to_string();
        assert!(error.contains("/the/file"), "{error}");
        let (order_to, order) = channel();
        let (first, second) = (order_to.clone(), order_to);
        // Queued while the thread is blocked.
        let written = disk.run(path, move || {
            let _ = first.send(1);
            Ok(())
        });
        assert!(written.await.is_err());
        go.send(()).unwrap();
        let last = disk.run(path, move || {
            let _ = second.send(2);
            Ok(())
        });
        last.await.unwrap();
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [1, 2]);
    }
}
