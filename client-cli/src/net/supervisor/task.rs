//! The task that keeps the participation.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, Instant};

use confab_protocol::control::text::Shown;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use super::attempt::{AttemptOutcome, interruptible};
use super::failure::{is_for_the_person, log_failure, retry_after};
use super::messages::{CallRequest, Standing, Update};
use super::outbox::{self, Full, Outbox};
use super::rejoin_wish::RejoinWish;
use crate::engine::room::LeaveReason;
use crate::net::api::{OwnJoin, Resume};
use crate::net::entry::{Connected, Entered, Room, is_final, is_limit, refresh_at};
use crate::net::event::{GroupMessage, Incoming, ServerEvent};
use crate::net::link::Lost;
use crate::net::retry::{Backoff, after_going_away};
use crate::net::sign_in::{Access, SignInError, SignedIn};
use crate::net::{ApiError, Link};

/// Time after which the server frees the places of this client's lost connection.
const PLACES_RETURN: Duration = Duration::from_secs(45);

/// Time between two attempts to exchange a token that is due.
const REFRESH_AGAIN: Duration = Duration::from_secs(60);

/// After a suspension of this length a new connection is made: a server drops a silent one after 30 s.
const LONG_SLEEP: Duration = Duration::from_secs(15);

/// When the network works again, an attempt to connect that is younger than this goes on.
const FRESH_TRY: Duration = Duration::from_millis(500);

/// Places of the queue that are reserved for updates other than events.
const RESERVED: usize = 64;

/// Most events that wait for a join's answer. Then no more are read.
const MAX_HELD: usize = 1024;

/// Time limit of a running token exchange at the end of the call.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Task {
    access: Access,
    room: Room,
    join: OwnJoin,
    /// The wish to resume the join, if there is one.
    wish: Option<RejoinWish>,
    updates: mpsc::Sender<Update>,
    requests: mpsc::UnboundedReceiver<CallRequest>,
    standing: watch::Receiver<Standing>,
    outbox: Outbox,
}

/// Why a connection is no longer served.
enum ServeEnd {
    Over,
    Lost { lost: Lost, wait: Option<Duration> },
}

type UnderWay<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

type Joining<'a> = UnderWay<'a, Result<Entered, ApiError>>;

/// A running token exchange.
type Refreshing<'a> = UnderWay<'a, Result<SignedIn, SignInError>>;

impl Task {
    pub(super) fn new(
        access: Access,
        room: Room,
        join: OwnJoin,
        updates: mpsc::Sender<Update>,
        requests: mpsc::UnboundedReceiver<CallRequest>,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        Self {
            access,
            room,
            join,
            wish: None,
            updates,
            requests,
            standing,
            outbox: Outbox::default(),
        }
    }

    /// Serves `connected`, and connects again whenever the connection is lost, until the call ends.
    pub(super) async fn run(mut self, mut connected: Connected) {
        loop {
            let (lost, wait) = match self.serve(&mut connected).await {
                ServeEnd::Over => return,
                ServeEnd::Lost { lost, wait } => (lost, wait),
            };
            if lost.node_is_gone {
                self.access.lost(&connected.link.node);
            }
            self.tell(Update::Lost(lost.reason));
            drop(connected);
            match self.reconnect(wait).await {
                Some(again) => connected = again,
                None => return,
            }
        }
    }

    async fn serve(&mut self, connected: &mut Connected) -> ServeEnd {
        let Connected {
            link,
            incoming: Incoming { events, group },
            refresh_at: due,
        } = connected;
        let link = &*link;
        let mut joining: Option<Joining<'_>> = None;
        // May wait for the config directory, so it runs concurrently.
        let mut refreshing: Option<Refreshing<'_>> = None;
        // One request to the group at a time, so that its messages stay in order.
        let mut sending: Option<UnderWay<'_, ()>> = None;
        // Events that came while a join was on its way: its answer may hold them already, or be older.
        let mut held = VecDeque::new();
        loop {
            let has_room = self.updates.capacity() > RESERVED;
            if joining.is_none()
                && has_room
                && let Some(event) = held.pop_front()
            {
                match self.take_event(event) {
                    EventOutcome::Told => {}
                    EventOutcome::Rejoin => self.wish = Some(RejoinWish::now()),
                    EventOutcome::Away(served) => return served,
                }
                continue;
            }
            if sending.is_none() {
                let batch = self.outbox.next_batch();
                if !batch.is_empty() {
                    sending = Some(Box::pin(outbox::send(link, self.join.clone(), batch)));
                }
            }
            let wished = self.wish.as_ref().map(|wish| wish.at());
            let updates = &self.updates;
            let room = async { drop(updates.reserve_many(RESERVED + 1).await) };
            tokio::select! {
                event = events.recv(), if has_room && held.len() < MAX_HELD => match event {
                    // Voice waits for nothing; what is older than the join's answer is told by its placement.
                    Some(event @ (ServerEvent::ProbeMedia(..) | ServerEvent::MediaMoved(..))) => {
                        self.tell(Update::Event(event));
                    }
                    Some(event) => held.push_back(event),
                    None => return ServeEnd::Lost { lost: link.lost().await, wait: None },
                },
                // While a join is on its way, messages wait: its answer comes before what follows from it.
                message = group.recv(), if has_room && joining.is_none() => match message {
                    Some(message) => self.take_group_message(message),
                    None => return ServeEnd::Lost { lost: link.lost().await, wait: None },
                },
                () = ended(&mut sending) => sending = None,
                // The call has taken some: look again.
                () = room, if !has_room => {}
                refreshed = ended(&mut refreshing) => {
                    refreshing = None;
                    *due = Instant::now() + REFRESH_AGAIN;
                    match refreshed {
                        Ok(signed_in) if signed_in.is_kept => {
                            *due = refresh_at(link, &signed_in).max(*due);
                        }
                        Ok(_) => {}
                        Err(error) if is_final(&error) => {
                            self.tell(Update::Failed(error));
                            return ServeEnd::Over;
                        }
                        Err(error) => log_failure(&error),
                    }
                }
                answer = ended(&mut joining) => {
                    joining = None;
                    if let Some(served) = self.take_answer(answer) {
                        return served;
                    }
                }
                request = self.requests.recv() => match request {
                    Some(CallRequest::Resume) => self.wish = Some(RejoinWish::now()),
                    Some(CallRequest::NetworkBack) => {}
                    Some(CallRequest::NetworkChanged) => link.rebind(),
                    Some(CallRequest::Woke(slept)) if slept < LONG_SLEEP => link.rebind(),
                    Some(CallRequest::Woke(slept)) => {
                        return lost(&format!("asleep for {:.0} s", slept.as_secs_f64()));
                    }
                    Some(CallRequest::Report(report)) => link.report_media(report, &self.join.secret),
                    Some(CallRequest::ReportFrames(conference, unreadable)) => {
                        link.report_frames(conference, &self.join, unreadable);
                    }
                    Some(CallRequest::Group(join, message)) if join == self.join.id => {
                        if let Err(Full) = self.outbox.push(message) {
                            return lost("the server takes no messages of the room's group");
                        }
                    }
                    // Of a join that is over.
                    Some(CallRequest::Group(..)) => {}
                    Some(CallRequest::Leave(left)) => {
                        if let Err(error) = link.leave(&self.room.slug, self.join.id).await {
                            tracing::debug!(error = %Shown(error), "the server was not told of the leave");
                        }
                        // A token that was exchanged but not stored would cost the session.
                        if refreshing.is_some() {
                            let refreshed = ended(&mut refreshing);
                            let _ = tokio::time::timeout(REFRESH_TIMEOUT, refreshed).await;
                        }
                        link.close().await;
                        // The call may have stopped waiting.
                        let _ = left.send(());
                        return ServeEnd::Over;
                    }
                    None => return ServeEnd::Over,
                },
                () = at(wished), if joining.is_none() => joining = Some(self.joining(link)),
                () = at(Some(*due)), if refreshing.is_none() => {
                    let (access, now_ms) = (self.access.clone(), link.server_now_ms());
                    refreshing = Some(Box::pin(async move { access.sign_in(link, now_ms).await }));
                }
            }
        }
    }

    /// Connects and joins again. `None`: it cannot succeed any more, or the call leaves.
    async fn reconnect(&mut self, mut least: Option<Duration>) -> Option<Connected> {
        let (mut backoff, began) = (Backoff::new(), Instant::now());
        let mut has_warned = false;
        loop {
            let pause = backoff.wait(least.take(), crate::random::fraction());
            let pause = tokio::time::sleep(pause);
            let requested = (&mut self.requests, &mut self.wish);
            if let AttemptOutcome::Unwanted =
                interruptible(requested, pause, Some(Duration::ZERO)).await
            {
                return None;
            }
            let connected = loop {
                let connecting = Connected::open(&mut self.access);
                let requested = (&mut self.requests, &mut self.wish);
                match interruptible(requested, connecting, Some(FRESH_TRY)).await {
                    AttemptOutcome::Ended(result) => break result,
                    AttemptOutcome::Again => {}
                    AttemptOutcome::Unwanted => return None,
                }
            };
            let entered = match connected {
                Ok(connected) => {
                    let (join, standing) = (self.join.clone(), self.standing.clone());
                    let resume = || Some(resume(&join, &standing));
                    let node = connected.link.node.clone();
                    let entering = self.room.enter(connected, &mut self.access, resume);
                    let requested = (&mut self.requests, &mut self.wish);
                    match interruptible(requested, entering, None).await {
                        AttemptOutcome::Ended(result) => {
                            if matches!(result, Err(SignInError::Api(ApiError::Timeout))) {
                                self.access.lost(&node);
                            }
                            result
                        }
                        AttemptOutcome::Again => continue,
                        AttemptOutcome::Unwanted => return None,
                    }
                }
                Err(error) => Err(error),
            };
            match entered {
                Ok((connected, entered)) => {
                    self.rejoined(entered, true);
                    return Some(connected);
                }
                Err(error)
                    if is_final(&error)
                        && !(is_limit(&error) && began.elapsed() < PLACES_RETURN) =>
                {
                    self.tell(Update::Failed(error));
                    return None;
                }
                Err(error) => {
                    if is_for_the_person(&error) && !std::mem::replace(&mut has_warned, true) {
                        self.tell(Update::Lost(error.to_string()));
                    }
                    log_failure(&error);
                    least = retry_after(&error);
                }
            }
        }
    }

    /// Resumes the join on an open connection.
    fn joining<'a>(&self, link: &'a Link) -> Joining<'a> {
        let (room, join, standing) = (self.room.clone(), self.join.clone(), self.standing.clone());
        Box::pin(async move { room.ask(link, || Some(resume(&join, &standing))).await })
    }

    /// Takes the answer to a join. `Some`: the connection is of no more use.
    fn take_answer(&mut self, answer: Result<Entered, ApiError>) -> Option<ServeEnd> {
        match answer {
            Ok(entered) => {
                self.rejoined(entered, false);
                None
            }
            Err(ApiError::Lost(reason)) => Some(lost(&reason)),
            Err(ApiError::Elsewhere(_)) => Some(lost("the room has gone to another node")),
            Err(ApiError::Timeout) => Some(ServeEnd::Lost {
                lost: Lost {
                    reason: "the server does not answer".into(),
                    node_is_gone: true,
                },
                wait: None,
            }),
            Err(error) => {
                let error = SignInError::from(error);
                if is_final(&error) {
                    self.tell(Update::Failed(error));
                    return Some(ServeEnd::Over);
                }
                log_failure(&error);
                if let Some(wish) = &mut self.wish {
                    wish.put_off(retry_after(&error));
                }
                None
            }
        }
    }

    fn take_event(&mut self, event: ServerEvent) -> EventOutcome {
        match event {
            ServerEvent::GoingAway(wait) => EventOutcome::Away(ServeEnd::Lost {
                lost: Lost {
                    reason: "the server is going away".into(),
                    node_is_gone: true,
                },
                wait: Some(after_going_away(wait, crate::random::fraction())),
            }),
            // The relay heard nothing for long, as after a computer's sleep. One is here again.
            ServerEvent::Removed(join, LeaveReason::Lost) if join == self.join.id => {
                EventOutcome::Rejoin
            }
            event => {
                self.tell(Update::Event(event));
                EventOutcome::Told
            }
        }
    }

    fn take_group_message(&self, message: GroupMessage) {
        let is_for_all = message.join.is_none();
        if message.conference == self.join.conference
            && (is_for_all || message.join == Some(self.join.id))
        {
            self.tell(Update::Group(message));
        }
    }

    fn rejoined(&mut self, entered: Entered, reconnected: bool) {
        if reconnected || self.join.id != entered.joined.me.join_id {
            self.outbox.clear();
        }
        self.join.conference = entered.joined.conference;
        self.join.id = entered.joined.me.join_id;
        if let Some(secret) = &entered.joined.resume {
            self.join.secret = secret.clone();
        }
        // A session that was live when the join was asked for may be dead by now.
        if entered.joined.media.is_some() || self.standing.borrow().live.is_some() {
            self.wish = None;
        }
        self.tell(Update::Rejoined {
            joined: Box::new(entered.joined),
            resumed: entered.resumed,
            reconnected,
        });
    }

    fn tell(&self, update: Update) {
        // Without a listener the requests end too, and with them this task. Room is left for what is told here.
        if let Err(TrySendError::Full(_)) = self.updates.try_send(update) {
            tracing::warn!("the call takes no news: some of it is lost");
        }
    }
}

/// The task's reaction to an event.
enum EventOutcome {
    Told,
    /// The join has to be resumed.
    Rejoin,
    Away(ServeEnd),
}

/// Result of a running operation; pending when none is running.
async fn ended<T>(under_way: &mut Option<UnderWay<'_, T>>) -> T {
    match under_way {
        Some(under_way) => under_way.await,
        None => std::future::pending().await,
    }
}

/// Resolves at this time; `None`: never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

fn resume(join: &OwnJoin, standing: &watch::Receiver<Standing>) -> Resume {
    let Standing { live, group } = *standing.borrow();
    Resume {
        join: join.clone(),
        live,
        group,
    }
}

/// The end of a connection whose node may be alive.
fn lost(reason: &str) -> ServeEnd {
    ServeEnd::Lost {
        lost: Lost {
            reason: reason.to_owned(),
            node_is_gone: false,
        },
        wait: None,
    }
}
