//! What a room does while nothing is heard of its relay. Whether the relay is dead or only the link to it, its participants know:
//! they are asked. While one of them hears it the room stays; when none does it goes elsewhere.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use confab_protocol::control::{AccountId, JoinId};
use confab_protocol::media::ConnectionId;

use super::effect::{ClientId, EventKind, OwnJoin};
use super::room::{MediaSession, Room, World};
use crate::cluster::RelayName;

/// People who are asked at a time.
const ASKED_AT_ONCE: usize = 32;
/// They have 250 ms to hear the relay, and some more for their answer to arrive.
const ANSWER_WAIT: Duration = Duration::from_millis(400);
/// They are asked again after this time while the link stays silent.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// For so long one who hears the relay keeps the room there; then it takes most of those who answer.
const DOUBT: Duration = Duration::from_secs(5);
/// Where nobody can be asked, a relay may link again within this time.
const RELINK_GRACE: Duration = Duration::from_secs(2);

/// Who is asked, on which media session.
type Asked = (u16, ClientId, JoinId, ConnectionId);

/// While nothing is heard of a relay.
pub(super) struct Silence {
    /// Since when.
    since: Instant,
    /// Who was asked and has not said anything.
    unsure: BTreeSet<u16>,
    /// Who said that it hears the relay.
    alive: BTreeSet<u16>,
    /// How many said that they do not.
    dead: usize,
    /// What the answers come to is decided then, or the next question asked.
    decide_at: Instant,
    /// False when the link is well and only participants say that the relay is silent.
    is_linkless: bool,
}

impl Silence {
    pub(super) fn deadline(&self) -> Instant {
        self.decide_at
    }
}

impl Room {
    /// The link to the room's relay is silent or broken.
    pub(super) fn relay_silent(&mut self, now: Instant, world: &mut dyn World) {
        let begun = self.place.as_mut().and_then(|place| place.silence.as_mut());
        match begun {
            Some(silence) => silence.is_linkless = true,
            None => self.ask_participants(now, true, world),
        }
    }

    /// The link is well again.
    pub(super) fn relay_heard(&mut self) {
        if let Some(place) = &mut self.place {
            place.silence = None;
        }
    }

    /// Somebody says whether the relay answers.
    pub(super) fn media_reported(
        &mut self,
        now: Instant,
        of: &OwnJoin,
        connection_id: ConnectionId,
        alive: bool,
        world: &mut dyn World,
    ) {
        let Some(sender) = self.find_own(of) else {
            return;
        };
        if alive {
            self.heard_unreached(now, connection_id, Some(sender));
        }
        let is_meant =
            |media: &MediaSession| matches!(media, MediaSession::Open(id) if *id == connection_id);
        if !self
            .participants
            .get(&sender)
            .is_some_and(|person| is_meant(&person.media))
        {
            return;
        }
        let Some(place) = &mut self.place else {
            return;
        };
        let Some(silence) = &mut place.silence else {
            if !alive && self.probe_limits.take(now, of.account) {
                self.ask_participants(now, false, world);
            }
            return;
        };
        if !silence.unsure.remove(&sender) {
            // Who was not asked, or has answered already, has no say.
            return;
        }
        if alive {
            silence.alive.insert(sender);
            return;
        }
        silence.dead += 1;
        if silence.unsure.is_empty()
            && silence.alive.is_empty()
            && self.another_relay(world).is_some()
        {
            self.go_elsewhere(now, world);
        }
    }

    /// Whether the link to the room's relay is silent or broken.
    pub(super) fn is_linkless(&self) -> bool {
        self.linkless_since().is_some()
    }

    /// Since when nothing is heard of the room's relay; `None` while its link is well.
    pub(super) fn linkless_since(&self) -> Option<Instant> {
        let silence = self.place.as_ref().and_then(|place| place.silence.as_ref());
        silence
            .filter(|silence| silence.is_linkless)
            .map(|silence| silence.since)
    }

    /// Decides, when it is time.
    pub(super) fn expire_silence(&mut self, now: Instant, world: &mut dyn World) {
        let Some(place) = &self.place else {
            return;
        };
        let Some(silence) = place
            .silence
            .as_ref()
            .filter(|silence| silence.decide_at <= now)
        else {
            return;
        };
        let is_linkless = silence.is_linkless;
        // One alone does not hold the others at a relay that they do not hear.
        let most_do_not = now >= silence.since + DOUBT && silence.dead > silence.alive.len();
        let is_alive = !silence.alive.is_empty() && !most_do_not;
        if !is_linkless && (is_alive || !silence.unsure.is_empty()) {
            return self.relay_heard();
        }
        // Better a relay that may be dead than none.
        if !is_alive && self.another_relay(world).is_some() {
            self.go_elsewhere(now, world);
        } else {
            self.ask_participants(now, is_linkless, world);
        }
    }

    fn go_elsewhere(&mut self, now: Instant, world: &mut dyn World) {
        let here = self.place.as_ref().map(|place| place.relay.name.clone());
        let relay = here.as_ref().map(RelayName::as_str);
        tracing::info!(conference = %self.conference, relay, "the relay is not heard: the room goes elsewhere");
        if self.linkless_since().is_some()
            && let Some(relay) = self.place.as_ref().map(|place| place.relay.clone())
        {
            self.part(now, &relay);
        }
        self.displace(now, here, world);
    }

    /// Asks some of those who could hear the relay whether they do: random ones, and one device of each account, so that nobody
    /// decides for the room by labels or devices of its own.
    fn ask_participants(&mut self, now: Instant, is_linkless: bool, world: &mut dyn World) {
        let mut could: Vec<(AccountId, Asked)> = self
            .participants
            .values()
            .filter_map(|person| match (&person.media, person.client) {
                (MediaSession::Open(id), Some(client)) => {
                    let participant = &person.participant;
                    let asked = (participant.sender, client, participant.join_id, *id);
                    Some((participant.account, asked))
                }
                _ => None,
            })
            .collect();
        shuffle(&mut could, world);
        let mut accounts = HashSet::new();
        let mut asked: Vec<Asked> = could
            .into_iter()
            .filter_map(|(account, asked)| accounts.insert(account).then_some(asked))
            .take(ASKED_AT_ONCE)
            .collect();
        asked.sort_unstable_by_key(|(sender, ..)| *sender);
        let Some(place) = &mut self.place else {
            return;
        };
        let is_first = place.silence.is_none();
        let since = place.silence.as_ref().map_or(now, |silence| silence.since);
        let wait = match (asked.is_empty(), is_first) {
            (true, _) => RELINK_GRACE,
            (false, true) => ANSWER_WAIT,
            (false, false) => ASK_AGAIN,
        };
        place.silence = Some(Silence {
            unsure: asked.iter().map(|(sender, ..)| *sender).collect(),
            alive: BTreeSet::new(),
            dead: 0,
            since,
            decide_at: now + wait,
            is_linkless,
        });
        for (_, client, join_id, connection_id) in asked {
            self.tell(vec![client], EventKind::ProbeMedia(join_id, connection_id));
        }
    }
}

/// Puts them in a random order.
fn shuffle<T>(all: &mut [T], world: &mut dyn World) {
    const DRAW_LEN: usize = 8;
    let mut drawn = vec![0; all.len() * DRAW_LEN];
    world.random(&mut drawn);
    // Fisher and Yates; that 2^64 is no multiple of the places left matters to nobody.
    for (at, bytes) in drawn.chunks_exact(DRAW_LEN).enumerate() {
        let draw = bytes
            .iter()
            .fold(0, |draw, byte| (draw << 8) | u64::from(*byte));
        let left = (all.len() - at) as u64;
        let other = at + usize::try_from(draw % left).unwrap_or_default();
        all.swap(at, other);
    }
}
