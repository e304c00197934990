//! Password hashes as stored.

use std::fmt;

/// Length of a salt in bytes (RFC 9106 §3.1).
const SALT_LEN: usize = 16;
/// Length of a hash in bytes.
const HASH_LEN: usize = 32;
/// Version of the encoding, its first byte.
const VERSION: u8 = 1;

/// The cost parameters of an Argon2id hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes; at most 2²⁴ − 1.
    pub lanes: u32,
}

impl Default for HashCost {
    /// 19 MiB, two passes, one lane: the minimum that OWASP recommends.
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            passes: 2,
            lanes: 1,
        }
    }
}

/// An Argon2id hash with its salt and cost. Its encoding has 60 bytes instead of the 97 of a PHC string, because every account
/// has one.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    pub cost: HashCost,
    pub salt: [u8; SALT_LEN],
    pub hash: [u8; HASH_LEN],
}

impl PasswordHash {
    /// A hash of which nobody knows the password: random bytes in place of a hash.
    pub fn of_nobody(random: [u8; SALT_LEN + HASH_LEN]) -> Self {
        let (mut salt, mut hash) = ([0; SALT_LEN], [0; HASH_LEN]);
        salt.copy_from_slice(&random[..SALT_LEN]);
        hash.copy_from_slice(&random[SALT_LEN..]);
        Self {
            cost: HashCost::default(),
            salt,
            hash,
        }
    }

    /// Encodes as `version (1) · memory (4) · passes (4) · lanes (3) · salt (16) · hash (32)`, integers big-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.cost.memory_kib.to_be_bytes());
        out.extend_from_slice(&self.cost.passes.to_be_bytes());
        out.extend_from_slice(&self.cost.lanes.to_be_bytes()[1..]);
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.hash);
        out
    }

    /// Decodes the result of [`Self::to_bytes`]; `None` for any other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[VERSION])?;
        let (memory, rest) = rest.split_first_chunk::<4>()?;
        let (passes, rest) = rest.split_first_chunk::<4>()?;
        let (lanes, rest) = rest.split_first_chunk::<3>()?;
        let (salt, rest) = rest.split_first_chunk::<SALT_LEN>()?;
        Some(Self {
            cost: HashCost {
                memory_kib: u32::from_be_bytes(*memory),
                passes: u32::from_be_bytes(*passes),
                lanes: u32::from_be_bytes([0, lanes[0], lanes[1], lanes[2]]),
            },
            salt: *salt,
            hash: rest.try_into().ok()?,
        })
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}
