//! From what comes (instants, 32-bit timestamps) to one line of samples, and when a sender starts a new one.

use std::time::Instant;

use super::ms;

/// Transit changes by less than this on one timeline; more is a sender that started anew (or a clock that jumped).
const DISCONTINUITY: i64 = ms(3000);
/// Two packets this near to each other confirm a new timeline.
const CONFIRMATION: i64 = ms(1000);
/// When only late packets came for this long, playing is ahead of the sender.
const LATE_PATIENCE: i64 = ms(300);
/// A word may begin so much before the first packet that is sent of it, in copies beside that.
const PRE_ROLL: i64 = ms(320);
/// Primary and redundant packets that are remembered, to tell duplicates from late ones.
const REMEMBERED: usize = 128;

/// Where a packet stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// On the timeline, at this unwrapped timestamp.
    At(i64),
    /// The first of a new timeline, at this unwrapped timestamp.
    Anew(i64),
    /// On no timeline yet: dropped unless the next one confirms it.
    Unconfirmed,
}

/// Maps a sender's timestamps to the local clock.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    newest: Option<(i64, i64)>,
    /// What came before this is not played.
    first: i64,
    candidate: Option<i64>,
    late_since: Option<i64>,
    seen: Vec<(i64, bool)>,
    next_seen: usize,
}

impl Timeline {
    /// Places a primary packet that arrived at `arrival`.
    pub(super) fn place(&mut self, arrival: i64, timestamp: u32, talkspurt: bool) -> Place {
        let Some((newest, newest_arrival)) = self.newest else {
            let at = i64::from(timestamp);
            self.start(at, arrival, talkspurt);
            return Place::Anew(at);
        };
        let at = unwrap_near(newest, timestamp);
        let transit_change = (arrival - at) - (newest_arrival - newest);
        if transit_change.abs() > DISCONTINUITY {
            let confirmed = self
                .candidate
                .is_some_and(|candidate| (at - candidate).abs() < CONFIRMATION);
            if !talkspurt && !confirmed {
                self.candidate = Some(at);
                return Place::Unconfirmed;
            }
            self.start(at, arrival, talkspurt);
            return Place::Anew(at);
        }
        self.candidate = None;
        if at > newest {
            self.newest = Some((at, arrival));
        }
        Place::At(at)
    }

    /// Where a redundant copy stands; `None` for what is from before the sender was first heard, unless that was the begin of a
    /// talkspurt.
    pub(super) fn place_redundant(&self, timestamp: u32) -> Option<i64> {
        let (newest, _) = self.newest?;
        let at = unwrap_near(newest, timestamp);
        (at >= self.first && (newest - at).abs() < CONFIRMATION).then_some(at)
    }

    /// Remembers a frame; true when it was known: a primary by an earlier primary, a copy by anything.
    pub(super) fn seen_before(&mut self, at: i64, redundant: bool) -> bool {
        if let Some(known) = self.seen.iter_mut().find(|known| known.0 == at) {
            let before = redundant || !known.1;
            known.1 &= redundant;
            return before;
        }
        if self.seen.len() < REMEMBERED {
            self.seen.push((at, redundant));
        } else {
            self.seen[self.next_seen] = (at, redundant);
            self.next_seen = (self.next_seen + 1) % REMEMBERED;
        }
        false
    }

    /// Notes whether a packet came too late; true when so many did, and no other, that a new start is due at `at`.
    pub(super) fn always_late(&mut self, at: i64, arrival: i64, late: bool) -> bool {
        if !late {
            self.late_since = None;
            return false;
        }
        let since = *self.late_since.get_or_insert(arrival);
        let anew = arrival - since > LATE_PATIENCE;
        if anew {
            self.start(at, arrival, false);
        }
        anew
    }

    fn start(&mut self, at: i64, arrival: i64, talkspurt: bool) {
        self.newest = Some((at, arrival));
        // In the middle of a talkspurt what was missed is over.
        self.first = if talkspurt { at - PRE_ROLL } else { at };
        self.candidate = None;
        self.late_since = None;
        self.seen.clear();
        self.next_seen = 0;
    }
}

/// Turns instants into samples since the first one seen; earlier ones are negative.
#[derive(Debug, Default)]
pub(super) struct SampleClock {
    origin: Option<Instant>,
}

impl SampleClock {
    pub(super) fn samples(&mut self, at: Instant) -> i64 {
        let origin = *self.origin.get_or_insert(at);
        // Far beyond any uptime, and far from overflow when such values are added up.
        let micros = |d: std::time::Duration| d.as_micros().min(1 << 50) as i64;
        let since = match at.checked_duration_since(origin) {
            Some(after) => micros(after),
            None => -micros(origin.saturating_duration_since(at)),
        };
        since * 6 / 125
    }
}

/// The value nearest to `reference` whose low 32 bits are `timestamp`.
fn unwrap_near(reference: i64, timestamp: u32) -> i64 {
    reference + i64::from(timestamp.wrapping_sub(reference as u32) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_unwrapped_in_both_directions() {
        assert_eq!(unwrap_near(0xffff_ff00, 0x10), 0x1_0000_0010);
        assert_eq!(unwrap_near(0x1_0000_0010, 0xffff_ff00), 0xffff_ff00);
        assert_eq!(unwrap_near(0, 0xffff_ffff), -1);
    }

    #[test]
    fn one_stray_timestamp_does_not_restart_a_timeline_but_two_do() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.place(0, 1000, true), Place::Anew(1000));
        assert_eq!(timeline.place(960, 1960, false), Place::At(1960));
        assert_eq!(timeline.place(1920, 9_000_000, false), Place::Unconfirmed);
        assert_eq!(timeline.place(2880, 3880, false), Place::At(3880));
        assert_eq!(timeline.place(3840, 9_000_000, false), Place::Unconfirmed);
        assert_eq!(
            timeline.place(4800, 9_000_960, false),
            Place::Anew(9_000_960)
        );
    }

    #[test]
    fn what_came_before_the_first_packet_counts_only_at_the_begin_of_a_talkspurt() {
        for (talkspurt, place) in [(true, Some(40)), (false, None)] {
            let mut timeline = Timeline::default();
            timeline.place(0, 1000, talkspurt);
            assert_eq!(timeline.place_redundant(40), place);
            assert_eq!(timeline.place_redundant(1960), Some(1960));
        }
    }

    #[test]
    fn a_pause_is_no_restart_for_the_timestamps_went_on() {
        let mut timeline = Timeline::default();
        timeline.place(0, 0, true);
        let hour = ms(3_600_000);
        assert_eq!(timeline.place(hour, hour as u32, true), Place::At(hour));
    }
}
