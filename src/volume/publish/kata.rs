//! Volumes that a Kata guest mounts itself: direct-assigned volumes.
//!
//! Kata's runtime looks up each mount of a container in a directory of the host. Where it finds a
//! `mountInfo.json` for the mount's source, it attaches the block device that is named there to
//! the virtual machine, and the guest mounts the file system. The host never does.
//!
//! ```text
//! <root>/<base64url(target path)>/mountInfo.json     written by Publish, removed by Unpublish
//!                                <sandbox id>        written by Kata
//! ```
//!
//! On the target, calf mounts an empty file system that refuses writes. A container of another runtime,
//! which looks up nothing, would otherwise write to a directory of the node.
//!
//! These files are the publications, as the mount table is for others: nothing else is kept, and
//! after a reboot they are gone with `/run`. Each names the volume's UUID in a field that Kata
//! passes over, so calf knows its own; a device number alone may be another volume's by now.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::model::access::Access;
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::model::publication::Publish;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::sys::{Target, TargetKind};
use crate::volume::activate::Found;
use crate::volume::kata::{FILE, LARGEST, directory, is_of, owner, targets};
use crate::volume::machine::observe;
use crate::volume::publish::mount_point::{
    Parents, changed, make_target, taken, undo, unmount_all,
};
use crate::volume::usage::mounts_of_device;

/// What Kata's Rust runtime calls a block device that the guest mounts. Its Go runtime takes any
/// word.
const VOLUME_TYPE: &str = "directvol";

/// `mountInfo.json`, as Kata 3 reads it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct MountInfo<'a> {
    #[serde(rename = "volume-type")]
    volume_type: &'static str,
    device: &'a Path,
    fstype: &'a str,
    metadata: BTreeMap<&'a str, &'a str>,
    options: Vec<String>,
    #[serde(rename = "calf-volume")]
    volume: &'a str,
}

/// Tells Kata to attach the volume's device for the mount whose source is the target.
pub(crate) fn publish(volume: &Found<'_>, publish: &Publish) -> Result<()> {
    let Found { pool, guard, key, record, .. } = volume;
    volume.activate(publish.is_read_only(), |device| {
        if let Some(mount) = mounts_of_device(pool, key, device)?.first() {
            return Err(in_use(&record.id, "by the host", &mount.path));
        }
        let device = pool.host().device_node(device)?;
        let content = mount_info(volume, publish, &device);
        let target = &publish.target;
        let directory = directory(pool, target);
        refuse_foreign(pool, &directory, &record.id)?;
        let created = seal(volume, target)?;
        write(pool, &directory, &content).inspect_err(|_| {
            undo(pool, &record.id, target, created, || {
                withdraw(pool, key, target)?;
                unmount_all(pool, guard, &record.id, target)
            });
        })
    })
}

/// Takes back what [`publish`] wrote for this target; nothing or something else there is fine.
pub(crate) fn withdraw(pool: &PoolDir, key: &Key, target: &Path) -> Result<()> {
    let directory = directory(pool, target);
    match owner(pool, &directory)? {
        Some((owner, _)) if owner == *key => pool.host().remove_directory(&directory),
        _ => Ok(()),
    }
}

/// Takes back all that [`publish`] did for this target, and leaves the directory.
pub(crate) fn withdraw_and_unseal(
    pool: &PoolDir,
    guard: &VolumeGuard,
    id: &str,
    target: &Path,
) -> Result<()> {
    withdraw(pool, guard.key(), target)?;
    match pool.host().target(target)? {
        Target::Sealed { owner, .. } if is_of(pool, guard.key(), &owner) => {
            unmount_all(pool, guard, id, target)
        }
        _ => Ok(()),
    }
}

/// Says why a target may have content that keeps it from being removed.
pub(crate) fn explain_content(pool: &PoolDir, key: &Key, error: Error) -> Error {
    let record = observe::read_record(pool, key).ok().flatten();
    let Some(record) = record.filter(|record| record.kata_direct) else { return error };
    if error.kind() != ErrorKind::InUse {
        return error;
    }
    Error::new(error.kind(), "unpublish volume", &record.id, error).remedy(
        "the volume is for Kata: a container of another runtime wrote to this directory of the node, \
         not to the volume; save what you need of it",
    )
}

/// Refuses a second master of a file system that a guest mounts.
pub(crate) fn refuse_if_published(pool: &PoolDir, record: &VolumeRecord) -> Result<()> {
    match targets(pool, record)?.first() {
        Some(mount) => Err(in_use(&record.id, "by a Kata guest", &mount.path)),
        None => Ok(()),
    }
}

fn mount_info(volume: &Found<'_>, publish: &Publish, device: &Path) -> Vec<u8> {
    let Found { pool, key, record, .. } = volume;
    let fstype = record.fs_type.as_deref().unwrap_or_default();
    let given = match &publish.stage.access {
        Access::Mount { options, .. } => options.as_slice(),
        Access::Block => &[],
    };
    let mut options = given.to_vec();
    if publish.is_read_only() && !options.iter().any(|option| option == "ro") {
        options.push("ro".to_owned());
    }
    // Two volumes of one template share a UUID, in a guest as well.
    if fstype == "xfs" {
        options.push("nouuid".to_owned());
    }
    let info = MountInfo {
        volume_type: VOLUME_TYPE,
        device,
        fstype,
        metadata: BTreeMap::new(),
        options,
        volume: &DeviceId::new(pool.id(), key, Role::Snapshot).uuid,
    };
    crate::pool::record::to_bytes(&info)
}

/// Writes the file, unless it is there with this content.
fn write(pool: &PoolDir, directory: &Path, content: &[u8]) -> Result<()> {
    let path = directory.join(FILE);
    match pool.host().read_file(&path, LARGEST) {
        Ok(Some(there)) if there == content => Ok(()),
        _ => {
            // Kata takes any other file there for the id of a sandbox.
            pool.host().remove_directory(directory)?;
            pool.host().write_record(&path, content)
        }
    }
}

/// Has an empty file system on the target, which must be a directory, as container runtimes bind it before
/// Kata looks. Whether the directory was made. What it contains is hidden, as by any mount.
fn seal(volume: &Found<'_>, target: &Path) -> Result<bool> {
    let Found { pool, guard, key, record, .. } = volume;
    let created = match pool.host().target(target)? {
        Target::Sealed { owner, .. } if is_of(pool, key, &owner) => return Ok(false),
        Target::Plain(TargetKind::Directory) => false,
        Target::Missing => {
            make_target(pool, &record.id, target, TargetKind::Directory, Parents::Expect)?;
            true
        }
        other => return Err(taken(&record.id, target, other)),
    };
    let owner = DeviceId::new(pool.id(), key, Role::Snapshot).uuid;
    pool.host().seal(target, &owner).and_then(|()| check_sealed(volume, target)).inspect_err(
        |_| {
            undo(pool, &record.id, target, created, || {
                unmount_all(pool, guard, &record.id, target)
            });
        },
    )?;
    Ok(created)
}

/// The target shows what was put there, and says whose it is.
fn check_sealed(volume: &Found<'_>, target: &Path) -> Result<()> {
    let Found { pool, key, record, .. } = volume;
    match pool.host().target(target)? {
        Target::Sealed { owner, .. } if is_of(pool, key, &owner) => Ok(()),
        other => Err(changed(&record.id, target, &other)),
    }
}

/// A publication that another volume, pool or program made for the same target is not replaced.
fn refuse_foreign(pool: &PoolDir, directory: &Path, id: &str) -> Result<()> {
    let taken = match owner(pool, directory)? {
        Some((owner, _)) => owner != Key::of(id),
        None => pool.host().file(&directory.join(FILE))?.is_some(),
    };
    if !taken {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::AlreadyExists,
        "publish volume",
        id,
        format!("{} is of another volume", directory.join(FILE).display()),
    )
    .remedy("unpublish that volume from this target first"))
}

fn in_use(id: &str, by: &str, path: &Path) -> Error {
    let why = format!("it is in use {by} at {}", path.display());
    Error::new(ErrorKind::InUse, "use volume", id, why)
        .remedy("unpublish it there first; use it in one way at a time")
}
