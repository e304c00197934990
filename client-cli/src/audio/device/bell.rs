//! Wakes the call when the microphone has something. Ringing allocates nothing and waits for nobody: on Unix it is a write
//! to a pipe, elsewhere the call looks by itself each few milliseconds.

#[cfg(unix)]
mod imp {
    use std::io::{self, ErrorKind, PipeWriter, Write as _};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::net::unix::pipe::{Receiver, pipe};

    /// Rings; may be cloned.
    #[derive(Debug, Clone)]
    pub struct Ringer(Option<Arc<Rope>>);

    /// Is rung.
    #[derive(Debug)]
    pub struct Bell {
        rope: Arc<Rope>,
        pipe: Receiver,
    }

    #[derive(Debug)]
    struct Rope {
        /// Rung, and not yet heard. While it is set nobody writes, so a write never has to wait for a read to end.
        rung: AtomicBool,
        pipe: PipeWriter,
    }

    /// A bell and what rings it. To be called inside the runtime.
    pub fn bell() -> io::Result<(Ringer, Bell)> {
        let (to, from) = pipe()?;
        let rope = Arc::new(Rope {
            rung: AtomicBool::new(false),
            pipe: to.into_nonblocking_fd()?.into(),
        });
        let bell = Bell {
            rope: rope.clone(),
            pipe: from,
        };
        Ok((Ringer(Some(rope)), bell))
    }

    impl Ringer {
        /// Rings nothing.
        pub fn silent() -> Self {
            Self(None)
        }

        /// Never waits.
        pub fn ring(&self) {
            if let Some(rope) = &self.0
                && !rope.rung.swap(true, Ordering::AcqRel)
            {
                // One byte has room, for the one before was read.
                let _ = (&rope.pipe).write(&[1]);
            }
        }
    }

    impl Bell {
        /// Waits until it was rung since the last time.
        pub async fn rung(&self) {
            loop {
                if self.pipe.readable().await.is_err() {
                    return std::future::pending().await;
                }
                match self.pipe.try_read(&mut [0; 8]) {
                    Ok(length) if length > 0 => {
                        self.rope.rung.swap(false, Ordering::AcqRel);
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

    /// Time between two looks.
    const LOOK: Duration = Duration::from_millis(3);

    /// Rings; may be cloned.
    #[derive(Debug, Clone)]
    pub struct Ringer;

    /// Is rung.
    #[derive(Debug)]
    pub struct Bell;

    /// A bell and what rings it.
    pub fn bell() -> io::Result<(Ringer, Bell)> {
        Ok((Ringer, Bell))
    }

    impl Ringer {
        /// Rings nothing.
        pub fn silent() -> Self {
            Self
        }

        /// Never waits.
        pub fn ring(&self) {}
    }

    impl Bell {
        /// Waits until it may have been rung.
        pub async fn rung(&self) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

pub use imp::{Bell, Ringer, bell};

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_bell_wakes_as_often_as_it_is_rung_and_a_ring_before_is_not_lost() {
        let (ringer, bell) = bell().unwrap();
        ringer.ring();
        ringer.ring();
        bell.rung().await;
        let again = ringer.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            again.ring();
        });
        tokio::time::timeout(Duration::from_secs(10), bell.rung())
            .await
            .unwrap();
    }
}
