//! Stage: a volume is active and, for mount access, its file system is mounted and as large as the
//! volume.

use std::path::Path;

use super::existing::{self, Existing};
use super::plan::Goal;
use super::target::{
    Shown, check_path, is_device_of, mounts_of, refuse_other_use, show, unmount_all,
};
use super::{Access, Stage, direct, lifecycle, observe, spec};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::pool::Pool;
use crate::pool::record::VolumeRecord;
use crate::sys::{DeviceNumber, MountSpec, Target, TargetKind};

impl Pool {
    /// Makes the volume ready for publication: activates it, and mounts it for mount access.
    pub fn stage(&self, id: &str, stage: &Stage) -> Result<()> {
        spec::check_id(id)?;
        let _lock = self.lock_volume(id, "stage volume")?;
        let volume = Existing::look(self, id)?;
        check_access(&volume.record, &stage.access)?;
        ensure_staged(&volume, stage).map(drop)
    }

    /// Undoes [`stage`](Self::stage): unmounts, deactivates. Unknown volumes and paths are fine.
    pub fn unstage(&self, id: &str, path: &Path) -> Result<()> {
        spec::check_id(id)?;
        let _lock = self.lock_volume(id, "unstage volume")?;
        let key = Key::of(id);
        let staged = self.host().resolve(path);
        let observed = observe::observe(self, &key)?;
        let mounts = mounts_of(self, &key, &observed)?;
        if let Some(elsewhere) = mounts.iter().find(|mount| mount.path != staged) {
            return Err(Error::new(
                ErrorKind::InUse,
                "unstage volume",
                id,
                format!("it is still published at {}", elsewhere.path.display()),
            )
            .remedy("unpublish it there first"));
        }
        if mounts.is_empty() {
            return lifecycle::reach(self, &key, Goal::Inactive, &observed);
        }
        if matches!(self.host().target(path)?, Target::FileSystem { device, .. }
            if is_device_of(self, &key, device)?)
        {
            unmount_all(self, &key, id, path)?;
        }
        lifecycle::deactivate(self, &key, id)
    }

    /// Grows the file system mounted at `path` (of volume `id`) to fill the volume. Block
    /// volumes, and those that Kata mounts, are left to their guest.
    pub fn expand_file_system(&self, id: &str, path: &Path) -> Result<()> {
        spec::check_id(id)?;
        let _lock = self.lock_volume(id, "expand file system of volume")?;
        let key = Key::of(id);
        let record = existing::record(self, &key, id)?;
        if direct::is_at(self, &key, path)? {
            return Ok(());
        }
        match self.host().target(path)? {
            Target::FileSystem { device, read_only, .. } if is_device_of(self, &key, device)? => {
                if read_only {
                    Ok(())
                } else {
                    grow(self, &record, path)
                }
            }
            Target::Node { device } if is_device_of(self, &key, device)? => Ok(()),
            _ => Err(Error::new(
                ErrorKind::NotFound,
                "expand file system of volume",
                id,
                format!("it is not staged or published at {}", path.display()),
            )
            .remedy("give a path where the volume is staged or published")),
        }
    }
}

pub(super) fn check_access(record: &VolumeRecord, access: &Access) -> Result<()> {
    let what = format!("volume {} of template {}", record.id, record.template);
    access.check(record.fs_type.as_deref(), &what)
}

/// Activates the volume and, for mount access, has its file system at the staging path.
/// Returns the device that the staging rests on.
pub(super) fn ensure_staged(volume: &Existing<'_>, stage: &Stage) -> Result<DeviceNumber> {
    volume.activate(stage.is_read_only(), |device| {
        if let Access::Mount { options, .. } = &stage.access
            && !direct::is_direct(&volume.record, &stage.access)
        {
            check_path(volume.pool, &stage.path)?;
            mount(volume, device, stage, options)?;
        }
        Ok(device)
    })
}

/// Has the file system of `device` at the staging path, as large as the volume.
fn mount(
    volume: &Existing<'_>,
    device: DeviceNumber,
    stage: &Stage,
    options: &[String],
) -> Result<()> {
    let Existing { pool, record, .. } = volume;
    let read_only = stage.is_read_only();
    let grow_if_larger = || match read_only || record.size == record.template_size {
        true => Ok(()),
        false => grow(pool, record, &stage.path),
    };
    let mounted = Target::FileSystem { device, read_only, failed: false };
    let shown = show(volume, &stage.path, TargetKind::Directory, mounted, || {
        refuse_other_use(volume, TargetKind::Directory)?;
        pool.host()
            .mount(&MountSpec {
                device,
                target: stage.path.clone(),
                fs_type: record.fs_type.clone().unwrap_or_default(),
                options: options.to_vec(),
                read_only,
            })
            .and_then(|()| grow_if_larger())
    })?;
    match shown {
        Shown::Now => Ok(()),
        // The call that mounted it may have been cut short before it grew.
        Shown::Before => grow_if_larger(),
    }
}

fn grow(pool: &Pool, record: &VolumeRecord, path: &Path) -> Result<()> {
    pool.host().grow_file_system(path, record.fs_type.as_deref().unwrap_or_default())
}
