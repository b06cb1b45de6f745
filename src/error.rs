//! calf's one error type.
//!
//! An [`Error`] says what failed (`operation`), on what (`subject`), why (`source`) and what to
//! do about it (`remedy`). Its [`ErrorKind`] is small and meant to be matched on: one table maps
//! it to a gRPC code (`csi::status`), one to a process exit code (`cli::exit_code`).

use std::borrow::Cow;
use std::fmt;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A field is missing, malformed or unknown. Repeating the call will not help.
    InvalidArgument,
    /// The volume, template or path does not exist.
    NotFound,
    /// The name or target is taken by an object with other properties.
    AlreadyExists,
    /// A size is below the template or above the limit.
    OutOfRange,
    /// Another operation on the same volume is running. Repeat the call later.
    InProgress,
    /// The caller ended the call early, through [`Cancel`](crate::Cancel).
    Cancelled,
    /// The object is still in use: a template with volumes, a device with a holder.
    InUse,
    /// The caller has to make something first that is missing, such as a directory.
    Unprepared,
    /// The pool is full or below its reserve.
    NoSpace,
    /// This kernel or file system does not support the operation.
    Unsupported,
    /// Stored data is inconsistent, or content was lost.
    Corrupt,
    /// The process lacks a privilege that it needs.
    Permission,
    /// Anything else, most often an I/O error.
    Internal,
}

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A failed operation: what failed, on what, why, and what to do about it.
///
/// Displays as operation and subject; [`report`](Self::report) gives the full description in one
/// line.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    subject: String,
    source: Source,
    remedy: Option<Cow<'static, str>>,
}

/// The result of every fallible call of calf.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`: `operation` (a verb phrase such as "attach loop device") failed on
    /// `subject` (a volume, a path) because of `source`, an error or a plain sentence.
    pub fn new(
        kind: ErrorKind,
        operation: &'static str,
        subject: impl fmt::Display,
        source: impl Into<Source>,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            subject: subject.to_string(),
            source: source.into(),
            remedy: None,
        }))
    }

    /// An error about a value that the caller gave: "invalid parameters.size "x": why".
    pub fn invalid(value: impl fmt::Display, why: impl Into<Source>) -> Self {
        Self::new(ErrorKind::InvalidArgument, INVALID, value, why)
    }

    /// An I/O error; its kind follows from the errno.
    pub fn io(
        operation: &'static str,
        subject: impl fmt::Display,
        source: impl Into<std::io::Error>,
    ) -> Self {
        let source = source.into();
        Self::new(kind_of_io(&source), operation, subject, source)
    }

    /// The same error with a remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// The same error under another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The kind of the error, to match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether nobody goes on with the work: then what was done so far is undone. A caller that ended the
    /// call early repeats it.
    pub(crate) fn is_final(&self) -> bool {
        self.kind() != ErrorKind::Cancelled
    }

    /// The full description in one line: operation, subject, every cause, and the remedies.
    pub fn report(&self) -> String {
        let mut text = self.story();
        for remedy in self.remedies() {
            text.push_str("; ");
            text.push_str(remedy);
        }
        text
    }

    /// Operation, subject and every cause in one line; [`report`](Self::report) without remedies.
    pub fn story(&self) -> String {
        let mut text = self.to_string();
        for cause in self.causes() {
            text.push_str(": ");
            text.push_str(&cause.to_string());
        }
        text
    }

    /// The remedies, outermost first.
    pub fn remedies(&self) -> Vec<&str> {
        let inner = self.causes().filter_map(|cause| cause.downcast_ref::<Error>());
        std::iter::once(self).chain(inner).filter_map(|e| e.0.remedy.as_deref()).collect()
    }

    /// The innermost cause: the system's own message.
    pub(crate) fn root_cause(&self) -> String {
        self.causes().last().map(ToString::to_string).unwrap_or_default()
    }

    fn causes(&self) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
        let first = self.0.source.as_ref() as &(dyn std::error::Error + 'static);
        std::iter::successors(Some(first), |cause| cause.source())
    }

    /// The operating system's error number, if one is among the causes.
    pub fn raw_os_error(&self) -> Option<i32> {
        let mut cause = Some(self.0.source.as_ref() as &(dyn std::error::Error + 'static));
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                return io.raw_os_error();
            }
            cause = error.source();
        }
        None
    }
}

/// The operation of errors about a value, for which no operation failed.
const INVALID: &str = "";

fn kind_of_io(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound => ErrorKind::NotFound,
        Io::PermissionDenied => ErrorKind::Permission,
        Io::AlreadyExists => ErrorKind::AlreadyExists,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::NoSpace,
        Io::FileTooLarge => ErrorKind::OutOfRange,
        Io::ResourceBusy => ErrorKind::InUse,
        Io::Unsupported => ErrorKind::Unsupported,
        // An impossible path: too long, through a file, or in a loop of symlinks.
        Io::InvalidFilename | Io::NotADirectory => ErrorKind::InvalidArgument,
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            ErrorKind::InvalidArgument
        }
        _ => ErrorKind::Internal,
    }
}

// === impl Display, Debug, Error ===

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.operation {
            INVALID => write!(f, "invalid {}", self.0.subject),
            operation => write!(f, "cannot {operation} {}", self.0.subject),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.report())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.0.source.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_operation_subject_cause_and_remedy_once() {
        let inner = Error::io(
            "attach a loop device to",
            "/pool/cow",
            std::io::Error::from_raw_os_error(16),
        )
        .remedy("free a loop device");
        let outer = Error::new(inner.kind(), "activate volume", "pvc-1", inner);
        assert_eq!(
            outer.report(),
            "cannot activate volume pvc-1: cannot attach a loop device to /pool/cow: \
             Device or resource busy (os error 16); free a loop device"
        );
        assert_eq!(outer.kind(), ErrorKind::InUse);
        assert_eq!(outer.raw_os_error(), Some(16));
    }
}
