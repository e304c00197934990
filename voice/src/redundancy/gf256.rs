//! The field GF(2^8) of RFC 8681 §3.7.1: polynomials over GF(2) modulo x^8 + x^4 + x^3 + x^2 + 1.

/// The reducing polynomial without its highest term.
const POLYNOMIAL: u8 = 0x1d;

/// Powers of 2, twice in a row, and their logarithms. 2 generates all that is not 0.
const POWERS: [u8; 510] = powers();
const LOGARITHMS: [u8; 256] = logarithms();

const fn powers() -> [u8; 510] {
    let mut powers = [0; 510];
    let (mut value, mut n) = (1u8, 0);
    while n < 255 {
        powers[n] = value;
        powers[n + 255] = value;
        let carry = value & 0x80 != 0;
        value <<= 1;
        if carry {
            value ^= POLYNOMIAL;
        }
        n += 1;
    }
    powers
}

const fn logarithms() -> [u8; 256] {
    let mut logarithms = [0; 256];
    let mut n = 0;
    while n < 255 {
        logarithms[POWERS[n] as usize] = n as u8;
        n += 1;
    }
    logarithms
}

pub(super) fn mul(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    POWERS[usize::from(LOGARITHMS[usize::from(a)]) + usize::from(LOGARITHMS[usize::from(b)])]
}

/// The inverse of what is not 0.
pub(super) fn inverse(a: u8) -> u8 {
    POWERS[255 - usize::from(LOGARITHMS[usize::from(a)])]
}

/// Adds `by` times `from` to `to`, which grows to the length of `from`: missing bytes are 0.
pub(super) fn add_scaled(to: &mut Vec<u8>, from: &[u8], by: u8) {
    if by == 0 {
        return;
    }
    if to.len() < from.len() {
        to.resize(from.len(), 0);
    }
    if by == 1 {
        to.iter_mut().zip(from).for_each(|(to, from)| *to ^= from);
        return;
    }
    let log = usize::from(LOGARITHMS[usize::from(by)]);
    for (to, from) in to.iter_mut().zip(from) {
        if *from != 0 {
            *to ^= POWERS[usize::from(LOGARITHMS[usize::from(*from)]) + log];
        }
    }
}

/// Multiplies all by `by`.
pub(super) fn scale(all: &mut [u8], by: u8) {
    all.iter_mut().for_each(|one| *one = mul(*one, by));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_polynomials() {
        let slowly = |a: u8, b: u8| {
            let mut product = 0u16;
            for bit in 0..8 {
                if b & (1 << bit) != 0 {
                    product ^= u16::from(a) << bit;
                }
            }
            for bit in (8..15).rev() {
                if product & (1 << bit) != 0 {
                    product ^= 0x11d << (bit - 8);
                }
            }
            product as u8
        };
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(mul(a, b), slowly(a, b), "{a} {b}");
            }
            assert!(a == 0 || mul(a, inverse(a)) == 1, "{a}");
        }
    }

    #[test]
    fn sums_of_unequal_lengths_are_filled_up_with_zeros() {
        let mut sum = vec![1, 2];
        add_scaled(&mut sum, &[3, 4, 5], 1);
        assert_eq!(sum, [2, 6, 5]);
        add_scaled(&mut sum, &[7], 0);
        assert_eq!(sum, [2, 6, 5]);
        add_scaled(&mut sum, &[2], 3);
        assert_eq!(sum[0], 2 ^ mul(2, 3));
    }
}
