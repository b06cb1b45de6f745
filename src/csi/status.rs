//! Converts an error to a gRPC status.

use tonic::{Code, Status};

use crate::error::{Error, ErrorKind};

/// Most bytes of a status message. It travels in an HTTP/2 header, percent-encoded, and clients
/// refuse headers above 16 KiB; a list of templates can be longer than that.
const MAX_MESSAGE: usize = 4096;

/// The one table that maps kinds of errors to CSI status codes.
pub(super) fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::OutOfRange => Code::OutOfRange,
        ErrorKind::InProgress => Code::Aborted,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::InUse | ErrorKind::Unsupported | ErrorKind::Unprepared => {
            Code::FailedPrecondition
        }
        ErrorKind::NoSpace => Code::ResourceExhausted,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Permission => Code::PermissionDenied,
        ErrorKind::Internal => Code::Internal,
    }
}

/// The code of a call with this result.
pub(super) fn outcome<T>(result: &Result<T, Error>) -> Code {
    result.as_ref().map_or_else(|error| code(error.kind()), |_| Code::Ok)
}

/// The code's name in the documents of CSI and gRPC.
pub(super) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::new(code(error.kind()), shorten(error.report(), MAX_MESSAGE))
    }
}

/// Cuts a text to at most `limit` bytes, and marks the cut.
pub(super) fn shorten(mut text: String, limit: usize) -> String {
    const MARK: &str = "…";
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - MARK.len()));
        text.push_str(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_has_the_code_that_csi_wants() {
        for (kind, expected) in [
            (ErrorKind::InvalidArgument, "INVALID_ARGUMENT"),
            (ErrorKind::NotFound, "NOT_FOUND"),
            (ErrorKind::AlreadyExists, "ALREADY_EXISTS"),
            (ErrorKind::OutOfRange, "OUT_OF_RANGE"),
            (ErrorKind::InProgress, "ABORTED"),
            (ErrorKind::InUse, "FAILED_PRECONDITION"),
            (ErrorKind::Unsupported, "FAILED_PRECONDITION"),
            (ErrorKind::Unprepared, "FAILED_PRECONDITION"),
            (ErrorKind::NoSpace, "RESOURCE_EXHAUSTED"),
            (ErrorKind::Corrupt, "DATA_LOSS"),
            (ErrorKind::Permission, "PERMISSION_DENIED"),
            (ErrorKind::Internal, "INTERNAL"),
        ] {
            assert_eq!(name(code(kind)), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_status_tells_the_whole_story() {
        let error = Error::new(ErrorKind::InUse, "remove device of", "volume v", "it is mounted")
            .remedy("unmount it");
        let status = Status::from(error);
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "cannot remove device of volume v: it is mounted; unmount it");
    }

    proptest! {
        #[test]
        fn messages_fit_a_header(text in "\\PC{0,64}", limit in 8_usize..64) {
            let short = shorten(text.clone(), limit);
            prop_assert!(short.len() <= limit);
            prop_assert!(short == text || short.ends_with('…'));
        }
    }
}
