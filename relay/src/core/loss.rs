//! Loss between clients and the relay: each session's in both directions, and what a speaker is told of all receivers.
//!
//! Receivers tell the relay what they lose. Their room counts how many lose how much, in steps, so that a speaker's answer
//! costs the same in a room of any size. A speaker is told a high percentile and not the maximum: who lies about the own
//! loss costs the others nothing once a few take part.

use std::num::NonZeroU8;
use std::sync::atomic::{AtomicU16, Ordering};

use confab_protocol::media::loss::{MIN_REPORTED, REPORT_INTERVAL_MS};
use confab_protocol::media::{Loss, LossReport, ReceptionCounts};

/// Time between two reports to a speaker, in microseconds.
const REPORT_INTERVAL: u64 = REPORT_INTERVAL_MS * 1000;

/// What a receiver told counts for so many seconds.
const RECENT_SECONDS: u8 = 4;

/// The steps in which a room counts losses, in 256ths, and bursts, in quarters of a datagram.
const FRACTIONS: [u8; 16] = [
    0, 3, 6, 10, 15, 20, 25, 31, 38, 46, 56, 66, 77, 92, 110, 140,
];
const BURSTS: [u8; 8] = [0, 4, 6, 8, 12, 16, 24, 40];

/// Up to so many receivers the highest loss counts; up to [`SECOND_HIGHEST_TO`] the second highest, beyond that the 90th
/// percentile.
const HIGHEST_TO: usize = 3;
const SECOND_HIGHEST_TO: usize = 10;

/// How many receivers of a room have how much loss. Its sessions' workers write it, each for its own sessions.
#[derive(Default)]
pub(super) struct RoomLoss {
    fractions: [AtomicU16; FRACTIONS.len()],
    bursts: [AtomicU16; BURSTS.len()],
}

/// A receiver's loss as its room counts it: 1 + an index of [`FRACTIONS`] + 16 times one of [`BURSTS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Steps(NonZeroU8);

/// The loss of one session: as few bytes as it takes, for a relay has a million of them.
#[derive(Default)]
pub(super) struct SessionLoss {
    /// Datagrams of the client that were accepted, modulo 2^32.
    received: u32,
    /// The highest packet number when the client was last told.
    told_highest: u32,
    /// Microseconds since then, and datagrams and runs of missing ones.
    since_told: u32,
    received_since: u16,
    runs_since: u16,
    /// Of the relay's datagrams, as the client told last: [`ReceptionCounts`].
    downlink_highest: u32,
    downlink_received: u32,
    downlink_runs: u16,
    /// As the room counts it, if it is recent.
    shown: Option<Steps>,
    /// Seconds since the client told it.
    age: u8,
}

impl RoomLoss {
    /// The loss of the receivers without the one that has `own`.
    fn of_receivers(&self, own: Option<Steps>) -> Loss {
        let fraction = own.map(Steps::fraction);
        let burst = own.map(Steps::burst);
        Loss {
            fraction: high_percentile(&self.fractions, fraction, &FRACTIONS),
            burst: high_percentile(&self.bursts, burst, &BURSTS),
        }
    }

    fn replace(&self, before: Option<Steps>, after: Option<Steps>) {
        for (steps, change) in [(before, u16::MAX), (after, 1)] {
            let Some(steps) = steps else { continue };
            for counts in [
                self.fractions.get(steps.fraction()),
                self.bursts.get(steps.burst()),
            ] {
                // To add 65535 takes one off.
                counts.map(|count| count.fetch_add(change, Ordering::Relaxed));
            }
        }
    }
}

/// The value that only the highest few exceed, among those counted in `counts` less one of step `own`.
fn high_percentile(counts: &[AtomicU16], own: Option<usize>, values: &[u8]) -> u8 {
    let others = |step: usize| {
        let count = counts[step].load(Ordering::Relaxed);
        usize::from(count.saturating_sub(u16::from(own == Some(step))))
    };
    let total: usize = (0..counts.len()).map(others).sum();
    let rank = match total {
        ..=HIGHEST_TO => 1,
        _ if total <= SECOND_HIGHEST_TO => 2,
        _ => total.div_ceil(10),
    };
    let mut above = 0;
    for step in (0..counts.len()).rev() {
        above += others(step);
        if above >= rank {
            return values[step];
        }
    }
    0
}

impl Steps {
    fn of(loss: Loss) -> Self {
        let (fraction, burst) = (
            nearest(&FRACTIONS, loss.fraction),
            nearest(&BURSTS, loss.burst),
        );
        Self(NonZeroU8::MIN.saturating_add(fraction + FRACTIONS.len() as u8 * burst))
    }

    fn fraction(self) -> usize {
        usize::from(self.0.get() - 1) % FRACTIONS.len()
    }

    fn burst(self) -> usize {
        usize::from(self.0.get() - 1) / FRACTIONS.len()
    }
}

/// The index of the value that is nearest; of two, the larger.
fn nearest(values: &[u8], to: u8) -> u8 {
    let distance = |index: &u8| values[usize::from(*index)].abs_diff(to);
    let larger_first = (0..values.len() as u8).rev();
    larger_first.min_by_key(distance).unwrap_or(0)
}

impl SessionLoss {
    /// Counts a datagram of the client that was accepted; `highest` is the highest packet number before it.
    pub(super) fn count_uplink(&mut self, highest: Option<u32>, packet_number: u32) {
        self.received = self.received.wrapping_add(1);
        match highest {
            // What came before is of another time.
            None => self.told_highest = packet_number,
            Some(highest) => {
                let is_run = packet_number.saturating_sub(highest) > 1;
                self.runs_since = self.runs_since.saturating_add(u16::from(is_run));
                self.received_since = self.received_since.saturating_add(1);
            }
        }
    }

    /// Datagrams of the client that were accepted, modulo 2^32.
    pub(super) fn received(&self) -> u32 {
        self.received
    }

    /// Takes in that time has passed.
    pub(super) fn advance(&mut self, micros: u32) {
        self.since_told = self.since_told.saturating_add(micros);
    }

    /// The client told what has come of the relay's datagrams.
    pub(super) fn take_reception(&mut self, room: &RoomLoss, counts: ReceptionCounts) {
        let before = ReceptionCounts {
            highest: self.downlink_highest,
            received: self.downlink_received,
            runs: self.downlink_runs,
        };
        if let Some(loss) = counts.loss_since(&before) {
            self.show(room, Some(Steps::of(loss)));
            self.age = 0;
        }
        self.downlink_highest = counts.highest;
        self.downlink_received = counts.received;
        self.downlink_runs = counts.runs;
    }

    /// The client sent audio, and `highest` is its highest packet number: what it is to be told, if that is due.
    pub(super) fn report(&mut self, room: &RoomLoss, highest: u32) -> Option<LossReport> {
        let is_due = u64::from(self.since_told) >= REPORT_INTERVAL;
        if !is_due {
            return None;
        }
        let before = ReceptionCounts {
            highest: self.told_highest,
            ..ReceptionCounts::default()
        };
        let now = ReceptionCounts {
            highest,
            received: self.received_since.into(),
            runs: self.runs_since,
        };
        if now.sent_since(&before) < MIN_REPORTED {
            return None;
        }
        let uplink = now.loss_since(&before)?;
        self.told_highest = highest;
        (self.since_told, self.received_since, self.runs_since) = (0, 0, 0);
        Some(LossReport {
            uplink,
            receivers: room.of_receivers(self.shown),
        })
    }

    /// A second has passed: what the client told is forgotten when it is old.
    pub(super) fn age(&mut self, room: &RoomLoss) {
        self.age = self.age.saturating_add(1);
        if self.age >= RECENT_SECONDS {
            self.show(room, None);
        }
    }

    /// The session ends.
    pub(super) fn end(&mut self, room: &RoomLoss) {
        self.show(room, None);
    }

    fn show(&mut self, room: &RoomLoss, steps: Option<Steps>) {
        if self.shown != steps {
            room.replace(self.shown, steps);
            self.shown = steps;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In microseconds.
    const HALF_SECOND: u32 = 500_000;

    /// A session that lost `lost` of its last 100 datagrams, in runs of two.
    fn receiver(room: &RoomLoss, lost: u32) -> SessionLoss {
        let mut session = SessionLoss::default();
        session.take_reception(room, ReceptionCounts::default());
        let counts = ReceptionCounts {
            highest: 100,
            received: 100 - lost,
            runs: (lost / 2) as u16,
        };
        session.take_reception(room, counts);
        session
    }

    /// What a session is told that sends 25 datagrams more without a loss.
    fn told(room: &RoomLoss, session: &mut SessionLoss) -> Option<LossReport> {
        let first = session.told_highest;
        (first..first + 25).for_each(|number| session.count_uplink(Some(number), number + 1));
        session.advance(HALF_SECOND);
        session.report(room, first + 25)
    }

    fn fraction_told(room: &RoomLoss, session: &mut SessionLoss) -> u8 {
        told(room, session)
            .expect("a report is due")
            .receivers
            .fraction
    }

    #[test]
    fn a_speaker_is_told_the_own_uplink_each_half_second_of_audio() {
        let room = RoomLoss::default();
        let mut session = SessionLoss::default();
        let mut highest = None;
        for number in (0..51).filter(|number| !(20..25).contains(number)) {
            session.count_uplink(highest, number);
            highest = Some(number);
            assert_eq!(session.report(&room, number), None);
        }
        session.advance(HALF_SECOND);
        let report = session.report(&room, 50).expect("it is due");
        assert_eq!(
            report.uplink,
            Loss {
                fraction: 25,
                burst: 20
            }
        );
        assert_eq!(session.report(&room, 50), None, "once");
        session.advance(HALF_SECOND);
        assert_eq!(session.report(&room, 50), None, "nothing was sent since");
    }

    #[test]
    fn of_two_one_is_told_what_the_other_loses() {
        let room = RoomLoss::default();
        let (mut ann, mut ben) = (receiver(&room, 20), receiver(&room, 4));
        assert_eq!(fraction_told(&room, &mut ann), 10);
        let report = told(&room, &mut ben).expect("it is due");
        assert_eq!(
            report.receivers,
            Loss {
                fraction: 56,
                burst: 8
            }
        );
    }

    #[test]
    fn one_liar_costs_nobody_in_a_room_of_more_than_four() {
        let room = RoomLoss::default();
        let mut speaker = receiver(&room, 0);
        let mut honest: Vec<_> = (0..3).map(|_| receiver(&room, 2)).collect();
        let _liar = receiver(&room, 99);
        assert_eq!(fraction_told(&room, &mut speaker), 6);
        honest.extend((0..30).map(|_| receiver(&room, 2)));
        let _more = [receiver(&room, 90), receiver(&room, 90)];
        assert_eq!(fraction_told(&room, &mut speaker), 6);
        let _too_many = [receiver(&room, 90), receiver(&room, 90)];
        assert_eq!(fraction_told(&room, &mut speaker), 140);
    }

    #[test]
    fn what_is_old_or_whose_session_ended_counts_no_more() {
        let room = RoomLoss::default();
        let mut speaker = SessionLoss::default();
        let (mut ann, mut ben) = (receiver(&room, 20), receiver(&room, 10));
        ann.end(&room);
        ann.end(&room);
        assert_eq!(fraction_told(&room, &mut speaker), 25);
        for _ in 0..RECENT_SECONDS {
            ben.age(&room);
        }
        assert_eq!(fraction_told(&room, &mut speaker), 0);
        assert!(
            room.fractions
                .iter()
                .chain(&room.bursts)
                .all(|count| count.load(Ordering::Relaxed) == 0)
        );
    }

    #[test]
    fn a_session_has_a_few_bytes_of_it() {
        assert_eq!(size_of::<SessionLoss>(), 28);
    }

    #[test]
    fn steps_are_what_they_were_made_of() {
        for (fraction, burst) in FRACTIONS
            .iter()
            .flat_map(|one| BURSTS.map(|other| (*one, other)))
        {
            let steps = Steps::of(Loss { fraction, burst });
            let values = (FRACTIONS[steps.fraction()], BURSTS[steps.burst()]);
            assert_eq!(values, (fraction, burst));
        }
    }

    #[test]
    fn each_value_has_the_nearest_step() {
        for value in 0..=u8::MAX {
            let step = usize::from(nearest(&FRACTIONS, value));
            let apart = FRACTIONS[step].abs_diff(value);
            assert!(FRACTIONS.iter().all(|other| other.abs_diff(value) >= apart));
        }
    }
}
