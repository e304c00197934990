//! Which version of the protocol a connection speaks.

/// The oldest version that this code speaks.
pub const MIN_VERSION: u32 = 1;

/// The newest version that this code speaks.
pub const MAX_VERSION: u32 = 1;

/// No version in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no protocol version in common: this side speaks {MIN_VERSION} to {MAX_VERSION}, the other {min} to {max}; \
     update the older of the two"
)]
pub struct NoCommonVersion {
    /// The other's oldest.
    pub min: u32,
    /// The other's newest.
    pub max: u32,
}

/// The highest version that both this code and a peer of `min..=max` speak.
pub const fn negotiate(min: u32, max: u32) -> Result<u32, NoCommonVersion> {
    let version = if max < MAX_VERSION { max } else { MAX_VERSION };
    if min > max || version < min || version < MIN_VERSION {
        return Err(NoCommonVersion { min, max });
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_wins() {
        assert_eq!(negotiate(1, 7), Ok(MAX_VERSION));
        assert_eq!(negotiate(0, 1), Ok(1));
        assert!(negotiate(0, 0).is_err());
        assert!(negotiate(2, 9).is_err());
        assert!(negotiate(1, 0).is_err());
    }
}
