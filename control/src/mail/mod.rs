//! Mail to the holders of accounts, by a mail server of the operator's.
//!
//! * [`target`]: the mail server, and the sender's address; * [`letter`]: the text; * `delivery`: sends, and repeats.
//!
//! Requests never wait for it: a queue takes what fits, and the rest is counted.

mod delivery;
pub mod letter;
pub mod target;

use std::time::Duration;

use lettre::transport::smtp;
use tokio::sync::mpsc;

use crate::metrics::deliveries::{Delivery, DeliveryCounters};
use delivery::Courier;
use letter::Letter;
use target::MailTarget;

/// Most letters that wait to be sent.
const QUEUE: usize = 1024;

/// The way to the mail server. Clones share it. Without a target nothing is sent.
#[derive(Clone, Default)]
pub struct Mail(Option<Open>);

#[derive(Clone)]
struct Open {
    queue: mpsc::Sender<Letter>,
    counters: DeliveryCounters,
}

impl Mail {
    /// Starts to send by `target`. To be called inside a runtime.
    ///
    /// # Errors
    ///
    /// The URL, or TLS, cannot be used.
    pub fn start(target: MailTarget, counters: DeliveryCounters) -> Result<Self, smtp::Error> {
        Self::start_with(target, counters, &delivery::REPETITIONS)
    }

    /// The same with other waits before the repetitions of a letter.
    fn start_with(
        target: MailTarget,
        counters: DeliveryCounters,
        repetitions: &'static [Duration],
    ) -> Result<Self, smtp::Error> {
        let (queue, letters) = mpsc::channel(QUEUE);
        let courier = Courier::new(target, counters.clone(), repetitions)?;
        tokio::spawn(courier.run(letters));
        Ok(Self(Some(Open { queue, counters })))
    }

    /// True if mail is sent.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Sends a letter, unless too many wait. Does not wait.
    pub fn send(&self, letter: Letter) {
        if let Some(open) = &self.0
            && open.queue.try_send(letter).is_err()
        {
            open.counters.count(Delivery::Dropped);
        }
    }
}

/// An error with its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use confab_testdb::MailServer;

    use super::*;
    use letter::LetterKind;

    const SOON: [Duration; 3] = [Duration::from_millis(5); 3];
    const PATIENCE: Duration = Duration::from_secs(30);

    fn start(server: &MailServer, counters: &DeliveryCounters) -> Mail {
        let target = MailTarget {
            url: server.url().parse().unwrap(),
            from: "Confab <confab@example.org>".parse().unwrap(),
            server: "talk.example.org".to_owned(),
        };
        Mail::start_with(target, counters.clone(), &SOON).unwrap()
    }

    fn letter(to: &str) -> Letter {
        Letter {
            to: to.parse().unwrap(),
            username: "ann".parse().unwrap(),
            kind: LetterKind::VerifyEmail("abcd-efgh-ijkl-mnop".parse().unwrap(), 15),
        }
    }

    async fn counted(counters: &DeliveryCounters, delivery: Delivery) {
        while counters.of(delivery) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_letter_is_repeated_until_the_mail_server_takes_it() {
        let server = MailServer::start(vec![451, 421]).unwrap();
        let counters = DeliveryCounters::default();
        let mail = start(&server, &counters);
        mail.send(letter("ann@example.org"));
        let taken = server.next(PATIENCE).unwrap();
        assert_eq!(taken.to, "ann@example.org");
        let text = &taken.content;
        assert!(
            text.contains("From: \"Confab\" <confab@example.org>")
                || text.contains("From: Confab <confab@example.org>"),
            "{text}"
        );
        assert!(
            text.contains("Subject: Your address at talk.example.org\n"),
            "{text}"
        );
        assert_eq!(
            taken.word_after("verify-email "),
            Some("abcd-efgh-ijkl-mnop"),
            "{text}"
        );
        counted(&counters, Delivery::Taken).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_letter_that_is_refused_for_good_is_given_up_at_once_and_the_next_one_is_sent() {
        let server = MailServer::start(vec![550]).unwrap();
        let counters = DeliveryCounters::default();
        let mail = start(&server, &counters);
        mail.send(letter("nobody@example.org"));
        counted(&counters, Delivery::GivenUp).await;
        mail.send(letter("ann@example.org"));
        assert_eq!(server.next(PATIENCE).unwrap().to, "ann@example.org");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_letter_that_is_never_taken_is_given_up() {
        let server = MailServer::start(vec![451; 4]).unwrap();
        let counters = DeliveryCounters::default();
        start(&server, &counters).send(letter("ann@example.org"));
        counted(&counters, Delivery::GivenUp).await;
        assert!(server.next(Duration::ZERO).is_none());
    }
}
