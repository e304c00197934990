//! The free space of disks.

use std::path::Path;

/// Bytes that are free on the disk of this folder; `None` where that cannot be read.
#[cfg(unix)]
pub(crate) fn free_space(folder: &Path) -> Option<u64> {
    // The parent of a path of one component is empty.
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let stats = rustix::fs::statvfs(folder).ok()?;
    Some(stats.f_bavail.saturating_mul(stats.f_frsize))
}

#[cfg(not(unix))]
pub(crate) fn free_space(_folder: &Path) -> Option<u64> {
    None
}
