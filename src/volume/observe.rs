//! What is there of a volume, asked of the pool's directory and the kernel.

use super::plan::Observed;
use crate::error::{Error, Result};
use crate::key::{DeviceId, Key, Role};
use crate::pool::Pool;
use crate::pool::record::{self, Backing, VolumeRecord};
use crate::sys::{DeviceNumber, Host};

/// Looks at record, store and devices of the volume with this key.
pub(super) fn observe(pool: &Pool, key: &Key) -> Result<Observed> {
    let host = pool.host();
    let record = read_record(pool, key)?;
    let backing = record.as_ref().map_or(Backing::Snapshot, |record| record.backing);
    let store = pool.layout().store(key, backing);
    Ok(Observed {
        boot: host.boot_id()?,
        directory: host.file(&pool.layout().volume_directory(key))?.is_some(),
        store: host.file(&store)?.map(|file| file.length),
        snapshot: mapped(pool, key, Role::Snapshot, backing)?,
        view: mapped(pool, key, Role::ReadOnlyView, backing)?,
        copies: match backing {
            Backing::Snapshot => Vec::new(),
            Backing::Reflink | Backing::Copy => host.find_loops(&store)?,
        },
        record,
    })
}

/// The kernel of a fallback volume may have no device-mapper to ask.
fn mapped(
    pool: &Pool,
    key: &Key,
    role: Role,
    backing: Backing,
) -> Result<Option<crate::sys::Device>> {
    match backing {
        Backing::Snapshot => pool.host().device(&DeviceId::new(pool.id(), key, role)),
        Backing::Reflink | Backing::Copy => Ok(None),
    }
}

/// The committed intent of the volume with this key.
pub(super) fn read_record(pool: &Pool, key: &Key) -> Result<Option<VolumeRecord>> {
    record::read(&pool.layout().volume_record(key))
}

/// Commits the intent of the volume with this key.
pub(super) fn write_record(pool: &Pool, key: &Key, record: &VolumeRecord) -> Result<()> {
    pool.host().write_record(&pool.layout().volume_record(key), &record::to_bytes(record))
}

/// The keys of all directories under `volumes`, sorted.
pub(super) fn keys(pool: &Pool) -> Result<Vec<Key>> {
    let path = pool.layout().volumes();
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list volumes in", path.display(), e)),
    };
    let mut keys = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("list volumes in", path.display(), e))?;
        keys.extend(entry.file_name().to_str().and_then(Key::parse));
    }
    keys.sort();
    Ok(keys)
}

/// Adds to a "busy" error who holds the device.
pub(super) fn name_holders(host: &dyn Host, number: DeviceNumber, error: Error) -> Error {
    let holders: Vec<String> = host.holders(number).iter().map(ToString::to_string).collect();
    if holders.is_empty() {
        return error.remedy("no holder was found; a process in another container may have had it open, so repeat the call");
    }
    error.remedy(format!("it is held by {}; end that, then repeat the call", holders.join(", ")))
}
