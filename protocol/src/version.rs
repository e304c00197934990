//! Versions: what two sides speak, and which they have in common.

use std::fmt;

/// Versions of the messages between a client, a control node and a relay that this code speaks.
pub const CONTROL: VersionRange = VersionRange { min: 1, max: 1 };

/// Versions of the media datagrams and of the frames in them that this code speaks.
pub const MEDIA: VersionRange = VersionRange { min: 1, max: 1 };

/// The version that a media version of 0 on the wire stands for.
const FIRST_MEDIA: u32 = 1;

/// The versions that one side speaks: `min` to `max`, both included. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionRange {
    min: u32,
    max: u32,
}

/// No version in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no protocol version in common: this side speaks {ours}, the other {min} to {max}; update the older of the two"
)]
pub struct NoCommonVersion {
    /// What this side speaks.
    pub ours: VersionRange,
    /// The other's oldest.
    pub min: u32,
    /// The other's newest.
    pub max: u32,
}

impl VersionRange {
    /// The versions `min` to `max`; `None` when that is none.
    pub const fn new(min: u32, max: u32) -> Option<Self> {
        if min > max {
            return None;
        }
        Some(Self { min, max })
    }

    /// Reads a range of media versions from a message's fields, in which 0 stands for 1; `None` when it is empty.
    pub fn media_from_wire(min: u32, max: u32) -> Option<Self> {
        Self::new(media_version_from_wire(min), media_version_from_wire(max))
    }

    /// The oldest version.
    pub const fn min(self) -> u32 {
        self.min
    }

    /// The newest version.
    pub const fn max(self) -> u32 {
        self.max
    }

    /// Whether the range holds `version`.
    pub const fn contains(self, version: u32) -> bool {
        self.min <= version && version <= self.max
    }

    /// The versions that both ranges hold; `None` when there is none.
    pub fn common(self, other: Self) -> Option<Self> {
        Self::new(self.min.max(other.min), self.max.min(other.max))
    }

    /// The highest version that both this side and a peer of `min..=max` speak.
    pub fn negotiate(self, min: u32, max: u32) -> Result<u32, NoCommonVersion> {
        let common = Self::new(min, max).and_then(|theirs| self.common(theirs));
        common.map(Self::max).ok_or(NoCommonVersion {
            ours: self,
            min,
            max,
        })
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

/// Reads one media version from a message's field: 0 stands for 1.
pub const fn media_version_from_wire(version: u32) -> u32 {
    if version == 0 { FIRST_MEDIA } else { version }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: u32, max: u32) -> VersionRange {
        VersionRange::new(min, max).unwrap()
    }

    #[test]
    fn the_highest_common_version_wins() {
        assert_eq!(range(1, 3).negotiate(2, 7), Ok(3));
        assert_eq!(range(1, 3).negotiate(0, 1), Ok(1));
        assert!(range(1, 3).negotiate(0, 0).is_err());
        assert!(range(1, 3).negotiate(4, 9).is_err());
        assert!(range(1, 3).negotiate(2, 1).is_err());
    }

    #[test]
    fn a_media_version_of_zero_stands_for_the_first() {
        assert_eq!(VersionRange::media_from_wire(0, 0), Some(range(1, 1)));
        assert_eq!(VersionRange::media_from_wire(0, 2), Some(range(1, 2)));
        assert_eq!(VersionRange::media_from_wire(3, 0), None);
    }
}
