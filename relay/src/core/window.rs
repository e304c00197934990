//! How long frames wait for other frames of their room: longer under load, where fewer datagrams save processor time.

use std::time::Duration;

/// Below this share of busy time the window is the shortest.
const IDLE_SHARE: f64 = 0.25;
/// From this share on the window is the longest.
const BUSY_SHARE: f64 = 0.75;
/// Time over which the share is measured: many batches, and short compared with a change of the load.
const MEASURE: Duration = Duration::from_millis(100);

/// Sets a worker's window by its load.
#[derive(Clone, Debug)]
pub struct WindowControl {
    min: Duration,
    max: Duration,
    window: Duration,
    busy: Duration,
    total: Duration,
}

impl WindowControl {
    /// A window between `min`, while the worker is idle, and `max`, when it is busy.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            window: min,
            busy: Duration::ZERO,
            total: Duration::ZERO,
        }
    }

    /// Takes in that the worker was busy for `busy` of the time `total`. Returns the window from now on.
    pub fn measure(&mut self, busy: Duration, total: Duration) -> Duration {
        self.busy += busy;
        self.total += total;
        if self.total >= MEASURE {
            let share = self.busy.as_secs_f64() / self.total.as_secs_f64();
            let rise = ((share - IDLE_SHARE) / (BUSY_SHARE - IDLE_SHARE)).clamp(0.0, 1.0);
            // A longer window lowers the load that made it grow: half a step at a time finds the balance.
            let wanted = self.min + (self.max - self.min).mul_f64(rise);
            self.window = (self.window + wanted) / 2;
            if self.window < self.min + Duration::from_micros(50) {
                self.window = self.min;
            }
            self.busy = Duration::ZERO;
            self.total = Duration::ZERO;
        }
        self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(control: &mut WindowControl, share: f64) -> Duration {
        let total = Duration::from_millis(10);
        (0..200).fold(Duration::ZERO, |_, _| {
            control.measure(total.mul_f64(share), total)
        })
    }

    #[test]
    fn the_window_is_shortest_at_an_idle_worker_and_longest_at_a_busy_one() {
        let mut control = WindowControl::new(Duration::ZERO, Duration::from_millis(10));
        assert_eq!(after(&mut control, 0.1), Duration::ZERO);
        let half = after(&mut control, 0.5);
        assert!((4..=6).contains(&half.as_millis()), "{half:?}");
        assert!(after(&mut control, 0.9) > Duration::from_micros(9_900));
        assert_eq!(after(&mut control, 0.0), Duration::ZERO);
    }

    #[test]
    fn the_window_is_never_shorter_than_the_minimum() {
        let ten = Duration::from_millis(10);
        let mut control = WindowControl::new(ten, ten);
        assert_eq!(after(&mut control, 0.0), ten);
        assert_eq!(after(&mut control, 1.0), ten);
    }
}
