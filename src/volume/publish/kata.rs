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
use crate::pool::record::VolumeRecord;
use crate::sys::{Target, TargetKind};
use crate::volume::activate::Found;
use crate::volume::kata::{FILE, LARGEST, directory, owner, targets};
use crate::volume::publish::mount_point::{taken, undo};
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
    let Found { pool, key, record, .. } = volume;
    volume.activate(publish.is_read_only(), |device| {
        if let Some(mount) = mounts_of_device(pool, key, device)?.first() {
            return Err(in_use(&record.id, "by the host", &mount.path));
        }
        let device = pool.host().device_node(device)?;
        let content = mount_info(volume, publish, &device);
        let directory = directory(pool, &publish.target);
        refuse_foreign(pool, &directory, &record.id)?;
        let created = ensure_directory(pool, &record.id, &publish.target)?;
        write(pool, &directory, &content).inspect_err(|_| {
            let target = &publish.target;
            undo(pool, &record.id, target, created, || withdraw(pool, key, target));
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

/// The target must be a directory, as container runtimes bind it before Kata looks. Whether it was
/// made.
fn ensure_directory(pool: &PoolDir, id: &str, target: &Path) -> Result<bool> {
    match pool.host().target(target)? {
        Target::Plain(TargetKind::Directory) => Ok(false),
        Target::Missing => {
            pool.host().create_target(target, TargetKind::Directory)?;
            Ok(true)
        }
        other => Err(taken(id, target, other)),
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
