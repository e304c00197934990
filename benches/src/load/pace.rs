//! When speakers speak: 50 frames a second each, at phases of their own. One clock for every server that is compared.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Time between two frames of a speaker.
pub const FRAME: Duration = Duration::from_millis(20);

/// Calls `speak` with each speaker's index when its frame is due, until `stop` is set; the clock does not drift.
///
/// `seed` fixes the phases. With no speakers it returns at once.
pub fn at_random_phases(
    speakers: usize,
    seed: u64,
    stop: &AtomicBool,
    mut speak: impl FnMut(usize) -> io::Result<()>,
) -> io::Result<()> {
    if speakers == 0 {
        return Ok(());
    }
    let mut random = SmallRng::seed_from_u64(seed);
    let mut phases: Vec<Duration> = (0..speakers)
        .map(|_| FRAME.mul_f64(random.random::<f64>()))
        .collect();
    phases.sort();
    let start = Instant::now();
    for round in 0.. {
        for (speaker, phase) in phases.iter().enumerate() {
            if stop.load(Relaxed) {
                return Ok(());
            }
            let due = start + FRAME * round + *phase;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            speak(speaker)?;
        }
    }
    Ok(())
}
