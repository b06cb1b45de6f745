//! Volumes: made, brought up, shown, and taken away.

use crate::api::Pool;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::model::publication::{Publish, Stage};
use crate::model::volume::VolumeSpec;
use crate::pool::losses::Losses;
use crate::pool::record::VolumeRecord;
use crate::reconcile;
use crate::reconcile::report::{ReconcileOptions, ReconcileReport};
use crate::sys::DeviceNumber;
use crate::volume::publish::stage;
use crate::volume::status::{Volume, VolumeStatistics};
use crate::volume::{lifecycle, publish, status};

impl Pool {
    /// Makes a volume. The same spec again returns the same volume.
    ///
    /// # Errors
    ///
    /// `NotFound` (no such template), `AlreadyExists` (same id, other properties), `OutOfRange`
    /// (smaller than the template), `NoSpace`, `Unsupported`, `InvalidArgument`, `InProgress`.
    pub fn create_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        lifecycle::create_volume(&self.0, spec)
    }

    /// Deletes a volume: device, loops, files. An unknown id is fine. `InUse` (naming the
    /// holder) while it is mounted, published or open.
    pub fn delete_volume(&self, id: &str) -> Result<()> {
        lifecycle::delete_volume(&self.0, id)
    }

    /// Deletes a volume that is not active, as CSI wants it: of a staged block volume, its
    /// device is the only trace. `InUse` while it is active, even if nothing has it open.
    pub fn delete_inactive_volume(&self, id: &str) -> Result<()> {
        lifecycle::delete_inactive_volume(&self.0, id)
    }

    /// Brings the volume's block device up, if it is not, and returns its number.
    pub fn activate(&self, id: &str) -> Result<DeviceNumber> {
        lifecycle::activate(&self.0, id)
    }

    /// The node of a volume's block device, such as `/dev/dm-3`.
    pub fn device_node(&self, number: DeviceNumber) -> Result<PathBuf> {
        self.0.host().device_node(number)
    }

    /// Takes the volume's devices down. An inactive or unknown volume is fine. `InUse` (naming
    /// the holder) while something has it open.
    pub fn deactivate(&self, id: &str) -> Result<()> {
        lifecycle::deactivate(&self.0, id)
    }

    /// Makes the volume at least `size` bytes large, at once if it is active. Never shrinks.
    pub fn expand_volume(&self, id: &str, size: u64) -> Result<Volume> {
        lifecycle::expand_volume(&self.0, id, size)
    }

    /// The volume with this id, as it is now. `NotFound` if there is none.
    pub fn volume(&self, id: &str) -> Result<Volume> {
        status::volume(&self.0, id)
    }

    /// The volume that has the block device with this number, its own or the one for readers; `None` if
    /// no volume of this pool has.
    pub fn volume_of_device(&self, number: DeviceNumber) -> Result<Option<Volume>> {
        status::volume_of_device(&self.0, number)
    }

    /// How many volumes were seen to be given up by the kernel since the pool was opened: each once,
    /// by [`volume`](Self::volume), [`statistics`](Self::statistics) or a reconciliation.
    pub fn losses(&self) -> Losses {
        self.0.losses().count()
    }

    /// All volumes whose records can be read, ordered by id; [`damage`](Self::damage) tells of the
    /// others.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        status::volumes(&self.0)
    }

    /// The records of all volumes, as far as they can be read, ordered by id: cheaper than
    /// [`volumes`](Self::volumes), as the kernel is not asked.
    pub fn volume_records(&self) -> Result<Vec<VolumeRecord>> {
        status::volume_records(&self.0)
    }

    /// Size and use of a volume; `path` is where it is staged or published, here or (as kubelet
    /// does) bound once more elsewhere. `NotFound` if the volume is not at `path`.
    pub fn statistics(&self, id: &str, path: &Path) -> Result<VolumeStatistics> {
        status::statistics(&self.0, id, path)
    }

    /// Makes the volume ready for publication: activates it, and mounts it for mount access.
    pub fn stage(&self, id: &str, stage: &Stage) -> Result<()> {
        stage::stage(&self.0, id, stage)
    }

    /// Undoes [`stage`](Self::stage): unmounts, deactivates. Unknown volumes and paths are fine.
    pub fn unstage(&self, id: &str, path: &Path) -> Result<()> {
        stage::unstage(&self.0, id, path)
    }

    /// Grows the file system mounted at `path` (of volume `id`) to fill the volume. Block
    /// volumes, and those that Kata mounts, are left to their guest.
    pub fn expand_file_system(&self, id: &str, path: &Path) -> Result<()> {
        stage::expand_file_system(&self.0, id, path)
    }

    /// Shows the volume at a target path, staging it first where a reboot undid that.
    pub fn publish(&self, id: &str, publish: &Publish) -> Result<()> {
        publish::publish(&self.0, id, publish)
    }

    /// Makes an ephemeral volume and publishes it in one call; undone by
    /// [`unpublish`](Self::unpublish). `publish.stage.path` is unused.
    pub fn publish_inline(&self, spec: &VolumeSpec, publish: &Publish) -> Result<()> {
        publish::publish_inline(&self.0, spec, publish)
    }

    /// Takes the volume away from a target path and removes the path; deletes the volume if it
    /// was made by [`publish_inline`](Self::publish_inline).
    pub fn unpublish(&self, id: &str, target: &Path) -> Result<()> {
        publish::unpublish(&self.0, id, target)
    }

    /// Completes or undoes what a crash left behind, and removes what nobody needs any more; what is
    /// in use is not touched. To be called at start; safe at any time.
    pub fn reconcile(&self) -> Result<ReconcileReport> {
        reconcile::reconcile(&self.0)
    }

    /// The same, with options: to learn what would be done, for instance.
    pub fn reconcile_with(&self, options: &ReconcileOptions) -> Result<ReconcileReport> {
        reconcile::reconcile_with(&self.0, options)
    }
}
