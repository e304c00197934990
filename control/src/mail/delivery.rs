//! Hands letters in at the mail server, some at a time, and repeats those that it did not take.

use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp;
use lettre::{Address, AsyncTransport as _, Message};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::letter::Letter;
use super::target::{MailTarget, Transport};
use super::with_causes;
use crate::metrics::deliveries::{Delivery, DeliveryCounters};
use crate::random::jittered;

const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");
/// Letters that are handed in at a time.
const AT_A_TIME: usize = 16;
/// Letters that wait for their repetition; one more is given up. They hold up no others.
const WAITING: usize = 1024;
/// Waits before the repetitions of a letter that was not taken: its code is good for a quarter of an hour. A mail server that knows the
/// sender no better takes the second attempt ("greylisting").
pub(super) const REPETITIONS: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(60),
    Duration::from_secs(240),
];

/// Why a letter was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("the mail server: {0}")]
    Smtp(#[from] smtp::Error),
    #[error("the address has a form that mail does not know")]
    Address,
    #[error("the letter cannot be written: {0}")]
    Form(#[from] lettre::error::Error),
}

impl NotTaken {
    /// True if another attempt may have another end.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Smtp(error) if !error.is_permanent())
    }
}

/// Places for letters.
#[derive(Clone)]
struct Places {
    /// For those that are handed in.
    sending: Arc<Semaphore>,
    /// For those that wait for their repetition.
    waiting: Arc<Semaphore>,
}

impl Places {
    /// A place for a letter that is to be handed in; `None` when no letters are any more.
    async fn to_send(&self) -> Option<OwnedSemaphorePermit> {
        self.sending.clone().acquire_owned().await.ok()
    }
}

/// Sends the letters of a queue.
pub(super) struct Courier {
    transport: Transport,
    target: MailTarget,
    counters: DeliveryCounters,
    /// See [`REPETITIONS`].
    repetitions: &'static [Duration],
}

impl Courier {
    pub(super) fn new(
        target: MailTarget,
        counters: DeliveryCounters,
        repetitions: &'static [Duration],
    ) -> Result<Self, smtp::Error> {
        Ok(Self {
            transport: target.url.transport(&target.server)?,
            target,
            counters,
            repetitions,
        })
    }

    pub(super) async fn run(self, mut letters: mpsc::Receiver<Letter>) {
        let places = Places {
            sending: Arc::new(Semaphore::new(AT_A_TIME)),
            waiting: Arc::new(Semaphore::new(WAITING)),
        };
        let courier = Arc::new(self);
        while let Some(letter) = letters.recv().await {
            // Here, so that the queue fills when the mail server is slow.
            let Some(place) = places.to_send().await else {
                return;
            };
            let (courier, places) = (courier.clone(), places.clone());
            tokio::spawn(async move { courier.deliver(&letter, place, &places).await });
        }
    }

    /// Hands the letter in, at `place` first.
    async fn deliver(&self, letter: &Letter, place: OwnedSemaphorePermit, places: &Places) {
        let mut place = Some(place);
        let mut waits = self.repetitions.iter();
        loop {
            let sent = self.send(letter).await;
            place.take();
            let error = match sent {
                Ok(()) => return self.counters.count(Delivery::Taken),
                Err(error) => error,
            };
            let wait = waits.next().filter(|_| error.may_pass());
            let waiting = places.waiting.clone().try_acquire_owned();
            let (Some(wait), Ok(_waiting)) = (wait, waiting) else {
                self.counters.count(Delivery::GivenUp);
                tracing::warn!(error = %reason(&error), "a mail was given up");
                return;
            };
            tokio::time::sleep(jittered(*wait)).await;
            place = places.to_send().await;
        }
    }

    async fn send(&self, letter: &Letter) -> Result<(), NotTaken> {
        let address: Address = letter.to.as_str().parse().map_err(|_| NotTaken::Address)?;
        let server = &self.target.server;
        let message = Message::builder()
            .from(self.target.from.0.clone())
            .to(Mailbox::new(None, address))
            .subject(letter.subject(server))
            .message_id(Some(self.target.message_id()))
            // RFC 3834: nobody's machine answers it.
            .raw_header(HeaderValue::new(
                AUTO_SUBMITTED,
                "auto-generated".to_owned(),
            ))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text(server))?;
        self.transport.send(message).await?;
        Ok(())
    }
}

/// The error, but for the addresses that a mail server repeats in its answers.
fn reason(error: &NotTaken) -> String {
    match error {
        NotTaken::Smtp(error) => match error.status() {
            Some(code) => format!("the mail server answers {code}"),
            None => with_causes(error),
        },
        other => other.to_string(),
    }
}
