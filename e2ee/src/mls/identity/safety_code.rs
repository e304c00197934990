//! Codes that two people compare, by voice or on paper.

use std::fmt;

use aws_lc_rs::digest;
use confab_protocol::control::AccountId;

use super::DevicePublicKey;

const DEVICE_LABEL: &[u8] = b"Confab 1.0 device code";
const ROOM_LABEL: &[u8] = b"Confab 1.0 room code";

/// Thirty decimal digits in six groups: about 99 bits of a digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SafetyCode([u32; SafetyCode::GROUPS]);

impl SafetyCode {
    /// Groups of five digits.
    pub const GROUPS: usize = 6;

    /// The first 60 bytes of SHA-512 as six numbers of ten bytes, each modulo 100 000.
    fn of(message: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA512, message);
        let mut groups = [0; Self::GROUPS];
        for (group, bytes) in groups.iter_mut().zip(digest.as_ref().chunks_exact(10)) {
            *group = bytes
                .iter()
                .fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % 100_000);
        }
        Self(groups)
    }
}

impl fmt::Display for SafetyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{group:05}")?;
        }
        Ok(())
    }
}

/// The code of two devices: the same for both, whoever computes it.
pub fn device_code(
    one: (AccountId, DevicePublicKey),
    other: (AccountId, DevicePublicKey),
) -> SafetyCode {
    let mut both =
        [one, other].map(|(account, device)| [account.as_bytes().as_slice(), &device.0].concat());
    both.sort();
    SafetyCode::of(&[DEVICE_LABEL, both[0].as_slice(), both[1].as_slice()].concat())
}

/// The code of a room in one epoch, from MLS' epoch authenticator (RFC 9420 §8.7): the same for all members, if and only if
/// they are in the same group.
pub fn room_code(epoch_authenticator: &[u8]) -> SafetyCode {
    SafetyCode::of(&[ROOM_LABEL, epoch_authenticator].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_compute_the_same_device_code() {
        let one = (AccountId::new([1; 16]), DevicePublicKey([2; 32]));
        let other = (AccountId::new([0; 16]), DevicePublicKey([3; 32]));
        assert_eq!(device_code(one, other), device_code(other, one));
        let third = (AccountId::new([0; 16]), DevicePublicKey([4; 32]));
        assert_ne!(device_code(one, other), device_code(one, third));
    }

    #[test]
    fn a_code_is_six_groups_of_five_digits() {
        let text = room_code(&[7; 32]).to_string();
        let groups: Vec<_> = text.split(' ').collect();
        assert_eq!(groups.len(), 6);
        assert!(
            groups
                .iter()
                .all(|group| group.len() == 5 && group.bytes().all(|b| b.is_ascii_digit()))
        );
    }
}
