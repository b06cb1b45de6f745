//! What is to become a template.

use crate::model::cancel::Cancel;
use crate::model::snapshot::{Consistency, VolumeSource};

/// A template that is to be made of what a snapshot or a volume holds.
///
/// ```
/// # use calf::{CommitSpec, VolumeSource};
/// let spec = CommitSpec::new(VolumeSource::Snapshot("warm".into()), "base-2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitSpec {
    /// What it is made of.
    pub source: VolumeSource,
    /// The template's name.
    pub name: String,
    /// The state in which the content of a volume must be. `None` means: of a file system that is mounted on
    /// this machine, that of the file system; of any other volume, that of a crash. A snapshot has its own.
    pub consistency: Option<Consistency>,
    /// Whether to read all of the content and identify it by its SHA-256.
    pub digest: bool,
    /// Ends the call between two parts of the content that are read, with `Cancelled`.
    pub cancel: Cancel,
}

impl CommitSpec {
    /// Content that is not read, under this name.
    pub fn new(source: VolumeSource, name: impl Into<String>) -> Self {
        let (consistency, digest, cancel) = (None, false, Cancel::never());
        Self { source, name: name.into(), consistency, digest, cancel }
    }

    /// Sets the state in which the content of a volume must be.
    #[must_use]
    pub fn consistency(mut self, consistency: impl Into<Option<Consistency>>) -> Self {
        self.consistency = consistency.into();
        self
    }

    /// Has all of the content read, and identified by its SHA-256.
    #[must_use]
    pub fn digest(mut self, digest: bool) -> Self {
        self.digest = digest;
        self
    }

    /// Ends the call early.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }
}
