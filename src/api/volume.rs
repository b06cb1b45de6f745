//! The handle of a volume: its verbs.

use std::fmt;
use std::path::Path;

use crate::api::{Device, Pool};
use crate::error::Result;
use crate::model::publication::{Publish, Stage};
use crate::volume::publish::stage;
use crate::volume::status::{VolumeStatistics, VolumeStatus};
use crate::volume::{lifecycle, publish, status};

/// A volume of a pool, by its id. Cheap to clone.
///
/// The handle is a name, not a lock and not an open file: it says nothing of whether the volume
/// exists, and it keeps nothing alive. Each method looks at the pool and the kernel as they are then.
/// `NotFound` says that there is no such volume, but for those that take away: what is gone already is
/// fine for them.
#[derive(Clone)]
pub struct Volume {
    pool: Pool,
    id: String,
}

impl Volume {
    pub(super) fn new(pool: Pool, id: String) -> Self {
        Self { pool, id }
    }

    /// The volume's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The pool that it is in.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The volume as it is now.
    pub fn status(&self) -> Result<VolumeStatus> {
        status::volume(&self.pool.0, &self.id)
    }

    /// Brings the volume's block device up, if it is not.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Corrupt` if the kernel gave the device up; `InProgress`.
    pub fn activate(&self) -> Result<Device> {
        self.pool.device(lifecycle::activate(&self.pool.0, &self.id)?)
    }

    /// Takes the volume's devices down; what was written stays. `InUse` (naming the holder) while
    /// something has it open.
    pub fn deactivate(&self) -> Result<()> {
        lifecycle::deactivate(&self.pool.0, &self.id)
    }

    /// Makes the volume at least `size` bytes large, at once if it is active. Never shrinks.
    pub fn expand(&self, size: u64) -> Result<VolumeStatus> {
        lifecycle::expand_volume(&self.pool.0, &self.id, size)
    }

    /// Deletes the volume: device, loop devices, files. `InUse` (naming the holder) while it is
    /// mounted, published or open.
    pub fn delete(&self) -> Result<()> {
        lifecycle::delete_volume(&self.pool.0, &self.id)
    }

    /// Deletes the volume unless it is active, as CSI wants it: of a staged block volume, its device is
    /// the only trace. `InUse` while it is active, even if nothing has it open.
    pub fn delete_inactive(&self) -> Result<()> {
        lifecycle::delete_inactive_volume(&self.pool.0, &self.id)
    }

    /// Makes the volume ready for publication: activates it, and mounts it for mount access.
    pub fn stage(&self, stage: &Stage) -> Result<()> {
        stage::stage(&self.pool.0, &self.id, stage)
    }

    /// Undoes [`stage`](Self::stage): unmounts, deactivates. A path where nothing is staged is fine.
    pub fn unstage(&self, path: &Path) -> Result<()> {
        stage::unstage(&self.pool.0, &self.id, path)
    }

    /// Shows the volume at a target path, staging it first where a reboot undid that.
    pub fn publish(&self, publish: &Publish) -> Result<()> {
        publish::publish(&self.pool.0, &self.id, publish)
    }

    /// Takes the volume away from a target path and removes the path; deletes the volume if it was
    /// made by [`Pool::publish_inline`].
    pub fn unpublish(&self, target: &Path) -> Result<()> {
        publish::unpublish(&self.pool.0, &self.id, target)
    }

    /// Grows the file system mounted at `path` to fill the volume. Block volumes, and those that Kata
    /// mounts, are left to their guest.
    pub fn expand_file_system(&self, path: &Path) -> Result<()> {
        stage::expand_file_system(&self.pool.0, &self.id, path)
    }

    /// Size and use of the volume; `path` is where it is staged or published, here or (as kubelet does)
    /// bound once more elsewhere. `NotFound` if it is not at `path`.
    pub fn statistics(&self, path: &Path) -> Result<VolumeStatistics> {
        status::statistics(&self.pool.0, &self.id, path)
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Volume").field(&self.id).finish()
    }
}
