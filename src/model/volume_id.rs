//! The rules for ids of volumes and names of snapshots: those of CSI.

use crate::error::{Error, Result};

/// Maximum length of an id in bytes: CSI's limit.
const MAX_ID: usize = 128;

/// The remedy for an id that is not valid.
pub(crate) const FORM: &str = "give 1 to 128 bytes without control characters";

/// Refuses an id that CSI does not allow.
pub(crate) fn check(id: &str) -> Result<()> {
    match fault(id) {
        None => Ok(()),
        Some(why) => {
            Err(Error::invalid(format_args!("volume id {:?}", head(id)), why).remedy(FORM))
        }
    }
}

/// Refuses a name of a snapshot that CSI would not allow as an id.
pub(crate) fn check_snapshot(name: &str) -> Result<()> {
    match fault(name) {
        None => Ok(()),
        Some(why) => {
            Err(Error::invalid(format_args!("snapshot name {:?}", head(name)), why).remedy(FORM))
        }
    }
}

/// Returns why CSI does not allow the id; `None` if it does.
pub(crate) fn fault(id: &str) -> Option<&'static str> {
    match id {
        "" => Some("it is empty"),
        id if id.len() > MAX_ID => Some("it is longer than 128 bytes"),
        id if id.chars().any(char::is_control) => Some("it contains a control character"),
        _ => None,
    }
}

/// Returns the part of an id, or of text in place of an id, that a message shows.
pub(crate) fn head(id: &str) -> &str {
    &id[..id.floor_char_boundary(MAX_ID)]
}

/// Whether CSI allows the id.
pub(crate) fn is_valid(id: &str) -> bool {
    fault(id).is_none()
}
