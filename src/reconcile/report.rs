//! What reconciliation is asked for, and what it did.

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
    /// Ends the work between two volumes; what was done until then is reported.
    pub cancel: Cancel,
}

impl ReconcileOptions {
    /// Time of grace unless told otherwise: longer than kubelet takes for a restart.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(10 * 60);

    /// Whether to change nothing, and report what would be done.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// How long the directory of an inline volume's target must have been gone.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Ends the work early.
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
    /// Repairs that failed, in words; reconciliation goes on with the rest.
    pub failed: Vec<String>,
}

/// A volume whose half-done operation was completed or undone. Displays as the volume's id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// The volume's id.
    pub volume: String,
    /// What was done to it, in words.
    pub steps: Vec<String>,
}

/// Something that was removed. Displays in words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removal {
    /// Why.
    pub kind: RemovalKind,
    /// What: a volume's id, or a description.
    pub what: String,
}

/// Why something was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RemovalKind {
    /// A directory without a record, of a volume that was never made or half deleted, or what tells
    /// Kata of such a volume.
    Remains,
    /// A device of this pool without a directory.
    Device,
    /// An inline volume whose pod is gone.
    Inline,
    /// A volume whose TTL has expired.
    Expired,
    /// An import that nobody can take up again.
    Import,
    /// Template content without a name or a volume.
    Content,
    /// A spare that is broken, or one more than its template is to have.
    Spare,
}

impl RemovalKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Remains,
        Self::Device,
        Self::Inline,
        Self::Expired,
        Self::Import,
        Self::Content,
        Self::Spare,
    ];

    /// A word for logs, metrics and programs.
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
