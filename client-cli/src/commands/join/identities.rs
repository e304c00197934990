//! The others of a call, compared with the devices that are known: what is new is told, and stored.

use std::time::{Duration, Instant};

use confab_e2ee::mls::Member;
use confab_e2ee::mls::identity::ServerId;
use tokio::sync::mpsc;

use super::event::CallEvent;
use crate::clock::unix_ms;
use crate::identity::{IdentityShown, OwnDevice, Pins, Seen, Watch};
use crate::store::{Store, StoreError};

/// While somebody is not trusted, what is stored is read so often: the person may accept a device during the call.
const READ_INTERVAL: Duration = Duration::from_secs(3);

/// The identities of a call.
pub(super) struct Identities {
    watch: Watch,
    store: Store,
    server: ServerId,
    /// Nothing is sent while somebody is not trusted.
    is_strict: bool,
    was_held: bool,
    /// Answers of the store's tasks.
    answers: mpsc::Receiver<Result<Pins, StoreError>>,
    to_answers: mpsc::Sender<Result<Pins, StoreError>>,
    is_under_way: bool,
    read_at: Option<Instant>,
}

impl Identities {
    /// Reads the devices that are known at the server.
    pub(super) async fn open(
        store: Store,
        server: ServerId,
        own: OwnDevice,
        is_strict: bool,
    ) -> Result<Self, StoreError> {
        let pins = store.pins(server).await?;
        let (to_answers, answers) = mpsc::channel(1);
        Ok(Self {
            watch: Watch::new(pins, own, unix_ms()),
            store,
            server,
            is_strict,
            was_held: false,
            answers,
            to_answers,
            is_under_way: false,
            read_at: None,
        })
    }

    /// Looks at the leaves of the group. Gives what is to be told.
    pub(super) fn look(&mut self, now: Instant, member: &Member) -> Vec<CallEvent> {
        let seen = self.watch.look(member.leaves(), unix_ms());
        self.told(now, seen)
    }

    /// The next answer of the store; pending without an end while nothing is asked.
    pub(super) async fn stored(&mut self) -> Result<Pins, StoreError> {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Takes an answer of the store. Gives what is to be told.
    pub(super) fn take_stored(
        &mut self,
        now: Instant,
        answer: Result<Pins, StoreError>,
    ) -> Vec<CallEvent> {
        self.is_under_way = false;
        match answer {
            Ok(pins) => {
                let seen = self.watch.refresh(pins, unix_ms());
                self.told(now, seen)
            }
            Err(error) => {
                let message = format!("who is here is not remembered: {error}");
                vec![CallEvent::Warning { message }]
            }
        }
    }

    /// When [`expire`](Self::expire) is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.read_at
    }

    /// Reads what is stored, when it is time.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.read_at.is_some_and(|at| at <= now) {
            self.read_at = None;
            self.ask_store(now, true);
        }
    }

    /// True while nothing may be sent.
    pub(super) fn holds(&self) -> bool {
        self.is_strict && !self.watch.is_all_trusted()
    }

    fn told(&mut self, now: Instant, seen: Vec<Seen>) -> Vec<CallEvent> {
        let shown = seen.iter().map(IdentityShown::from);
        let mut events: Vec<_> = shown.map(CallEvent::Identity).collect();
        let holds = self.holds();
        if holds != std::mem::replace(&mut self.was_held, holds) {
            events.push(CallEvent::SendingHeld {
                held: holds,
                names: self.watch.untrusted().map(ToString::to_string).collect(),
            });
        }
        self.ask_store(now, false);
        events
    }

    /// Stores what is new, or reads what others have stored; one at a time, and beside the call.
    fn ask_store(&mut self, now: Instant, reads: bool) {
        let unsaved = match self.is_under_way {
            true => Vec::new(),
            false => self.watch.take_unsaved(),
        };
        if !self.is_under_way && (reads || !unsaved.is_empty()) {
            self.is_under_way = true;
            let (store, server, answers) =
                (self.store.clone(), self.server, self.to_answers.clone());
            tokio::spawn(async move {
                let answer = match unsaved.is_empty() {
                    true => store.pins(server).await,
                    false => store.pin(server, &unsaved, unix_ms()).await,
                };
                // The call may be over.
                let _ = answers.send(answer).await;
            });
        }
        if !self.watch.is_all_trusted() {
            self.read_at.get_or_insert(now + READ_INTERVAL);
        }
    }
}
