//! Stage: a volume is active and, for mount access, its file system is mounted and as large as the
//! volume.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::access::Access;
use crate::model::cancel::Cancel;
use crate::model::publication::Stage;
use crate::pool::PoolDir;
use crate::pool::record::VolumeRecord;
use crate::sys::{DeviceNumber, MountSpec, Target, TargetKind};
use crate::volume::activate::Found;
use crate::volume::kata::{is_at, is_direct};
use crate::volume::machine::{converge, observe, teardown};
use crate::volume::plan::{Goal, require_running};
use crate::volume::publish::file_system;
use crate::volume::publish::mount_point::{
    Parents, Shown, check_path, refuse_other_use, show, unmount_all,
};
use crate::volume::usage::{elsewhere, is_device_of, mounts_of};
use crate::volume::{growth, lifecycle, lock};

/// Makes the volume ready for publication: activates it, and mounts it for mount access.
pub(crate) fn stage(pool: &PoolDir, id: &str, stage: &Stage) -> Result<()> {
    let guard = lock::take(pool, id, "stage volume")?;
    let volume = Found::look(pool, &guard, id)?;
    check_access(&volume.record, &stage.access)?;
    ensure_staged(&volume, stage, Parents::Make).map(drop)
}

/// Undoes `stage`: unmounts, deactivates. Unknown volumes and paths are fine. A volume that is mounted
/// elsewhere is not staged at this path, and stays as it is.
pub(crate) fn unstage(pool: &PoolDir, id: &str, path: &Path) -> Result<()> {
    let guard = lock::take(pool, id, "unstage volume")?;
    let key = guard.key();
    let staged = pool.host().resolve(path);
    let observed = observe::observe(pool, key)?;
    let mounts = mounts_of(pool, key, &observed)?;
    if let Some(elsewhere) = mounts.iter().find(|mount| mount.path != staged) {
        // A staging that the host does not mount leaves no trace at its path.
        let traceless = |record: &VolumeRecord| record.kata_direct;
        let is_here = mounts.iter().any(|mount| mount.path == staged || mount.node);
        if !is_here && !observed.record.as_ref().is_some_and(traceless) {
            return Ok(());
        }
        return Err(Error::new(
            ErrorKind::InUse,
            "unstage volume",
            id,
            format!("it is still published at {}", elsewhere.path.display()),
        )
        .remedy("unpublish it there first"));
    }
    if mounts.is_empty() {
        return converge::reach(pool, &guard, Goal::Inactive, &observed);
    }
    if matches!(pool.host().target(path)?, Target::FileSystem { device, .. }
        if is_device_of(pool, key, device)?)
    {
        unmount_all(pool, &guard, id, path)?;
    }
    lifecycle::take_down(pool, &guard, id)
}

/// Grows the file system mounted at `path` (of volume `id`) to fill the volume. Block
/// volumes, and those that Kata mounts, are left to their guest.
pub(crate) fn expand_file_system(
    pool: &PoolDir,
    id: &str,
    path: &Path,
    cancel: &Cancel,
) -> Result<()> {
    let guard = lock::take(pool, id, "expand file system of volume")?;
    let key = guard.key();
    let Found { record, before, .. } = Found::look(pool, &guard, id)?;
    if is_at(pool, key, path)? {
        return Ok(());
    }
    require_running(&record, &before)?;
    match pool.host().target(path)? {
        Target::FileSystem { device, read_only, .. } if is_device_of(pool, key, device)? => {
            if read_only {
                Ok(())
            } else {
                growth::check_mounted(pool, key, &record, device, path)?;
                grow(pool, &record, device, path, cancel)
            }
        }
        Target::Node { device } if is_device_of(pool, key, device)? => Ok(()),
        _ => Err(elsewhere("expand file system of volume", id, path)),
    }
}

pub(crate) fn check_access(record: &VolumeRecord, access: &Access) -> Result<()> {
    let what = format!("volume {} of template {}", record.id, record.template);
    access.check(record.fs_type.as_deref(), &what)
}

/// Activates the volume and, for mount access, has its file system at the staging path.
/// Returns the device that the staging rests on.
pub(crate) fn ensure_staged(
    volume: &Found<'_>,
    stage: &Stage,
    parents: Parents,
) -> Result<DeviceNumber> {
    volume.activate(stage.is_read_only(), |device| {
        match &stage.access {
            access if is_direct(&volume.record, access) => {}
            Access::Block => refuse_other_use(volume, TargetKind::File)?,
            Access::Mount { options, .. } => {
                check_path(volume.pool, &stage.path)?;
                mount(volume, device, stage, options, parents)?;
            }
        }
        Ok(device)
    })
}

/// Has the file system of `device` at the staging path, as large as the volume.
fn mount(
    volume: &Found<'_>,
    device: DeviceNumber,
    stage: &Stage,
    options: &[String],
    parents: Parents,
) -> Result<()> {
    let Found { pool, key, record, .. } = volume;
    let read_only = stage.is_read_only();
    let grows = !read_only && record.size != record.template_size;
    let settle = || match (read_only, grows) {
        (true, _) => Ok(()),
        (false, false) => end_background_writes(pool, record, &stage.path),
        (false, true) => grow(pool, record, device, &stage.path, &stage.cancel),
    };
    let mounted = Target::FileSystem { device, read_only, failed: false };
    let shown = show(volume, &stage.path, TargetKind::Directory, parents, mounted, || {
        refuse_other_use(volume, TargetKind::Directory)?;
        let found = file_system::check(pool, record, device)?;
        if grows {
            growth::check_active(pool, key, record, &found)?;
        }
        // Otherwise the mount would show a frozen file system that was left here.
        teardown::thaw_abandoned(pool.host(), device);
        pool.host()
            .mount(&MountSpec {
                device,
                target: stage.path.clone(),
                fs_type: record.fs_type.clone().unwrap_or_default(),
                options: options.to_vec(),
                read_only,
            })
            .map_err(|error| file_system::explain_mount(record, &found, read_only, error))
            .and_then(|()| settle())
    })?;
    if shown == Shown::Now {
        return Ok(());
    }
    // The call that mounted it may have been cut short before this.
    if grows {
        growth::check_mounted(pool, key, record, device, &stage.path)?;
    }
    settle()
}

/// Grows the file system to fill its device, and has the kernel write no more to it than this.
fn grow(
    pool: &PoolDir,
    record: &VolumeRecord,
    device: DeviceNumber,
    path: &Path,
    cancel: &Cancel,
) -> Result<()> {
    let grown = growth::grow(pool, record, device, path, cancel)
        .map_err(|error| file_system::explain_growth(pool, record, device, error));
    grown.and(end_background_writes(pool, record, path))
}

/// Without this, a volume that nobody uses grows by all of its inode tables.
fn end_background_writes(pool: &PoolDir, record: &VolumeRecord, path: &Path) -> Result<()> {
    pool.host().end_background_writes(path, record.fs_type.as_deref().unwrap_or_default())
}
