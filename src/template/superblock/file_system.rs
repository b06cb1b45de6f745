//! What calf knows of a file system from its superblock, and what of it stands in the way.

use std::fmt;

/// A file system found in an image or on a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    /// As `mount` names it.
    pub(crate) fs_type: &'static str,
    /// Bytes per block: what it allocates and frees at least.
    pub(crate) block_size: u32,
    /// Bytes that it takes up of its device.
    pub(crate) size: u64,
    /// It was not unmounted cleanly: a journal waits to be replayed.
    pub(crate) needs_recovery: bool,
    /// What is unusual about it.
    pub(crate) findings: Vec<Finding>,
}

/// Something about a file system, what it is in the way of, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) bars: Bars,
    /// What the file system has or does: a phrase that goes on from its name.
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

/// What a finding is in the way of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bars {
    /// Every use: it is not whole, or not on this device alone.
    Use,
    /// Being mounted by calf, whatever the kernel would do.
    Mount,
    /// Being mounted by kernels that were built without something.
    SomeKernels,
    /// Being mounted by kernels before this version.
    KernelsBefore(u32, u32),
    /// Growing while it is mounted.
    Growth,
    /// Nothing; who imports it may want to know.
    Nothing,
}

impl FileSystem {
    pub(super) fn new(fs_type: &'static str, block_size: u32, size: u64) -> Self {
        Self { fs_type, block_size, size, needs_recovery: false, findings: Vec::new() }
    }

    /// Whether it is never written, whatever it is mounted on.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self.fs_type, "squashfs" | "erofs" | "iso9660")
    }

    /// The findings that are in the way of something.
    pub(crate) fn barring(&self, what: impl Fn(Bars) -> bool) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| what(finding.bars))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
