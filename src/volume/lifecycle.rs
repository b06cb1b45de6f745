//! Create, activate, expand, deactivate and delete: the calls that make and unmake devices.

use std::fmt;
use std::path::PathBuf;

use super::execute::Executor;
use super::plan::{Goal, Observed, plan};
use super::{Volume, VolumeSpec, direct, inspect, observe, spec};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::pool::Pool;
use crate::pool::record::{Backing, TemplateRecord, VolumeRecord};
use crate::sys::DeviceNumber;
use crate::sys::lock::{Lock, Mode};
use crate::template;

/// Bytes of the pool that a new volume must find free beyond the reserve.
const LEAST_FREE: u64 = 1 << 20;

impl Pool {
    /// Makes a volume. The same spec again returns the same volume.
    ///
    /// # Errors
    ///
    /// `NotFound` (no such template), `AlreadyExists` (same id, other properties), `OutOfRange`
    /// (smaller than the template), `NoSpace`, `Unsupported`, `InvalidArgument`, `InProgress`.
    pub fn create_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        spec::check(spec)?;
        let _lock = self.lock_volume(&spec.id, "create volume")?;
        let key = Key::of(&spec.id);
        create(self, &key, spec)?;
        inspect::volume(self, &key, &spec.id)
    }

    /// Deletes a volume: device, loops, files. An unknown id is fine. `InUse` (naming the
    /// holder) while it is mounted, published or open.
    pub fn delete_volume(&self, id: &str) -> Result<()> {
        spec::check_id(id)?;
        let _lock = self.lock_volume(id, "delete volume")?;
        delete(self, &Key::of(id), id)
    }

    /// Deletes a volume that is not active, as CSI wants it: of a staged block volume, its
    /// device is the only trace. `InUse` while it is active, even if nothing has it open.
    pub fn delete_inactive_volume(&self, id: &str) -> Result<()> {
        spec::check_id(id)?;
        let _lock = self.lock_volume(id, "delete volume")?;
        let key = Key::of(id);
        if !observe::observe(self, &key)?.devices().is_empty() {
            return Err(Error::new(
                ErrorKind::InUse,
                "delete volume",
                id,
                "it is staged: its device is up",
            )
            .remedy("unpublish and unstage it first"));
        }
        delete(self, &key, id)
    }

    /// Brings the volume's block device up, if it is not, and returns its number.
    pub fn activate(&self, id: &str) -> Result<DeviceNumber> {
        spec::check_id(id)?;
        let _lock = self.lock_volume(id, "activate volume")?;
        let key = Key::of(id);
        let record = existing(self, &key, id)?;
        activate(self, &key, &record, false, Ok)
    }

    /// The node of a volume's block device, such as `/dev/dm-3`.
    pub fn device_node(&self, number: DeviceNumber) -> Result<PathBuf> {
        self.host().device_node(number)
    }

    /// Takes the volume's devices down. An inactive or unknown volume is fine. `InUse` (naming
    /// the holder) while something has it open.
    pub fn deactivate(&self, id: &str) -> Result<()> {
        spec::check_id(id)?;
        let _lock = self.lock_volume(id, "deactivate volume")?;
        deactivate(self, &Key::of(id), id)
    }

    /// Makes the volume at least `size` bytes large, at once if it is active. Never shrinks.
    pub fn expand_volume(&self, id: &str, size: u64) -> Result<Volume> {
        spec::check_id(id)?;
        spec::check_size(id, size)?;
        let _lock = self.lock_volume(id, "expand volume")?;
        let key = Key::of(id);
        let mut record = existing(self, &key, id)?;
        record.size = record.size.max(size);
        let observed = observe::observe(self, &key)?;
        if observed.devices().is_empty() {
            if observed.record.as_ref() != Some(&record) {
                observe::write_record(self, &key, &record)?;
            }
        } else {
            reach(self, &key, Goal::Active { record: &record, view: false }, &observed)?;
        }
        inspect::volume(self, &key, id)
    }
}

/// Makes the volume, or finds it as asked for. The caller holds its lock and has checked `spec`.
/// Returns the record and whether it is new.
pub(super) fn create(pool: &Pool, key: &Key, spec: &VolumeSpec) -> Result<(VolumeRecord, bool)> {
    let observed = observe::observe(pool, key)?;
    if let Some(record) = &observed.record {
        check_identity(record, &spec.id)?;
        spec::agrees(spec, record)?;
        if observed.store.is_none() {
            reach(pool, key, Goal::Stored(record), &observed)?;
        }
        return Ok((record.clone(), false));
    }
    let backing = pool.backing()?;
    // Until the record is written, the content must not be removed.
    let (template, _image) = hold_content(pool, &spec.template)?;
    let record = spec::record(spec, &template, backing, observed.boot.clone())?;
    check_free(pool, &record)?;
    if let Err(error) = reach(pool, key, Goal::Stored(&record), &observed) {
        undo(pool, key, Goal::Absent);
        return Err(error);
    }
    Ok((record, true))
}

/// What the template `name` points to, and the lock that keeps its content in place. The name may
/// move and take its former content away between the two looks: then it is read again.
fn hold_content(pool: &Pool, name: &str) -> Result<(TemplateRecord, Lock)> {
    let mut template = pool.template(name)?;
    loop {
        let lock = pool.lock_image(&template.digest, Mode::Shared)?;
        if pool.host().file(&pool.layout().image(&template.digest))?.is_some() {
            return Ok((template, lock));
        }
        let now = pool.template(name)?;
        if now.digest == template.digest {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "use template",
                name,
                format!("its content sha256:{} is missing from the pool", now.digest),
            )
            .remedy("import the template again"));
        }
        template = now;
    }
}

/// The record of a volume that must exist. The caller holds its lock.
pub(super) fn existing(pool: &Pool, key: &Key, id: &str) -> Result<VolumeRecord> {
    let record = observe::read_record(pool, key)?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find volume", id, "no such volume in this pool")
            .remedy("list the volumes with `calf volume list`")
    })?;
    check_identity(&record, id)?;
    Ok(record)
}

/// Brings the volume's device up, and with `view` the read-only one, then uses the one that was
/// asked for. If either fails, devices that were not there before are gone again.
pub(super) fn activate<T>(
    pool: &Pool,
    key: &Key,
    record: &VolumeRecord,
    view: bool,
    action: impl FnOnce(DeviceNumber) -> Result<T>,
) -> Result<T> {
    let before = observe::observe(pool, key)?;
    let was_active = before.device(false).is_some();
    let result = bring_up(pool, key, record, view, before).and_then(action);
    if result.is_err() && !was_active {
        undo(pool, key, Goal::Inactive);
    }
    result
}

fn bring_up(
    pool: &Pool,
    key: &Key,
    record: &VolumeRecord,
    view: bool,
    before: Observed,
) -> Result<DeviceNumber> {
    let goal = Goal::Active { record, view };
    let steps = plan(goal, &before)?;
    let after = if steps.is_empty() {
        before
    } else {
        Executor::new(pool, key, Some(record), &before).run(&steps)?;
        let after = observe::observe(pool, key)?;
        // A store that the kernel gave up earlier comes up like any other, and cannot be read.
        plan(goal, &after)?;
        after
    };
    after.device(view).ok_or_else(|| {
        Error::new(ErrorKind::Internal, "activate volume", &record.id, "its device vanished")
            .remedy("something outside calf removed it; repeat the call")
    })
}

/// Takes the devices down, unless the volume is still shown somewhere.
pub(super) fn deactivate(pool: &Pool, key: &Key, id: &str) -> Result<()> {
    let observed = observe::observe(pool, key)?;
    refuse_if_mounted(pool, &observed, id, "deactivate volume")?;
    reach(pool, key, Goal::Inactive, &observed)
}

/// Deletes the volume. The caller holds its lock.
pub(super) fn delete(pool: &Pool, key: &Key, id: &str) -> Result<()> {
    let observed = observe::observe(pool, key)?;
    if let Some(record) = &observed.record {
        check_identity(record, id)?;
    }
    refuse_if_mounted(pool, &observed, id, "delete volume")?;
    reach(pool, key, Goal::Absent, &observed)?;
    if let Some(record) = &observed.record
        && let Err(error) = template::release_image(pool, &record.digest)
    {
        // The volume is gone all the same; reconciliation removes content without users.
        tracing::warn!(volume = id, error = error.report(), "cannot remove unused content yet");
    }
    Ok(())
}

/// Plans from `observed` to `goal` and runs the steps.
pub(super) fn reach(pool: &Pool, key: &Key, goal: Goal<'_>, observed: &Observed) -> Result<()> {
    let record = match goal {
        Goal::Stored(record) | Goal::Active { record, .. } => Some(record),
        Goal::Inactive | Goal::Absent => None,
    };
    Executor::new(pool, key, record, observed).run(&plan(goal, observed)?)
}

/// Goes back after a failure. What cannot be undone now, the next call or start completes.
fn undo(pool: &Pool, key: &Key, goal: Goal<'_>) {
    let result = observe::observe(pool, key).and_then(|observed| {
        refuse_if_mounted(pool, &observed, key, "undo what failed of volume")?;
        reach(pool, key, goal, &observed)
    });
    if let Err(error) = result {
        tracing::warn!(volume = %key, error = error.report(), "cannot undo a failed operation yet");
    }
}

/// A bound device node does not keep its device open; taking the device away under it would
/// leave a node that may mean another volume's device tomorrow.
pub(super) fn refuse_if_mounted(
    pool: &Pool,
    observed: &Observed,
    id: impl fmt::Display,
    operation: &'static str,
) -> Result<()> {
    let mut shown = Vec::new();
    for number in observed.devices() {
        shown.extend(pool.host().mounts_of(number)?);
    }
    if let Some(record) = &observed.record {
        shown.extend(direct::targets(pool, record)?);
    }
    match shown.first() {
        None => Ok(()),
        Some(mount) => Err(Error::new(
            ErrorKind::InUse,
            operation,
            id,
            format!("it is mounted or published at {}", mount.path.display()),
        )
        .remedy("unpublish and unstage it first")),
    }
}

/// Two ids with one key are as good as impossible, but would share a disk.
fn check_identity(record: &VolumeRecord, id: &str) -> Result<()> {
    if record.id == id {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::AlreadyExists,
        "use volume",
        id,
        format!("its key belongs to volume {}", record.id),
    )
    .remedy("use another name"))
}

fn check_free(pool: &Pool, record: &VolumeRecord) -> Result<()> {
    let capacity = pool.capacity()?;
    let needed = match record.backing {
        Backing::Snapshot | Backing::Reflink => LEAST_FREE,
        Backing::Copy => {
            let image = pool.host().file(&pool.layout().image(&record.digest))?;
            LEAST_FREE + image.map_or(0, |image| image.allocated)
        }
    };
    if capacity.available >= needed {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NoSpace,
        "create volume",
        &record.id,
        format!(
            "pool {} has {} bytes free beyond its reserve of {} bytes, {needed} are needed",
            pool.root().display(),
            capacity.available,
            capacity.reserve
        ),
    )
    .remedy("delete volumes or templates, or enlarge the pool's file system"))
}
