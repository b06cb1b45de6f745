//! What is at a path, whether it is ours, and how it goes away.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::sys::{Busy, DeviceNumber, Target, TargetKind};
use crate::volume::activate::Found;
use crate::volume::machine::teardown;
use crate::volume::usage::{is_device_of, mounts_of_device};
use crate::volume::{hold, kata};

/// Mounts that may lie on one target before something is wrong: ours, and what was put on top.
const MOST_LAYERS: usize = 8;

/// Refuses a path in the pool itself: what is mounted on or removed there is calf's own.
pub(crate) fn check_path(pool: &PoolDir, path: &Path) -> Result<()> {
    let root = pool.root();
    let host = pool.host();
    // Of a path, all but the end is followed: the record's shows where the pool really is.
    let record = host.resolve(&pool.layout().pool_record());
    let inside = record.parent().is_some_and(|real| host.resolve(path).starts_with(real));
    if !inside && !path.starts_with(root) {
        return Ok(());
    }
    let why = format!("it lies in the pool, {}", root.display());
    Err(Error::new(ErrorKind::InvalidArgument, "use path", path.display(), why)
        .remedy("give a path of the orchestrator's own"))
}

/// Unmounts from `target` whatever of this volume is mounted there, and verifies that it is gone.
pub(crate) fn unmount_all(
    pool: &PoolDir,
    guard: &VolumeGuard,
    id: &str,
    target: &Path,
) -> Result<()> {
    let (host, key) = (pool.host(), guard.key());
    for _ in 0..MOST_LAYERS {
        let (device, is_ours) = match host.target(target)? {
            Target::Missing | Target::Plain(_) => return Ok(()),
            Target::FileSystem { device, .. } => (device, is_device_of(pool, key, device)?),
            Target::Node { device } => {
                (device, is_device_of(pool, key, device)? || is_dead(pool, device)?)
            }
            Target::Sealed { device, owner } => (device, kata::is_of(pool, key, &owner)),
            foreign @ Target::Foreign(_) => return Err(taken(id, target, foreign)),
        };
        if !is_ours {
            return Err(Error::new(
                ErrorKind::InUse,
                "unmount",
                target.display(),
                format!("what is mounted there, device {device}, is not of volume {id}"),
            )
            .remedy("unmount it by hand if it is not needed"));
        }
        // The last unmount writes what is dirty, and a killed process may wait for the device: neither would
        // end while that is suspended.
        hold::release(pool, guard)?;
        // Who looks at the mount just now keeps it busy: `df`, or a call that reads the mount table.
        let busy = Busy::Mount { path: target, device };
        teardown::while_busy(host, busy, || host.unmount(target))
            .map_err(|error| Error::new(error.kind(), "unmount volume", id, error))?;
    }
    Err(Error::new(
        ErrorKind::InUse,
        "unmount",
        target.display(),
        format!("there was still a mount after {MOST_LAYERS} were removed"),
    )
    .remedy("find out what keeps mounting there"))
}

/// Whether a bound node's device is gone from the kernel: something outside calf removed it.
fn is_dead(pool: &PoolDir, device: DeviceNumber) -> Result<bool> {
    Ok(pool.host().device_size(device).is_err_and(|error| error.kind() == ErrorKind::NotFound))
}

/// Who makes the directories above a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parents {
    /// calf, if the orchestrator has not: above a staging directory.
    Make,
    /// Only the orchestrator: above a target. Where one is missing, the pod may be gone.
    Expect,
}

/// Makes an empty file or directory for the volume `id`.
///
/// # Errors
///
/// `Unprepared` if the directory above it is missing.
pub(crate) fn make_target(
    pool: &PoolDir,
    id: &str,
    path: &Path,
    kind: TargetKind,
    parents: Parents,
) -> Result<()> {
    let made = match pool.host().create_target(path, kind) {
        Err(error) if error.kind() == ErrorKind::NotFound && parents == Parents::Make => {
            pool.host().make_parents(path).and_then(|()| pool.host().create_target(path, kind))
        }
        made => made,
    };
    made.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let why = format!("the directory above {} does not exist", path.display());
            Error::new(ErrorKind::Unprepared, "use path for volume", id, why).remedy(
                "make it, which is the orchestrator's task; if the node has it, calf's container does not \
                 see it: mount the orchestrator's directory there (the chart's value `kubeletDir`)",
            )
        }
        _ => error,
    })
}

/// Whether [`show`] had anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It was there already.
    Before,
    /// It is there since this call.
    Now,
}

/// Has `wanted`, of the volume, at `path`, on a target of `kind`: looks what is there, lets `place` put
/// it there if it is not, and looks again. A file or directory may lie there already, from kubelet or
/// from before a reboot; anything else is refused. If `place` fails for good, what it and this function did
/// is undone.
pub(crate) fn show(
    volume: &Found<'_>,
    path: &Path,
    kind: TargetKind,
    parents: Parents,
    wanted: Target,
    place: impl FnOnce() -> Result<()>,
) -> Result<Shown> {
    let host = volume.pool.host();
    let created = match host.target(path)? {
        found if is(&found, &wanted) => return Ok(Shown::Before),
        Target::Missing => {
            make_target(volume.pool, &volume.record.id, path, kind, parents)?;
            true
        }
        Target::Plain(found) if found == kind => false,
        other => return Err(taken(&volume.record.id, path, other)),
    };
    place().and_then(|()| verify(volume, path, &wanted)).inspect_err(|error| {
        if !error.is_final() {
            return;
        }
        let Found { pool, guard, record, .. } = volume;
        undo(pool, &record.id, path, created, || unmount_all(pool, guard, &record.id, path));
    })?;
    Ok(Shown::Now)
}

/// Whether `found` is what is wanted. A file system that failed since it was mounted still is:
/// repeating the call would not mend it, and statistics tell of it.
fn is(found: &Target, wanted: &Target) -> bool {
    match (found, wanted) {
        (
            Target::FileSystem { device, read_only, .. },
            Target::FileSystem { device: wanted, read_only: wanted_read_only, .. },
        ) => (device, read_only) == (wanted, wanted_read_only),
        _ => found == wanted,
    }
}

/// What was put at a path is there: nobody moved it away, or put something on top, meanwhile.
fn verify(volume: &Found<'_>, path: &Path, wanted: &Target) -> Result<()> {
    let found = volume.pool.host().target(path)?;
    if is(&found, wanted) {
        return Ok(());
    }
    Err(changed(&volume.record.id, path, &found))
}

/// The error for a path that does not show what was just put there.
pub(crate) fn changed(id: &str, path: &Path, found: &Target) -> Error {
    let why = format!("{} changed during the call: it is {found}", path.display());
    Error::new(ErrorKind::Internal, "show volume", id, why)
        .remedy("find out who changes this path, and repeat the call")
}

/// Undoes a publication that failed half-way, since the caller may never unpublish after a final error:
/// `take_back` undoes what was shown, and a target that this call `created` is removed.
pub(crate) fn undo(
    pool: &PoolDir,
    id: &str,
    target: &Path,
    created: bool,
    take_back: impl FnOnce() -> Result<()>,
) {
    let undone = take_back().and_then(|()| match created {
        true => pool.host().remove_target(target),
        false => Ok(()),
    });
    if let Err(error) = undone {
        tracing::warn!(volume = id, error = error.report(), "cannot undo a failed publish yet");
    }
}

/// The error for a path where something else is already.
pub(crate) fn taken(id: &str, path: &Path, found: Target) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        "use path for volume",
        id,
        format!("{} is {}", path.display(), found),
    )
    .remedy("unpublish what is there, or use another path")
}

/// Refuses to mount a volume that is published as a block device, or to publish as a block device
/// one whose file system is mounted: two masters of one file system destroy it. Refuses, too, to mount a
/// volume at a second path: CSI knows one staging path of a volume, and with two, neither could be undone
/// before the other.
pub(crate) fn refuse_other_use(volume: &Found<'_>, kind: TargetKind) -> Result<()> {
    let Found { pool, key, record, before, .. } = volume;
    let mounts = kind == TargetKind::Directory;
    // What nobody has open is not mounted; that spares reading the mount table.
    let devices = match kind {
        TargetKind::Directory => before.devices(),
        TargetKind::File => before.open_devices(),
    };
    for number in devices {
        let found = mounts_of_device(pool, key, number)?;
        let Some(mount) = found.iter().find(|mount| mounts || !mount.node) else { continue };
        let (used, remedy) = match (mounts, mount.node) {
            (true, false) => (
                "as a file system",
                "unpublish and unstage it there first; a volume is mounted at one path at a time, and \
                 published from there",
            ),
            (_, false) => (
                "as a file system",
                "unpublish and unstage it there first; use it in one way at a time",
            ),
            (_, true) => {
                ("as a block device", "unpublish it there first; use it in one way at a time")
            }
        };
        let why = format!("it is in use {used} at {}", mount.path.display());
        return Err(Error::new(ErrorKind::InUse, "use volume", &record.id, why).remedy(remedy));
    }
    Ok(())
}
