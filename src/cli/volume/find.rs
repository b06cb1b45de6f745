//! Finds the volume that a user names by its id, by a name or path of its device, or by a file in
//! it.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use calf::sys::{DeviceId, DeviceNumber};
use calf::{ErrorKind, Key, Pool, Result, VolumeStatus};

/// The volume that `name` stands for. An id takes precedence, since it may look like anything.
pub(super) fn volume(pool: &Pool, name: &str) -> Result<VolumeStatus> {
    let unknown = match pool.volume(name).and_then(|volume| volume.status()) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidArgument) => {
            error
        }
        found => return found,
    };
    let found = match by_name(pool, name)? {
        None => by_path(pool, Path::new(name))?,
        found => found,
    };
    found.ok_or(unknown)
}

/// By the device's name in device-mapper: `calf-<pool id>-<key>`, or its path in `/dev/mapper`, which does
/// not exist without udev.
fn by_name(pool: &Pool, name: &str) -> Result<Option<VolumeStatus>> {
    let name = name.strip_prefix("/dev/mapper/").unwrap_or(name);
    let Some((key, _)) = DeviceId::parse_name(pool.id(), name) else { return Ok(None) };
    let records = pool.volume_records()?;
    let record = records.iter().find(|record| Key::of(&record.id) == key);
    record.map(|record| pool.volume(&record.id).and_then(|volume| volume.status())).transpose()
}

/// By a path: of any node of the device, or of a file in the file system on it.
fn by_path(pool: &Pool, path: &Path) -> Result<Option<VolumeStatus>> {
    // A path that cannot be read names no volume.
    let Some(file) = path.is_absolute().then(|| path.metadata().ok()).flatten() else {
        return Ok(None);
    };
    let number = if file.file_type().is_block_device() { file.rdev() } else { file.dev() };
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let volume = pool.volume_of_device(DeviceNumber { major, minor })?;
    volume.map(|volume| volume.status()).transpose()
}
