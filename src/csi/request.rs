//! Fields that many requests have: ids and paths, checked on arrival.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::volume_id;

/// Longest path: `PATH_MAX` less its NUL.
const MAX_PATH: usize = 4095;

/// The error for a missing required field.
pub(super) fn missing(field: &str) -> Error {
    Error::invalid("request", format!("{field} is required"))
}

/// The error for a field with an invalid value.
pub(super) fn invalid(field: &str, value: impl fmt::Debug, why: impl Into<String>) -> Error {
    Error::invalid(format_args!("{field} {value:?}"), why.into())
}

/// Checks a volume's id, or the name that becomes one.
pub(super) fn volume_id<'a>(field: &str, id: &'a str) -> Result<&'a str> {
    if id.is_empty() {
        return Err(missing(field));
    }
    match volume_id::fault(id) {
        None => Ok(id),
        Some(why) => Err(invalid(field, volume_id::head(id), why).remedy(volume_id::FORM)),
    }
}

/// Checks only that a required path is present: calf looks up the volume before it checks the
/// paths.
pub(super) fn required<'a>(field: &str, path: &'a str) -> Result<&'a str> {
    if path.is_empty() { Err(missing(field)) } else { Ok(path) }
}

/// Checks a path that the orchestrator named: it must be absolute, and must not contain `..`.
pub(super) fn path(field: &str, path: &str) -> Result<PathBuf> {
    if path.len() > MAX_PATH {
        return Err(invalid(field, volume_id::head(path), format!("it has {} bytes", path.len()))
            .remedy(format!("use at most {MAX_PATH} bytes")));
    }
    let parsed = Path::new(path);
    let why = if path.contains('\0') {
        "it holds a NUL"
    } else if !parsed.is_absolute() {
        "it is not absolute"
    } else if parsed.components().any(|part| part == Component::ParentDir) {
        "it holds `..`"
    } else if parsed.parent().is_none() {
        "it is the root directory"
    } else {
        return Ok(parsed.to_owned());
    };
    Err(invalid(field, path, why).remedy("give an absolute path without `..`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    #[test]
    fn ids_are_short_and_printable() {
        let inline = format!("csi-{}", "a".repeat(64));
        for id in ["pvc-1", "ünïcode / and ../ are fine", &inline, &"x".repeat(128)] {
            assert_eq!(volume_id("volume_id", id).unwrap(), id);
        }
        for id in ["", "a\nb", "nul\0", "\u{7f}", &"x".repeat(129), &"ü".repeat(65)] {
            let error = volume_id("volume_id", id).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.report().contains("volume_id"), "{}", error.report());
        }
    }

    #[test]
    fn paths_are_absolute_and_stay_where_they_are() {
        for good in ["/a", "/var/lib/kubelet/pods/x/volumes/y/mount", "/a/./b", "/a..b/c"] {
            assert_eq!(path("target_path", good).unwrap(), Path::new(good));
        }
        let long = format!("/{}", "x".repeat(4095));
        for bad in ["", "a", "some/path", "/a/../b", "..", "/", "/a\0b", &long] {
            let error = path("target_path", bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad:?}");
            assert!(error.report().contains("target_path"), "{}", error.report());
        }
    }

    #[test]
    fn a_missing_field_is_named() {
        assert_eq!(missing("volume_id").report(), "invalid request: volume_id is required");
    }

    proptest! {
        #[test]
        fn nothing_makes_the_checks_panic(text in "\\PC{0,300}") {
            let _ = volume_id("volume_id", &text);
            let _ = path("target_path", &text);
        }
    }
}
