//! The network under a call: the sockets of the media, and the route to the relay.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::net::udp::{Sockets, local_address_towards};

/// Time between two checks of the local address.
const ROUTE_CHECK: Duration = Duration::from_millis(500);

/// Shortest time between two new sockets: each has a new address, which has to be proved to the relay.
const REBIND_PAUSE: Duration = Duration::from_secs(2);

/// The sockets, and by which route they reach the relay.
pub(super) struct Network {
    sockets: Sockets,
    route: Route,
    next_check: Instant,
    last_rebind: Instant,
}

/// By which of one's addresses the relay is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Unknown,
    None,
    By(IpAddr),
}

impl Network {
    /// The network at the start of a call.
    pub(super) fn new(sockets: Sockets, now: Instant) -> Self {
        Self {
            sockets,
            route: Route::Unknown,
            next_check: now + ROUTE_CHECK,
            last_rebind: now,
        }
    }

    /// Waits for a datagram; its length and sender.
    pub(super) async fn receive(&mut self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        self.sockets.receive(buffer).await
    }

    /// A datagram that has arrived, if there is one.
    pub(super) fn try_receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        self.sockets.try_receive(buffer)
    }

    /// Sends a datagram. An error says that the socket is of no use: no error is returned while the machine has no route, which a
    /// new socket would not have either.
    pub(super) fn send(&mut self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let Err(error) = self.sockets.send(to, datagram) else {
            return Ok(());
        };
        tracing::debug!(%error, "a datagram was not sent");
        if is_no_route(&error) {
            return Ok(());
        }
        Err(error)
    }

    /// When [`route_changed`](Self::route_changed) is due.
    pub(super) fn next_check(&self) -> Instant {
        self.next_check
    }

    /// Checks the route to the relay where that is due: true when it changed. The sockets follow the machine's address by
    /// themselves.
    pub(super) fn route_changed(&mut self, now: Instant, relay: Option<SocketAddr>) -> bool {
        if now < self.next_check {
            return false;
        }
        self.next_check = now + ROUTE_CHECK;
        let Some(relay) = relay else {
            return false;
        };
        let route = local_address_towards(relay).map_or(Route::None, Route::By);
        let before = std::mem::replace(&mut self.route, route);
        before != Route::Unknown && before != route && route != Route::None
    }

    /// Opens new sockets, unless the last ones are newer than 2 s: then it returns false.
    pub(super) fn rebind(&mut self, now: Instant) -> bool {
        if now.duration_since(self.last_rebind) < REBIND_PAUSE {
            return false;
        }
        self.last_rebind = now;
        if let Err(error) = self.sockets.rebind() {
            tracing::debug!(%error, "the media stays on its sockets");
        }
        true
    }
}

/// True when the machine has no route: another socket would not have one.
fn is_no_route(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
    )
}
