//! What a room does while nothing is heard of its relay. Whether the relay is dead or only the link to it, its people know:
//! they are asked. While one of them hears it the room stays; when none does it goes elsewhere.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use confab_protocol::control::{AccountId, JoinId};
use confab_protocol::media::ConnectionId;

use super::effect::{ClientId, EventKind};
use super::state::{Media, RoomState, World};

/// People who are asked at a time.
const ASKED_AT_ONCE: usize = 32;
/// They have 250 ms to hear the relay, and some more for their answer to arrive.
const ANSWER_WAIT: Duration = Duration::from_millis(400);
/// They are asked again after this time while the link stays silent.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Where nobody can be asked, a relay may link again within this time.
const RELINK_GRACE: Duration = Duration::from_secs(2);

/// While nothing is heard of a relay.
pub(super) struct Hush {
    /// Who was asked and has not said that it hears the relay.
    unsure: BTreeSet<u16>,
    /// Whether somebody said so.
    heard: bool,
    /// Whether somebody could be asked.
    asked: bool,
    /// What the answers come to is decided then, or the next question asked.
    decide_at: Instant,
    /// False when the link is well and only people say that the relay is silent.
    is_linkless: bool,
}

impl Hush {
    pub(super) fn deadline(&self) -> Instant {
        self.decide_at
    }
}

impl RoomState {
    /// The link to the room's relay is silent or broken.
    pub(super) fn relay_silent(&mut self, now: Instant) {
        let begun = self.place.as_mut().and_then(|place| place.hush.as_mut());
        match begun {
            Some(hush) => hush.is_linkless = true,
            None => self.ask_people(now, true),
        }
    }

    /// The link is well again.
    pub(super) fn relay_heard(&mut self) {
        if let Some(place) = &mut self.place {
            place.hush = None;
        }
    }

    /// Somebody says whether the relay answers.
    pub(super) fn media_reported(
        &mut self,
        now: Instant,
        account: AccountId,
        join_id: JoinId,
        connection_id: ConnectionId,
        alive: bool,
        world: &mut dyn World,
    ) {
        let Some(sender) = self.find(account, join_id) else {
            return;
        };
        let is_meant = |media: &Media| matches!(media, Media::Open(id) if *id == connection_id);
        if !self
            .people
            .get(&sender)
            .is_some_and(|person| is_meant(&person.media))
        {
            return;
        }
        let Some(place) = &mut self.place else {
            return;
        };
        match &mut place.hush {
            None if alive => {}
            None => self.ask_people(now, false),
            Some(hush) if alive => hush.heard = true,
            Some(hush) => {
                hush.unsure.remove(&sender);
                if hush.asked && hush.unsure.is_empty() && !hush.heard {
                    hush.decide_at = now;
                    self.expire_hush(now, world);
                }
            }
        }
    }

    /// Decides, when it is time.
    pub(super) fn expire_hush(&mut self, now: Instant, world: &mut dyn World) {
        let Some(place) = &self.place else {
            return;
        };
        let Some(hush) = place.hush.as_ref().filter(|hush| hush.decide_at <= now) else {
            return;
        };
        let here = place.relay.name.clone();
        if hush.heard || !hush.is_linkless && !hush.unsure.is_empty() {
            // It lives, as far as anybody can tell.
            match hush.is_linkless {
                true => self.ask_people(now, true),
                false => self.relay_heard(),
            }
            return;
        }
        // Better a relay that may be dead than none.
        let another = world
            .pick_relay(self.region.as_ref(), None, Some(&here))
            .is_some_and(|relay| relay.name != here);
        if another {
            tracing::info!(conference = %self.conference, relay = %here, "nobody hears the relay: the room goes elsewhere");
            self.displace(now, Some(here), world);
        } else {
            let is_linkless = hush.is_linkless;
            self.ask_people(now, is_linkless);
        }
    }

    /// Asks some of those who could hear the relay whether they do.
    fn ask_people(&mut self, now: Instant, is_linkless: bool) {
        let asked: Vec<(u16, ClientId, JoinId, ConnectionId)> = self
            .people
            .values()
            .filter_map(|person| match (&person.media, person.client) {
                (Media::Open(id), Some(client)) => Some((
                    person.participant.sender,
                    client,
                    person.participant.join_id,
                    *id,
                )),
                _ => None,
            })
            .take(ASKED_AT_ONCE)
            .collect();
        let Some(place) = &mut self.place else {
            return;
        };
        let is_first = place.hush.is_none();
        let wait = match (asked.is_empty(), is_first) {
            (true, _) => RELINK_GRACE,
            (false, true) => ANSWER_WAIT,
            (false, false) => ASK_AGAIN,
        };
        place.hush = Some(Hush {
            unsure: asked.iter().map(|(sender, ..)| *sender).collect(),
            heard: false,
            asked: !asked.is_empty(),
            decide_at: now + wait,
            is_linkless,
        });
        for (_, client, join_id, connection_id) in asked {
            self.tell(vec![client], EventKind::ProbeMedia(join_id, connection_id));
        }
    }
}
