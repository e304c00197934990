//! TinyMT32 (RFC 8682), the generator of coefficients in RFC 8681.

const MAT1: u32 = 0x8f70_11ee;
const MAT2: u32 = 0xfc78_ff1f;
const TMAT: u32 = 0x3793_fdff;

/// Rounds of the initialisation, and outputs that are dropped after it (RFC 8682 §2.1).
const INIT_ROUNDS: u32 = 8;
const DROPPED: u32 = 8;

/// A generator with 127 bits of state.
#[derive(Clone, Debug)]
pub(super) struct TinyMt32 {
    status: [u32; 4],
}

impl TinyMt32 {
    pub(super) fn new(seed: u32) -> Self {
        let mut status = [seed, MAT1, MAT2, TMAT];
        for round in 1..INIT_ROUNDS {
            let before = status[(round as usize - 1) & 3];
            let mixed = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30));
            status[round as usize & 3] ^= round.wrapping_add(mixed);
        }
        let mut generator = Self { status };
        for _ in 0..DROPPED {
            generator.step();
        }
        generator
    }

    /// The next 32 bits.
    pub(super) fn next_u32(&mut self) -> u32 {
        self.step();
        let sum = self.status[0].wrapping_add(self.status[2] >> 8);
        let tempered = self.status[3] ^ sum;
        match sum & 1 {
            0 => tempered,
            _ => tempered ^ TMAT,
        }
    }

    /// The next 8 bits (RFC 8682 §2.1, `tinymt32_rand256`).
    pub(super) fn next_u8(&mut self) -> u8 {
        self.next_u32() as u8
    }

    fn step(&mut self) {
        let [s0, s1, s2, s3] = self.status;
        let mut x = (s0 & 0x7fff_ffff) ^ s1 ^ s2;
        let mut y = s3;
        x ^= x << 1;
        y ^= (y >> 1) ^ x;
        self.status = [s1, s2, x ^ (y << 10), y];
        if y & 1 != 0 {
            self.status[1] ^= MAT1;
            self.status[2] ^= MAT2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8682 §2.2: the first values for the seed 1.
    #[test]
    fn the_first_values_are_those_of_the_rfc() {
        let mut generator = TinyMt32::new(1);
        let expected = [
            2_545_341_989,
            981_918_433,
            3_715_302_833,
            2_387_538_352,
            3_591_001_365,
            3_820_442_102,
            2_114_400_566,
            2_196_103_051,
            2_783_359_912,
            764_534_509,
        ];
        assert_eq!([(); 10].map(|()| generator.next_u32()), expected);
    }
}
