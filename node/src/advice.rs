//! What a person can do next, behind an error that only says what happened.

use std::io::{Error, ErrorKind};

/// About what the operating system refuses; begins with a semicolon.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not named here says nothing that a person could go by"
)]
pub(crate) fn of_io(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => "; check the path",
        ErrorKind::PermissionDenied => "; let this user do it, or run as one who may",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room there, then try again",
        ErrorKind::ReadOnlyFilesystem => "; make it writable, or choose another folder",
        ErrorKind::AlreadyExists => "; remove what is there, or choose another name",
        ErrorKind::OutOfMemory => "; give it more memory",
        // Its text says what is wrong with the content.
        ErrorKind::InvalidData | ErrorKind::InvalidInput => "; correct it, then try again",
        _ => "; the system's own log may say why (`journalctl -k`, `dmesg`)",
    }
}
