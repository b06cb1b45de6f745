//! Refuses what a copied or covered pool makes look like this pool's.
//!
//! A copy of a pool (a backup, a disk image) has the same identity, and so claims the same devices. A
//! directory whose file system is not mounted shows what lies below the mount point. The files behind the
//! loop devices tell in both cases whose a device is.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::DeviceId;
use crate::model::key::Key;
use crate::model::policy::Backing;
use crate::pool::layout::Layout;
use crate::pool::{PoolDir, index};
use crate::sys::Device;
use crate::volume::plan::stack::Stack;

/// Fails if the device of the volume with this key rests on a file of another pool.
pub(crate) fn refuse_foreign(pool: &PoolDir, key: &Key, id: &str, device: &Device) -> Result<()> {
    let layout = pool.layout();
    let store = layout.store(key, Backing::Snapshot);
    // The store of a spare has not moved yet while its claim is under way; of one that is to be removed,
    // it never does.
    let claimed = Layout::spare_store(&layout.claim(key));
    let spare = Layout::spare_store(&layout.spare_directory(key));
    let overlay = layout.overlay(key);
    refuse_elsewhere(pool, &[store, claimed, spare, overlay], "use volume", id, device)
}

/// Fails if the device of what `subject` names rests on none of these files, but on another one.
pub(crate) fn refuse_elsewhere(
    pool: &PoolDir,
    stores: &[PathBuf],
    operation: &'static str,
    subject: impl fmt::Display,
    device: &Device,
) -> Result<()> {
    let Some(stack) = Stack::below(device) else { return Ok(()) };
    for path in stores {
        if pool.host().open_loop(stack.store, path)?.is_some() {
            return Ok(());
        }
    }
    match file_behind(pool, stack)? {
        None => Ok(()),
        Some(file) => Err(Error::new(
            ErrorKind::InUse,
            operation,
            subject,
            format!(
                "its device is over {}, which is not in the pool at {}: one pool is a copy of the other",
                file.display(),
                pool.root().display()
            ),
        )
        .remedy("use only one of them on this machine")),
    }
}

/// Fails if devices are over files at the pool's path that belong to another pool: then this pool is
/// not the one that is usually there.
pub(crate) fn refuse_covered(pool: &PoolDir) -> Result<()> {
    let keys = index::keys(pool)?;
    for name in pool.host().device_names()? {
        let known = DeviceId::parse_name(pool.id(), &name).map(|(key, _)| key);
        if known.is_some_and(|key| keys.binary_search(&key).is_ok()) {
            continue;
        }
        let Some(id) = pool.host().device_id(&name)? else { continue };
        let Some(other) = DeviceId::pool_of_uuid(&id.uuid).filter(|other| other != pool.id())
        else {
            continue;
        };
        let Some(device) = pool.host().device(&id)? else { continue };
        let Some(file) = Stack::below(&device).map(|stack| file_behind(pool, stack)).transpose()?
        else {
            continue;
        };
        if file.is_some_and(|file| file.starts_with(pool.root())) {
            let why = format!(
                "this is pool {}, and device {name} belongs to pool {other} at the same path",
                pool.id()
            );
            return Err(Error::new(ErrorKind::InUse, "open pool", pool.root().display(), why)
                .remedy(
                    "mount the file system that the devices are on, or remove the devices if that \
                     pool is not to come back",
                ));
        }
    }
    Ok(())
}

/// The file of the COW store below a device, unless it was deleted.
fn file_behind(pool: &PoolDir, stack: Stack) -> Result<Option<PathBuf>> {
    let deleted = |file: &Path| file.as_os_str().as_encoded_bytes().ends_with(b" (deleted)");
    Ok(pool.host().loop_file(stack.store)?.filter(|file| !deleted(file)))
}
