//! Options and report of a reconciliation.

use std::fmt;
use std::time::Duration;

use crate::model::cancel::Cancel;

/// How to reconcile.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReconcileOptions {
    /// Change nothing; report what would be done.
    pub dry_run: bool,
    /// How long the directory of an inline volume's target must have been gone before the volume
    /// is deleted.
    pub grace: Duration,
    /// Ends the work between two volumes. The report covers the work done until then.
    pub cancel: Cancel,
}

impl ReconcileOptions {
    /// Default grace period: longer than a restart of kubelet.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(10 * 60);

    /// Sets whether to change nothing and only report what would be done.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Sets how long the directory of an inline volume's target must have been gone.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets the condition that ends the work early.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_requested()
    }
}

impl Default for ReconcileOptions {
    fn default() -> Self {
        Self { dry_run: false, grace: Self::DEFAULT_GRACE, cancel: Cancel::never() }
    }
}

/// What a reconciliation did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReconcileReport {
    /// Volumes that are active and were left alone.
    pub live: usize,
    /// Volumes whose half-done operation was completed or undone.
    pub repaired: Vec<Repair>,
    /// What was removed.
    pub removed: Vec<Removal>,
    /// Descriptions of repairs that failed. Reconciliation continued with the rest.
    pub failed: Vec<String>,
}

/// A volume whose half-done operation was completed or undone. Displays as the volume's id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// The volume's id.
    pub volume: String,
    /// Descriptions of the steps that were taken.
    pub steps: Vec<String>,
}

/// A removed object. Displays as a description.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removal {
    /// Why the object was removed.
    pub kind: RemovalKind,
    /// The volume's id, or a description of the object.
    pub what: String,
}

/// Why an object was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RemovalKind {
    /// A directory without a record, left by an interrupted creation or deletion, or a publication
    /// to Kata of a volume without a record.
    Remains,
    /// A device of this pool without a directory.
    Device,
    /// An inline volume whose pod is gone.
    Inline,
    /// A volume whose TTL has expired.
    Expired,
    /// An import that cannot be resumed.
    Import,
    /// Template content without a name or a volume.
    Content,
    /// A spare that is broken, or in excess of its template's `warm`.
    Spare,
}

impl RemovalKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Remains,
        Self::Device,
        Self::Inline,
        Self::Expired,
        Self::Import,
        Self::Content,
        Self::Spare,
    ];

    /// The name of the kind for logs, metrics and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remains => "remains",
            Self::Device => "device",
            Self::Inline => "inline",
            Self::Expired => "expired",
            Self::Import => "import",
            Self::Content => "content",
            Self::Spare => "spare",
        }
    }
}

// === impl Display ===

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.volume)
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RemovalKind::Inline => write!(f, "inline volume {}, whose pod is gone", self.what),
            RemovalKind::Expired => {
                write!(f, "volume {}, whose TTL has expired", self.what)
            }
            _ => f.write_str(&self.what),
        }
    }
}
