//! Which ids a volume may have: those that CSI allows.

use crate::error::{Error, ErrorKind, Result};

/// Longest id, in bytes: CSI's limit.
const MAX_ID: usize = 128;

/// What an id must be.
pub(crate) const FORM: &str = "give 1 to 128 bytes without control characters";

/// Refuses an id that CSI would not allow.
pub(crate) fn check(id: &str) -> Result<()> {
    match fault(id) {
        None => Ok(()),
        Some(why) => Err(Error::new(
            ErrorKind::InvalidArgument,
            "use volume id",
            format_args!("{:?}", head(id)),
            why,
        )
        .remedy(FORM)),
    }
}

/// Why CSI would not allow the id, if so.
pub(crate) fn fault(id: &str) -> Option<&'static str> {
    match id {
        "" => Some("it is empty"),
        id if id.len() > MAX_ID => Some("it is longer than 128 bytes"),
        id if id.chars().any(char::is_control) => Some("it has a control character"),
        _ => None,
    }
}

/// As much of an id, or of what was given for one, as a message shows.
pub(crate) fn head(id: &str) -> &str {
    &id[..id.floor_char_boundary(MAX_ID)]
}

/// Whether CSI would allow the id.
pub(crate) fn is_valid(id: &str) -> bool {
    fault(id).is_none()
}
