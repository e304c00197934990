//! Webhooks: what happens in rooms, told to a program of the operator's over HTTP, signed as Standard Webhooks 1.0 says.
//!
//! * [`target`]: where it goes to, and the key that signs it;
//! * `delivery`: one request, and its repetitions.
//!
//! Rooms never wait for it: a queue takes what fits, and the rest is counted.

mod delivery;
pub mod target;

use std::time::Duration;

use confab_protocol::control::{AccountId, ConferenceId, JoinId, Slug};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::clock::{Clock, UnixMillis};
use crate::metrics::deliveries::{Delivery, DeliveryCounters};
use target::WebhookTarget;

/// Most events that wait to be told.
const QUEUE: usize = 4096;

/// Something that happened in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub conference: ConferenceId,
    pub slug: Slug,
    pub kind: NewsKind,
}

/// The kinds of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewsKind {
    /// The first participant is there.
    RoomStarted,
    /// The last one has left.
    RoomEnded,
    Joined(Someone),
    Left(Someone),
}

/// A participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Someone {
    pub join: JoinId,
    pub account: AccountId,
    /// As others are told.
    pub username: String,
}

/// The way to the operator's program. Clones share it. Without a target it takes everything and tells nobody.
#[derive(Clone, Default)]
pub struct Webhooks(Option<Open>);

#[derive(Clone)]
struct Open {
    queue: mpsc::Sender<Event>,
    counters: DeliveryCounters,
    clock: Clock,
}

/// News with the time at which it happened.
struct Event {
    news: News,
    at: UnixMillis,
}

impl Webhooks {
    /// Starts to tell `target`. To be called inside a runtime.
    ///
    /// # Errors
    ///
    /// The error of TLS, for a target with `https`.
    pub fn start(
        target: WebhookTarget,
        clock: Clock,
        counters: DeliveryCounters,
    ) -> Result<Self, rustls::Error> {
        Self::start_with(target, clock, counters, &delivery::REPETITIONS)
    }

    /// The same with other waits before the repetitions of a message.
    fn start_with(
        target: WebhookTarget,
        clock: Clock,
        counters: DeliveryCounters,
        repetitions: &'static [Duration],
    ) -> Result<Self, rustls::Error> {
        let (queue, events) = mpsc::channel(QUEUE);
        let (told, counted) = (clock.clone(), counters.clone());
        let courier = delivery::Courier::new(target, told, counted, repetitions)?;
        tokio::spawn(courier.run(events));
        Ok(Self(Some(Open {
            queue,
            counters,
            clock,
        })))
    }

    /// True if somebody is told.
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Tells the news, unless too many wait. Does not wait.
    pub fn tell(&self, news: News) {
        if let Some(open) = &self.0 {
            let at = open.clock.now();
            if open.queue.try_send(Event { news, at }).is_err() {
                open.counters.count(Delivery::Dropped);
            }
        }
    }
}

impl Event {
    /// The request's body.
    fn body(&self) -> Value {
        let News {
            conference,
            slug,
            kind,
        } = &self.news;
        let mut data = json!({
            "conference": { "id": conference.to_string(), "slug": slug.as_str() },
        });
        let (name, someone) = match kind {
            NewsKind::RoomStarted => ("room.started", None),
            NewsKind::RoomEnded => ("room.ended", None),
            NewsKind::Joined(someone) => ("participant.joined", Some(someone)),
            NewsKind::Left(someone) => ("participant.left", Some(someone)),
        };
        if let Some(someone) = someone {
            data["participant"] = json!({
                "join": someone.join.to_string(),
                "account": someone.account.to_string(),
                "username": someone.username,
            });
        }
        json!({
            "type": name,
            "timestamp": self.at.timestamp().to_string(),
            "data": data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_what_happened_where_to_whom_and_when() {
        let news = |kind| News {
            conference: ConferenceId::new([1; 16]),
            slug: "friday".parse().unwrap(),
            kind,
        };
        let event = |kind| Event {
            news: news(kind),
            at: UnixMillis(1_790_000_000_123),
        };
        let body = event(NewsKind::RoomStarted).body();
        assert_eq!(body["type"], "room.started");
        assert_eq!(body["timestamp"], "2026-09-21T14:13:20.123Z");
        assert_eq!(body["data"]["conference"]["slug"], "friday");
        assert_eq!(body["data"]["participant"], Value::Null);
        let ann = Someone {
            join: JoinId::new([2; 16]),
            account: AccountId::new([3; 16]),
            username: "ann".to_owned(),
        };
        let body = event(NewsKind::Left(ann)).body();
        assert_eq!(body["type"], "participant.left");
        assert_eq!(body["data"]["participant"]["username"], "ann");
        assert_eq!(
            body["data"]["participant"]["account"],
            "03030303030303030303030303030303"
        );
    }

    #[tokio::test]
    async fn without_a_target_nothing_is_told() {
        let webhooks = Webhooks::default();
        assert!(!webhooks.are_on());
        webhooks.tell(News {
            conference: ConferenceId::new([1; 16]),
            slug: "friday".parse().unwrap(),
            kind: NewsKind::RoomEnded,
        });
    }
}
