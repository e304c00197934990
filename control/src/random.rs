//! Random bytes from the operating system's generator.

use std::time::Duration;

use crate::clock::UnixMillis;

/// Fills `bytes`.
///
/// # Panics
///
/// When the operating system has no randomness to give: nothing safe can be done then.
pub fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the operating system gives random bytes");
}

pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// An id of 48 bits of time and 80 random bits: ids made one after the other lie side by side in an index, which fills
/// its pages and keeps a user's rows small.
pub fn time_ordered_id(now: UnixMillis) -> [u8; 16] {
    const TIME_LEN: usize = 6;
    let mut id = bytes::<16>();
    id[..TIME_LEN].copy_from_slice(&now.0.to_be_bytes()[8 - TIME_LEN..]);
    id
}

/// From half of the pause to all of it, so that those who collided do not meet again.
pub fn jittered(pause: Duration) -> Duration {
    let [byte] = bytes::<1>();
    jittered_by(pause, byte)
}

/// The same, by a random byte of the caller's.
pub fn jittered_by(pause: Duration, byte: u8) -> Duration {
    pause / 2 + pause / 2 * u32::from(byte) / u32::from(u8::MAX)
}

/// One of the numbers below `count`, which is not zero.
pub fn below(count: usize) -> usize {
    let drawn = u64::from_be_bytes(bytes());
    usize::try_from(drawn % count as u64).unwrap_or_default()
}
