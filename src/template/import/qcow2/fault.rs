//! What may be wrong with an image behind its header.

use std::{fmt, io};

use crate::error::{Error, ErrorKind};

/// Why a disk cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The image ends before what a table points to.
    Cut { what: &'static str, at: u64 },
    /// A table or a cluster is not what it must be. `at` is an offset in the disk.
    Damaged { at: u64, why: String },
}

impl Fault {
    /// The error for something that should be at the byte `at` of the image, behind its end.
    pub(super) fn cut(what: &'static str, at: u64) -> io::Error {
        Self::Cut { what, at }.into()
    }

    /// The error for people.
    pub(super) fn explain(&self, shown: &str) -> Error {
        let error = Error::new(ErrorKind::InvalidArgument, "import", shown, self.to_string());
        match self {
            Self::Cut { .. } => {
                error.remedy("fetch or copy the file again, and compare its SHA-256")
            }
            Self::Damaged { .. } => error.remedy(
                "fetch or copy the file again, and compare its SHA-256; if it is right, see what \
                 `qemu-img check FILE` finds",
            ),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { what, at } => {
                write!(f, "its qcow2 image was cut short: the {what} at byte {at} is missing")
            }
            Self::Damaged { at, why } => {
                write!(f, "its qcow2 image is damaged: at byte {at} of the disk, {why}")
            }
        }
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::other(fault)
    }
}
