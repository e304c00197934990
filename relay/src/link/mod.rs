//! The link to a control node: receives its commands, sends their results and reports of sessions that ended.
//!
//! A link that is lost is opened again for as long as the relay runs; media goes on in between.
//!
//! * `session`: a link that is up, between `hello` and the error that ends it;
//! * `orders`: handles control's messages, without I/O;
//! * `error`: the reason why a link ended, and the advice for an operator.

mod ended;
mod error;
mod hello;
mod orders;
mod session;
#[cfg(test)]
mod tests;
mod timing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use confab_protocol::cluster;
use confab_protocol::control::text::Shown;
use confab_protocol::wire::{self, relay_to_control};
use rustls::pki_types::UnixTime;
use tokio::sync::{Notify, mpsc, watch};

use crate::core::{MediaEnded, Registry};
use crate::identity::{CertificateRefusal, Identity};
use crate::tasks::LongLived;

pub(crate) use ended::EndedQueue;
use error::{LinkError, Refusal};
pub(crate) use hello::Hello;
pub use orders::{Handled, Orders};
use session::Session;
use timing::CONNECT_TIMEOUT;

/// Wait before the second attempt; doubled for each one after.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest wait between attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The same after a refusal that lasts.
const REFUSED_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A relay that was never linked ends when its name has been in use for this time: a relay that was killed is not heard for longer.
const NAME_PATIENCE: Duration = Duration::from_secs(5);

/// One link: to one control node.
pub(crate) struct Link {
    /// HOST:PORT.
    pub(crate) control: String,
    /// The relay's certificate and key.
    pub(crate) identity: Arc<Identity>,
    /// The relay's greeting.
    pub(crate) hello: Hello,
    /// Carries out the commands.
    pub(crate) registry: Arc<Registry>,
    /// Notified after each command.
    pub(crate) changed: Arc<Notify>,
    /// Sessions that ended by themselves.
    pub(crate) ended: Arc<EndedQueue>,
    /// The load, measured every second.
    pub(crate) load: watch::Receiver<wire::RelayLoad>,
    /// Count of links that are up.
    pub(crate) linked: Arc<AtomicUsize>,
    /// Notified when control requests a drain.
    pub(crate) drain: Arc<Notify>,
    /// True once any link has been up.
    pub(crate) has_linked: Arc<AtomicBool>,
    /// Told when the relay has to end, because another one has its name.
    pub(crate) name_in_use: mpsc::Sender<NameInUse>,
}

/// Another relay has this one's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the control node {control} takes no link: {said}")]
pub struct NameInUse {
    /// HOST:PORT.
    pub control: String,
    /// The control node's words, and what to do.
    pub said: String,
}

impl LongLived for Link {
    fn name(&self) -> String {
        format!("the link to {}", self.control)
    }

    /// Keeps the link up for as long as the relay lives.
    async fn run(&mut self) {
        let mut wait = BACKOFF_MIN;
        let mut in_use_since = None;
        loop {
            let refusal = Arc::new(CertificateRefusal::default());
            self.hello.public.mark_unchanged();
            let error = match self.connect(&refusal).await {
                Ok(session) => {
                    wait = BACKOFF_MIN;
                    self.serve(session, &refusal).await
                }
                Err(error) => error,
            };
            let advice = error.advice(&self.identity, &refusal, UnixTime::now());
            // A certificate that one of the sides does not take lasts as long as a refusal.
            let lasts = error.refusal().is_some() || (advice.is_some() && error.is_by_tls());
            let said = match (error.refusal(), advice) {
                (Some(Refusal::Revoked), Some(advice)) => advice.to_string(),
                (_, Some(advice)) => format!("{}; {advice}", Shown(&error)),
                (_, None) => Shown(&error).to_string(),
            };
            tracing::warn!(control = self.control, "no link to control: {said}");
            let most = match lasts {
                true => REFUSED_BACKOFF_MAX,
                false => BACKOFF_MAX,
            };
            if error.refusal() == Some(Refusal::NameInUse) {
                let since = *in_use_since.get_or_insert_with(Instant::now);
                self.end_if_second(since, said);
            } else {
                in_use_since = None;
            }
            tokio::time::sleep(wait.min(most)).await;
            wait = (wait * 2).min(most);
        }
    }
}

impl Link {
    /// Has the relay end if its name has been in use for long, and it serves nobody.
    fn end_if_second(&self, in_use_since: Instant, said: String) {
        if in_use_since.elapsed() >= NAME_PATIENCE && !self.has_linked.load(Ordering::Relaxed) {
            let control = self.control.clone();
            // Another link may have said so already.
            let _ = self.name_in_use.try_send(NameInUse { control, said });
        }
    }

    async fn connect(&self, refusal: &Arc<CertificateRefusal>) -> Result<Session, LinkError> {
        let orders = Orders::new(Arc::clone(&self.registry));
        let opening = Session::open(&self.control, &self.identity, refusal, &self.hello, orders);
        let session = tokio::time::timeout(CONNECT_TIMEOUT, opening)
            .await
            .unwrap_or(Err(LinkError::Timeout))?;
        self.has_linked.store(true, Ordering::Relaxed);
        tracing::info!(control = self.control, "linked to control");
        if session.is_loopback {
            tracing::warn!(
                "clients are given a loopback address, which only this machine reaches; for others set the relay's public address (--public-address; in confab-control serve \
                 --relay-public-address)"
            );
        }
        Ok(session)
    }

    /// Serves until the link is lost. When the addresses for clients change, a new link takes the place of the old one: control learns them
    /// from its hello, and never misses the relay.
    async fn serve(
        &mut self,
        mut session: Session,
        refusal: &Arc<CertificateRefusal>,
    ) -> LinkError {
        let _up = LinkCount::count(&self.linked);
        loop {
            let next = match self.exchange_messages(&mut session).await {
                Ok(()) => self.connect(refusal).await,
                Err(error) => Err(error),
            };
            session.close();
            session = match next {
                Ok(next) => next,
                Err(error) => return error,
            };
        }
    }

    /// Returns without an error when the addresses for clients have changed.
    async fn exchange_messages(&mut self, session: &mut Session) -> Result<(), LinkError> {
        let alive = Duration::from_millis(cluster::ALIVE_INTERVAL_MS);
        self.report_rooms(session).await?;
        loop {
            self.report_ended(session).await?;
            tokio::select! {
                taken = session.next() => match taken? {
                    Handled::Result(result) => {
                        self.changed.notify_one();
                        session.send(relay_to_control::Kind::Result(result)).await?;
                    }
                    Handled::Drain => {
                        tracing::info!(control = self.control, "control requests a drain");
                        self.drain.notify_one();
                    }
                    Handled::Hello(_) | Handled::Unknown => {}
                },
                () = self.ended.changed() => {}
                Ok(()) = self.hello.public.changed() => return Ok(()),
                Ok(()) = self.load.changed() => {
                    let load = *self.load.borrow_and_update();
                    session.send(relay_to_control::Kind::Load(load)).await?;
                    // A node that takes over a room while it moves to another relay has to know that it is here, too.
                    if load.draining {
                        self.report_rooms(session).await?;
                    }
                }
                () = tokio::time::sleep(alive) => {
                    session.send(relay_to_control::Kind::Alive(wire::Alive {})).await?;
                }
            }
        }
    }

    /// Reports the live rooms.
    async fn report_rooms(&self, session: &mut Session) -> Result<(), LinkError> {
        for rooms in self.registry.live_rooms().chunks(cluster::MAX_LIVE_ROOMS) {
            let conference_ids = rooms.iter().map(|room| room.to_wire()).collect();
            let rooms = relay_to_control::Kind::LiveRooms(wire::LiveRooms { conference_ids });
            session.send(rooms).await?;
        }
        Ok(())
    }

    /// Reports the sessions that ended by themselves. A report that cannot be sent waits for the next link.
    async fn report_ended(&self, session: &mut Session) -> Result<(), LinkError> {
        while let Some(ended) = self.ended.pop() {
            if let Err(error) = session.send(media_ended(&ended)).await {
                self.ended.put_back(ended);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Counts a link while it is up.
struct LinkCount(Arc<AtomicUsize>);

impl LinkCount {
    fn count(linked: &Arc<AtomicUsize>) -> Self {
        linked.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(linked))
    }
}

impl Drop for LinkCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn media_ended(ended: &MediaEnded) -> relay_to_control::Kind {
    relay_to_control::Kind::MediaEnded(wire::MediaEnded {
        conference_id: ended.conference.to_wire(),
        sender: ended.sender.into(),
        connection_id: Bytes::copy_from_slice(&ended.connection_id.to_bytes()),
        reason: ended.reason.into(),
    })
}
