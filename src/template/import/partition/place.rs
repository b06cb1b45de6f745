//! Where a partition is.

/// Where a partition is on its disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// The error of a disk that ends before the partition does.
#[derive(Debug)]
pub(crate) struct Beyond;

impl std::fmt::Display for Beyond {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the disk ends before the partition does: the image was cut short")
    }
}

impl std::error::Error for Beyond {}
