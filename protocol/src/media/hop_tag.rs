//! Hop tags: SipHash-2-4 over what one hop has to trust, under a key of the session and the direction.

use siphasher::sip::SipHasher24;
use std::hash::Hasher as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::TAG_LEN;

/// A hop tag's bytes.
pub type HopTag = [u8; TAG_LEN];

/// SipHash-2-4 key (16 bytes) of one direction of one media session.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct HopKey([u8; HopKey::LEN]);

/// First 16 bytes of the BLAKE3 hash of a downlink record.
///
/// The relay computes it once for a frame; each receiver's tag covers the digests, not the frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordDigest([u8; RecordDigest::LEN]);

impl HopKey {
    /// Bytes of a key.
    pub const LEN: usize = 16;

    /// Takes a key over.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The key's bytes, for the control plane to carry.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Tag over `bytes`: all of an uplink datagram before its tag.
    pub fn tag(&self, bytes: &[u8]) -> HopTag {
        big_endian(SipHasher24::new_with_key(&self.0).hash(bytes))
    }

    /// Tag of a downlink datagram whose body is `body`: over its first 6 bytes, then the body.
    pub fn tag_body(&self, head: &[u8; 6], body: &[u8]) -> HopTag {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(head);
        hasher.write(body);
        big_endian(hasher.finish())
    }

    /// Tag of a downlink audio datagram: over its first 6 bytes, then the digest of each record in turn.
    pub fn tag_records<'a>(
        &self,
        head: &[u8; 6],
        digests: impl IntoIterator<Item = &'a RecordDigest>,
    ) -> HopTag {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(head);
        for digest in digests {
            hasher.write(&digest.0);
        }
        big_endian(hasher.finish())
    }
}

impl std::fmt::Debug for HopKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HopKey(…)")
    }
}

impl RecordDigest {
    /// Bytes of a digest.
    pub const LEN: usize = 16;

    /// Digest of a whole record: `length · sender · level · SFrame`.
    pub fn of(record: &[u8]) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes.copy_from_slice(&blake3::hash(record).as_bytes()[..Self::LEN]);
        Self(bytes)
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// Compares two tags in constant time.
pub fn tags_match(a: &HopTag, b: &HopTag) -> bool {
    u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b) == 0
}

/// SipHash's 64 bits as the wire has all integers.
const fn big_endian(hash: u64) -> HopTag {
    hash.to_be_bytes()
}
