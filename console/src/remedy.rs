//! What helps against an error of a file.

use std::io;

/// What helps against the error, to follow `; `. `None` if the error says enough.
pub fn file_remedy(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Some("this user may not: run it as the user whose it is, or as root")
        }
        io::ErrorKind::StorageFull => Some("make room on its disk"),
        io::ErrorKind::QuotaExceeded => Some("make room: this user's quota is used up"),
        io::ErrorKind::ReadOnlyFilesystem => Some("its disk is mounted read-only"),
        _ => None,
    }
}
