//! Runs of chunks.

/// What chunks hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// What the template has there: they were not written.
    Template,
    /// Zeros.
    Zeros,
    /// Content, which follows.
    Data,
}

/// Chunks that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The number of the first in the volume.
    pub(crate) first: u64,
    /// How many there are.
    pub(crate) count: u32,
    pub(crate) what: What,
}

impl Run {
    /// Bytes of a run in a stream.
    pub(super) const LENGTH: usize = 16;

    /// The number of the chunk after the last. No chunk has a number near the largest.
    pub(crate) fn end(self) -> u64 {
        self.first.saturating_add(self.count.into())
    }

    pub(super) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let what: u32 = match self.what {
            What::Template => 0,
            What::Zeros => 1,
            What::Data => 2,
        };
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&self.first.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..].copy_from_slice(&what.to_le_bytes());
        bytes
    }

    /// The run in these bytes; `None` if they say of something unknown what it holds.
    pub(super) fn parse(bytes: [u8; Self::LENGTH]) -> Option<Self> {
        let [first, second, count, what] = [0, 4, 8, 12].map(|at| word(&bytes[at..]));
        let what = match what {
            0 => What::Template,
            1 => What::Zeros,
            2 => What::Data,
            _ => return None,
        };
        Some(Self { first: u64::from(first) | u64::from(second) << 32, count, what })
    }
}

/// The first four bytes as a little-endian number; of fewer bytes, what there is of it.
pub(super) fn word(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}
