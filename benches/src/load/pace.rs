//! When speakers speak: 50 frames a second each, at phases of their own. One clock for every server that is compared.

use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Time between two frames of a speaker.
pub const FRAME: Duration = Duration::from_millis(20);

/// The order in which speakers speak. It does not drift.
pub struct Pace {
    random: SmallRng,
    start: Instant,
    round: u32,
    /// Phase and speaker, in the order of the phases.
    phases: Vec<(Duration, usize)>,
    /// How many of them have spoken in this round.
    spoken: usize,
    /// Speakers who begin with the next round.
    coming: Vec<(Duration, usize)>,
}

impl Pace {
    /// A crowd without speakers. `seed` fixes their phases.
    pub fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            start: Instant::now(),
            round: 0,
            phases: Vec::new(),
            spoken: 0,
            coming: Vec::new(),
        }
    }

    /// So many speakers more, each at a random phase. They are numbered as they come.
    pub fn add(&mut self, speakers: usize) {
        let first = self.phases.len() + self.coming.len();
        for speaker in first..first + speakers {
            let phase = FRAME.mul_f64(self.random.random::<f64>());
            self.coming.push((phase, speaker));
        }
    }

    /// The next speaker and its time; `None` when there is none.
    pub fn next_speaker(&mut self) -> Option<(Instant, usize)> {
        if self.spoken == self.phases.len() {
            if self.phases.is_empty() {
                // The first ones begin now, and not with the frames that nobody was there to speak.
                self.start = Instant::now();
                self.round = 0;
            } else {
                self.round += 1;
            }
            self.spoken = 0;
            self.phases.append(&mut self.coming);
            self.phases.sort_unstable();
        }
        let (phase, speaker) = *self.phases.get(self.spoken)?;
        self.spoken += 1;
        Some((self.start + FRAME * self.round + phase, speaker))
    }
}

/// Has this thread's sleeps end when they are asked to. The kernel's way is to let them last 50 µs longer, to wake
/// several at once, and then frames come in bursts.
pub fn wake_in_time() -> io::Result<()> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    Ok(())
}

/// Sleeps; gives how late it has become.
pub fn sleep_until(due: Instant) -> Duration {
    thread::sleep(due.saturating_duration_since(Instant::now()));
    due.elapsed()
}

/// Calls `speak` with each speaker's index when its frame is due, until `stop` is set.
///
/// `seed` fixes the phases. With no speakers it returns at once.
pub fn at_random_phases(
    speakers: usize,
    seed: u64,
    stop: &AtomicBool,
    mut speak: impl FnMut(usize) -> io::Result<()>,
) -> io::Result<()> {
    wake_in_time()?;
    let mut pace = Pace::new(seed);
    pace.add(speakers);
    while let Some((due, speaker)) = pace.next_speaker()
        && !stop.load(Relaxed)
    {
        sleep_until(due);
        speak(speaker)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_speaks_once_a_round_and_newcomers_from_the_next_round_on() {
        let mut pace = Pace::new(1);
        assert_eq!(pace.next_speaker(), None);
        pace.add(3);
        let first: Vec<_> = (0..2).filter_map(|_| pace.next_speaker()).collect();
        pace.add(2);
        let third = pace.next_speaker().expect("a speaker");
        let begin = pace.start;
        assert!(first[0].0 <= first[1].0 && first[1].0 <= third.0);
        assert!(third.0 < begin + FRAME);
        let round: Vec<_> = (0..5).filter_map(|_| pace.next_speaker()).collect();
        let mut speakers: Vec<_> = round.iter().map(|(_, speaker)| *speaker).collect();
        speakers.sort_unstable();
        assert_eq!(speakers, [0, 1, 2, 3, 4]);
        assert!(
            round
                .iter()
                .all(|(due, _)| *due >= begin + FRAME && *due < begin + FRAME * 2)
        );
        assert!(round.is_sorted());
    }
}
