//! What is to be exported and imported of snapshots.

use crate::model::cancel::Cancel;

/// A snapshot that is to be written to a stream.
///
/// ```
/// # use calf::ExportSpec;
/// let spec = ExportSpec::new("tuesday").base("monday".to_owned());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportSpec {
    /// The snapshot's name.
    pub name: String,
    /// An earlier snapshot of the same volume: only what changed since goes into the stream, which is then
    /// imported where that one is. `None` for all that was written.
    pub base: Option<String>,
    /// Whether to compress the content.
    pub compress: bool,
    /// Ends the call between two parts of the content, with `Cancelled`.
    pub cancel: Cancel,
}

impl ExportSpec {
    /// All that was written, as it is.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), base: None, compress: false, cancel: Cancel::never() }
    }

    /// Sets the earlier snapshot.
    #[must_use]
    pub fn base(mut self, base: impl Into<Option<String>>) -> Self {
        self.base = base.into();
        self
    }

    /// Has the content compressed with zstd, which needs the feature `formats`.
    #[must_use]
    pub fn compress(mut self, compress: bool) -> Self {
        self.compress = compress;
        self
    }

    /// Ends the call early.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }
}

/// A snapshot that is to be made of a stream.
///
/// ```
/// # use calf::SnapshotImportSpec;
/// let spec = SnapshotImportSpec::new("tuesday");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotImportSpec {
    /// The snapshot's name in this pool: 1 to 128 bytes, no control characters.
    pub name: String,
    /// The snapshot of this pool that the stream was made upon. `None` to find it by its identity.
    pub base: Option<String>,
    /// Ends the call between two parts of the content, with `Cancelled`.
    pub cancel: Cancel,
}

impl SnapshotImportSpec {
    /// A snapshot of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), base: None, cancel: Cancel::never() }
    }

    /// Sets the snapshot that the stream was made upon.
    #[must_use]
    pub fn base(mut self, base: impl Into<Option<String>>) -> Self {
        self.base = base.into();
        self
    }

    /// Ends the call early.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }
}
