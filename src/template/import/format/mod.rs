//! Formats that users supply instead of a raw image, and how to make a raw image of each.
//!
//! Pure: bytes in, a verdict out. Raw images have no signature, so a file of no known format counts as a
//! raw image.

mod archive;
mod compressed;
mod disk_image;
mod document;
mod signature;

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

pub(crate) use archive::Archived;
pub(crate) use compressed::Packing;
use signature::Format;

/// How many bytes from the start of a file show its format.
pub(crate) const HEAD: usize = 4096;
/// How many bytes from the end of a file show its format.
pub(crate) const TAIL: usize = 512;

/// Refuses a file that is not a raw image, by its first [`HEAD`] bytes, or all if it is smaller.
pub(crate) fn check_head(head: &[u8], subject: impl fmt::Display) -> Result<()> {
    refuse(of_head(head), subject)
}

/// Refuses a file that is not a raw image, by its last [`TAIL`] bytes.
pub(crate) fn check_tail(tail: &[u8], subject: impl fmt::Display) -> Result<()> {
    refuse(disk_image::of_tail(tail), subject)
}

/// What a file that begins so holds, if it is a tar archive of files.
pub(crate) fn archived(head: &[u8]) -> Option<Archived> {
    archive::archived(head)
}

/// Refuses a size that no raw image has. To be called after [`check_head`], which knows more.
pub(crate) fn check_size(size: u64, head: &[u8], subject: impl fmt::Display) -> Result<()> {
    if size == 0 {
        let error = Error::new(ErrorKind::InvalidArgument, OPERATION, subject, "it is empty");
        return Err(error.remedy("give a raw disk image"));
    }
    if size.is_multiple_of(512) {
        return Ok(());
    }
    if document::is_text(head) {
        return refuse(Some(document::TEXT), subject);
    }
    let why = format!("its size of {size} bytes is not a multiple of 512");
    Err(Error::new(ErrorKind::InvalidArgument, OPERATION, subject, why)
        .remedy("a raw disk image has whole sectors: if this is one, round its size up with `truncate -s %512 FILE`"))
}

const OPERATION: &str = "import";

fn of_head(head: &[u8]) -> Option<Format> {
    compressed::of_head(head)
        .or_else(|| disk_image::of_head(head))
        .or_else(|| archive::of_head(head))
        .or_else(|| document::of_head(head))
}

fn refuse(found: Option<Format>, subject: impl fmt::Display) -> Result<()> {
    let Some(Format { name, remedy }) = found else { return Ok(()) };
    let why = format!("it is {name}, and templates are made from raw images");
    Err(Error::new(ErrorKind::InvalidArgument, OPERATION, subject, why).remedy(remedy))
}

#[cfg(test)]
mod tests;
