//! What is fixed about a stream.

use crate::snapshot::stream::run::Run;

/// How a stream starts.
pub(super) const MAGIC: [u8; 8] = *b"calfsnap";

/// The version of the format that this calf writes and reads.
pub(super) const VERSION: u32 = 1;

/// Bytes before the first section.
pub(super) const START: usize = MAGIC.len() + 4;

/// The name of a section, its first four bytes.
pub(super) type Kind = [u8; 4];

pub(super) const HEAD: Kind = *b"HEAD";
pub(super) const RUNS: Kind = *b"RUNS";
pub(super) const END: Kind = *b"END\0";

/// Bytes of the digest that ends each section.
pub(super) const CHECK: usize = 32;

/// Most bytes of content in a section; not less than a chunk.
pub(crate) const MAX_CONTENT: usize = 1 << 20;

/// Most runs in a section.
pub(super) const MAX_RUNS: usize = 4096;

/// Most bytes between the length of a section of runs and its digest.
pub(super) const MAX_PAYLOAD: usize = PREFIX + MAX_RUNS * Run::LENGTH + MAX_CONTENT;

/// Bytes before the runs of a section: the encoding of its content, and the number of runs.
pub(super) const PREFIX: usize = 8;

/// What went through a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The SHA-256 of all of the stream, in hexadecimal digits.
    pub(crate) digest: String,
    /// Its length, in bytes.
    pub(crate) length: u64,
}
