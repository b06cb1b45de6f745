//! Create, activate, expand, deactivate and delete: the calls that make and unmake devices.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::policy::Reserve;
use crate::model::volume::VolumeSpec;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::sys::DeviceNumber;
use crate::template::content::hold_content;
use crate::volume::activate::Found;
use crate::volume::machine::converge::{reach, undo};
use crate::volume::machine::observe;
use crate::volume::plan::Goal;
use crate::volume::plan::state::Observed;
use crate::volume::plan::step::store_length;
use crate::volume::space::{check_free, require_free};
use crate::volume::status::VolumeStatus;
use crate::volume::usage::refuse_if_mounted;
use crate::volume::{lock, provision, reclaim, status};

/// Makes a volume. The same spec again returns the same volume.
pub(crate) fn create_volume(pool: &PoolDir, spec: &VolumeSpec) -> Result<VolumeStatus> {
    provision::check(spec)?;
    let guard = lock::take(pool, &spec.id, "create volume")?;
    let key = guard.key();
    match create(pool, &guard, spec, None)? {
        Provisioned::Made(record) => status::fresh(pool, key, record),
        Provisioned::Found(_) => status::look(pool, key, &spec.id),
    }
}

/// Deletes a volume: device, loops, files. An unknown id is fine. `InUse` (naming the
/// holder) while it is mounted, published or open.
pub(crate) fn delete_volume(pool: &PoolDir, id: &str) -> Result<()> {
    let guard = lock::take(pool, id, "delete volume")?;
    let key = guard.key();
    delete(pool, &guard, id, &observe::observe(pool, key)?)
}

/// Deletes a volume that is not active, as CSI wants it: of a staged block volume, its
/// device is the only trace. `InUse` while it is active, even if nothing has it open.
pub(crate) fn delete_inactive_volume(pool: &PoolDir, id: &str) -> Result<()> {
    let guard = lock::take(pool, id, "delete volume")?;
    let key = guard.key();
    let observed = observe::observe(pool, key)?;
    if !observed.devices().is_empty() {
        return Err(Error::new(
            ErrorKind::InUse,
            "delete volume",
            id,
            "it is staged: its device is up",
        )
        .remedy("unpublish and unstage it first"));
    }
    delete(pool, &guard, id, &observed)
}

/// Brings the volume's block device up, if it is not, and returns its number.
pub(crate) fn activate(pool: &PoolDir, id: &str) -> Result<DeviceNumber> {
    let guard = lock::take(pool, id, "activate volume")?;
    Found::look(pool, &guard, id)?.activate(false, Ok)
}

/// Takes the volume's devices down. An inactive or unknown volume is fine. `InUse` (naming
/// the holder) while something has it open.
pub(crate) fn deactivate(pool: &PoolDir, id: &str) -> Result<()> {
    let guard = lock::take(pool, id, "deactivate volume")?;
    take_down(pool, &guard, id)
}

/// Makes the volume at least `size` bytes large, at once if it is active. Never shrinks.
pub(crate) fn expand_volume(pool: &PoolDir, id: &str, size: u64) -> Result<VolumeStatus> {
    provision::check_size(id, size)?;
    let guard = lock::take(pool, id, "expand volume")?;
    let Found { mut record, before, .. } = Found::look(pool, &guard, id)?;
    record.size = record.size.max(size);
    let goal = match before.devices().is_empty() {
        true => Goal::Stored(&record),
        false => Goal::Active { record: &record, view: false },
    };
    if record.reserve == Reserve::Full {
        let has = before.store.map_or(0, |store| store.allocated);
        require_free(pool, id, store_length(&record).saturating_sub(has))?;
    }
    reach(pool, &guard, goal, &before)?;
    status::look(pool, guard.key(), id)
}

/// How a volume came to be as asked for.
pub(crate) enum Provisioned {
    /// This call made it.
    Made(VolumeRecord),
    /// An earlier one did.
    Found(VolumeRecord),
}

/// Makes the volume of a checked `spec`, or finds it as asked for. `target` is where an inline
/// volume is about to be published.
pub(crate) fn create(
    pool: &PoolDir,
    guard: &VolumeGuard,
    spec: &VolumeSpec,
    target: Option<&Path>,
) -> Result<Provisioned> {
    let observed = observe::observe(pool, guard.key())?;
    if let Some(record) = &observed.record {
        provision::agrees(spec, record)?;
        reach(pool, guard, Goal::Stored(record), &observed)?;
        return Ok(Provisioned::Found(record.clone()));
    }
    let backing = pool.backing()?;
    // Until the record is written, the content must not be removed.
    let (template, _image) = hold_content(pool, &spec.template)?;
    let mut record = provision::record(spec, &template, backing, observed.boot.clone())?;
    record.target = target.and_then(Path::to_str).map(str::to_owned);
    check_free(pool, &record)?;
    if let Err(error) = reach(pool, guard, Goal::Stored(&record), &observed) {
        undo(pool, guard, Goal::Absent);
        return Err(error);
    }
    Ok(Provisioned::Made(record))
}

/// Takes the devices down, unless the volume is still shown somewhere.
pub(crate) fn take_down(pool: &PoolDir, guard: &VolumeGuard, id: &str) -> Result<()> {
    let observed = observe::observe(pool, guard.key())?;
    refuse_if_mounted(pool, guard.key(), &observed, id, "deactivate volume")?;
    reach(pool, guard, Goal::Inactive, &observed)
}

/// Deletes the volume, which is as `observed`.
pub(crate) fn delete(
    pool: &PoolDir,
    guard: &VolumeGuard,
    id: &str,
    observed: &Observed,
) -> Result<()> {
    let key = guard.key();
    refuse_if_mounted(pool, key, observed, id, "delete volume")?;
    reach(pool, guard, Goal::Absent, observed)?;
    pool.losses().forget(key);
    if let Some(record) = &observed.record
        && let Err(error) = reclaim::release_image(pool, &record.digest)
    {
        // The volume is gone all the same; reconciliation removes content without users.
        tracing::warn!(volume = id, error = error.report(), "cannot remove unused content yet");
    }
    Ok(())
}
