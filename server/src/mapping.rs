//! Keeps the relay and the operator informed of what the router maps.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use confab_control::commands::HeldPorts;
use tokio::sync::{mpsc, oneshot, watch};

use crate::link::FirstLink;
use crate::ports;
use crate::reach;
use crate::router::{External, Ports, Router, State};

/// After this time the operator is told that the router has not answered.
const ANSWER: Duration = Duration::from_secs(5);
/// Lines for the operator that may wait.
const NEWS: usize = 16;

/// A request for ports of the router, and the parts that depend on its outcome.
pub(crate) struct Mapping {
    pub(crate) ports: Ports,
    /// This machine's address.
    pub(crate) own: IpAddr,
    /// The relay's addresses without those of the router.
    pub(crate) relay_addresses: Vec<SocketAddr>,
    /// The addresses that clients are told of the relay.
    pub(crate) told: watch::Sender<Vec<SocketAddr>>,
    pub(crate) link: FirstLink,
}

impl Mapping {
    /// Begins to ask the router. To be called inside a tokio runtime.
    pub(crate) fn hold(self) -> HeldPorts {
        let (news_to, news) = mpsc::channel(NEWS);
        let (end, ends) = oneshot::channel();
        let router = Router::open(self.ports);
        let task = tokio::spawn(self.follow(router, news_to, ends));
        HeldPorts { news, end, task }
    }

    async fn follow(
        self,
        router: Router,
        news: mpsc::Sender<String>,
        mut ends: oneshot::Receiver<()>,
    ) {
        let mut state = router.state();
        let following = async {
            let answered = state.wait_for(|state| *state != State::Asking);
            // The state is told also if it has not changed by then.
            let _ = tokio::time::timeout(ANSWER, answered).await;
            loop {
                let now = state.borrow_and_update().clone();
                for line in self.apply(&now) {
                    // A line that nobody takes is lost: no reason to wait.
                    let _ = news.try_send(line);
                }
                if state.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        tokio::select! {
            () = following => {}
            _ = &mut ends => {}
        }
        router.close().await;
    }

    /// Tells the relay its addresses, and gives the lines for the operator.
    fn apply(&self, state: &State) -> Vec<String> {
        let external = match state {
            State::Mapped(external) => Some(*external),
            State::Asking | State::NotMapped(_) => None,
        };
        let relay = external.map(|External { relay, .. }| SocketAddr::V4(relay));
        let addresses = reach::with_external(relay, &self.relay_addresses);
        self.told.send_if_modified(|told| {
            let is_new = *told != addresses;
            *told = addresses;
            is_new
        });
        let mut lines = vec![ports::outcome(state, self.ports, self.own)];
        let control = external.map(|External { control, .. }| control);
        lines.extend(self.link.lines(control));
        lines
    }
}
