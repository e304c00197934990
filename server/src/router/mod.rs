//! The router of this network: has UDP ports of this machine mapped for as long as the server runs.
//!
//! * `nat_pmp`, `pcp`, `upnp`: the protocols, without I/O;
//! * `ask`: requests to the router; `gateway`: the way to it;
//! * `way`: a way by which it maps ports; `refusal`: why it does not.
//!
//! A restart of the router loses its mappings, and may change its address: they are asked for anew every [`REFRESH`], long before they end.

mod ask;
mod gateway;
mod nat_pmp;
mod pcp;
mod refusal;
mod upnp;
mod way;

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::reach::is_public;
pub(crate) use refusal::Refusal;
use way::{Mapping, Port, Search, Way};

/// Time between two requests for the same mapping; less if the router gives it for a short time.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// Shortest time between two requests for the same mapping, whatever the router gives.
const SHORTEST_REFRESH: Duration = Duration::from_secs(10);
/// Time after which a router that did not map the ports is asked again.
const RETRY: Duration = Duration::from_secs(30);
/// Time limit for the release at the end.
const RELEASE: Duration = Duration::from_secs(1);

/// The server's UDP ports on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) control: u16,
    pub(crate) relay: u16,
}

/// The addresses outside that lead to the [`Ports`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct External {
    pub(crate) control: SocketAddrV4,
    pub(crate) relay: SocketAddrV4,
}

/// The state of the mappings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// The router is being asked for the first time.
    Asking,
    Mapped(External),
    NotMapped(Refusal),
}

/// Keeps the ports mapped until it is closed.
pub(crate) struct Router {
    state: watch::Receiver<State>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Router {
    /// Begins to ask the router. To be called inside a tokio runtime.
    pub(crate) fn open(ports: Ports) -> Self {
        let (to, state) = watch::channel(State::Asking);
        let (end, ends) = oneshot::channel();
        let keeper = Keeper {
            ports: [ports.control, ports.relay].map(|port| Port::new(port, rand::random())),
            way: None,
            mapped_until: None,
            state: to,
        };
        let task = tokio::spawn(keeper.run(ends));
        Self { state, end, task }
    }

    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Releases the mappings. Takes a second at most.
    pub(crate) async fn close(self) {
        // The task ends by this alone, or has ended by a panic.
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}

struct Keeper {
    /// Control's, and the relay's.
    ports: [Port; 2],
    /// The way by which mappings were asked for last. They may exist even if no answer came.
    way: Option<Way>,
    /// When the mappings end without a renewal.
    mapped_until: Option<Instant>,
    state: watch::Sender<State>,
}

impl Keeper {
    async fn run(mut self, mut ends: oneshot::Receiver<()>) {
        loop {
            let next = async {
                let pause = self.ask().await;
                tokio::time::sleep(pause).await;
            };
            tokio::select! {
                () = next => {}
                _ = &mut ends => break,
            }
        }
        if let Some(way) = self.way {
            let [control, relay] = &mut self.ports;
            let releasing = async { tokio::join!(way.release(control), way.release(relay)) };
            let _ = timeout(RELEASE, releasing).await;
        }
    }

    /// Asks for the mappings, tells what came of it, and gives the time until the next attempt.
    async fn ask(&mut self) -> Duration {
        let now = Instant::now();
        let (state, pause) = match self.map().await {
            Ok([control, relay]) => {
                let seconds = control.seconds.min(relay.seconds);
                let lifetime = Duration::from_secs(seconds.into());
                self.mapped_until = Some(now + lifetime);
                let external = External {
                    control: control.external,
                    relay: relay.external,
                };
                (State::Mapped(external), pause(lifetime))
            }
            Err(refusal) => {
                // Mappings that could not be renewed go on to their end.
                let is_mapped = self.mapped_until.is_some_and(|until| now < until);
                if is_mapped && refusal.may_pass() {
                    return RETRY;
                }
                (State::NotMapped(refusal), RETRY)
            }
        };
        self.state.send_if_modified(|told| {
            let is_new = *told != state;
            *told = state;
            is_new
        });
        pause
    }

    async fn map(&mut self) -> Result<[Mapping; 2], Refusal> {
        if let Some(way) = self.way.clone()
            && let Ok(mapped) = self.map_by(&way).await
        {
            return Ok(mapped);
        }
        // The router may be another one, or speak otherwise by now.
        let mut refusal = Refusal::Silent;
        for search in Search::ALL {
            for way in search.ways().await? {
                match self.try_way(way).await {
                    Ok(mapped) => return Ok(mapped),
                    Err(error) => refusal = error,
                }
            }
        }
        Err(refusal)
    }

    async fn try_way(&mut self, way: Way) -> Result<[Mapping; 2], Refusal> {
        self.way = Some(way.clone());
        let mapped = self.map_by(&way).await;
        if mapped.is_err() {
            // One of both may be mapped.
            let [control, relay] = &mut self.ports;
            tokio::join!(way.release(control), way.release(relay));
            (self.way, self.mapped_until) = (None, None);
        }
        mapped
    }

    async fn map_by(&mut self, way: &Way) -> Result<[Mapping; 2], Refusal> {
        let [control, relay] = &mut self.ports;
        let mapped = tokio::join!(way.map(control), way.map(relay));
        let mapped = [mapped.0?, mapped.1?];
        let hidden = mapped.iter().map(|mapping| *mapping.external.ip());
        match hidden.into_iter().find(|ip| !is_public((*ip).into())) {
            Some(ip) => Err(Refusal::Behind(ip)),
            None => Ok(mapped),
        }
    }
}

/// The time after which mappings with this lifetime are asked for anew.
fn pause(lifetime: Duration) -> Duration {
    (lifetime / 2).clamp(SHORTEST_REFRESH, REFRESH)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use proptest::sample;

    use super::*;

    #[test]
    fn mappings_are_renewed_at_half_their_lifetime_or_sooner() {
        let after = |seconds| pause(Duration::from_secs(seconds)).as_secs();
        assert_eq!([after(1), after(60), after(7200)], [10, 30, 300]);
    }

    proptest! {
        /// Each reader gets bytes that may be an answer, and any others behind them.
        #[test]
        fn any_answer_is_read_or_ignored(
            head in sample::select(vec![&[][..], &[0, 128, 0, 0], &[0, 129, 0, 0], &[2, 129, 0, 0], b"HTTP/1.1 200 OK\r\nLOCATION:"]),
            rest in vec(any::<u8>(), 0..80),
        ) {
            let bytes = [head, &rest].concat();
            let _ = nat_pmp::address(&bytes);
            let _ = nat_pmp::mapping(&bytes, 4433);
            let _ = pcp::speaks(&bytes);
            let _ = pcp::mapping(&bytes, &[0; 12], 4433);
            let router = Ipv4Addr::new(192, 168, 1, 1);
            let _ = upnp::location(&bytes, router);
        }

        #[test]
        fn any_description_is_read_or_ignored(
            parts in vec(sample::select(vec![
                "<service>", "</service>", "<serviceType>", "</serviceType>", "<controlURL>", "</controlURL>", "/a", "http://192.168.1.1:5000/x",
                "urn:schemas-upnp-org:service:WANIPConnection:1", "<", ">", "&amp;", "\u{e9}", "<NewExternalIPAddress", "<errorCode>", "</errorCode>",
            ]), 0..24),
        ) {
            let text = parts.concat();
            let at = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 1), 5000);
            if let Some(service) = upnp::service(&text, at) {
                prop_assert_eq!(service.at.ip(), at.ip());
            }
            let _ = (upnp::address(&text), upnp::error_code(&text));
        }
    }
}
