//! Observes what exists of a volume, in the pool's directory and in the kernel.

use std::path::Path;

use crate::cow::header::StoreHeader;
use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::model::policy::Backing;
use crate::pool::record::VolumeRecord;
use crate::pool::{PoolDir, record};
use crate::sys::{FileKind, Host};
use crate::volume::machine::place;
use crate::volume::plan::state::{Observed, Overlay, Store};

/// Observes record, store and devices of the volume with this key.
pub(crate) fn observe(pool: &PoolDir, key: &Key) -> Result<Observed> {
    let directory = directory(pool, key)?;
    let record = if directory { record_inside(pool, key)? } else { None };
    beyond_record(pool, key, directory, record)
}

/// Observes a volume whose record was read just now.
#[cfg(feature = "driver")]
pub(crate) fn of_record(pool: &PoolDir, key: &Key, record: VolumeRecord) -> Result<Observed> {
    beyond_record(pool, key, true, Some(record))
}

/// Observes a volume's store and devices again. The caller holds the volume's lock, and has changed
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
    if let Some(device) = &snapshot {
        let id = record.as_ref().map_or(key.as_str(), |record| &record.id);
        place::refuse_foreign(pool, key, id, device)?;
    }
    let suspended = snapshot.as_ref().is_some_and(|device| device.suspended);
    let bare = backing == Backing::Snapshot && snapshot.is_none();
    Ok(Observed {
        // A live device keeps the file system mounted.
        boot: if snapshot.is_some() { host.boot_id()? } else { pool.incarnation()? },
        directory,
        store: observe_store(host, &store, bare)?,
        held: suspended && pool.is_guarded()?,
        snapshot,
        view: mapped(pool, key, Role::ReadOnlyView, backing)?,
        overlay: observe_overlay(pool, key, backing)?,
        copies: match backing {
            Backing::Snapshot => Vec::new(),
            Backing::Reflink | Backing::Copy => host.find_loops(&store)?,
        },
        record,
    })
}

/// Whether the volume's directory exists. Anything else in its place is an error, since a symbolic
/// link could lead anywhere.
fn directory(pool: &PoolDir, key: &Key) -> Result<bool> {
    let path = pool.layout().volume_directory(key);
    match pool.host().file(&path)?.map(|found| found.kind) {
        None => Ok(false),
        Some(FileKind::Directory) => Ok(true),
        Some(_) => Err(Error::new(
            ErrorKind::Corrupt,
            "inspect volume",
            path.display(),
            "it was replaced by something that is not a directory",
        )
        .remedy("put the volume's directory back, or remove the replacement")),
    }
}

/// Observes the overlay. Its store is made before the device below it, and removed after that.
fn observe_overlay(pool: &PoolDir, key: &Key, backing: Backing) -> Result<Option<Overlay>> {
    match observe_store(pool.host(), &pool.layout().overlay(key), false)? {
        None => Ok(None),
        Some(store) => Ok(Some(Overlay { store, base: mapped(pool, key, Role::Base, backing)? })),
    }
}

/// Observes the store at `path`. Reads its header only if the store is `bare`: a device over it
/// keeps the header in memory.
fn observe_store(host: &dyn Host, path: &Path, bare: bool) -> Result<Option<Store>> {
    let Some(file) = host.file(path)? else { return Ok(None) };
    let damage = match file.kind {
        FileKind::Regular => None,
        FileKind::Linked => Some("it is a file with several hard links"),
        FileKind::Directory => Some("it is a directory"),
        FileKind::BlockDevice | FileKind::Other => {
            Some("it is a symbolic link, or not a regular file")
        }
    };
    let header = match bare && damage.is_none() {
        true => Some(host.store_header(path)?),
        false => None,
    };
    Ok(Some(Store { length: file.length, allocated: file.allocated, damage, header }))
}

/// Returns a device-mapper device of the volume. Skips the query for fallback volumes, since their
/// kernel may have no device-mapper.
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

/// Reads the committed intent of the volume with this key; `Corrupt` if the record belongs to
/// another volume.
pub(crate) fn read_record(pool: &PoolDir, key: &Key) -> Result<Option<VolumeRecord>> {
    if directory(pool, key)? { record_inside(pool, key) } else { Ok(None) }
}

/// Like [`read_record`], for a volume whose directory exists.
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

/// Whether nothing can have been written to the volume with this key. If so, a blank record comes
/// from a creation that a loss of power interrupted. Over a used store, it is a damaged record.
fn was_never_used(pool: &PoolDir, key: &Key) -> Result<bool> {
    let (host, layout) = (pool.host(), pool.layout());
    let device = host.device(&DeviceId::new(pool.id(), key, Role::Snapshot))?;
    if device.is_some() || host.file(&layout.store(key, Backing::Copy))?.is_some() {
        return Ok(false);
    }
    let store = observe_store(host, &layout.store(key, Backing::Snapshot), true)?;
    Ok(store.is_none_or(|store| store.header == Some(StoreHeader::New)))
}
