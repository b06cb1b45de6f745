//! The stream in which a snapshot goes from one pool to another: docs/backup.md has every byte of it.
//!
//! ```text
//!  magic, version │ HEAD │ RUNS │ RUNS │ … │ END
//! ```
//!
//! Each section ends with the SHA-256 of all that is before it in the stream. So damage is noticed before what
//! comes with it is used, and a stream that was cut short, or put together of others, has no valid end. Nothing counts before the end.

mod encoding;
mod fault;
mod format;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod head;
mod reader;
mod run;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use format::{MAX_CONTENT, Summary};
pub(crate) use head::{Base, Head};
pub(crate) use reader::{Part, Reader};
pub(crate) use run::{Run, What};
pub(crate) use writer::Writer;
