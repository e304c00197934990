//! Randomness from the system.

use aws_lc_rs::rand;

/// 32 random bits.
pub(crate) fn u32() -> u32 {
    let mut bytes = [0; 4];
    rand::fill(&mut bytes).expect("the system's random numbers do not run out");
    u32::from_ne_bytes(bytes)
}

/// A number of 0.0 to 1.0.
pub(crate) fn fraction() -> f64 {
    f64::from(u32()) / f64::from(u32::MAX)
}
