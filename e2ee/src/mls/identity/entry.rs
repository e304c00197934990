//! A guest's proof at its entry that it has the key of its device: a ban finds the device again by that key.

use super::{DeviceKey, DevicePublicKey};
use crate::mls::signing::{SIGNATURE_LEN, is_signed_by};

/// Label under which both ends export [`EXPORTED_LEN`] bytes of their TLS connection, without a context (RFC 8446, section 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Confab-1.0-guest";

/// Length of what both ends export, in bytes.
pub const EXPORTED_LEN: usize = 32;

const ENTRY_LABEL: &[u8] = b"Confab 1.0 guest entry";

impl DeviceKey {
    /// The signature that proves to the server of a TLS connection that its client has this key. `exported` belongs to the connection: the
    /// signature proves nothing on another one.
    pub fn sign_entry(&self, exported: &[u8; EXPORTED_LEN]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(&[ENTRY_LABEL, exported].concat())
    }
}

impl DevicePublicKey {
    /// True if `signature` is that of [`DeviceKey::sign_entry`].
    pub fn has_signed_entry(&self, exported: &[u8; EXPORTED_LEN], signature: &[u8]) -> bool {
        is_signed_by(&self.0, &[ENTRY_LABEL, exported].concat(), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_signed_for_one_connection_by_one_device() {
        let (device, other) = (DeviceKey::generate(), DeviceKey::generate());
        let signature = device.sign_entry(&[1; EXPORTED_LEN]);
        assert!(
            device
                .public()
                .has_signed_entry(&[1; EXPORTED_LEN], &signature)
        );
        assert!(
            !device
                .public()
                .has_signed_entry(&[2; EXPORTED_LEN], &signature)
        );
        assert!(
            !other
                .public()
                .has_signed_entry(&[1; EXPORTED_LEN], &signature)
        );
        assert!(!device.public().has_signed_entry(&[1; EXPORTED_LEN], &[]));
    }
}
