//! The device of a snapshot: what it holds, for readers.
//!
//! ```text
//!   device-mapper, loaded read-only        snapshot (calf-<pool>-<key>-frozen)
//!                                           ├─ origin: loop, read-only ─ images/<digest>/image
//!                                           └─ store:  loop, read-only ─ snapshots/<key>/cow
//! ```
//!
//! The kernel reads the list of chunks from a store when a table is loaded, and writes to the store only for writes
//! to the device, which a read-only table refuses. The loop device refuses them too. A store that never had
//! a device is blank, and the kernel would write a header; the device is then over the template's content alone.
//!
//! The device has an identity of its own, so nothing takes it for a volume's. The kernel alone knows that it is there.

use crate::cow::header::StoreHeader;
use crate::error::{Error, Result};
use crate::model::device_id::DeviceId;
use crate::model::key::Key;
use crate::model::volume_id;
use crate::pool::PoolDir;
use crate::pool::snapshots::SnapshotRecord;
use crate::sys::lock::Mode;
use crate::sys::{Device, DeviceNumber, LoopSpec, Table};
use crate::template::origin;
use crate::volume::machine::{place, teardown};
use crate::volume::plan::stack::Stack;
use crate::volume::{lock, start};

/// Brings up the device of the snapshot `name`, unless it is up.
pub(crate) fn activate(pool: &PoolDir, name: &str) -> Result<DeviceNumber> {
    let (start, _lock) = start::hold(pool, name, Mode::Exclusive)?;
    let key = start.content.key();
    match find(pool, &key)? {
        Some(device) if device.table.is_some() => return Ok(device.number),
        // Left by a crash before it had a table, so nobody has it open.
        Some(_) => teardown::remove_device(pool.host(), &id(pool, &key))?,
        None => {}
    }
    bring_up(pool, &start.content).inspect_err(|_| {
        if let Err(error) = teardown::remove_device(pool.host(), &id(pool, &key)) {
            let error = error.report();
            tracing::warn!(
                snapshot = name,
                error,
                "could not undo an activation; reconciliation will retry"
            );
        }
    })
}

/// Takes down the device of the snapshot `name`, which need not exist.
pub(crate) fn deactivate(pool: &PoolDir, name: &str) -> Result<()> {
    const OPERATION: &str = "deactivate snapshot";
    volume_id::check_snapshot(name)?;
    let key = Key::of(name);
    let _lock = lock::snapshot(pool, &key, name, OPERATION, Mode::Exclusive)?;
    take_down(pool, &key, name)
}

/// Takes down the device of the snapshot with this key, if it has one. The caller holds its lock.
pub(super) fn take_down(pool: &PoolDir, key: &Key, name: &str) -> Result<()> {
    let Some(device) = find(pool, key)? else { return Ok(()) };
    teardown::remove_device(pool.host(), &id(pool, key))
        .map_err(|error| Error::new(error.kind(), "take down snapshot", name, error))?;
    match Stack::below(&device) {
        Some(stack) => {
            let store = pool.layout().snapshot_store(key);
            teardown::await_release(pool.host(), stack.store, &store)
        }
        None => Ok(()),
    }
}

/// Removes the device of a snapshot that does not exist, or that an interrupted call left without a table.
/// Returns whether there was one to remove; with `dry_run`, it stays. Leaves a snapshot alone that a call works on.
pub(crate) fn sweep(pool: &PoolDir, key: &Key, dry_run: bool) -> Result<bool> {
    let Some(_lock) = pool.try_lock_snapshot(key, Mode::Exclusive)? else { return Ok(false) };
    let Some(device) = find(pool, key)? else { return Ok(false) };
    let exists = pool.host().file(&pool.layout().snapshot_record(key))?.is_some();
    if exists && device.table.is_some() {
        return Ok(false);
    }
    if !dry_run {
        take_down(pool, key, key.as_str())?;
    }
    Ok(true)
}

/// The device of the snapshot with this key, if it has one.
///
/// # Errors
///
/// `InUse` if it is over the store of another pool: one is a copy of the other.
pub(super) fn find(pool: &PoolDir, key: &Key) -> Result<Option<Device>> {
    let Some(device) = pool.host().device(&id(pool, key))? else { return Ok(None) };
    let store = pool.layout().snapshot_store(key);
    place::refuse_elsewhere(pool, &[store], "use snapshot", key, &device)?;
    Ok(Some(device))
}

fn id(pool: &PoolDir, key: &Key) -> DeviceId {
    DeviceId::of_snapshot(pool.id(), key)
}

fn bring_up(pool: &PoolDir, content: &SnapshotRecord) -> Result<DeviceNumber> {
    let (host, key) = (pool.host(), content.key());
    let SnapshotRecord { digest, template_size, size, chunk_size, .. } = content;
    let origin = origin::acquire(pool, digest, *template_size, *size)?;
    let path = pool.layout().snapshot_store(&key);
    let (store, table) = match host.store_header(&path)? {
        StoreHeader::New => (None, Table::ReadOnly { device: origin.number, size: *size }),
        _ => {
            let store = host.attach_loop(&LoopSpec {
                file: path,
                read_only: true,
                autoclear: true,
                elide_flushes: false,
            })?;
            let (origin, cow) = (origin.number, store.number);
            (Some(store), Table::Frozen { origin, cow, size: *size, chunk_size: *chunk_size })
        }
    };
    let id = id(pool, &key);
    let number = host.create_device(&id)?;
    host.load_table(&id, &table)?;
    // From here on, the table holds them.
    drop((origin, store));
    host.resume(&id)?;
    Ok(number)
}
