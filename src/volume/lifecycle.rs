//! Create, activate, expand, deactivate and delete: the calls that make and unmake devices.

use std::fmt;
use std::path::{Path, PathBuf};

use super::execute::Executor;
use super::existing::Existing;
use super::plan::{Goal, Observed, plan};
use super::step::store_length;
use super::target::mounts_of;
use super::{Volume, VolumeSpec, inspect, observe, origin, spec};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::pool::Pool;
use crate::pool::record::{Backing, Reserve, TemplateRecord, VolumeRecord};
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
        match create(self, &key, spec, None)? {
            (record, true) => inspect::fresh(self, &key, record),
            (_, false) => inspect::volume(self, &key, &spec.id),
        }
    }

    /// Deletes a volume: device, loops, files. An unknown id is fine. `InUse` (naming the
    /// holder) while it is mounted, published or open.
    pub fn delete_volume(&self, id: &str) -> Result<()> {
        spec::check_id(id)?;
        let _lock = self.lock_volume(id, "delete volume")?;
        let key = Key::of(id);
        delete(self, &key, id, &observe::observe(self, &key)?)
    }

    /// Deletes a volume that is not active, as CSI wants it: of a staged block volume, its
    /// device is the only trace. `InUse` while it is active, even if nothing has it open.
    pub fn delete_inactive_volume(&self, id: &str) -> Result<()> {
        spec::check_id(id)?;
        let _lock = self.lock_volume(id, "delete volume")?;
        let key = Key::of(id);
        let observed = observe::observe(self, &key)?;
        if !observed.devices().is_empty() {
            return Err(Error::new(
                ErrorKind::InUse,
                "delete volume",
                id,
                "it is staged: its device is up",
            )
            .remedy("unpublish and unstage it first"));
        }
        delete(self, &key, id, &observed)
    }

    /// Brings the volume's block device up, if it is not, and returns its number.
    pub fn activate(&self, id: &str) -> Result<DeviceNumber> {
        spec::check_id(id)?;
        let _lock = self.lock_volume(id, "activate volume")?;
        Existing::look(self, id)?.activate(false, Ok)
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
        let Existing { key, mut record, before, .. } = Existing::look(self, id)?;
        record.size = record.size.max(size);
        let goal = match before.devices().is_empty() {
            true => Goal::Stored(&record),
            false => Goal::Active { record: &record, view: false },
        };
        if record.reserve == Reserve::Full {
            let has = before.store.map_or(0, |store| store.allocated);
            require_free(self, id, store_length(&record).saturating_sub(has))?;
        }
        reach(self, &key, goal, &before)?;
        inspect::volume(self, &key, id)
    }
}

/// Makes the volume, or finds it as asked for. The caller holds its lock and has checked `spec`.
/// `target` is where an inline volume is about to be published. Returns the record and whether it
/// is new.
pub(super) fn create(
    pool: &Pool,
    key: &Key,
    spec: &VolumeSpec,
    target: Option<&Path>,
) -> Result<(VolumeRecord, bool)> {
    let observed = observe::observe(pool, key)?;
    if let Some(record) = &observed.record {
        spec::agrees(spec, record)?;
        reach(pool, key, Goal::Stored(record), &observed)?;
        return Ok((record.clone(), false));
    }
    let backing = pool.backing()?;
    // Until the record is written, the content must not be removed.
    let (template, _image) = hold_content(pool, &spec.template)?;
    let mut record = spec::record(spec, &template, backing, observed.boot.clone())?;
    record.target = target.and_then(Path::to_str).map(str::to_owned);
    check_free(pool, &record)?;
    if let Err(error) = reach(pool, key, Goal::Stored(&record), &observed) {
        undo(pool, key, Goal::Absent);
        return Err(error);
    }
    Ok((record, true))
}

/// What the template `name` points to, and the lock that keeps its content in place. The name may
/// move and take its former content away between the two looks: then it is read again.
pub(super) fn hold_content(pool: &Pool, name: &str) -> Result<(TemplateRecord, Lock)> {
    let mut template = pool.template(name)?;
    loop {
        let lock = pool.lock_image(&template.digest, Mode::Shared)?;
        let Err(error) = origin::check_content(pool, &template.digest, template.size) else {
            return Ok((template, lock));
        };
        let now = pool.template(name)?;
        if now.digest == template.digest {
            return Err(error);
        }
        template = now;
    }
}

/// Takes the devices down, unless the volume is still shown somewhere.
pub(super) fn deactivate(pool: &Pool, key: &Key, id: &str) -> Result<()> {
    let observed = observe::observe(pool, key)?;
    refuse_if_mounted(pool, key, &observed, id, "deactivate volume")?;
    reach(pool, key, Goal::Inactive, &observed)
}

/// Deletes the volume, which is as `observed`. The caller holds its lock.
pub(super) fn delete(pool: &Pool, key: &Key, id: &str, observed: &Observed) -> Result<()> {
    refuse_if_mounted(pool, key, observed, id, "delete volume")?;
    reach(pool, key, Goal::Absent, observed)?;
    pool.health().forget(key);
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
pub(super) fn undo(pool: &Pool, key: &Key, goal: Goal<'_>) {
    let result = observe::observe(pool, key).and_then(|observed| {
        refuse_if_mounted(pool, key, &observed, key, "undo what failed of volume")?;
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
    key: &Key,
    observed: &Observed,
    id: impl fmt::Display,
    operation: &'static str,
) -> Result<()> {
    match mounts_of(pool, key, observed)?.first() {
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

/// Bytes of the pool that making the volume takes up.
fn space_at_once(pool: &Pool, record: &VolumeRecord) -> Result<u64> {
    match (record.reserve, record.backing) {
        (Reserve::Full, _) => Ok(store_length(record)),
        (Reserve::None, Backing::Snapshot | Backing::Reflink) => Ok(0),
        (Reserve::None, Backing::Copy) => {
            let image = pool.host().file(&pool.layout().image(&record.digest))?;
            Ok(image.map_or(0, |image| image.allocated))
        }
    }
}

/// Fails if making the volume would eat into the reserve.
pub(super) fn check_free(pool: &Pool, record: &VolumeRecord) -> Result<()> {
    require_free(pool, &record.id, LEAST_FREE + space_at_once(pool, record)?)
}

/// Fails if `needed` bytes would eat into the reserve, which running volumes live on.
fn require_free(pool: &Pool, id: &str, needed: u64) -> Result<()> {
    let capacity = pool.capacity()?;
    if capacity.available >= needed {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NoSpace,
        "find space for volume",
        id,
        format!(
            "pool {} has {} bytes free beyond its reserve of {} bytes, {needed} are needed",
            pool.root().display(),
            capacity.available,
            capacity.reserve
        ),
    )
    .remedy("delete volumes or templates, or enlarge the pool's file system"))
}
