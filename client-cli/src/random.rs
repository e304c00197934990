//! Randomness from the system.

use aws_lc_rs::rand;

/// 32 random bits.
pub(crate) fn u32() -> u32 {
    let mut bytes = [0; 4];
    fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}

/// Fills all of `bytes`.
pub(crate) fn fill(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the system's random numbers do not run out");
}

/// A number of 0.0 to 1.0.
pub(crate) fn fraction() -> f64 {
    f64::from(u32()) / f64::from(u32::MAX)
}
