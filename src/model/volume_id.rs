//! Which ids a volume may have: those that CSI allows.

use crate::error::{Error, ErrorKind, Result};

/// Longest id, in bytes: CSI's limit.
const MAX_ID: usize = 128;

/// Refuses an id that CSI would not allow.
pub(crate) fn check(id: &str) -> Result<()> {
    let what = match id {
        "" => "it is empty",
        id if id.len() > MAX_ID => "it is longer than 128 bytes",
        id if id.chars().any(char::is_control) => "it has a control character",
        _ => return Ok(()),
    };
    let shown = &id[..id.floor_char_boundary(MAX_ID)];
    Err(Error::new(ErrorKind::InvalidArgument, "use volume id", format_args!("{shown:?}"), what)
        .remedy("give 1 to 128 bytes without control characters"))
}

/// Whether CSI would allow the id.
pub(crate) fn is_valid(id: &str) -> bool {
    check(id).is_ok()
}
