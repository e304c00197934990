//! Where a room's media is.
//!
//! ```text
//!            record                arrive
//!  Nowhere ----------> Recording ----------> At <----------+
//!     ^                    ^                 | |           |
//!     |        lose        |                 | | record    | arrive
//!     +--------------------|-----------------+ |           |
//!                          |       lose        v           |
//!                          +---------------- Moving -------+
//! ```
//!
//! The owner writes the relay into the room's home before it uses it: meanwhile the room is `Recording`, or `Moving` if it is at another
//! relay. It uses the relay as well if the store does not answer. While control does not hear the relay, a [`RelayProbe`] decides whether
//! the room stays. Relays that the room has left are in [`super::former_relays`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use confab_protocol::cluster::BootId;
use confab_protocol::control::{AccountId, Region};

use super::probe_limits::ProbeLimits;
use super::relay_probe::{Outcome, RelayProbe};
use crate::cluster::LinkedRelay;
use crate::domain::RelayName;

/// Time between two attempts of a room to find a relay, or to open sessions that failed.
pub const PLACE_RETRY: Duration = Duration::from_millis(250);
/// A room that loses its relay sooner than this after it came waits [`PLACE_RETRY`] before the next one. So a relay that refuses everything
/// does not keep the server busy.
const SETTLING: Duration = Duration::from_secs(1);
/// Least time between two moves that make room for a join.
const MOVE_INTERVAL: Duration = Duration::from_secs(60);

/// The relay of a room, and the one it moves to.
pub(super) struct Placement {
    state: State,
    /// The region in which the room prefers a relay.
    region: Option<Region>,
    /// The last move that made room for a join.
    moved_for_join: Option<Instant>,
    /// Limits the probes that participants' reports start.
    probe_limits: ProbeLimits,
}

enum State {
    /// The room has no relay.
    Nowhere(Nowhere),
    /// The room has no relay, and its home is being written for the next one.
    Recording { to: LinkedRelay, nowhere: Nowhere },
    /// The room has a relay.
    At(At),
    /// The room has a relay, and its home is being written for the next one.
    Moving { at: At, to: LinkedRelay },
}

#[derive(Default)]
struct Nowhere {
    /// When the room lost its last relay, if it had one.
    since: Option<Instant>,
    /// The room looks for no relay before that.
    retry_at: Option<Instant>,
    /// The relay that is chosen only if there is no other.
    avoid: Option<RelayName>,
}

struct At {
    relay: LinkedRelay,
    since: Instant,
    /// While it is in doubt whether the relay is alive.
    probe: Option<RelayProbe>,
    /// The relay drains: when to look for another one.
    drain_at: Option<Instant>,
    /// When to open the sessions of participants that have none.
    reopen_at: Option<Instant>,
    /// Sessions that the relay failed to open since the last one it opened.
    open_failures: u32,
}

/// The next step towards a media session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Open it at the room's relay.
    Open,
    /// Choose a relay.
    Choose,
    /// Wait: for the home to be written, or for the next attempt to find a relay.
    Wait,
}

/// What follows from a participant's report about the relay.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Nothing yet.
    Noted,
    /// Start a probe.
    Probe,
    /// No participant of the current probe reaches the relay.
    Unreachable,
}

impl At {
    fn new(relay: LinkedRelay, since: Instant) -> Self {
        Self {
            relay,
            since,
            probe: None,
            drain_at: None,
            reopen_at: None,
            open_failures: 0,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let probe = self.probe.as_ref().map(RelayProbe::deadline);
        let deadlines = [probe, self.drain_at, self.reopen_at];
        deadlines.into_iter().flatten().min()
    }
}

impl Placement {
    /// A room without a relay.
    pub(super) fn new() -> Self {
        Self {
            state: State::Nowhere(Nowhere::default()),
            region: None,
            moved_for_join: None,
            probe_limits: ProbeLimits::default(),
        }
    }

    /// Takes over from a room of the same conference that just ended: its relay may not have closed all sessions yet.
    pub(super) fn follow(&mut self, before: &Self) {
        if let State::Nowhere(nowhere) = &mut self.state {
            nowhere.since = before.nowhere_since();
        }
    }

    /// The relay of the room.
    pub(super) fn relay(&self) -> Option<&LinkedRelay> {
        self.at().map(|at| &at.relay)
    }

    /// The boot id of the room's relay.
    pub(super) fn boot(&self) -> Option<BootId> {
        self.relay().map(|relay| relay.boot)
    }

    /// The relay that the home has to name.
    pub(super) fn destination(&self) -> Option<&LinkedRelay> {
        match &self.state {
            State::Nowhere(_) => None,
            State::At(at) => Some(&at.relay),
            State::Recording { to, .. } | State::Moving { to, .. } => Some(to),
        }
    }

    /// Whether that is the room's relay, or the next one.
    pub(super) fn uses(&self, relay: &RelayName) -> bool {
        let used = [self.relay(), self.destination()];
        used.into_iter().flatten().any(|used| used.name == *relay)
    }

    /// Whether the home is being written for the next relay.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self.state, State::Recording { .. } | State::Moving { .. })
    }

    /// When the room lost its relay; `None` while it has one, or if it never had.
    pub(super) fn nowhere_since(&self) -> Option<Instant> {
        match &self.state {
            State::Nowhere(nowhere) | State::Recording { nowhere, .. } => nowhere.since,
            State::At(_) | State::Moving { .. } => None,
        }
    }

    /// The relay that is chosen only if there is no other.
    pub(super) fn avoid(&self) -> Option<&RelayName> {
        match &self.state {
            State::Nowhere(nowhere) => nowhere.avoid.as_ref(),
            State::Recording { .. } | State::At(_) | State::Moving { .. } => None,
        }
    }

    pub(super) fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// Sets the preferred region, once.
    pub(super) fn prefer_region(&mut self, region: Option<Region>) {
        if self.region.is_none() {
            self.region = region;
        }
    }

    /// The next step towards a media session.
    pub(super) fn step(&self) -> Step {
        match &self.state {
            State::At(_) | State::Moving { .. } => Step::Open,
            State::Nowhere(nowhere) if nowhere.retry_at.is_none() => Step::Choose,
            State::Nowhere(_) | State::Recording { .. } => Step::Wait,
        }
    }

    /// The owner begins to write the relay into the home.
    pub(super) fn record(&mut self, to: LinkedRelay) {
        self.state = match self.take() {
            State::Nowhere(nowhere) | State::Recording { nowhere, .. } => {
                State::Recording { to, nowhere }
            }
            State::At(at) | State::Moving { at, .. } => State::Moving { at, to },
        };
    }

    /// The home is written. Returns the room's new relay and its old one; `None` if the room was not moving.
    pub(super) fn arrive(&mut self, now: Instant) -> Option<(LinkedRelay, Option<LinkedRelay>)> {
        let (to, from) = match self.take() {
            State::Recording { to, .. } => (to, None),
            State::Moving { at, to } => (to, Some(at.relay)),
            other @ (State::Nowhere(_) | State::At(_)) => {
                self.state = other;
                return None;
            }
        };
        self.state = State::At(At::new(to.clone(), now));
        Some((to, from))
    }

    /// The room was taken over at that relay.
    pub(super) fn adopt(&mut self, now: Instant, relay: LinkedRelay) {
        self.region.clone_from(&relay.region);
        self.state = State::At(At::new(relay, now));
    }

    /// The room loses its relay, which is returned.
    pub(super) fn lose(&mut self, now: Instant, avoid: Option<RelayName>) -> Option<LinkedRelay> {
        let nowhere = |at: &At| Nowhere {
            since: Some(now),
            retry_at: (now < at.since + SETTLING).then_some(now + PLACE_RETRY),
            avoid,
        };
        let (lost, state) = match self.take() {
            State::At(at) => (Some(at.relay.clone()), State::Nowhere(nowhere(&at))),
            State::Moving { at, to } => {
                let nowhere = nowhere(&at);
                (Some(at.relay), State::Recording { to, nowhere })
            }
            other @ (State::Nowhere(_) | State::Recording { .. }) => (None, other),
        };
        self.state = state;
        lost
    }

    /// The room ends, or loses its owner. Returns whether it had a relay.
    pub(super) fn end(&mut self, now: Instant) -> bool {
        let was_at = self.at().is_some();
        self.state = State::Nowhere(Nowhere {
            since: was_at.then_some(now).or(self.nowhere_since()),
            ..Nowhere::default()
        });
        was_at
    }

    /// No relay was found: choose again at that time.
    pub(super) fn choose_later(&mut self, at: Instant) {
        if let State::Nowhere(nowhere) = &mut self.state {
            nowhere.retry_at = Some(at);
        }
    }

    /// A participant needs a session: open it at that time, or earlier with others.
    pub(super) fn reopen(&mut self, at: Instant) {
        match &mut self.state {
            State::Nowhere(nowhere) => drop(nowhere.retry_at.get_or_insert(at)),
            State::At(here) | State::Moving { at: here, .. } => {
                here.reopen_at.get_or_insert(at);
            }
            // All sessions are opened on arrival.
            State::Recording { .. } => {}
        }
    }

    /// Whether it is time to open sessions, or to choose a relay, again.
    pub(super) fn take_due_retry(&mut self, now: Instant) -> bool {
        let retry_at = match &mut self.state {
            State::Nowhere(nowhere) => &mut nowhere.retry_at,
            State::At(at) | State::Moving { at, .. } => &mut at.reopen_at,
            State::Recording { .. } => return false,
        };
        retry_at.take_if(|at| *at <= now).is_some()
    }

    /// The room's relay has other addresses for sessions that are opened from now on.
    pub(super) fn readdress(&mut self, addresses: Vec<SocketAddr>) {
        if let Some(at) = self.at_mut() {
            at.relay.addresses = addresses;
        }
    }

    /// The relay drains: it is about to end.
    pub(super) fn drain(&mut self, now: Instant) {
        if let Some(at) = self.at_mut() {
            at.drain_at.get_or_insert(now);
        }
    }

    /// Whether it is time to look for another relay because this one drains.
    pub(super) fn take_due_drain(&mut self, now: Instant) -> bool {
        let drain_at = self.at_mut().map(|at| &mut at.drain_at);
        drain_at.is_some_and(|at| at.take_if(|at| *at <= now).is_some())
    }

    /// There was no other relay: look again at that time.
    pub(super) fn drain_later(&mut self, at: Instant) {
        if let Some(here) = self.at_mut() {
            here.drain_at = Some(at);
        }
    }

    /// The relay failed to open a session.
    pub(super) fn open_failed(&mut self) {
        if let Some(at) = self.at_mut() {
            at.open_failures += 1;
        }
    }

    /// The relay opened a session.
    pub(super) fn opened(&mut self) {
        if let Some(at) = self.at_mut() {
            at.open_failures = 0;
        }
    }

    /// Sessions that the relay failed to open since the last one it opened.
    pub(super) fn open_failures(&self) -> u32 {
        self.at().map_or(0, |at| at.open_failures)
    }

    /// Whether the room may move to make room for a join.
    pub(super) fn may_move_for_join(&self, now: Instant) -> bool {
        self.moved_for_join
            .is_none_or(|at| now.saturating_duration_since(at) >= MOVE_INTERVAL)
    }

    /// The room moves to make room for a join.
    pub(super) fn move_for_join(&mut self, now: Instant) {
        self.moved_for_join = Some(now);
    }

    /// The link to the relay is silent or broken. Returns whether to start a probe.
    pub(super) fn lose_link(&mut self) -> bool {
        match self.at_mut().map(|at| &mut at.probe) {
            Some(Some(probe)) => {
                probe.lose_link();
                false
            }
            Some(None) => true,
            None => false,
        }
    }

    /// The relay and its link are well.
    pub(super) fn end_probe(&mut self) {
        if let Some(at) = self.at_mut() {
            at.probe = None;
        }
    }

    /// Starts a probe of these senders.
    pub(super) fn start_probe(
        &mut self,
        now: Instant,
        senders: impl Iterator<Item = u16>,
        is_link_lost: bool,
    ) {
        if let Some(at) = self.at_mut() {
            let probe = RelayProbe::start(now, at.probe.as_ref(), senders, is_link_lost);
            at.probe = Some(probe);
        }
    }

    /// A participant reports whether it reaches the relay.
    pub(super) fn report(
        &mut self,
        now: Instant,
        (sender, account): (u16, AccountId),
        is_reached: bool,
    ) -> Report {
        let (State::At(at) | State::Moving { at, .. }) = &mut self.state else {
            return Report::Noted;
        };
        let Some(probe) = &mut at.probe else {
            return match !is_reached && self.probe_limits.take(now, account) {
                true => Report::Probe,
                false => Report::Noted,
            };
        };
        match probe.answer(sender, is_reached) {
            true => Report::Unreachable,
            false => Report::Noted,
        }
    }

    /// The outcome of the probe, when it is due.
    pub(super) fn probe_outcome(&self, now: Instant) -> Option<Outcome> {
        self.probe()?.outcome(now)
    }

    /// Start of the silence of the relay's link; `None` while the link is well.
    pub(super) fn link_lost_since(&self) -> Option<Instant> {
        self.probe()?.link_lost_since()
    }

    /// Whether the link to the room's relay is silent or broken.
    pub(super) fn is_link_lost(&self) -> bool {
        self.link_lost_since().is_some()
    }

    /// The earliest time at which something here is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Nowhere(nowhere) => nowhere.retry_at,
            State::Recording { .. } => None,
            State::At(at) | State::Moving { at, .. } => at.deadline(),
        }
    }

    fn probe(&self) -> Option<&RelayProbe> {
        self.at()?.probe.as_ref()
    }

    fn at(&self) -> Option<&At> {
        match &self.state {
            State::At(at) | State::Moving { at, .. } => Some(at),
            State::Nowhere(_) | State::Recording { .. } => None,
        }
    }

    fn at_mut(&mut self) -> Option<&mut At> {
        match &mut self.state {
            State::At(at) | State::Moving { at, .. } => Some(at),
            State::Nowhere(_) | State::Recording { .. } => None,
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Nowhere(Nowhere::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use confab_protocol::version;

    fn relay(name: &str) -> LinkedRelay {
        LinkedRelay {
            name: name.parse().unwrap(),
            boot: BootId([7; 16]),
            addresses: Vec::new(),
            region: None,
            media: version::MEDIA,
            idle_timeout: Duration::from_secs(30),
        }
    }

    fn at(name: &str, now: Instant) -> Placement {
        let mut placement = Placement::new();
        placement.record(relay(name));
        placement.arrive(now).unwrap();
        placement
    }

    fn name(relay: Option<&LinkedRelay>) -> Option<&str> {
        relay.map(|relay| relay.name.as_str())
    }

    #[test]
    fn a_room_without_a_relay_records_the_next_one_and_then_uses_it() {
        let now = Instant::now();
        let mut placement = Placement::new();
        assert_eq!(placement.step(), Step::Choose);
        placement.record(relay("one"));
        assert_eq!(
            (placement.step(), placement.is_moving()),
            (Step::Wait, true)
        );
        assert_eq!(placement.relay(), None);
        assert_eq!(name(placement.destination()), Some("one"));
        let (to, from) = placement.arrive(now).unwrap();
        assert_eq!((to.name.as_str(), from), ("one", None));
        assert_eq!(
            (placement.step(), placement.is_moving()),
            (Step::Open, false)
        );
        assert_eq!(placement.arrive(now), None, "it is there");
    }

    #[test]
    fn a_room_uses_its_relay_until_the_next_one_is_recorded() {
        let now = Instant::now();
        let mut placement = at("one", now);
        placement.record(relay("two"));
        assert_eq!(
            (placement.step(), placement.is_moving()),
            (Step::Open, true)
        );
        assert_eq!(name(placement.relay()), Some("one"));
        assert!(placement.uses(&relay("one").name) && placement.uses(&relay("two").name));
        let (to, from) = placement.arrive(now).unwrap();
        assert_eq!(to.name.as_str(), "two");
        assert_eq!(name(from.as_ref()), Some("one"));
        assert!(!placement.uses(&relay("one").name));
    }

    #[test]
    fn a_lost_relay_is_replaced_at_once_unless_it_had_just_come() {
        let now = Instant::now();
        let mut placement = at("one", now);
        let later = now + SETTLING;
        assert!(placement.lose(later, Some(relay("one").name)).is_some());
        assert_eq!(placement.step(), Step::Choose);
        assert_eq!(placement.avoid(), Some(&relay("one").name));
        assert_eq!(placement.nowhere_since(), Some(later));
        let mut placement = at("one", now);
        placement.lose(now, None);
        assert_eq!(placement.step(), Step::Wait);
        assert_eq!(placement.deadline(), Some(now + PLACE_RETRY));
        assert!(!placement.take_due_retry(now));
        assert!(placement.take_due_retry(now + PLACE_RETRY));
        assert_eq!(placement.step(), Step::Choose);
    }

    #[test]
    fn a_move_goes_on_when_the_old_relay_is_lost_meanwhile() {
        let now = Instant::now();
        let mut placement = at("one", now);
        placement.record(relay("two"));
        let lost = placement.lose(now, None);
        assert_eq!(name(lost.as_ref()), Some("one"));
        assert_eq!(placement.step(), Step::Wait);
        assert_eq!(placement.nowhere_since(), Some(now));
        assert_eq!(placement.lose(now, None), None, "it is nowhere");
        let (to, from) = placement.arrive(now).unwrap();
        assert_eq!((to.name.as_str(), from), ("two", None));
        assert_eq!(placement.nowhere_since(), None);
    }

    #[test]
    fn a_room_that_ends_hands_the_time_of_its_end_to_its_successor() {
        let now = Instant::now();
        let mut placement = at("one", now);
        assert!(placement.end(now));
        assert!(!placement.end(now + SETTLING));
        let mut next = Placement::new();
        next.follow(&placement);
        assert_eq!(next.nowhere_since(), Some(now));
    }

    #[test]
    fn a_draining_relay_is_left_when_there_is_another() {
        let now = Instant::now();
        let mut placement = at("one", now);
        assert!(!placement.take_due_drain(now));
        placement.drain(now);
        assert!(placement.take_due_drain(now));
        placement.drain_later(now + PLACE_RETRY);
        assert_eq!(placement.deadline(), Some(now + PLACE_RETRY));
        placement.record(relay("two"));
        placement.arrive(now);
        assert_eq!(placement.deadline(), None);
    }

    #[test]
    fn reports_start_a_probe_and_answers_end_it() {
        let now = Instant::now();
        let mut placement = at("one", now);
        let ann = (1, AccountId::new([1; 16]));
        assert_eq!(placement.report(now, ann, true), Report::Noted);
        assert_eq!(placement.report(now, ann, false), Report::Probe);
        placement.start_probe(now, [1].into_iter(), false);
        assert!(!placement.is_link_lost());
        assert!(!placement.lose_link(), "a probe is under way");
        assert_eq!(placement.link_lost_since(), Some(now));
        assert_eq!(placement.report(now, ann, false), Report::Unreachable);
        placement.end_probe();
        assert!(placement.lose_link());
    }
}
