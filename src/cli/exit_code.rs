//! The one table that maps kinds of errors to the exit code of the process.
//!
//! Scripts rely on these numbers, which `calf --help` documents and which never change meaning.

use calf::ErrorKind;

/// The command ran and found a problem (`doctor`, `reconcile`), or had an internal error.
pub(super) const FAILURE: u8 = 1;

/// The exit code for an error of this kind. A malformed command line also gives 2.
pub(super) fn of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidArgument => 2,
        ErrorKind::NotFound => 3,
        ErrorKind::AlreadyExists => 4,
        ErrorKind::InUse => 5,
        ErrorKind::InProgress => 6,
        ErrorKind::NoSpace => 7,
        ErrorKind::OutOfRange => 8,
        ErrorKind::Unsupported => 9,
        ErrorKind::Permission => 10,
        ErrorKind::Corrupt => 11,
        ErrorKind::Cancelled => 12,
        ErrorKind::Unprepared => 13,
        // The library may add kinds; until they have a number here, they count as failures.
        _ => FAILURE,
    }
}

/// The name of the kind in JSON.
pub(super) fn name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidArgument => "invalidArgument",
        ErrorKind::NotFound => "notFound",
        ErrorKind::AlreadyExists => "alreadyExists",
        ErrorKind::InUse => "inUse",
        ErrorKind::InProgress => "inProgress",
        ErrorKind::NoSpace => "noSpace",
        ErrorKind::OutOfRange => "outOfRange",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Permission => "permission",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Unprepared => "unprepared",
        _ => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_code_of_its_own_and_help_tells_it() {
        use ErrorKind::*;
        let kinds = [
            Internal,
            InvalidArgument,
            NotFound,
            AlreadyExists,
            InUse,
            InProgress,
            NoSpace,
            OutOfRange,
            Unsupported,
            Permission,
            Corrupt,
            Cancelled,
            Unprepared,
        ];
        for (index, kind) in kinds.into_iter().enumerate() {
            assert_eq!(usize::from(of(kind)), index + 1);
            let line = format!("\n  {:>2}  ", of(kind));
            assert!(super::super::help::LONG.contains(&line), "{kind:?}");
        }
    }
}
