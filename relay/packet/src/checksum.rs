//! The Internet checksum (RFC 1071).

/// A sum of 16-bit words in one's complement, not folded yet.
///
/// Words are summed in the machine's own byte order, which gives the same sum with its bytes in that order (RFC 1071
/// §2(B)), and 32 bits at a time into 64 (§2(C)): there is room for the carries of 2³² words.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sum(u64);

impl Sum {
    /// Of bytes, with a zero after them if their number is odd.
    pub fn of(bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let sum: u64 = words
            .iter()
            .map(|word| u64::from(u32::from_ne_bytes(*word)))
            .sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Of a number as it goes over the wire.
    pub fn of_u16(number: u16) -> Self {
        Self(u64::from(number.to_be()))
    }

    /// Of both, one after the other; the first has to end at an even offset.
    pub fn and(self, next: Self) -> Self {
        Self(self.0 + next.0)
    }

    /// The same bytes, moved by one: for what begins at an odd offset.
    pub fn at_odd_offset(self) -> Self {
        Self(self.folded().swap_bytes().into())
    }

    /// The checksum, as it goes over the wire.
    pub fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// UDP's checksum: one that comes out as zero is sent as all ones, for zero says that there is none (RFC 768).
    pub fn udp_checksum(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        }
    }

    fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As RFC 1071 §1 words it: pairs of bytes, end-around carry, one's complement.
    fn slow(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) * 256 + u32::from(pair.get(1).copied().unwrap_or(0));
            if sum > 0xffff {
                sum = sum - 0x1_0000 + 1;
            }
        }
        (!(sum as u16)).to_be_bytes()
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).checksum(), (!0xddf2u16).to_be_bytes());
    }

    #[test]
    fn udp_sends_no_zero() {
        assert_eq!(Sum::of(&[0xff, 0xff]).checksum(), [0, 0]);
        assert_eq!(Sum::of(&[0xff, 0xff]).udp_checksum(), [0xff, 0xff]);
        assert_eq!(Sum::of(&[]).udp_checksum(), [0xff, 0xff]);
    }

    proptest! {
        #[test]
        fn the_sum_of_two_parts_is_that_of_a_simple_implementation(
            bytes in prop::collection::vec(any::<u8>(), 0..1300),
            at in any::<prop::sample::Index>(),
        ) {
            prop_assert_eq!(Sum::of(&bytes).checksum(), slow(&bytes));
            let at = at.index(bytes.len() + 1);
            let (first, second) = bytes.split_at(at);
            let second = match at % 2 {
                0 => Sum::of(second),
                _ => Sum::of(second).at_odd_offset(),
            };
            prop_assert_eq!(Sum::of(first).and(second).checksum(), slow(&bytes));
        }

        #[test]
        fn a_number_sums_as_its_bytes(number in any::<u16>()) {
            prop_assert_eq!(Sum::of_u16(number).checksum(), Sum::of(&number.to_be_bytes()).checksum());
        }
    }
}
