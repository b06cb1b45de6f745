//! The handle of a volume: its operations.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::api::{Device, Pool};
use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::publication::{Publish, Stage};
use crate::model::snapshot::{Consistency, SnapshotSpec};
use crate::model::volume::VolumeSpec;
use crate::pool::record::VolumeRecord;
use crate::snapshot::create::{self, Taken};
use crate::snapshot::{fork, rollback};
use crate::volume::publish::stage;
use crate::volume::recover::{self, RecoverOptions, Recovery};
use crate::volume::status::{VolumeStatistics, VolumeStatus};
use crate::volume::{lifecycle, publish, status};

/// A volume of a pool, by its id. Cheap to clone.
///
/// The handle is a name, not a lock and not an open file: the volume need not exist, and the handle
/// keeps nothing alive. Each method reads the current state of the pool and the kernel. If there is
/// no such volume, methods fail with `NotFound`, except for those that remove something: they
/// succeed if it is already gone.
#[derive(Clone)]
pub struct Volume {
    pool: Pool,
    id: String,
}

/// Volumes that were made of another, or that a repeated call found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Forked {
    /// The volumes, in the order of their specs.
    pub volumes: Vec<Volume>,
    /// For how long writers of the source waited at most; `None` if an earlier call made the volumes.
    pub waited: Option<Duration>,
}

impl Volume {
    pub(super) fn new(pool: Pool, id: String) -> Self {
        Self { pool, id }
    }

    /// The volume's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The volume's pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The current state of the volume.
    pub fn status(&self) -> Result<VolumeStatus> {
        status::volume(&self.pool.0, &self.id)
    }

    /// Brings the volume's block device up, if it is not up yet.
    ///
    /// # Errors
    ///
    /// `NotFound`; `InProgress`; `NoSpace` or `Corrupt` if the kernel stopped the volume and it cannot be
    /// [recovered](Self::recover).
    pub fn activate(&self) -> Result<Device> {
        self.pool.device(lifecycle::activate(&self.pool.0, &self.id)?)
    }

    /// Takes the volume's devices down; its content stays. `InUse` (naming the holder) while
    /// something has it open.
    pub fn deactivate(&self) -> Result<()> {
        lifecycle::deactivate(&self.pool.0, &self.id)
    }

    /// Grows the volume to at least `size` bytes, including its device if the volume is active.
    /// Never shrinks it.
    pub fn expand(&self, size: u64) -> Result<VolumeStatus> {
        lifecycle::expand_volume(&self.pool.0, &self.id, size)
    }

    /// Recovers the volume after the kernel stopped it, because the pool was full or the volume's limit
    /// was reached: everything that the kernel had acknowledged is there again. An active volume stays
    /// active, and whoever has it open goes on with it; writes that failed are not repeated. Does nothing
    /// to a volume that works, apart from raising its limit.
    ///
    /// [`activate`](Self::activate) recovers a volume that a full pool stopped, without being asked.
    ///
    /// # Errors
    ///
    /// `NoSpace` if the pool is still full; `OutOfRange` if the limit is used up and the options do
    /// not raise it; `Corrupt` if the COW store is damaged, or the pool's disk failed to write to it:
    /// then nothing has changed.
    pub fn recover(&self, options: &RecoverOptions) -> Result<Recovery> {
        recover::recover_volume(&self.pool.0, &self.id, options)
    }

    /// Makes a snapshot of the volume, which may be in use meanwhile: it has all that was acknowledged before
    /// one instant during the call, and nothing of what was written after it. It is on the disk when the
    /// call returns, whatever the volume's durability. What a VMM on this machine wrote without `O_DIRECT`
    /// is in it if it was written before the call. A repeated call finds the same snapshot.
    ///
    /// # Errors
    ///
    /// `NotFound`; `AlreadyExists` (the name is taken); `Unsupported` if the volume is a private copy, or in
    /// use with a limit or a reserve in a pool whose file system cannot share blocks; `Unprepared` if an ephemeral volume was not
    /// activated since a reboot, or its file system is to be consistent and is not mounted on this
    /// machine; `NoSpace` if the pool is full, or the kernel stopped the volume; `Corrupt` if its store
    /// is damaged.
    pub fn take_snapshot(&self, spec: &SnapshotSpec) -> Result<Taken> {
        create::create(&self.pool.0, &self.id, spec)
    }

    /// Makes volumes that start from what this one holds at one instant during the call, while it may be in
    /// use: all of them, or none. No snapshot is left. Each spec has this volume as its
    /// [source](crate::VolumeSource::Volume). A repeated call finds the same volumes.
    ///
    /// # Errors
    ///
    /// Those of [`take_snapshot`](Self::take_snapshot) and [`Pool::create_volume`]; `AlreadyExists` if one of the
    /// ids is taken; `InvalidArgument` if an id is named twice.
    pub fn fork(&self, specs: &[VolumeSpec], consistency: Option<Consistency>) -> Result<Forked> {
        let fork::Forked { volumes, waited } =
            fork::fork(&self.pool.0, &self.id, specs, consistency)?;
        let handle = |record: VolumeRecord| Self::new(self.pool.clone(), record.id);
        Ok(Forked { volumes: volumes.into_iter().map(handle).collect(), waited })
    }

    /// Returns the volume to what the snapshot `name` holds: one that was made of it, or the one that it started
    /// from. What it holds now is lost, unless a snapshot has it; size and limit stay. The volume's devices
    /// are taken down, and whoever mounts it anew finds the snapshot's file system. After a failure, the
    /// volume has the one content or the other. A repeated call does the same again.
    ///
    /// An ephemeral volume starts from its template after a reboot (or from the snapshot that it was made
    /// of), as ever.
    ///
    /// # Errors
    ///
    /// `NotFound`; `InUse` (naming the holder) while the volume is mounted, published or open;
    /// `InvalidArgument` if the snapshot is of something else; `OutOfRange` if the volume's limit is lower than what the
    /// snapshot holds; `Unsupported` if the volume has reserved space, or is a private copy; `NoSpace`;
    /// `Corrupt` if the snapshot's store was replaced.
    pub fn rollback(&self, name: &str) -> Result<VolumeStatus> {
        rollback::roll_back(&self.pool.0, &self.id, name)
    }

    /// Deletes the volume: device, loop devices, files. `InUse` (naming the holder) while it is
    /// mounted, published or open.
    pub fn delete(&self) -> Result<()> {
        lifecycle::delete_volume(&self.pool.0, &self.id)
    }

    /// Deletes the volume unless it is active, as CSI requires: the device is the only trace of a
    /// staged block volume. `InUse` while the volume is active, even if nothing has it open.
    pub fn delete_inactive(&self) -> Result<()> {
        lifecycle::delete_inactive_volume(&self.pool.0, &self.id)
    }

    /// Makes the volume ready for publication: activates it, and mounts it for mount access.
    pub fn stage(&self, stage: &Stage) -> Result<()> {
        stage::stage(&self.pool.0, &self.id, stage)
    }

    /// Undoes [`stage`](Self::stage): unmounts, deactivates. Succeeds if nothing is staged at the
    /// path.
    pub fn unstage(&self, path: &Path) -> Result<()> {
        stage::unstage(&self.pool.0, &self.id, path)
    }

    /// Shows the volume at a target path, staging it first if a reboot undid the staging.
    pub fn publish(&self, publish: &Publish) -> Result<()> {
        publish::publish(&self.pool.0, &self.id, publish)
    }

    /// Removes the volume from a target path and removes the path; deletes the volume if
    /// [`Pool::publish_inline`] created it.
    pub fn unpublish(&self, target: &Path) -> Result<()> {
        publish::unpublish(&self.pool.0, &self.id, target)
    }

    /// Grows the file system mounted at `path` to fill the volume. Does nothing for block volumes
    /// and for volumes that Kata mounts: their guests grow the file system.
    pub fn expand_file_system(&self, path: &Path) -> Result<()> {
        self.expand_file_system_until(path, &Cancel::never())
    }

    /// Like [`expand_file_system`](Self::expand_file_system), but ends early, with `Cancelled`, once
    /// `cancel` is requested. What is done stays; the same call again goes on from there.
    pub fn expand_file_system_until(&self, path: &Path, cancel: &Cancel) -> Result<()> {
        stage::expand_file_system(&self.pool.0, &self.id, path, cancel)
    }

    /// Size and usage of the volume. `path` is where it is staged or published, or a further bind
    /// mount of that (as kubelet makes). `NotFound` if the volume is not at `path`.
    pub fn statistics(&self, path: &Path) -> Result<VolumeStatistics> {
        status::statistics(&self.pool.0, &self.id, path)
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Volume").field(&self.id).finish()
    }
}
