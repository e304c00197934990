//! Loss on a way that datagrams with packet numbers take: counted by who receives them, told to who sends them.

/// Time between two reports while media flows, in milliseconds.
pub const REPORT_INTERVAL_MS: u64 = 500;

/// A report covers at least so many datagrams: of fewer, the loss of one says little.
pub const MIN_REPORTED: u32 = 10;

/// Quarters of a datagram in [`Loss::burst`].
const BURST_UNITS: u64 = 4;

/// What has come of a session's datagrams in one direction, from its begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReceptionCounts {
    /// The highest packet number.
    pub highest: u32,
    /// Datagrams that were accepted, modulo 2^32.
    pub received: u32,
    /// Runs of missing packet numbers, modulo 2^16: how often a datagram's number was not the one after the highest.
    pub runs: u16,
}

/// Loss over an interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Loss {
    /// The part of the datagrams that did not arrive, in 256ths, rounded down; 255 at most (RFC 3550 §6.4.1).
    pub fraction: u8,
    /// Mean length of a run of lost datagrams, in quarters of a datagram; 0 without loss, 255 at most.
    pub burst: u8,
}

/// What a relay tells a client that sends audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LossReport {
    /// Of the client's datagrams to the relay.
    pub uplink: Loss,
    /// Of the relay's datagrams to the others in the room: a high percentile of what they count.
    pub receivers: Loss,
}

impl ReceptionCounts {
    /// Counts a datagram that was accepted and not seen before.
    pub fn count(&mut self, packet_number: u32) {
        // The first datagram of a session may have any number: those before it are of another time.
        let is_first = self.received == 0;
        self.received = self.received.wrapping_add(1);
        if is_first {
            self.highest = packet_number;
        } else if packet_number > self.highest {
            let is_next = packet_number == self.highest + 1;
            self.runs = self.runs.wrapping_add(u16::from(!is_next));
            self.highest = packet_number;
        }
    }

    /// Datagrams sent since `before`, as far as is known by their numbers.
    pub fn sent_since(&self, before: &Self) -> u32 {
        self.highest.saturating_sub(before.highest)
    }

    /// The loss since `before`; `None` if nothing is known to have been sent.
    pub fn loss_since(&self, before: &Self) -> Option<Loss> {
        let sent = u64::from(self.sent_since(before));
        let received = u64::from(self.received.wrapping_sub(before.received));
        let runs = u64::from(self.runs.wrapping_sub(before.runs));
        // A datagram that came out of order counts in a later interval than it was sent.
        let lost = sent.saturating_sub(received);
        let fraction = (lost * 256).checked_div(sent)?;
        let burst = lost * BURST_UNITS / runs.clamp(1, lost.max(1));
        let byte = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
        Some(Loss {
            fraction: byte(fraction),
            burst: byte(burst),
        })
    }
}

impl Loss {
    /// The part of the datagrams that did not arrive, 0.0 to 1.0.
    pub fn part(&self) -> f32 {
        f32::from(self.fraction) / 256.0
    }

    /// Mean length of a run of lost datagrams; 0 without loss.
    pub fn mean_burst(&self) -> f32 {
        f32::from(self.burst) / BURST_UNITS as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the numbers from `first` on of which `lost` says no.
    fn count(counts: &mut ReceptionCounts, numbers: std::ops::Range<u32>, lost: &[u32]) {
        numbers
            .filter(|number| !lost.contains(number))
            .for_each(|number| counts.count(number));
    }

    #[test]
    fn loss_and_its_runs_are_those_of_the_interval() {
        let mut counts = ReceptionCounts::default();
        count(&mut counts, 7..100, &[20, 21]);
        let before = counts;
        count(&mut counts, 100..200, &[110, 111, 112, 113, 150, 170]);
        let loss = counts.loss_since(&before).expect("datagrams were sent");
        assert_eq!(loss.fraction, 15, "6 of 100");
        assert_eq!(loss.mean_burst(), 2.0);
        assert!((loss.part() - 0.0586).abs() < 0.001);
        assert_eq!(counts.loss_since(&counts), None);
    }

    #[test]
    fn without_loss_a_report_says_so() {
        let mut counts = ReceptionCounts::default();
        let before = counts;
        count(&mut counts, 0..50, &[]);
        assert_eq!(counts.loss_since(&before), Some(Loss::default()));
    }

    #[test]
    fn what_overtakes_is_no_loss() {
        let mut counts = ReceptionCounts::default();
        counts.count(0);
        let before = counts;
        [2, 1, 4, 3, 5]
            .into_iter()
            .for_each(|number| counts.count(number));
        assert_eq!(counts.loss_since(&before), Some(Loss::default()));
    }

    #[test]
    fn counts_that_cannot_be_give_a_loss_that_can() {
        let before = ReceptionCounts {
            highest: 5,
            received: 3,
            runs: 9,
        };
        for after in [
            ReceptionCounts {
                highest: u32::MAX,
                received: 0,
                runs: 0,
            },
            ReceptionCounts {
                highest: 6,
                received: u32::MAX,
                runs: u16::MAX,
            },
            ReceptionCounts {
                highest: 0,
                received: 0,
                runs: 0,
            },
        ] {
            let loss = after.loss_since(&before);
            assert!(loss.is_none_or(|loss| loss.part() < 1.0));
        }
    }
}
