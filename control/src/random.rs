//! Random values from the operating system's generator.

use std::time::Duration;

use crate::clock::UnixMillis;

/// Fills `bytes`.
///
/// # Panics
///
/// If the operating system has no randomness: then no key would be safe.
pub fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the operating system gives random bytes");
}

pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// An ID of 48 bits of time and 80 random bits. IDs created in sequence are adjacent in an index, which fills its pages and keeps
/// a user's rows small.
pub fn time_ordered_id(now: UnixMillis) -> [u8; 16] {
    const TIME_LEN: usize = 6;
    let mut id = bytes::<16>();
    id[..TIME_LEN].copy_from_slice(&now.0.to_be_bytes()[8 - TIME_LEN..]);
    id
}

/// A random duration from half of `pause` to all of it, so that peers that collided do not collide again.
pub fn jittered(pause: Duration) -> Duration {
    let [byte] = bytes::<1>();
    jittered_by(pause, byte)
}

/// As [`jittered`], with the caller's random byte.
pub fn jittered_by(pause: Duration, byte: u8) -> Duration {
    pause / 2 + pause / 2 * u32::from(byte) / u32::from(u8::MAX)
}

/// A random number below `count`, which must not be zero.
pub fn below(count: usize) -> usize {
    let drawn = u64::from_be_bytes(bytes());
    usize::try_from(drawn % count as u64).unwrap_or_default()
}
