//! Groups: snapshots of several volumes as of one instant.

use std::fmt;

use crate::api::Pool;
use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::model::snapshot::GroupSnapshotSpec;
use crate::model::volume_id;
use crate::pool::groups::{self, GroupRecord};
use crate::snapshot::catalog::SnapshotStatus;
use crate::snapshot::group::{self, TakenGroup};

/// A group of snapshots of a pool, by its name. Cheap to clone.
///
/// As with [`Snapshot`](crate::Snapshot), the handle is a name: the group need not exist.
#[derive(Clone)]
pub struct GroupSnapshot {
    pool: Pool,
    name: String,
}

impl GroupSnapshot {
    /// The group's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The group's record. `NotFound` if there is no such group.
    pub fn record(&self) -> Result<GroupRecord> {
        groups::find(&self.pool.0, &Key::of(&self.name))?.ok_or_else(|| {
            let why = "no such group in this pool";
            Error::new(ErrorKind::NotFound, "find group snapshot", &self.name, why)
                .remedy("list the groups with `calf snapshot group list`")
        })
    }

    /// The present state of its snapshots, ordered by their volumes.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such group.
    pub fn snapshots(&self) -> Result<Vec<SnapshotStatus>> {
        group::snapshots(&self.pool.0, &self.record()?)
    }

    /// Deletes the group with all of its snapshots; succeeds if it does not exist. Volumes that started from them
    /// stay as they are.
    ///
    /// # Errors
    ///
    /// `InUse` (naming the holder) while the device of one of them is open: then all stay. `InProgress` while a volume
    /// is being made of one of them: those that are left go with the next call, or
    /// with reconciliation.
    pub fn delete(&self) -> Result<()> {
        group::delete(&self.pool.0, &self.name)
    }
}

impl Pool {
    /// Makes snapshots of several volumes as of one instant, while they may be in use: all of them, or none. A
    /// repeated call finds them. The snapshot of volume `v` in group `g` has the name `g.v`, if that is no longer than
    /// 128 bytes.
    ///
    /// The writers of all volumes wait for as long as the mappings of all COW stores are copied.
    ///
    /// # Errors
    ///
    /// As for [`Volume::take_snapshot`](crate::Volume::take_snapshot), for the first volume that has one;
    /// `AlreadyExists` if there is a group of that name of other volumes.
    pub fn take_group_snapshot(&self, spec: &GroupSnapshotSpec) -> Result<TakenGroup> {
        group::create(&self.0, spec)
    }

    /// The group with this name, which need not exist: see [`GroupSnapshot`].
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a name that no group can have.
    pub fn group_snapshot(&self, name: &str) -> Result<GroupSnapshot> {
        volume_id::check_snapshot(name)?;
        Ok(GroupSnapshot { pool: self.clone(), name: name.to_owned() })
    }

    /// All groups whose records can be read, ordered by name.
    pub fn group_snapshots(&self) -> Result<Vec<GroupRecord>> {
        Ok(groups::survey(&self.0)?.0)
    }

    /// The record of the group whose name has this key, if there is one.
    #[cfg(feature = "driver")]
    pub(crate) fn group_record(&self, name: &Key) -> Result<Option<GroupRecord>> {
        groups::find(&self.0, name)
    }
}

impl fmt::Debug for GroupSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GroupSnapshot").field(&self.name).finish()
    }
}
