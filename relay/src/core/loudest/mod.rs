//! The choice of a room's forwarded speakers when more speak than the limit allows. Each forwarded speaker has a place.
//! Places are shared evenly among accounts, and between accounts with equal shares by loudness, with hysteresis.
//!
//! Levels are self-declared (RFC 6464), and an account may join with many devices. So a false level gains little:
//!
//! * a place goes from an account that has more of them to one that has fewer, however loud either is. While fewer
//!   accounts speak than there are places, each of them has one and keeps it;
//! * rank rises only up to the level of quiet speech, and falls while a sound holds one level without a pause
//!   ([`Loudness`]);
//! * a place that changed stays as it is for a while, and longer towards devices whose account has a place already.

mod loudness;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub(super) use loudness::{Claim, Loudness};

use super::session::SessionSlot;

/// Most speakers of a room that can be forwarded at once, whatever the flag says.
pub(super) const MAX_SPEAKERS: usize = 64;

/// A speaker loses its place to one of an equal share only if that one is louder by this many dB.
const HYSTERESIS_DB: f32 = 6.0;

/// A place that changed does not change again for this time: shorter would cut syllables.
pub(super) const MIN_HOLD: Duration = Duration::from_millis(400);

/// The same for a speaker whose account has a place already. Longer, so that a place that devices of one account exchange
/// is open to other accounts for most of the time.
const SHARED_HOLD: Duration = Duration::from_secs(1);

/// A device that has not spoken for this time gives its place to another device of the same account.
const DEVICE_PAUSE: Duration = Duration::from_millis(300);

/// After this time without a frame clients know by themselves that a speaker has stopped.
const NOTICED: Duration = Duration::from_secs(1);

/// A speaker who has not spoken for this time has stopped: any speaker may take the place.
const STOPPED: Duration = Duration::from_secs(3);

/// Contention ends when no speaker has been refused for this time.
const CONTENTION_MEMORY: Duration = Duration::from_secs(1);

/// The speakers of a room who are forwarded.
#[derive(Debug, Default)]
pub(super) struct Loudest {
    places: Vec<Place>,
    contention: Option<Contention>,
    /// Until this time an account without a place waits for one.
    wanted_until: Option<Instant>,
}

/// A forwarded speaker.
#[derive(Clone, Copy, Debug)]
struct Place {
    session: SessionSlot,
    sender: u16,
    /// Places of this speaker's account, this one included: [`MAX_SPEAKERS`] at most.
    of_account: u8,
    account: u32,
    claim: Claim,
    /// Time at which this speaker took the place.
    since: Instant,
    /// Times of the last frame, and of the last frame with a voice.
    sent: Instant,
    spoke: Option<Instant>,
}

/// A time in which more speak than the limit allows.
#[derive(Clone, Copy, Debug)]
struct Contention {
    since: Instant,
    until: Instant,
}

/// A speaker with a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker {
    pub session: SessionSlot,
    pub sender: u16,
    /// Account label: the same for all sessions of an account in the room.
    pub account: u32,
    pub claim: Claim,
}

/// The decision on a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// It is forwarded.
    Forward,
    /// It is forwarded, and this other speaker no longer is, which the room's clients have to know.
    InsteadOf { session: SessionSlot, sender: u16 },
    /// It is not forwarded.
    Refuse,
}

impl Loudest {
    /// Decides on a frame of `speaker` in a room that forwards `limit` speakers, [`MAX_SPEAKERS`] at most.
    pub(super) fn admit(&mut self, now: Instant, limit: usize, speaker: &Speaker) -> Admission {
        if let Some(place) = self
            .places
            .iter_mut()
            .find(|p| p.session == speaker.session)
        {
            place.sender = speaker.sender;
            place.claim = speaker.claim;
            place.sent = now;
            if speaker.claim.is_voice {
                place.spoke = Some(now);
            }
            return Admission::Forward;
        }
        let held = self.places_of(speaker.account);
        let is_voice = speaker.claim.is_voice;
        // A place that an account without one waits for is neither for a second device of another account nor for silence.
        let is_awaited = self.wanted_until.is_some_and(|until| now < until);
        let gives_way = is_awaited && (held > 0 || !is_voice);
        if self.places.len() < limit.min(MAX_SPEAKERS) {
            if gives_way {
                return Admission::Refuse;
            }
            self.places.push(Place::of(speaker, now));
            self.count_accounts();
            return Admission::Forward;
        }
        let place = match (is_voice, gives_way) {
            (true, false) => self.place_for(now, speaker, held),
            (true, true) => self.own_place_for(now, speaker, SHARED_HOLD),
            (false, false) => self.longest(now, |place| Some(place.sent), STOPPED),
            (false, true) => None,
        };
        if held == 0 && is_voice {
            self.wanted_until = place.is_none().then(|| now + SHARED_HOLD);
        }
        match place {
            Some(at) => self.replace(now, at, speaker),
            None => Admission::Refuse,
        }
    }

    /// Forgets a session that has ended.
    pub(super) fn forget(&mut self, session: SessionSlot) {
        self.places.retain(|place| place.session != session);
        self.count_accounts();
    }

    /// The index of the place that a speaker without one may take, when all are taken. Its account has `held` others.
    fn place_for(&mut self, now: Instant, speaker: &Speaker, held: u8) -> Option<usize> {
        let stopped = self.longest(now, |place| place.spoke, STOPPED);
        if stopped.is_some() {
            return stopped;
        }
        let contended = self.contend(now);
        let hold = if held == 0 { MIN_HOLD } else { SHARED_HOLD };
        // First from the account that has most, if it has more than this one would have.
        let most = self.places.iter().map(|place| place.of_account).max()?;
        if most > held + 1 {
            let has_most =
                |place: &Place| place.of_account == most && place.account != speaker.account;
            let taken = self.weakest(now, hold, contended, has_most);
            return taken.or_else(|| self.own_place_for(now, speaker, hold));
        }
        let own = self.own_place_for(now, speaker, hold);
        if own.is_some() {
            return own;
        }
        // Then by loudness among those with the same claim: the account would have as many as the other has now.
        let rank = speaker.claim.rank(contended);
        self.weakest(now, hold, contended, |place| {
            let is_equal = place.account == speaker.account || place.of_account == held + 1;
            is_equal && rank > place.standing(now, contended) + HYSTERESIS_DB
        })
    }

    /// The place of another device of the account, when that pauses.
    fn own_place_for(&self, now: Instant, speaker: &Speaker, hold: Duration) -> Option<usize> {
        self.weakest(now, hold, Duration::ZERO, |place| {
            place.account == speaker.account && place.is_silent_for(now, DEVICE_PAUSE)
        })
    }

    /// The index of the place with the lowest standing, of those that `may_go` and have not changed for the time of `hold`.
    fn weakest(
        &self,
        now: Instant,
        hold: Duration,
        contended: Duration,
        may_go: impl Fn(&Place) -> bool,
    ) -> Option<usize> {
        let standing = |place: &Place| place.standing(now, contended);
        let places = self.places.iter().enumerate();
        places
            .filter(|(_, place)| now.saturating_duration_since(place.since) >= hold)
            .filter(|(_, place)| may_go(place))
            .min_by(|(_, a), (_, b)| standing(a).total_cmp(&standing(b)))
            .map(|(at, _)| at)
    }

    /// The index of the place whose time `last` is the longest ago, of those where it is `time` ago at least.
    fn longest(
        &self,
        now: Instant,
        last: impl Fn(&Place) -> Option<Instant>,
        time: Duration,
    ) -> Option<usize> {
        let since = |place: &Place| last(place).map(|last| now.saturating_duration_since(last));
        let places = self.places.iter().enumerate();
        let idle = places.filter(|(_, place)| {
            place.is_open(now) && since(place).is_none_or(|silent| silent >= time)
        });
        idle.max_by_key(|(_, place)| since(place).unwrap_or(Duration::MAX))
            .map(|(at, _)| at)
    }

    /// Notes that more speak than the limit allows. Returns for how long they have.
    fn contend(&mut self, now: Instant) -> Duration {
        let until = now + CONTENTION_MEMORY;
        let going_on = self.contention.filter(|contention| now < contention.until);
        let since = going_on.map_or(now, |contention| contention.since);
        self.contention = Some(Contention { since, until });
        now.saturating_duration_since(since)
    }

    fn places_of(&self, account: u32) -> u8 {
        let of_account = self.places.iter().find(|place| place.account == account);
        of_account.map_or(0, |place| place.of_account)
    }

    fn replace(&mut self, now: Instant, at: usize, speaker: &Speaker) -> Admission {
        let Some(place) = self.places.get_mut(at) else {
            return Admission::Refuse;
        };
        let gone = std::mem::replace(place, Place::of(speaker, now));
        self.count_accounts();
        // Clients know by themselves that this speaker has stopped.
        if now.saturating_duration_since(gone.sent) >= NOTICED {
            return Admission::Forward;
        }
        Admission::InsteadOf {
            session: gone.session,
            sender: gone.sender,
        }
    }

    fn count_accounts(&mut self) {
        for at in 0..self.places.len() {
            let account = self.places[at].account;
            let of_account = self.places.iter().filter(|place| place.account == account);
            self.places[at].of_account = of_account.count() as u8;
        }
    }
}

impl Place {
    fn of(speaker: &Speaker, now: Instant) -> Self {
        Self {
            session: speaker.session,
            sender: speaker.sender,
            of_account: 1,
            account: speaker.account,
            claim: speaker.claim,
            since: now,
            sent: now,
            spoke: speaker.claim.is_voice.then_some(now),
        }
    }

    fn is_open(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= MIN_HOLD
    }

    fn is_silent_for(&self, now: Instant, time: Duration) -> bool {
        self.spoke
            .is_none_or(|spoke| now.saturating_duration_since(spoke) >= time)
    }

    /// The speaker's rank in dB, or less than any rank if it pauses.
    fn standing(&self, now: Instant, contended: Duration) -> f32 {
        if self.is_silent_for(now, self.claim.longest_pause()) {
            let silent = self.spoke.map(|spoke| now.saturating_duration_since(spoke));
            return -1000.0 - silent.unwrap_or(STOPPED).as_secs_f32();
        }
        self.claim.rank(contended)
    }
}
