//! What AWS-LC's HKDF wants beside RFC 5869.

use aws_lc_rs::hkdf;

/// Asks HKDF-Expand for so many bytes.
pub(crate) struct OutputLen(pub(crate) usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}
