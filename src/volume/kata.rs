//! Reads Kata's `mountInfo.json` files, by which volumes are published to Kata.
//!
//! These files record publications, as the mount table does for other volumes; `publish::kata`
//! writes them. A reboot clears them with `/run`. Each file names the volume's UUID in a field that
//! Kata ignores, by which calf recognizes its own files. A device number alone would not do, since
//! the kernel may have reused it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde::Deserialize;

use crate::error::{ErrorKind, Result};
use crate::model::access::Access;
use crate::model::device_id::DeviceId;
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::pool::record::VolumeRecord;
use crate::sys::MountedAt;

/// The name of such a file.
pub(crate) const FILE: &str = "mountInfo.json";

/// Maximum size of such a file in bytes: many times what calf writes.
pub(crate) const LARGEST: u64 = 64 << 10;

/// The fields of such a file that calf reads.
#[derive(Deserialize)]
struct Marker {
    #[serde(rename = "calf-volume")]
    volume: Option<String>,
    #[serde(default)]
    options: Vec<String>,
}

/// A publication of this pool.
pub(crate) struct Published {
    pub(crate) key: Key,
    pub(crate) target: PathBuf,
    read_only: bool,
}

/// Lists where the volume is published to Kata.
pub(crate) fn targets(pool: &PoolDir, record: &VolumeRecord) -> Result<Vec<MountedAt>> {
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
pub(crate) fn is_at(pool: &PoolDir, key: &Key, target: &Path) -> Result<bool> {
    Ok(owner(pool, &directory(pool, target))?.is_some_and(|(owner, _)| owner == *key))
}

/// Returns the directory of the file for a publication at `target`.
pub(crate) fn directory(pool: &PoolDir, target: &Path) -> PathBuf {
    pool.kata_root().join(URL_SAFE.encode(target.as_os_str().as_bytes()))
}

/// Lists all publications of this pool.
pub(crate) fn published(pool: &PoolDir) -> Result<Vec<Published>> {
    let root = pool.kata_root();
    let mut all = Vec::new();
    for name in pool.host().list(root)? {
        let Ok(target) = URL_SAFE.decode(name.as_bytes()) else { continue };
        let directory = root.join(name);
        if let Some((key, read_only)) = owner(pool, &directory)? {
            let target = PathBuf::from(OsString::from_vec(target));
            all.push(Published { key, target, read_only });
        }
    }
    Ok(all)
}

/// Whether the volume with this key is the owner that a sealed target names.
pub(crate) fn is_of(pool: &PoolDir, key: &Key, owner: &str) -> bool {
    DeviceId::parse_uuid(pool.id(), owner).is_some_and(|(found, _)| found == *key)
}

/// Whether the guest mounts a volume with this access, instead of the host.
pub(crate) fn is_direct(record: &VolumeRecord, access: &Access) -> bool {
    record.kata_direct && matches!(access, Access::Mount { .. })
}

/// Returns which volume of this pool the file in `directory` publishes, and whether it is
/// read-only; `None` if there is no such file, or calf did not write it for this pool.
pub(crate) fn owner(pool: &PoolDir, directory: &Path) -> Result<Option<(Key, bool)>> {
    let path = directory.join(FILE);
    let text = match pool.host().read_file(&path, LARGEST) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(marker) = serde_json::from_slice::<Marker>(&text) else { return Ok(None) };
    let key = marker.volume.and_then(|uuid| DeviceId::parse_uuid(pool.id(), &uuid));
    Ok(key.map(|(key, _)| (key, marker.options.iter().any(|option| option == "ro"))))
}
