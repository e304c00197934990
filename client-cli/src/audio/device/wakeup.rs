//! Wakes the call when the microphone has samples. The sender neither allocates nor blocks: on Unix it writes to a pipe;
//! elsewhere the receiver wakes by itself every 3 ms.

#[cfg(unix)]
mod imp {
    use std::io::{self, ErrorKind, PipeWriter, Write as _};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::net::unix::pipe::{Receiver, pipe};

    /// The end of the audio thread.
    #[derive(Debug, Clone)]
    pub struct WakeSender(Option<Arc<Shared>>);

    /// The end of the call.
    #[derive(Debug)]
    pub struct WakeReceiver {
        shared: Arc<Shared>,
        pipe: Receiver,
    }

    #[derive(Debug)]
    struct Shared {
        /// A wakeup was sent and not received. While it is set nothing is written, so the pipe never fills.
        is_pending: AtomicBool,
        pipe: PipeWriter,
    }

    /// Both ends. Has to be called inside the runtime.
    pub fn wakeup() -> io::Result<(WakeSender, WakeReceiver)> {
        let (to, from) = pipe()?;
        let shared = Arc::new(Shared {
            is_pending: AtomicBool::new(false),
            pipe: to.into_nonblocking_fd()?.into(),
        });
        let wake_receiver = WakeReceiver {
            shared: shared.clone(),
            pipe: from,
        };
        Ok((WakeSender(Some(shared)), wake_receiver))
    }

    impl WakeSender {
        /// A sender without a receiver.
        pub fn disconnected() -> Self {
            Self(None)
        }

        /// Wakes the receiver. Never blocks.
        pub fn wake(&self) {
            if let Some(shared) = &self.0
                && !shared.is_pending.swap(true, Ordering::AcqRel)
            {
                // One byte has room, for the one before was read.
                let _ = (&shared.pipe).write(&[1]);
            }
        }
    }

    impl WakeReceiver {
        /// Waits for a wakeup that was sent since the last call.
        pub async fn woken(&self) {
            loop {
                if self.pipe.readable().await.is_err() {
                    return std::future::pending().await;
                }
                match self.pipe.try_read(&mut [0; 8]) {
                    Ok(length) if length > 0 => {
                        self.shared.is_pending.swap(false, Ordering::AcqRel);
                        return;
                    }
                    // Not yet.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(_) | Err(_) => return std::future::pending().await,
                }
            }
        }
    }
}

#[cfg(not(unix))]
mod imp {
    use std::io;
    use std::time::Duration;

    /// Time between two wakeups.
    const INTERVAL: Duration = Duration::from_millis(3);

    /// The end of the audio thread.
    #[derive(Debug, Clone)]
    pub struct WakeSender;

    /// The end of the call.
    #[derive(Debug)]
    pub struct WakeReceiver;

    pub fn wakeup() -> io::Result<(WakeSender, WakeReceiver)> {
        Ok((WakeSender, WakeReceiver))
    }

    impl WakeSender {
        /// A sender without a receiver.
        pub fn disconnected() -> Self {
            Self
        }

        /// Wakes the receiver. Never blocks.
        pub fn wake(&self) {}
    }

    impl WakeReceiver {
        /// Waits until a wakeup may have been sent.
        pub async fn woken(&self) {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

pub use imp::{WakeReceiver, WakeSender, wakeup};

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn each_wakeup_is_received_and_one_sent_before_the_wait_is_not_lost() {
        let (wake_sender, wake_receiver) = wakeup().unwrap();
        wake_sender.wake();
        wake_sender.wake();
        wake_receiver.woken().await;
        let again = wake_sender.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            again.wake();
        });
        tokio::time::timeout(Duration::from_secs(10), wake_receiver.woken())
            .await
            .unwrap();
    }
}
