//! The volumes of a pool.

use std::time::Duration;

use crate::api::{Device, Pool, Volume};
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "driver")]
use crate::model::key::Key;
use crate::model::publication::Publish;
use crate::model::snapshot::VolumeSource;
use crate::model::volume::VolumeSpec;
use crate::model::volume_id;
#[cfg(feature = "driver")]
use crate::pool::index;
use crate::pool::losses::Losses;
use crate::pool::record::VolumeRecord;
use crate::reconcile;
use crate::reconcile::report::{ReconcileOptions, ReconcileReport};
use crate::snapshot::fork;
use crate::sys::DeviceNumber;
#[cfg(feature = "driver")]
use crate::volume::status::Listed;
use crate::volume::status::VolumeStatus;
use crate::volume::{lifecycle, publish, status};

impl Pool {
    /// Creates a volume; [`Volume::activate`] brings up its device. A repeated call with the same
    /// spec finds the same volume.
    ///
    /// # Errors
    ///
    /// `NotFound` (no such template, snapshot or source), `AlreadyExists` (same id, other properties), `OutOfRange`
    /// (smaller than what it starts from), `NoSpace`, `Unsupported`, `InvalidArgument`, `InProgress`.
    pub fn create_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        self.make(spec)?;
        Ok(Volume::new(self.clone(), spec.id.clone()))
    }

    /// Creates a volume, and returns its record, and for how long writers of the volume waited that it starts
    /// from.
    pub(super) fn make(&self, spec: &VolumeSpec) -> Result<(VolumeRecord, Option<Duration>)> {
        if let Some(VolumeSource::Volume(source)) = &spec.source {
            let forked = fork::fork(&self.0, source, std::slice::from_ref(spec), None)?;
            let volume = forked.volumes.into_iter().next().ok_or_else(|| {
                let why = "it vanished after it was made";
                Error::new(ErrorKind::Internal, "create volume", &spec.id, why)
            });
            return Ok((volume?, forked.waited));
        }
        Ok((lifecycle::create_volume(&self.0, spec)?, None))
    }

    /// The volume with this id, which need not exist: see [`Volume`].
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an id that no volume can have.
    pub fn volume(&self, id: &str) -> Result<Volume> {
        volume_id::check(id)?;
        Ok(Volume::new(self.clone(), id.to_owned()))
    }

    /// The keys of all volumes, and of what is left of volumes, in ascending order.
    #[cfg(feature = "driver")]
    pub(crate) fn volume_keys(&self) -> Result<Vec<Key>> {
        index::keys(&self.0)
    }

    /// What a list says of the volume with this key; `None` if there is none.
    #[cfg(feature = "driver")]
    pub(crate) fn list_entry(&self, key: &Key) -> Result<Option<Listed>> {
        status::list_entry(&self.0, key)
    }

    /// The number of volumes.
    #[cfg(feature = "driver")]
    pub(crate) fn volume_count(&self) -> Result<usize> {
        Ok(index::keys(&self.0)?.len())
    }

    /// Whether there is a volume with this id, or something of one.
    #[cfg(feature = "driver")]
    pub(crate) fn has_volume(&self, id: &str) -> Result<bool> {
        Ok(self.0.host().file(&self.0.layout().volume_directory(&Key::of(id)))?.is_some())
    }

    /// The volume whose block device has this number (its own device or that for readers); `None`
    /// if no volume of this pool has it.
    pub fn volume_of_device(&self, number: DeviceNumber) -> Result<Option<Volume>> {
        let id = status::volume_of_device(&self.0, number)?;
        Ok(id.map(|id| Volume::new(self.clone(), id)))
    }

    /// The state of all volumes whose records can be read, ordered by id; [`damage`](Self::damage)
    /// reports the others.
    pub fn volumes(&self) -> Result<Vec<VolumeStatus>> {
        status::volumes(&self.0)
    }

    /// The records of all volumes that can be read, ordered by id: cheaper than
    /// [`volumes`](Self::volumes), since it does not query the kernel.
    pub fn volume_records(&self) -> Result<Vec<VolumeRecord>> {
        status::volume_records(&self.0)
    }

    /// A block device by the number in a [`VolumeStatus`]. Creates its node if it is missing.
    pub fn device(&self, number: DeviceNumber) -> Result<Device> {
        Ok(Device::new(number, self.0.host().device_node(number)?))
    }

    /// How many volumes were found lost or full since the pool was opened, each counted once: by
    /// [`Volume::status`], [`Volume::statistics`] or a reconciliation.
    pub fn losses(&self) -> Losses {
        self.0.losses().count()
    }

    /// Creates an ephemeral volume and publishes it in one call; [`Volume::unpublish`] undoes both.
    /// `publish.stage.path` is unused.
    pub fn publish_inline(&self, spec: &VolumeSpec, publish: &Publish) -> Result<()> {
        publish::publish_inline(&self.0, spec, publish)
    }

    /// Completes or undoes what a crash left behind, and removes what is no longer needed; leaves
    /// alone what is in use. Call it at start; it is safe at any time.
    pub fn reconcile(&self) -> Result<ReconcileReport> {
        reconcile::reconcile(&self.0)
    }

    /// Like [`reconcile`](Self::reconcile), with options: for instance, only to report what would
    /// be done.
    pub fn reconcile_with(&self, options: &ReconcileOptions) -> Result<ReconcileReport> {
        reconcile::reconcile_with(&self.0, options)
    }
}
