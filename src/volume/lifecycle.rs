//! Creates, activates, expands, deactivates and deletes volumes.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::policy::Backing;
use crate::model::snapshot::VolumeSource;
use crate::model::volume::VolumeSpec;
use crate::pool::locks::VolumeGuard;
use crate::pool::moment::Moment;
use crate::pool::record::VolumeRecord;
use crate::pool::{PoolDir, record};
use crate::sys::DeviceNumber;
use crate::sys::lock::Mode;
use crate::template::content::{check_content, hold_content};
use crate::volume::activate::Found;
use crate::volume::machine::converge::{reach, undo};
use crate::volume::machine::observe;
use crate::volume::plan::state::Observed;
use crate::volume::plan::{Goal, require_running};
use crate::volume::space::{AdmissionControl, Present};
use crate::volume::start::{self, Start};
use crate::volume::status::VolumeStatus;
use crate::volume::usage::{mounts_of, refuse_if_mounted};
use crate::volume::{agreement, growth, lock, overlay, provision, reclaim, status};

/// Creates a volume; returns its record. A repeated call with the same spec returns the same volume, and waits
/// a moment for one that still runs.
pub(crate) fn create_volume(pool: &PoolDir, spec: &VolumeSpec) -> Result<VolumeRecord> {
    provision::check(spec)?;
    let limit = pool.wait().max(lock::MOMENT);
    let guard = lock::take_within(pool, &spec.id, "create volume", limit)?;
    match create(pool, &guard, spec, None)? {
        Provisioned::Made(record) | Provisioned::Found(record) => Ok(record),
    }
}

/// Deletes a volume with its devices and files. Succeeds if the id is unknown. `InUse`, naming the
/// holder, while the volume is mounted, published or open.
pub(crate) fn delete_volume(pool: &PoolDir, id: &str) -> Result<()> {
    let guard = lock::take(pool, id, "delete volume")?;
    let key = guard.key();
    delete(pool, &guard, id, &observe::observe(pool, key)?)
}

/// Deletes an inactive volume. `InUse` while the volume is active, even if nothing has it open. CSI
/// needs this, since the device is the only trace of a staged block volume.
pub(crate) fn delete_inactive_volume(pool: &PoolDir, id: &str) -> Result<()> {
    let guard = lock::take(pool, id, "delete volume")?;
    let key = guard.key();
    let observed = observe::observe(pool, key)?;
    if !observed.devices().is_empty() {
        let why = match mounts_of(pool, key, &observed)?.first() {
            Some(mount) => format!("it is staged, and in use at {}", mount.path.display()),
            None => "it is staged: its device is active".to_owned(),
        };
        return Err(Error::new(ErrorKind::InUse, "delete volume", id, why)
            .remedy("unpublish and unstage it first"));
    }
    delete(pool, &guard, id, &observed)
}

/// Brings up the volume's block device, unless it is active, and returns its number.
pub(crate) fn activate(pool: &PoolDir, id: &str) -> Result<DeviceNumber> {
    let guard = lock::take(pool, id, "activate volume")?;
    Found::look(pool, &guard, id)?.activate(false, Ok)
}

/// Takes down the volume's devices. Succeeds if the volume is inactive or unknown. `InUse`, naming
/// the holder, while the volume is open.
pub(crate) fn deactivate(pool: &PoolDir, id: &str) -> Result<()> {
    let guard = lock::take(pool, id, "deactivate volume")?;
    take_down(pool, &guard, id)
}

/// Grows the volume to at least `size` bytes, and its device too if it is active. Never shrinks.
pub(crate) fn expand_volume(pool: &PoolDir, id: &str, size: u64) -> Result<VolumeStatus> {
    provision::check_size(id, size)?;
    let guard = lock::take(pool, id, "expand volume")?;
    let Found { mut record, before, .. } = Found::look(pool, &guard, id)?;
    require_running(&record, &before)?;
    let before = overlay::end(pool, &guard, &record, before)?;
    if size > record.size {
        provision::check_bound(pool, id, size)?;
        record.size = size;
        growth::check_expansion(pool, guard.key(), &record, &before)?;
    }
    change(pool, &guard, &record, &before)?;
    status::look(pool, guard.key(), id)
}

/// Gives a volume, which is as `before`, the properties of `record`: at once if it is active.
pub(crate) fn change(
    pool: &PoolDir,
    guard: &VolumeGuard,
    record: &VolumeRecord,
    before: &Observed,
) -> Result<()> {
    let _admission = admit_change(pool, record, before)?;
    let goal = match before.devices().is_empty() {
        true => Goal::Stored(record),
        false => Goal::Active { record, view: false },
    };
    reach(pool, guard, goal, before)
}

/// Fails with `NoSpace` unless the pool has room for a volume, which is as `before`, to become that of
/// `record`. Keep the result until the record is written.
pub(crate) fn admit_change<'a>(
    pool: &'a PoolDir,
    record: &VolumeRecord,
    before: &Observed,
) -> Result<AdmissionControl<'a>> {
    let admission = AdmissionControl::begin(pool)?;
    if let Some(present) = &before.record {
        let allocated = before.store.map_or(0, |store| store.allocated);
        admission.admit_change(record, Present { record: present, allocated })?;
    }
    Ok(admission)
}

/// A volume that matches its spec.
pub(crate) enum Provisioned {
    /// This call made the volume.
    Made(VolumeRecord),
    /// The volume already existed.
    Found(VolumeRecord),
}

/// Makes the volume of a checked `spec`, or finds an existing one that matches. `target` is where
/// an inline volume is about to be published.
pub(crate) fn create(
    pool: &PoolDir,
    guard: &VolumeGuard,
    spec: &VolumeSpec,
    target: Option<&Path>,
) -> Result<Provisioned> {
    let observed = observe::observe(pool, guard.key())?;
    if let Some(record) = find(pool, guard, spec, &observed)? {
        return Ok(Provisioned::Found(record));
    }
    match &spec.source {
        None => {}
        Some(VolumeSource::Snapshot(name)) => {
            let (start, _snapshot) = start::hold(pool, name, Mode::Shared)?;
            return create_copy(pool, guard, spec, &start, &observed).map(Provisioned::Made);
        }
        Some(VolumeSource::Volume(_)) => {
            let why =
                "it is to start from another volume, and exist only as long as it is published";
            return Err(Error::new(ErrorKind::Unsupported, "create volume", &spec.id, why)
                .remedy("create the volume first, then publish it"));
        }
    }
    let backing = pool.backing()?;
    let admission = AdmissionControl::begin(pool)?;
    // The lock protects the content from removal until the record is written.
    let (template, _image) = hold_content(pool, &spec.template)?;
    let mut record = provision::record(spec, &template, backing, observed.boot.clone())?;
    record.target = target.and_then(Path::to_str).map(str::to_owned);
    provision::check_bound(pool, &record.id, record.size)?;
    admission.admit(&record)?;
    make(pool, guard, Goal::Stored(&record), &record, &observed)?;
    Ok(Provisioned::Made(record))
}

/// Finds the volume that is as `observed`; fails if it is not that of `spec`.
pub(crate) fn find(
    pool: &PoolDir,
    guard: &VolumeGuard,
    spec: &VolumeSpec,
    observed: &Observed,
) -> Result<Option<VolumeRecord>> {
    let Some(record) = &observed.record else { return Ok(None) };
    agreement::agrees(spec, record)?;
    reach(pool, guard, Goal::Stored(record), observed)?;
    Ok(Some(record.clone()))
}

/// Makes the volume of a checked `spec`, which does not exist, with the content of `start`. The caller holds
/// the lock of what it starts from.
pub(crate) fn create_copy(
    pool: &PoolDir,
    guard: &VolumeGuard,
    spec: &VolumeSpec,
    start: &Start,
    observed: &Observed,
) -> Result<VolumeRecord> {
    match pool.backing()? {
        Backing::Snapshot => {}
        Backing::Reflink | Backing::Copy => {
            let why = "it is to start from a COW store, and this kernel has no dm-snapshot";
            return Err(Error::new(ErrorKind::Unsupported, "create volume", &spec.id, why)
                .remedy("load the kernel module dm-snapshot"));
        }
    }
    let admission = AdmissionControl::begin(pool)?;
    let digest = &start.content.digest;
    let _image = pool.lock_image(digest, Mode::Shared)?;
    check_content(pool, digest, start.content.template_size)?;
    let mut record = provision::record_of_copy(spec, &start.content, observed.boot.clone())?;
    record.cut.clone_from(&start.cut);
    provision::check_bound(pool, &record.id, record.size)?;
    admission.admit_copy(&record, &start.store)?;
    let goal = Goal::Copied { record: &record, from: &start.store };
    make(pool, guard, goal, &record, observed)?;
    Ok(record)
}

/// Makes a volume of `record`, or leaves nothing of it.
fn make(
    pool: &PoolDir,
    guard: &VolumeGuard,
    goal: Goal<'_>,
    record: &VolumeRecord,
    observed: &Observed,
) -> Result<()> {
    if let Err(error) = reach(pool, guard, goal, observed) {
        undo(pool, guard, Goal::Absent);
        return Err(error);
    }
    if record.ttl.is_some() {
        let created = record::to_bytes(&Moment::now(pool.host())?);
        pool.host().write_hint(&pool.layout().lifetime(guard.key()), &created)?;
    }
    Ok(())
}

/// Takes down the devices. `InUse` if the volume is still mounted or published.
pub(crate) fn take_down(pool: &PoolDir, guard: &VolumeGuard, id: &str) -> Result<()> {
    let observed = observe::observe(pool, guard.key())?;
    refuse_if_mounted(pool, guard.key(), &observed, id, "deactivate volume")?;
    reach(pool, guard, Goal::Inactive, &observed)
}

/// Deletes the volume, whose state is `observed`.
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
        // The volume is gone nevertheless. Reconciliation removes content without users.
        tracing::warn!(
            volume = id,
            error = error.report(),
            "could not remove unused content; reconciliation will retry"
        );
    }
    Ok(())
}
