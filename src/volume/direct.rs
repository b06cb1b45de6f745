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
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde::{Deserialize, Serialize};

use super::existing::Existing;
use super::target::{mounts_of_device, taken};
use super::{Access, Publish, ReconcileOptions, ReconcileReport, Removal, RemovalKind, observe};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{DeviceId, Key, Role};
use crate::pool::Pool;
use crate::pool::record::VolumeRecord;
use crate::sys::{MountedAt, Target, TargetKind};

/// Where Kata's runtimes look, unless a pool is told otherwise.
pub const DEFAULT_KATA_ROOT: &str = "/run/kata-containers/shared/direct-volumes";

const FILE: &str = "mountInfo.json";
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

/// What calf looks for in such a file, whoever wrote it.
#[derive(Deserialize)]
struct Claim {
    #[serde(rename = "calf-volume")]
    volume: Option<String>,
    #[serde(default)]
    options: Vec<String>,
}

/// A publication of this pool.
struct Published {
    key: Key,
    directory: PathBuf,
    target: PathBuf,
    read_only: bool,
}

/// Whether a volume used so is mounted by its guest, and not by the host.
pub(super) fn is_direct(record: &VolumeRecord, access: &Access) -> bool {
    record.kata_direct && matches!(access, Access::Mount { .. })
}

/// Tells Kata to attach the volume's device for the mount whose source is the target.
pub(super) fn publish(volume: &Existing<'_>, publish: &Publish) -> Result<()> {
    let Existing { pool, key, record, .. } = volume;
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
            // The caller may never unpublish after a final error.
            let undone = withdraw(pool, key, &publish.target).and_then(|()| match created {
                true => pool.host().remove_target(&publish.target),
                false => Ok(()),
            });
            if let Err(error) = undone {
                let error = error.report();
                tracing::warn!(volume = record.id, error, "cannot undo a failed publish yet");
            }
        })
    })
}

/// Takes back what [`publish`] wrote for this target; nothing or something else there is fine.
pub(super) fn withdraw(pool: &Pool, key: &Key, target: &Path) -> Result<()> {
    let directory = directory(pool, target);
    match owner(pool, &directory)? {
        Some((owner, _)) if owner == *key => pool.host().remove_directory(&directory),
        _ => Ok(()),
    }
}

/// Where the volume is published to Kata.
pub(super) fn targets(pool: &Pool, record: &VolumeRecord) -> Result<Vec<MountedAt>> {
    if !record.kata_direct {
        return Ok(Vec::new());
    }
    let key = Key::of(&record.id);
    let all = published(pool)?.into_iter().filter(|published| published.key == key);
    Ok(all
        .map(|published| MountedAt {
            path: pool.host().resolve(&published.target),
            node: false,
            read_only: published.read_only,
        })
        .collect())
}

/// Whether the volume is published to Kata at exactly this path.
pub(super) fn is_at(pool: &Pool, key: &Key, target: &Path) -> Result<bool> {
    Ok(owner(pool, &directory(pool, target))?.is_some_and(|(owner, _)| owner == *key))
}

/// Refuses a second master of a file system that a guest mounts.
pub(super) fn refuse_if_published(pool: &Pool, record: &VolumeRecord) -> Result<()> {
    match targets(pool, record)?.first() {
        Some(mount) => Err(in_use(&record.id, "by a Kata guest", &mount.path)),
        None => Ok(()),
    }
}

/// Removes publications of volumes that do not exist any more: somebody removed them by hand. Kata
/// would attach whichever device has the number by then.
pub(super) fn reconcile(
    pool: &Pool,
    options: &ReconcileOptions,
    report: &mut ReconcileReport,
) -> Result<()> {
    for published in published(pool)? {
        let Some(_lock) = pool.try_lock_key(&published.key)? else { continue };
        if observe::read_record(pool, &published.key)?.is_some() {
            continue;
        }
        if !options.dry_run {
            pool.host().remove_directory(&published.directory)?;
        }
        let what =
            format!("Kata's mountInfo.json for {}, of no volume", published.target.display());
        report.removed.push(Removal { kind: RemovalKind::Remains, what });
    }
    Ok(())
}

fn mount_info(volume: &Existing<'_>, publish: &Publish, device: &Path) -> Vec<u8> {
    let Existing { pool, key, record, .. } = volume;
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
fn write(pool: &Pool, directory: &Path, content: &[u8]) -> Result<()> {
    let path = directory.join(FILE);
    match std::fs::read(&path) {
        Ok(there) if there == content => Ok(()),
        _ => {
            // Kata takes any other file there for the id of a sandbox.
            pool.host().remove_directory(directory)?;
            pool.host().write_record(&path, content)
        }
    }
}

fn directory(pool: &Pool, target: &Path) -> PathBuf {
    pool.kata_root().join(URL_SAFE.encode(target.as_os_str().as_bytes()))
}

/// The target must be a directory, as container runtimes bind it before Kata looks. Whether it was
/// made.
fn ensure_directory(pool: &Pool, id: &str, target: &Path) -> Result<bool> {
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
fn refuse_foreign(pool: &Pool, directory: &Path, id: &str) -> Result<()> {
    let taken = match owner(pool, directory)? {
        Some((owner, _)) => owner != Key::of(id),
        None => directory.join(FILE).exists(),
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

/// All publications of this pool.
fn published(pool: &Pool) -> Result<Vec<Published>> {
    let root = pool.kata_root();
    let failed = |e| Error::io("list Kata's direct volumes in", root.display(), e);
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Ok(target) = URL_SAFE.decode(entry.file_name().as_bytes()) else { continue };
        let directory = entry.path();
        if let Some((key, read_only)) = owner(pool, &directory)? {
            let target = PathBuf::from(OsString::from_vec(target));
            all.push(Published { key, directory, target, read_only });
        }
    }
    Ok(all)
}

/// The volume of this pool that the file in `directory` is of, and whether it is for reading only;
/// `None` if there is none, or it is someone else's.
fn owner(pool: &Pool, directory: &Path) -> Result<Option<(Key, bool)>> {
    let path = directory.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(Error::io("read", path.display(), e)),
    };
    let Ok(claim) = serde_json::from_slice::<Claim>(&text) else { return Ok(None) };
    let key = claim.volume.and_then(|uuid| DeviceId::parse_uuid(pool.id(), &uuid));
    Ok(key.map(|(key, _)| (key, claim.options.iter().any(|option| option == "ro"))))
}
