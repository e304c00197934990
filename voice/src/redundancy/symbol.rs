//! Symbols: what a repair block combines, and with which coefficients.

use super::tinymt::TinyMt32;

/// Bytes of the length in front of a packet in its source symbol.
pub(super) const LENGTH_LEN: usize = 2;

/// Longest source symbol, in bytes: of one Opus frame with its TOC byte.
pub(super) const MAX_SYMBOL: usize = LENGTH_LEN + crate::codec::MAX_ENCODED_BYTES;

/// Frames that a mask can name.
pub(super) const MASK_BITS: u32 = u16::BITS;

/// The source symbol of a packet, without zeros at its end.
pub(super) fn of_packet(packet: &[u8]) -> Vec<u8> {
    let mut symbol = Vec::with_capacity(LENGTH_LEN + packet.len());
    symbol.extend_from_slice(&(packet.len() as u16).to_be_bytes());
    symbol.extend_from_slice(packet);
    symbol
}

/// The packet in a source symbol; `None` if it cannot be one.
pub(super) fn packet_of(symbol: &[u8]) -> Option<&[u8]> {
    let (length, rest) = symbol.split_first_chunk::<LENGTH_LEN>()?;
    let (packet, zeros) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    (!packet.is_empty() && zeros.iter().all(|byte| *byte == 0)).then_some(packet)
}

/// The coefficients of a packet's random linear symbols, in their order.
pub(super) struct Coefficients(TinyMt32);

impl Coefficients {
    /// Those of the packet that starts at `timestamp`.
    pub(super) fn of_packet(timestamp: u32) -> Self {
        Self(TinyMt32::new(timestamp))
    }

    /// The coefficients of the next symbol: one for each bit of its mask, lowest first, none of them 0 (RFC 8681 §3.6, `m` = 8
    /// and `DT` = 15).
    pub(super) fn of_mask(&mut self, mask: u16) -> impl Iterator<Item = (u32, u8)> + '_ {
        bits(mask).map(move |bit| {
            let mut coefficient = 0;
            while coefficient == 0 {
                coefficient = self.0.next_u8();
            }
            (bit, coefficient)
        })
    }
}

/// The bits that are set in a mask, lowest first.
pub(super) fn bits(mask: u16) -> impl Iterator<Item = u32> {
    (0..MASK_BITS).filter(move |bit| mask & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_what_its_symbol_says_or_nothing() {
        let symbol = of_packet(b"abc");
        assert_eq!(packet_of(&symbol), Some(&b"abc"[..]));
        let filled = [&symbol[..], &[0; 9]].concat();
        assert_eq!(packet_of(&filled), Some(&b"abc"[..]));
        for wrong in [
            &symbol[..4],
            &[0, 0],
            &[0],
            &[],
            &[&symbol[..], &[1]].concat(),
        ] {
            assert_eq!(packet_of(wrong), None, "{wrong:?}");
        }
    }
}
