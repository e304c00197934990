//! Notices that a server says nothing any more, on a connection that stands.
//!
//! QUIC's own idle timeout would have to serve for the handshake as well, in which a server that a thousand clients come
//! back to at once takes longer than one that is dead should be waited for. It also ends a connection at once when a
//! stopped process goes on, before it reads what has come meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quinn::VarInt;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Time without a sign of the server after which the connection is lost; a slow network gets more. A node that dies is
/// noticed one keep-alive later at most, before another one takes its rooms; a connection that is lost by mistake costs
/// a handshake, for voice goes on and a resumed join keeps its media.
const LOST_AFTER: Duration = Duration::from_millis(2500);

/// Fewest round trips without a datagram: three probe timeouts of QUIC where round trips differ little.
const ROUND_TRIPS: u32 = 9;

/// Time between two checks.
const LOOK: Duration = Duration::from_millis(250);

/// Closes a connection whose server is silent. Stops when dropped.
#[derive(Debug)]
pub(super) struct Silence {
    noticed: Arc<AtomicBool>,
    watching: JoinHandle<()>,
}

impl Silence {
    /// Watches a connection, and closes it when its server is silent.
    pub(super) fn watch(connection: quinn::Connection) -> Self {
        let noticed = Arc::new(AtomicBool::new(false));
        let notice = noticed.clone();
        let watching = tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK);
            // After a time in which this process was stopped only the looks count that follow.
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut watch = Watch::default();
            loop {
                tokio::select! {
                    _ = connection.closed() => return,
                    _ = looks.tick() => {}
                }
                let heard = connection.stats().udp_rx.datagrams;
                if watch.look(heard, connection.rtt()) {
                    notice.store(true, Ordering::Relaxed);
                    return connection.close(VarInt::from_u32(0), b"nothing heard");
                }
            }
        });
        Self { noticed, watching }
    }

    /// True when the connection was closed because its server was silent.
    pub(super) fn is_noticed(&self) -> bool {
        self.noticed.load(Ordering::Relaxed)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // It would keep the connection alive.
        self.watching.abort();
    }
}

/// Counts checks since the last datagram.
#[derive(Debug, Default)]
struct Watch {
    heard: u64,
    quiet: u32,
}

impl Watch {
    /// Takes the number of datagrams received so far and the path's round trip. True when the server is silent.
    fn look(&mut self, heard: u64, round_trip: Duration) -> bool {
        if heard != self.heard {
            *self = Self { heard, quiet: 0 };
            return false;
        }
        self.quiet += 1;
        LOOK * self.quiet >= LOST_AFTER.max(round_trip * ROUND_TRIPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Duration = Duration::from_millis(20);

    /// Number of checks without a datagram after which the server counts as silent.
    fn looks(watch: &mut Watch, heard: u64, round_trip: Duration) -> u32 {
        (1..)
            .find(|_| watch.look(heard, round_trip))
            .expect("some time")
    }

    #[test]
    fn a_server_is_silent_when_nothing_came_for_as_long_as_its_path_may_take() {
        let mut watch = Watch::default();
        assert!(!watch.look(5, NEAR));
        assert_eq!(looks(&mut watch, 5, NEAR), 10);
        // By satellite: 9 times 600 ms, in looks of 250 ms.
        let mut watch = Watch::default();
        assert!(!watch.look(5, NEAR));
        assert_eq!(looks(&mut watch, 5, Duration::from_millis(600)), 22);
    }

    #[test]
    fn any_datagram_restarts_the_silence_timer() {
        let mut watch = Watch::default();
        for heard in 1..50 {
            for _ in 0..9 {
                assert!(!watch.look(heard, NEAR));
            }
        }
    }
}
