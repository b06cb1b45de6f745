//! What calf knows about a file system from its superblock, and what makes it unsuitable.

use std::fmt;

use crate::template::superblock::growth::{Layout, Writes};

/// A file system found in an image or on a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    /// The name that `mount` uses.
    pub(crate) fs_type: &'static str,
    /// Bytes per block, the smallest unit that it allocates and frees.
    pub(crate) block_size: u32,
    /// Bytes of its device that it uses.
    pub(crate) size: u64,
    /// Whether it was not unmounted cleanly, so that its journal must be replayed.
    pub(crate) needs_recovery: bool,
    /// How it is laid out, if it can grow while it is mounted and the superblock says so.
    pub(crate) layout: Option<Layout>,
    /// Its unusual properties.
    pub(crate) findings: Vec<Finding>,
}

/// An unusual property of a file system, its impact, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) impact: Impact,
    /// What the file system has or does: a phrase that continues "its ext4".
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

/// What a finding prevents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Impact {
    /// Every use: the file system is incomplete, or needs another device.
    Unusable,
    /// Mounting: calf refuses, whatever the kernel would do.
    Unmountable,
    /// Mounting, on kernels that were built without a feature.
    KernelDependent,
    /// Mounting, on kernels older than this version.
    NeedsKernel(u32, u32),
    /// Growing while mounted.
    NotGrowable,
    /// Nothing, but users may want to know.
    Harmless,
}

impl FileSystem {
    pub(crate) fn new(fs_type: &'static str, block_size: u32, size: u64) -> Self {
        Self {
            fs_type,
            block_size,
            size,
            needs_recovery: false,
            layout: None,
            findings: Vec::new(),
        }
    }

    /// Whether file systems of this type are always read-only.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self.fs_type, "squashfs" | "erofs" | "iso9660")
    }

    /// The same, if a mounted one has at least `size` bytes by now.
    pub(crate) fn grown_to(self, size: u64) -> Self {
        let size = size.max(self.size);
        let layout = self.layout.map(|layout| layout.at(size));
        Self { size, layout, ..self }
    }

    /// What the kernel writes at most when it grows the file system to `size` bytes.
    pub(crate) fn growth_to(&self, size: u64) -> Writes {
        self.layout.map_or(Writes::NONE, |layout| layout.growth_to(size))
    }

    /// The size in bytes at which a growth to `size` bytes should pause first; `None` if one step does it.
    pub(crate) fn first_stop(&self, size: u64) -> Option<u64> {
        self.layout.and_then(|layout| layout.first_stop(size))
    }

    /// The findings whose impact `matches`.
    pub(crate) fn findings_with(
        &self,
        matches: impl Fn(Impact) -> bool,
    ) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| matches(finding.impact))
    }
}

/// Describes feature bits that calf does not know, for a finding.
pub(super) fn unknown_features(incompat: u32, ro_compat: u32) -> String {
    format!(
        "uses features that calf does not know and the kernel may not support (incompat \
         {incompat:#x}, ro_compat {ro_compat:#x})"
    )
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
