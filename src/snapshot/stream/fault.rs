//! Why a stream cannot be used.

use std::io;

use crate::error::{Error, ErrorKind};
use crate::snapshot::stream::format::VERSION;

/// Why a stream cannot be used.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It could not be read.
    Read(io::Error),
    /// It is something else.
    Foreign,
    /// It has a version that this calf does not know.
    Version(u32),
    /// It ends after so many bytes, in the middle.
    Cut(u64),
    /// What is in it, at that offset, is not what was written.
    Damaged(u64, String),
    /// Its content is compressed, and this build has no decoders.
    #[cfg_attr(feature = "formats", expect(dead_code, reason = "this build has decoders"))]
    Compressed,
}

impl Fault {
    /// Damage at an offset.
    pub(super) fn damage(at: u64, what: &str) -> Self {
        Self::Damaged(at, what.to_owned())
    }

    /// The error of an operation on a subject.
    pub(crate) fn into_error(self, operation: &'static str, subject: &str) -> Error {
        let error = |kind, why: String| Error::new(kind, operation, subject, why);
        match self {
            Self::Read(source) => {
                let kind = Error::io(operation, subject, io::Error::from(source.kind())).kind();
                Error::new(kind, operation, subject, source)
            }
            Self::Foreign => {
                let why = "what comes is no snapshot: it does not start as `calf snapshot export` writes it";
                error(ErrorKind::InvalidArgument, why.to_owned()).remedy(
                    "give what `calf snapshot export` wrote, unpacked if it was compressed afterwards",
                )
            }
            Self::Version(version) => {
                let why = format!("it has format {version}, and this calf knows {VERSION}");
                error(ErrorKind::Unsupported, why)
                    .remedy("use the calf version that wrote it, or a newer one")
            }
            Self::Cut(length) => {
                let why =
                    format!("it was cut short: it ends after {length} bytes, without its end");
                error(ErrorKind::Corrupt, why)
                    .remedy("give all of it; if the file has no more, export the snapshot again")
            }
            Self::Damaged(at, what) => {
                let why = format!("it is damaged at byte {at}: {what}");
                error(ErrorKind::Corrupt, why).remedy("export the snapshot again")
            }
            Self::Compressed => error(
                ErrorKind::Unsupported,
                "its content is compressed, and this build has no decoders".to_owned(),
            )
            .remedy("build calf with the feature `formats`, or export without compression"),
        }
    }
}
