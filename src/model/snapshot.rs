//! The specification of a snapshot, and what a volume starts from.

use serde::{Deserialize, Serialize};

/// In which state a snapshot has the content of a volume that was in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// As after a loss of power at that instant: all that was synced before is there, and a file system
    /// recovers with its journal.
    Crash,
    /// As after the file system was frozen: what processes on this machine had written is there, even if
    /// they did not sync it.
    FileSystem,
}

impl Consistency {
    /// Its name for people, metrics and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::FileSystem => "file-system",
        }
    }
}

/// The specification of a snapshot to be made.
///
/// ```
/// # use calf::{Consistency, SnapshotSpec};
/// let spec = SnapshotSpec::new("warm").consistency(Consistency::Crash);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotSpec {
    /// The snapshot's name: 1 to 128 bytes, no control characters.
    pub name: String,
    /// The state in which the content must be. `None` means: of a file system that is mounted on this
    /// machine, that of the file system; of any other volume, that of a crash.
    pub consistency: Option<Consistency>,
}

impl SnapshotSpec {
    /// Returns the specification of a snapshot with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), consistency: None }
    }

    /// Sets the state in which the content must be.
    #[must_use]
    pub fn consistency(mut self, consistency: impl Into<Option<Consistency>>) -> Self {
        self.consistency = consistency.into();
        self
    }
}

/// The specification of snapshots of several volumes as of one instant.
///
/// ```
/// # use calf::GroupSnapshotSpec;
/// let spec = GroupSnapshotSpec::new("before-upgrade", ["root", "data"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSnapshotSpec {
    /// The name of the group: 1 to 128 bytes, no control characters.
    pub name: String,
    /// The ids of the volumes. Their order does not matter.
    pub volumes: Vec<String>,
    /// The state in which the content must be, as for a single snapshot.
    pub consistency: Option<Consistency>,
}

impl GroupSnapshotSpec {
    /// Returns the specification of a group with this name, of the volumes with these ids.
    pub fn new(
        name: impl Into<String>,
        volumes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let volumes = volumes.into_iter().map(Into::into).collect();
        Self { name: name.into(), volumes, consistency: None }
    }

    /// Sets the state in which the content must be.
    #[must_use]
    pub fn consistency(mut self, consistency: impl Into<Option<Consistency>>) -> Self {
        self.consistency = consistency.into();
        self
    }
}

/// What a volume starts from, other than its template.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeSource {
    /// The snapshot with this name.
    Snapshot(String),
    /// The volume with this id, as it was when the new one was made.
    Volume(String),
}
