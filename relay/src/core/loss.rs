//! Loss between clients and the relay: each session's in both directions, and what a speaker is told of all receivers.
//!
//! Receivers tell the relay what they lose. Their room counts how many lose how much, in steps, so that a speaker's answer
//! costs the same in a room of any size. A speaker is told a high percentile and not the maximum: who lies about the own
//! loss costs the others nothing once a few take part.

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

/// A receiver's loss as its room counts it: indexes of [`FRACTIONS`] and [`BURSTS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Steps {
    fraction: u8,
    burst: u8,
}

/// The loss of one session.
#[derive(Default)]
pub(super) struct SessionLoss {
    /// Of the client's datagrams: now, and when it was last told.
    uplink: ReceptionCounts,
    told: ReceptionCounts,
    /// Microseconds since then.
    since_told: u32,
    /// Of the relay's datagrams, as the client told last.
    downlink: ReceptionCounts,
    /// As the room counts it, if it is recent.
    shown: Option<Steps>,
    /// Seconds since the client told it.
    age: u8,
}

impl RoomLoss {
    /// The loss of the receivers without the one that has `own`.
    fn of_receivers(&self, own: Option<Steps>) -> Loss {
        let fraction = own.map(|own| own.fraction);
        let burst = own.map(|own| own.burst);
        Loss {
            fraction: high_percentile(&self.fractions, fraction, &FRACTIONS),
            burst: high_percentile(&self.bursts, burst, &BURSTS),
        }
    }

    fn replace(&self, before: Option<Steps>, after: Option<Steps>) {
        for (steps, change) in [(before, u16::MAX), (after, 1)] {
            let Some(Steps { fraction, burst }) = steps else {
                continue;
            };
            for counts in [
                self.fractions.get(usize::from(fraction)),
                self.bursts.get(usize::from(burst)),
            ] {
                // To add 65535 takes one off.
                counts.map(|count| count.fetch_add(change, Ordering::Relaxed));
            }
        }
    }
}

/// The value that only the highest few exceed, among those counted in `counts` less one of step `own`.
fn high_percentile(counts: &[AtomicU16], own: Option<u8>, values: &[u8]) -> u8 {
    let others = |step: usize| {
        let count = counts[step].load(Ordering::Relaxed);
        usize::from(count.saturating_sub(u16::from(own.map(usize::from) == Some(step))))
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
        Self {
            fraction: nearest(&FRACTIONS, loss.fraction),
            burst: nearest(&BURSTS, loss.burst),
        }
    }
}

/// The index of the value that is nearest; of two, the larger.
fn nearest(values: &[u8], to: u8) -> u8 {
    let distance = |index: &u8| values[usize::from(*index)].abs_diff(to);
    let larger_first = (0..values.len() as u8).rev();
    larger_first.min_by_key(distance).unwrap_or(0)
}

impl SessionLoss {
    /// Counts a datagram of the client that was accepted.
    pub(super) fn count_uplink(&mut self, packet_number: u32) {
        let is_first = self.uplink.received == 0;
        self.uplink.count(packet_number);
        if is_first {
            self.told = self.uplink;
        }
    }

    /// What has come of the client's datagrams.
    pub(super) fn uplink(&self) -> ReceptionCounts {
        self.uplink
    }

    /// Takes in that time has passed.
    pub(super) fn advance(&mut self, micros: u32) {
        self.since_told = self.since_told.saturating_add(micros);
    }

    /// The client told what has come of the relay's datagrams.
    pub(super) fn take_reception(&mut self, room: &RoomLoss, counts: ReceptionCounts) {
        if let Some(loss) = counts.loss_since(&self.downlink) {
            self.show(room, Some(Steps::of(loss)));
            self.age = 0;
        }
        self.downlink = counts;
    }

    /// The client sent audio: what it is to be told, if that is due.
    pub(super) fn report(&mut self, room: &RoomLoss) -> Option<LossReport> {
        let is_due = u64::from(self.since_told) >= REPORT_INTERVAL;
        if !is_due || self.uplink.sent_since(&self.told) < MIN_REPORTED {
            return None;
        }
        let uplink = self.uplink.loss_since(&self.told)?;
        self.told = self.uplink;
        self.since_told = 0;
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

    /// What a session is told that sent 25 datagrams without a loss.
    fn told(room: &RoomLoss, session: &mut SessionLoss) -> Option<LossReport> {
        let first = session.uplink.highest + 1;
        (first..first + 26).for_each(|number| session.count_uplink(number));
        session.advance(HALF_SECOND);
        session.report(room)
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
        for number in (0..51).filter(|number| !(20..25).contains(number)) {
            session.count_uplink(number);
            assert_eq!(session.report(&room), None);
        }
        session.advance(HALF_SECOND);
        let report = session.report(&room).expect("it is due");
        assert_eq!(
            report.uplink,
            Loss {
                fraction: 25,
                burst: 20
            }
        );
        assert_eq!(session.report(&room), None, "once");
        session.advance(HALF_SECOND);
        assert_eq!(session.report(&room), None, "nothing was sent since");
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
    fn each_value_has_the_nearest_step() {
        for value in 0..=u8::MAX {
            let step = usize::from(nearest(&FRACTIONS, value));
            let apart = FRACTIONS[step].abs_diff(value);
            assert!(FRACTIONS.iter().all(|other| other.abs_diff(value) >= apart));
        }
    }
}
