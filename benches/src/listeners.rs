//! Many clients in one process, who are in a room, say nothing and hear nobody: the client's own connections and sessions
//! without its sound.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use confab::engine::relays::MediaEvent;
use confab::engine::{Engine, Event, Settings};
use confab::net::api::MediaReport;
use confab::net::event::ServerEvent;
use confab::net::sign_in::Access;
use confab::net::supervisor::{CallRequest, Standing, Supervisor, Update};
use confab::net::udp::{RECEIVE_LEN, Sockets};
use confab_protocol::control::Slug;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::load::group::{member_config, sleep_until};

/// How often it is looked whether something has come about.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Time for a goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// Clients that join at a time, so that a machine with few cores keeps up.
const JOIN_AT_ONCE: usize = 32;

/// Clients that are in their rooms until they are told to leave.
pub struct Listeners {
    tally: Arc<Mutex<Vec<Listener>>>,
    tasks: JoinSet<()>,
    leave: watch::Sender<bool>,
}

/// The state of a client.
#[derive(Debug, Clone, Default)]
struct Listener {
    is_in: bool,
    /// When it last lost its connection to control.
    lost: Option<Instant>,
    /// When it was last in the room again.
    back: Option<Instant>,
    /// Why it is no more.
    failed: Option<String>,
}

/// How everyone came back after a loss that all of them had.
#[derive(Debug, Clone, Copy)]
pub struct Return {
    /// From the first one's loss to the last one's return.
    pub took: Duration,
    /// When the last one was back.
    pub last: Instant,
}

/// A client's place in the tally.
#[derive(Clone)]
struct TallyEntry {
    tally: Arc<Mutex<Vec<Listener>>>,
    index: usize,
}

impl Listeners {
    /// Has each of them join its room; some at a time.
    ///
    /// # Errors
    ///
    /// Why one could not.
    pub async fn join(those: Vec<(Access, Slug)>) -> Result<Self, String> {
        let tally = Arc::new(Mutex::new(vec![Listener::default(); those.len()]));
        let (leave, left) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut joining = JoinSet::new();
        let mut waiting = those.into_iter().enumerate();
        loop {
            while joining.len() < JOIN_AT_ONCE
                && let Some((index, (access, slug))) = waiting.next()
            {
                joining.spawn(async move { (index, Supervisor::start(access, slug, None).await) });
            }
            let Some(joined) = joining.join_next().await else {
                break;
            };
            let (index, started) = joined.map_err(|error| error.to_string())?;
            let (joined, media, supervisor) = started.map_err(|error| error.to_string())?;
            let settings = Settings::default();
            let member = member_config(&joined, supervisor.server_id());
            let engine = Engine::new(&joined, media, member, settings, Instant::now());
            let engine = engine.map_err(|error| error.to_string())?;
            let sockets = Sockets::open().map_err(|error| error.to_string())?;
            let place = TallyEntry {
                tally: Arc::clone(&tally),
                index,
            };
            place.set(|listener| listener.is_in = true);
            tasks.spawn(listen(engine, supervisor, sockets, place, left.clone()));
        }
        Ok(Self {
            tally,
            tasks,
            leave,
        })
    }

    /// How many are in their rooms now, as far as they know.
    pub fn in_their_rooms(&self) -> usize {
        let tally = lock(&self.tally);
        tally.iter().filter(|listener| listener.is_in).count()
    }

    /// Waits until everyone has lost the connection once after `since`.
    ///
    /// # Errors
    ///
    /// How many had not by the deadline.
    pub async fn all_lost(&self, since: Instant, deadline: Duration) -> Result<(), String> {
        let has_lost = |listener: &Listener| listener.lost.is_some_and(|lost| lost > since);
        self.wait_for_all(has_lost, deadline).await
    }

    /// Waits until everyone has lost the connection after `since`, and is back.
    ///
    /// # Errors
    ///
    /// How many were not by the deadline, and why.
    pub async fn all_back(&self, since: Instant, deadline: Duration) -> Result<Return, String> {
        let is_back = |listener: &Listener| {
            let was_lost = listener.lost.is_some_and(|lost| lost > since);
            was_lost && listener.is_in && listener.back > listener.lost
        };
        self.wait_for_all(is_back, deadline).await?;
        let tally = lock(&self.tally);
        let first = tally.iter().filter_map(|listener| listener.lost).min();
        let last = tally.iter().filter_map(|listener| listener.back).max();
        let (first, last) = (first.unwrap_or(since), last.unwrap_or(since));
        Ok(Return {
            took: last.saturating_duration_since(first),
            last,
        })
    }

    pub async fn leave(mut self) {
        self.leave.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }

    async fn wait_for_all(
        &self,
        is_so: impl Fn(&Listener) -> bool,
        deadline: Duration,
    ) -> Result<(), String> {
        let give_up = Instant::now() + deadline;
        loop {
            let (missing, failed) = {
                let tally = lock(&self.tally);
                let missing = tally.iter().filter(|listener| !is_so(listener)).count();
                let failed = tally.iter().find_map(|listener| listener.failed.clone());
                (missing, failed)
            };
            if missing == 0 {
                return Ok(());
            }
            if Instant::now() >= give_up {
                return Err(format!("{missing} are missing; one failed: {failed:?}"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl TallyEntry {
    fn set(&self, change: impl FnOnce(&mut Listener)) {
        if let Some(listener) = lock(&self.tally).get_mut(self.index) {
            change(listener);
        }
    }

    fn failed(&self, why: String) {
        self.set(|listener| {
            listener.is_in = false;
            listener.failed = Some(why);
        });
    }
}

fn lock(tally: &Mutex<Vec<Listener>>) -> MutexGuard<'_, Vec<Listener>> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Is in the room until it is told to leave or cannot go on.
async fn listen(
    mut engine: Engine,
    mut supervisor: Supervisor,
    mut sockets: Sockets,
    place: TallyEntry,
    mut leave: watch::Receiver<bool>,
) {
    let mut buffer = [0; RECEIVE_LEN];
    let mut is_connected = true;
    loop {
        while let Some(transmit) = engine.poll_transmit() {
            // What cannot be sent is lost, as on any network.
            let _ = sockets.send(transmit.to, &transmit.datagram);
        }
        supervisor.call_stands(Standing {
            live: engine.live_session(Instant::now()),
            group: engine.group_standing(),
        });
        if is_connected {
            let join = engine.join_id();
            while let Some(message) = engine.poll_group() {
                supervisor.request(CallRequest::Group(join, message));
            }
        }
        while let Some(event) = engine.poll_event() {
            match event {
                Event::Media(MediaEvent::Rebind) => {
                    // The old sockets stay where there are no new ones.
                    let _ = sockets.rebind();
                    supervisor.request(CallRequest::NetworkChanged);
                    engine.route_changed(Instant::now());
                }
                Event::Media(MediaEvent::NeedGrant) => supervisor.request(CallRequest::Resume),
                Event::Media(MediaEvent::Live) => supervisor.request(CallRequest::NetworkBack),
                Event::Media(MediaEvent::Report {
                    connection_id,
                    alive,
                }) => supervisor.request(CallRequest::Report(MediaReport {
                    conference: engine.conference(),
                    join: engine.join_id(),
                    connection_id,
                    alive,
                })),
                _ => {}
            }
        }
        let due = engine.poll_timeout();
        tokio::select! {
            update = supervisor.updates.recv() => match update {
                Some(update) => {
                    match &update {
                        Update::Lost(_) => is_connected = false,
                        Update::Rejoined { .. } => is_connected = true,
                        _ => {}
                    }
                    if let Err(why) = take_update(&mut engine, update, &place) {
                        return place.failed(why);
                    }
                }
                None => return place.failed("the supervisor ended".to_owned()),
            },
            (length, from) = sockets.receive(&mut buffer) => {
                engine.handle_datagram(Instant::now(), from, &buffer[..length]);
            }
            () = sleep_until(due) => engine.handle_timeout(Instant::now()),
            // Whoever would tell it to leave is gone.
            _ = leave.changed() => break,
        }
    }
    let (left_to, left) = oneshot::channel();
    supervisor.request(CallRequest::Leave(left_to));
    let _ = tokio::time::timeout(GOODBYE, left).await;
    engine.leave();
    while let Some(transmit) = engine.poll_transmit() {
        let _ = sockets.send(transmit.to, &transmit.datagram);
    }
}

/// An error when it cannot go on.
fn take_update(engine: &mut Engine, update: Update, place: &TallyEntry) -> Result<(), String> {
    let now = Instant::now();
    match update {
        Update::Event(ServerEvent::Room(conference, event)) => {
            engine.handle_room_event(conference, event, now);
        }
        Update::Event(ServerEvent::MediaMoved(join, grant)) if join == engine.join_id() => {
            engine.move_media(grant, now);
        }
        Update::Event(ServerEvent::ProbeMedia(join, connection_id)) => {
            engine.probe_media(join, connection_id, now);
        }
        Update::Event(ServerEvent::Removed(join, reason)) if join == engine.join_id() => {
            return Err(format!("removed: {reason:?}"));
        }
        Update::Event(ServerEvent::SessionEnded) => return Err("the session ended".to_owned()),
        Update::Event(_) => {}
        Update::Group(group) => engine.handle_group(now, group.message),
        Update::Lost(_) => place.set(|listener| {
            listener.is_in = false;
            listener.lost = Some(now);
        }),
        Update::Rejoined { joined, .. } => {
            engine.rejoined(&joined, now);
            place.set(|listener| {
                listener.is_in = true;
                listener.back = Some(now);
            });
        }
        Update::Failed(error) => return Err(error.to_string()),
    }
    Ok(())
}
