//! What is there of a volume, asked of the pool's directory and the kernel.

use std::path::Path;

use crate::cow::header::StoreHeader;
use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::model::policy::Backing;
use crate::pool::record::VolumeRecord;
use crate::pool::{PoolDir, record};
use crate::sys::{DeviceNumber, FileKind, Host};
use crate::volume::plan::state::{Observed, Store};

/// Looks at record, store and devices of the volume with this key.
pub(crate) fn observe(pool: &PoolDir, key: &Key) -> Result<Observed> {
    let directory = directory(pool, key)?;
    let record = if directory { record_inside(pool, key)? } else { None };
    beyond_record(pool, key, directory, record)
}

/// Looks again at a volume's store and devices, since the caller, who holds its lock, changed these and
/// nothing else.
pub(crate) fn again(pool: &PoolDir, key: &Key, before: &Observed) -> Result<Observed> {
    beyond_record(pool, key, before.directory, before.record.clone())
}

fn beyond_record(
    pool: &PoolDir,
    key: &Key,
    directory: bool,
    record: Option<VolumeRecord>,
) -> Result<Observed> {
    let host = pool.host();
    let backing = record.as_ref().map_or(Backing::Snapshot, |record| record.backing);
    let store = pool.layout().store(key, backing);
    let snapshot = mapped(pool, key, Role::Snapshot, backing)?;
    let bare = backing == Backing::Snapshot && snapshot.is_none();
    Ok(Observed {
        boot: host.boot_id()?,
        directory,
        store: observe_store(host, &store, bare)?,
        snapshot,
        view: mapped(pool, key, Role::ReadOnlyView, backing)?,
        copies: match backing {
            Backing::Snapshot => Vec::new(),
            Backing::Reflink | Backing::Copy => host.find_loops(&store)?,
        },
        record,
    })
}

/// Whether the volume's directory is there. What is there instead leads elsewhere, or nowhere.
fn directory(pool: &PoolDir, key: &Key) -> Result<bool> {
    let path = pool.layout().volume_directory(key);
    match pool.host().file(&path)?.map(|found| found.kind) {
        None => Ok(false),
        Some(FileKind::Directory) => Ok(true),
        Some(_) => Err(Error::new(
            ErrorKind::Corrupt,
            "look at volume",
            path.display(),
            "it was replaced by something else than a directory",
        )
        .remedy("put the volume's directory back, or remove what is there")),
    }
}

/// The store at `path`. Its first bytes are read only where it is `bare`: a device over it keeps
/// them in memory.
fn observe_store(host: &dyn Host, path: &Path, bare: bool) -> Result<Option<Store>> {
    let Some(file) = host.file(path)? else { return Ok(None) };
    let damage = match file.kind {
        FileKind::Regular => None,
        FileKind::Linked => Some("it is a file that has other names too"),
        FileKind::Directory => Some("it is a directory"),
        FileKind::BlockDevice | FileKind::Other => {
            Some("it is a symbolic link or something else than a file")
        }
    };
    let header = match bare && damage.is_none() {
        true => Some(host.store_header(path)?),
        false => None,
    };
    Ok(Some(Store { length: file.length, allocated: file.allocated, damage, header }))
}

/// The kernel of a fallback volume may have no device-mapper to ask.
fn mapped(
    pool: &PoolDir,
    key: &Key,
    role: Role,
    backing: Backing,
) -> Result<Option<crate::sys::Device>> {
    match backing {
        Backing::Snapshot => pool.host().device(&DeviceId::new(pool.id(), key, role)),
        Backing::Reflink | Backing::Copy => Ok(None),
    }
}

/// The committed intent of the volume with this key; `Corrupt` if its record is of another one.
pub(crate) fn read_record(pool: &PoolDir, key: &Key) -> Result<Option<VolumeRecord>> {
    if directory(pool, key)? { record_inside(pool, key) } else { Ok(None) }
}

/// The same, where the volume's directory is known to be there.
fn record_inside(pool: &PoolDir, key: &Key) -> Result<Option<VolumeRecord>> {
    let path = pool.layout().volume_record(key);
    let Some(text) = record::read_text(pool.host(), &path)? else { return Ok(None) };
    if record::is_blank(&text) && was_never_used(pool, key)? {
        return Ok(None);
    }
    let record: VolumeRecord = record::understand(&path, &text)?;
    if record.key() == *key {
        Ok(Some(record))
    } else {
        Err(record::corrupt(&path, format!("it is the record of volume {}", record.id)))
    }
}

/// Whether nothing can have been written to the volume with this key. A blank record is then that of
/// a creation that a loss of power cut short; over a store in use it is a damaged one.
fn was_never_used(pool: &PoolDir, key: &Key) -> Result<bool> {
    let (host, layout) = (pool.host(), pool.layout());
    let device = host.device(&DeviceId::new(pool.id(), key, Role::Snapshot))?;
    if device.is_some() || host.file(&layout.store(key, Backing::Copy))?.is_some() {
        return Ok(false);
    }
    let store = observe_store(host, &layout.store(key, Backing::Snapshot), true)?;
    Ok(store.is_none_or(|store| store.header == Some(StoreHeader::New)))
}

/// Adds to a "busy" error who holds the device.
pub(crate) fn name_holders(host: &dyn Host, number: DeviceNumber, error: Error) -> Error {
    let holders: Vec<String> = host.holders(number).iter().map(ToString::to_string).collect();
    if holders.is_empty() {
        return error.remedy("no holder was found; a process in another container may have had it open, so repeat the call");
    }
    error.remedy(format!("it is held by {}; end that, then repeat the call", holders.join(", ")))
}
