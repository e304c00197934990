//! Detects that the relay of a session stops answering, and schedules keep-alives.
//!
//! Voice tells by itself that the relay is there. When it stops, the relay is asked at once, for it may be a pause and may
//! be the relay's end; a quiet room costs a keep-alive each few seconds.

use std::time::{Duration, Instant};

use confab_protocol::media::KEEP_ALIVE_MAX_SECONDS;

/// First time between keep-alives while no address has answered; it grows by half with each.
const SEEK_FIRST: Duration = Duration::from_millis(100);

/// Longest time between unanswered keep-alives: a network that works again is noticed within it.
const SEEK_MAX: Duration = Duration::from_millis(400);

/// Time between keep-alives while this client sends voice: a broken path should be noticed soon.
const KEEP_ALIVE_TALKING: Duration = Duration::from_secs(2);

/// Time between keep-alives otherwise.
const KEEP_ALIVE_QUIET: Duration = Duration::from_secs(5);

/// Time without voice after which a keep-alive is sent: four frames of the longest kind, and a margin.
const VOICE_GAP: Duration = Duration::from_millis(300);

/// Time limits for a pong: before a round trip is known, and the bounds of the measured one.
const ANSWER_UNKNOWN: Duration = Duration::from_millis(300);
const ANSWER_MIN: Duration = Duration::from_millis(150);
const ANSWER_MAX: Duration = Duration::from_millis(600);

/// Number of keep-alives without any datagram in return after which a relay counts as silent.
const TRIES: u32 = 3;

/// Time without any pong, counted from the first keep-alive that got none, after which a relay is silent though voice may
/// come: what one sends does not arrive.
pub const SILENT_AFTER: Duration = Duration::from_millis(2500);

/// Time limit of a probe by control.
const PROBE_TIMEOUT: Duration = Duration::from_millis(250);

/// A timer that runs later than this shows a stall of this machine, not of the relay.
const STALL: Duration = Duration::from_millis(100);

/// Weight of a new round trip in the mean (RFC 6298 §2: 1/8).
const RTT_WEIGHT: f64 = 0.125;

const _: () = assert!(KEEP_ALIVE_QUIET.as_secs() <= KEEP_ALIVE_MAX_SECONDS);

/// The state of a session's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Connecting,
    Live,
    /// The relay does not answer keep-alives.
    Silent,
    /// The relay has ended the session.
    Over,
}

/// The state of the session's path, and its next deadline.
#[derive(Debug)]
pub(super) struct Liveness {
    health: Health,
    /// Keep-alives go to all addresses until one answers.
    seeking: bool,
    interval: Duration,
    next_keep_alive: Instant,
    /// Time of the last authentic datagram.
    heard: Option<Instant>,
    /// True from a frame of voice until nothing at all has come for [`VOICE_GAP`]; only while the session is live.
    voice_flows: bool,
    /// The first keep-alive since the last datagram, and the number of keep-alives.
    asked: Option<(Instant, u32)>,
    /// The first keep-alive since the last pong.
    unanswered_since: Option<Instant>,
    /// Time of the last sent voice.
    spoke: Option<Instant>,
    rtt: Option<Duration>,
    /// The deadline of a probe by control.
    probe: Option<Instant>,
    probed: Option<bool>,
}

impl Liveness {
    /// A new session, whose first keep-alives are due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            health: Health::Connecting,
            seeking: true,
            interval: SEEK_FIRST,
            next_keep_alive: now,
            heard: None,
            voice_flows: false,
            asked: None,
            unanswered_since: None,
            spoke: None,
            rtt: None,
            probe: None,
            probed: None,
        }
    }

    pub(super) fn health(&self) -> Health {
        self.health
    }

    /// True when the next keep-alives go to all addresses.
    pub(super) fn is_seeking(&self) -> bool {
        self.seeking
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// True while the relay answers, as far as is known.
    pub(super) fn is_answering(&self, now: Instant) -> bool {
        let patience = KEEP_ALIVE_QUIET + 2 * self.answer_time();
        let recently = |heard| now.saturating_duration_since(heard) < patience;
        let in_time = |(asked, _)| now.saturating_duration_since(asked) <= self.answer_time();
        self.health == Health::Live
            && self.heard.is_some_and(recently)
            && self.asked.is_none_or(in_time)
    }

    /// When [`due`](Self::due) is to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let keep_alive = (self.health != Health::Over).then_some(self.next_keep_alive);
        [keep_alive, self.voice_missed_at(), self.probe]
            .into_iter()
            .flatten()
            .min()
    }

    /// True when keep-alives are due. Updates the state first.
    pub(super) fn due(&mut self, now: Instant) -> bool {
        if let Some(until) = self.probe.filter(|until| now >= *until) {
            if now.duration_since(until) > STALL {
                self.probe = Some(now + STALL);
            } else {
                self.probe = None;
                self.probed = Some(false);
            }
        }
        if self.voice_missed_at().is_some_and(|at| now >= at) {
            self.voice_flows = false;
            self.next_keep_alive = self.next_keep_alive.min(now);
        }
        if self.health == Health::Over || now < self.next_keep_alive {
            return false;
        }
        if self.is_silent(now) {
            if !self.seeking {
                self.seek();
            }
            self.health = Health::Silent;
        }
        true
    }

    pub(super) fn asked(&mut self, now: Instant) {
        let (_, tries) = self.asked.get_or_insert((now, 0));
        *tries += 1;
        let tries = *tries;
        self.unanswered_since.get_or_insert(now);
        self.next_keep_alive = now
            + if self.seeking {
                let interval = self.interval;
                self.interval = (interval + interval / 2).min(SEEK_MAX);
                interval
            } else if tries <= TRIES {
                self.answer_time()
            } else {
                ANSWER_MAX
            };
    }

    /// An authentic datagram arrived.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
        self.asked = None;
        if self.probe.take().is_some() {
            self.probed = Some(true);
        }
    }

    /// An authentic datagram with voice arrived.
    pub(super) fn heard_voice(&mut self) {
        self.voice_flows = self.health == Health::Live;
    }

    /// A pong arrived for a keep-alive that was sent at `sent`. True when it ends the search for an address.
    pub(super) fn answered(&mut self, now: Instant, sent: Instant) -> bool {
        let sample = now.saturating_duration_since(sent);
        self.rtt = Some(match self.rtt {
            Some(mean) => mean.mul_f64(1.0 - RTT_WEIGHT) + sample.mul_f64(RTT_WEIGHT),
            None => sample,
        });
        if self.health == Health::Over {
            return false;
        }
        self.health = Health::Live;
        self.unanswered_since = None;
        let talks = |spoke| now.saturating_duration_since(spoke) < KEEP_ALIVE_TALKING;
        self.next_keep_alive = now
            + if self.spoke.is_some_and(talks) {
                KEEP_ALIVE_TALKING
            } else {
                KEEP_ALIVE_QUIET
            };
        std::mem::take(&mut self.seeking)
    }

    /// Voice was sent.
    pub(super) fn spoke(&mut self, now: Instant) {
        self.spoke = Some(now);
        if self.unanswered_since.is_none() {
            self.next_keep_alive = self.next_keep_alive.min(now + KEEP_ALIVE_TALKING);
        }
    }

    /// Sends keep-alives to every address from now on, at short intervals.
    pub(super) fn seek(&mut self) {
        self.seeking = true;
        self.interval = SEEK_FIRST;
    }

    /// Forgets that the relay answered: time has passed that no clock here has counted.
    pub(super) fn suspect(&mut self) {
        self.heard = None;
        self.voice_flows = false;
        self.asked = None;
        self.unanswered_since = None;
    }

    /// Starts a probe by control. A keep-alive has to be sent at once.
    pub(super) fn probe(&mut self, now: Instant) {
        self.probe.get_or_insert(now + PROBE_TIMEOUT);
    }

    /// The next report for control.
    pub(super) fn take_probed(&mut self) -> Option<bool> {
        self.probed.take()
    }

    /// The relay ended the session.
    pub(super) fn end(&mut self) {
        self.health = Health::Over;
        self.voice_flows = false;
        if self.probe.take().is_some() {
            self.probed = Some(false);
        }
    }

    fn voice_missed_at(&self) -> Option<Instant> {
        // A keep-alive that is on its way asks already.
        let heard = self.heard.filter(|_| self.voice_flows)?;
        self.asked.is_none().then_some(heard + VOICE_GAP)
    }

    fn is_silent(&self, now: Instant) -> bool {
        let nothing_came = self.health == Health::Live
            && self.asked.is_some_and(|(since, tries)| {
                tries >= TRIES && now.duration_since(since) >= self.answer_time() * TRIES
            });
        let no_pong = |since| now.duration_since(since) >= SILENT_AFTER;
        nothing_came || self.unanswered_since.is_some_and(no_pong)
    }

    fn answer_time(&self) -> Duration {
        self.rtt.map_or(ANSWER_UNKNOWN, |rtt| {
            (2 * rtt).clamp(ANSWER_MIN, ANSWER_MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Live since `now`, with a round trip of 30 ms.
    fn live(now: Instant) -> Liveness {
        let mut liveness = Liveness::new(now - 30 * MS);
        assert!(liveness.due(now - 30 * MS));
        liveness.asked(now - 30 * MS);
        liveness.heard(now);
        assert!(liveness.answered(now, now - 30 * MS));
        liveness
    }

    /// Goes from deadline to deadline for `time`, with nothing heard; when keep-alives went out.
    fn run(liveness: &mut Liveness, now: Instant, time: Duration) -> Vec<u128> {
        let mut sent = Vec::new();
        while let Some(at) = liveness.poll_timeout().filter(|at| *at <= now + time) {
            if liveness.due(at) {
                liveness.asked(at);
                sent.push((at - now).as_millis());
            }
        }
        sent
    }

    #[test]
    fn a_relay_whose_voices_stop_is_asked_and_silent_within_a_second() {
        let now = Instant::now();
        let mut liveness = live(now);
        liveness.heard(now);
        liveness.heard_voice();
        let sent = run(&mut liveness, now, 740 * MS);
        assert_eq!(sent, [300, 450, 600]);
        assert_eq!(liveness.health(), Health::Live);
        assert!(!liveness.is_answering(now + 700 * MS));
        assert_eq!(run(&mut liveness, now, 760 * MS), [750]);
        assert_eq!(liveness.health(), Health::Silent);
    }

    #[test]
    fn a_pause_costs_one_keep_alive_and_a_quiet_room_one_each_five_seconds() {
        let now = Instant::now();
        let mut liveness = live(now);
        liveness.heard(now);
        liveness.heard_voice();
        let mut sent = 0;
        while let Some(at) = liveness
            .poll_timeout()
            .filter(|at| *at <= now + 60_000 * MS)
        {
            if liveness.due(at) {
                liveness.asked(at);
                sent += 1;
                liveness.heard(at + 30 * MS);
                liveness.answered(at + 30 * MS, at);
                assert!(liveness.is_answering(at + 4900 * MS));
            }
        }
        assert_eq!(sent, 1 + 11);
        assert_eq!(liveness.health(), Health::Live);
    }

    #[test]
    fn a_stall_of_the_machine_is_no_silence_of_the_relay() {
        let now = Instant::now();
        let mut liveness = live(now);
        liveness.heard(now);
        liveness.heard_voice();
        liveness.probe(now);
        // Nothing ran for two seconds; what came meanwhile is read after the timers were looked at.
        let later = now + 2000 * MS;
        assert!(liveness.due(later));
        liveness.asked(later);
        assert_eq!(
            (liveness.health(), liveness.take_probed()),
            (Health::Live, None)
        );
        liveness.heard(later);
        assert_eq!(liveness.take_probed(), Some(true));
    }

    #[test]
    fn keep_alives_are_tried_at_least_each_half_second_for_as_long_as_none_is_answered() {
        let now = Instant::now();
        let mut liveness = live(now);
        let sent = run(&mut liveness, now, 60_000 * MS);
        assert_eq!(sent[0], 5000);
        assert!(
            sent.windows(2).all(|pair| pair[1] - pair[0] <= 500),
            "{sent:?}"
        );
        assert_eq!(liveness.health(), Health::Silent);
    }

    #[test]
    fn voice_without_pongs_says_that_ones_own_way_is_broken() {
        let now = Instant::now();
        let mut liveness = live(now);
        let mut at = now;
        while liveness.health() == Health::Live {
            at += 20 * MS;
            liveness.heard(at);
            liveness.heard_voice();
            if liveness.due(at) {
                liveness.asked(at);
            }
        }
        let silent_after = at - now - KEEP_ALIVE_QUIET;
        assert!(
            (SILENT_AFTER..SILENT_AFTER + 700 * MS).contains(&silent_after),
            "{silent_after:?}"
        );
    }

    #[test]
    fn a_probe_is_answered_by_the_first_sign_or_after_250_ms() {
        let now = Instant::now();
        let mut liveness = live(now);
        liveness.probe(now);
        liveness.heard(now + 20 * MS);
        assert_eq!(liveness.take_probed(), Some(true));
        let later = now + 1000 * MS;
        liveness.probe(later);
        assert_eq!(liveness.poll_timeout(), Some(later + 250 * MS));
        assert_eq!(liveness.take_probed(), None);
        liveness.due(later + 250 * MS);
        assert_eq!(liveness.take_probed(), Some(false));
        assert_eq!(liveness.take_probed(), None);
    }

    #[test]
    fn after_a_sleep_nothing_is_taken_for_granted() {
        let now = Instant::now();
        let mut liveness = live(now);
        assert!(liveness.is_answering(now));
        liveness.suspect();
        assert!(!liveness.is_answering(now));
        liveness.heard(now);
        assert!(liveness.is_answering(now));
    }
}
