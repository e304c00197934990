//! The SFrame header (RFC 9605 §4.3) and what Confab's key ids hold.

use super::MediaError;

/// An SFrame key id: `leaf · generation (2 bits) · epoch (8 bits)`.
///
/// The leaf says who speaks; the relay checks that it is the session's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct KeyId {
    /// Leaf index of the sender in the group.
    pub leaf: u32,
    /// Generation of the group, its last 2 bits.
    pub generation: u8,
    /// Epoch of the group, its last 8 bits.
    pub epoch: u8,
}

impl KeyId {
    /// The bits of a generation that a key id holds.
    pub const GENERATION_MASK: u64 = 3;

    /// Puts an id together; only the last 2 bits of `generation` count.
    pub const fn new(leaf: u32, generation: u8, epoch: u8) -> Self {
        Self {
            leaf,
            generation: generation & 3,
            epoch,
        }
    }

    /// The KID as RFC 9605 has it: one integer.
    pub const fn to_u64(self) -> u64 {
        (self.leaf as u64) << 10 | (self.generation as u64 & 3) << 8 | self.epoch as u64
    }

    /// Takes a KID apart. `OutOfRange` when the leaf has more than 32 bits.
    pub fn from_u64(kid: u64) -> Result<Self, MediaError> {
        let leaf = u32::try_from(kid >> 10).map_err(|_| MediaError::OutOfRange)?;
        Ok(Self::new(leaf, (kid >> 8) as u8, kid as u8))
    }
}

/// An SFrame header: key id and counter, 1 to 17 bytes on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SframeHeader {
    /// Which key.
    pub key_id: KeyId,
    /// The sender's frame counter under that key.
    pub counter: u64,
}

impl SframeHeader {
    /// Longest header that Confab writes: config byte, 6 bytes of key id, 8 of counter.
    pub const MAX_LEN: usize = 15;

    /// Reads a header and says how many bytes it took.
    ///
    /// Values longer than they need to be are refused (`NotMinimal`), so that a header has one form.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), MediaError> {
        let config = *bytes
            .first()
            .ok_or(MediaError::Truncated { got: 0, needed: 1 })?;
        let mut at = 1;
        let kid = Self::parse_value(bytes, config >> 4, &mut at)?;
        let counter = Self::parse_value(bytes, config & 0x0f, &mut at)?;
        let key_id = KeyId::from_u64(kid)?;
        Ok((Self { key_id, counter }, at))
    }

    /// Writes the header into `out` and says how many bytes it took.
    pub fn write(&self, out: &mut [u8; Self::MAX_LEN]) -> usize {
        let mut at = 1;
        let kid = Self::write_value(self.key_id.to_u64(), out, &mut at);
        let counter = Self::write_value(self.counter, out, &mut at);
        out[0] = kid << 4 | counter;
        at
    }

    /// A nibble of the config byte: the value itself (0–7), or 8 + its length − 1.
    fn parse_value(bytes: &[u8], nibble: u8, at: &mut usize) -> Result<u64, MediaError> {
        if nibble & 8 == 0 {
            return Ok(u64::from(nibble));
        }
        let len = usize::from(nibble & 7) + 1;
        let end = *at + len;
        let field = bytes.get(*at..end).ok_or(MediaError::Truncated {
            got: bytes.len(),
            needed: end,
        })?;
        *at = end;
        let value = field
            .iter()
            .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        if value < 8 || (len > 1 && value >> (8 * (len - 1)) == 0) {
            return Err(MediaError::NotMinimal);
        }
        Ok(value)
    }

    fn write_value(value: u64, out: &mut [u8], at: &mut usize) -> u8 {
        if value < 8 {
            return value as u8;
        }
        let len = (71 - value.leading_zeros() as usize) / 8;
        out[*at..*at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
        *at += len;
        8 | (len - 1) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_writes_what_the_rfc_shows() {
        // RFC 9605 §4.3, figure 2 and appendix C.1: X = 0 for values below 8.
        let mut out = [0; SframeHeader::MAX_LEN];
        let header = SframeHeader {
            key_id: KeyId::new(0, 0, 0x07),
            counter: 0xff,
        };
        let len = header.write(&mut out);
        assert_eq!(&out[..len], [0x78, 0xff]);
        let header = SframeHeader {
            key_id: KeyId::from_u64(0x123).unwrap(),
            counter: 0x4567,
        };
        let len = header.write(&mut out);
        assert_eq!(&out[..len], [0x99, 0x01, 0x23, 0x45, 0x67]);
    }

    #[test]
    fn a_value_in_a_longer_form_than_needed_is_refused() {
        for bytes in [&[0x80, 0x07][..], &[0x90, 0x00, 0xff], &[0x08, 0x00]] {
            assert_eq!(SframeHeader::parse(bytes), Err(MediaError::NotMinimal));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(leaf: u32, generation in 0u8..4, epoch: u8, counter: u64, shift in 0u32..64) {
            let header = SframeHeader { key_id: KeyId::new(leaf, generation, epoch), counter: counter >> shift };
            let mut out = [0; SframeHeader::MAX_LEN];
            let len = header.write(&mut out);
            prop_assert_eq!(SframeHeader::parse(&out[..len]), Ok((header, len)));
            for cut in 0..len {
                prop_assert!(SframeHeader::parse(&out[..cut]).is_err());
            }
        }

        #[test]
        fn what_is_read_is_written(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok((header, len)) = SframeHeader::parse(&bytes) {
                let mut out = [0; SframeHeader::MAX_LEN];
                let written = header.write(&mut out);
                prop_assert_eq!(&out[..written], &bytes[..len]);
            }
        }
    }
}
