//! Create, activate, expand, deactivate and delete: the calls that make and unmake devices.

use std::fmt;
use std::path::{Path, PathBuf};

use super::execute::Executor;
use super::plan::{Goal, Observed, plan};
use super::step::store_length;
use super::target::mounts_of;
use super::{Volume, VolumeSpec, inspect, observe, origin, spare, spec};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::pool::Pool;
use crate::pool::record::{Backing, Reserve, TemplateRecord, VolumeRecord};
use crate::sys::lock::{Lock, Mode};
use crate::sys::{DeviceNumber, StoreHeader};
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
        let key = Key::of(id);
        let (record, before) = look(self, &key, id)?;
        activate(self, &key, &record, false, &before, Ok)
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
        let (mut record, observed) = look(self, &key, id)?;
        record.size = record.size.max(size);
        let goal = match observed.devices().is_empty() {
            true => Goal::Stored(&record),
            false => Goal::Active { record: &record, view: false },
        };
        if record.reserve == Reserve::Full {
            let has = observed.store.map_or(0, |store| store.allocated);
            require_free(self, id, store_length(&record).saturating_sub(has))?;
        }
        reach(self, &key, goal, &observed)?;
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

/// The record of a volume that must exist. The caller holds its lock.
pub(super) fn existing(pool: &Pool, key: &Key, id: &str) -> Result<VolumeRecord> {
    observe::read_record(pool, key)?.ok_or_else(|| unknown(id))
}

/// The record of a volume that must exist, and what else there is of it. The caller holds its lock: it
/// need not look again before it acts.
pub(super) fn look(pool: &Pool, key: &Key, id: &str) -> Result<(VolumeRecord, Observed)> {
    let observed = observe::observe(pool, key)?;
    match &observed.record {
        Some(record) => Ok((record.clone(), observed)),
        None => Err(unknown(id)),
    }
}

/// The error for a volume that does not exist.
pub(super) fn unknown(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, "find volume", id, "no such volume in this pool")
        .remedy("list the volumes with `calf volume list`")
}

/// Brings the device of the volume up, which was as in `before`, and with `view` the read-only one,
/// then uses the one that was asked for. If either fails, devices that were not there before are gone
/// again.
pub(super) fn activate<T>(
    pool: &Pool,
    key: &Key,
    record: &VolumeRecord,
    view: bool,
    before: &Observed,
    action: impl FnOnce(DeviceNumber) -> Result<T>,
) -> Result<T> {
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
    before: &Observed,
) -> Result<DeviceNumber> {
    let goal = Goal::Active { record, view };
    let spare = match is_untouched(record, before) {
        true => spare::claim(pool, key, record)?,
        false => None,
    };
    // Nothing else of the volume is other than before.
    let claimed = spare.map(|device| Observed { snapshot: Some(device), ..before.clone() });
    let now = claimed.as_ref().unwrap_or(before);
    let steps = plan(goal, now)?;
    let device = if steps.is_empty() {
        now.device(view)
    } else {
        Executor::new(pool, key, Some(record), now).run(&steps)?;
        let after = observe::again(pool, key, now)?;
        // A store that the kernel gave up earlier comes up like any other, and cannot be read.
        plan(goal, &after)?;
        after.device(view)
    };
    device.ok_or_else(|| {
        Error::new(ErrorKind::Internal, "activate volume", &record.id, "its device vanished")
            .remedy("something outside calf removed it; repeat the call")
    })
}

/// Whether the volume never had a device: then a spare may become it, and bring its own store.
fn is_untouched(record: &VolumeRecord, observed: &Observed) -> bool {
    let store = observed
        .store
        .is_some_and(|store| store.damage.is_none() && store.header == Some(StoreHeader::New));
    store && observed.devices().is_empty() && record.boot == observed.boot
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
fn undo(pool: &Pool, key: &Key, goal: Goal<'_>) {
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
