//! Spares: devices made ahead of time. A claim turns a spare into a volume's device by renaming it.
//!
//! A spare is the device that a volume of a template with default properties would get. The kernel
//! allows renaming a device at any time, but setting its UUID only once. Therefore a spare has its
//! own name and no UUID. The claim gives it the UUID and the name of the volume's device, and then
//! moves its COW store into place.
//!
//! ```text
//! made:     spares/<token>/{spare.json, cow}                  device calf-spare-<pool>-<token>
//! claimed:  spares/<token>/ ─▸ volumes/<key>/claim/           under the locks of spare and volume
//!           device: UUID CALF-<pool>-<key>, name calf-<pool>-<key>
//!           volumes/<key>/claim/cow ─▸ volumes/<key>/cow      over a store that was never used
//!           volumes/<key>/claim/ removed
//! ```
//!
//! What exists after a crash shows how far the claim got. The next holder of the volume's lock
//! [settles](settle) it. A loss of power ends all spares: no device survives, and their stores are
//! from an earlier boot.
//!
//! calf never suspends or removes a device without a UUID that names the pool, spares included. To
//! remove a spare, calf first gives it a UUID, exactly as a claim does. From then on it is an
//! ordinary device.

mod record;

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id;
use crate::model::device_id::{DeviceId, Role};
use crate::model::digest::Digest;
use crate::model::key::Key;
use crate::model::policy::Backing;
use crate::pool::layout::Layout;
use crate::pool::locks::{SpareGuard, VolumeGuard};
use crate::pool::record::{SPARES_FORMAT, VolumeRecord, to_bytes};
use crate::pool::{PoolDir, index};
use crate::sys::{Device, Flush};
use crate::template::{content, origin};
use crate::volume::machine::execute::{snapshot_table, store_loop};
use crate::volume::machine::teardown;
use crate::volume::plan::stack::Stack;
use crate::volume::plan::step::{first_length, store_length};
use crate::volume::space::AdmissionControl;
use crate::volume::spare::record::SpareRecord;

/// Lists the tokens of all spares, complete or not, sorted. Without a lock, a listed spare may be
/// claimed at any time.
pub(crate) fn tokens(pool: &PoolDir) -> Result<Vec<Key>> {
    index::keys_in(pool, &pool.layout().spares())
}

/// Reads the record of a spare; `None` if there is none, or if the record cannot be used.
pub(crate) fn read(pool: &PoolDir, token: &Key) -> Result<Option<SpareRecord>> {
    SpareRecord::read_in(pool, &pool.layout().spare_directory(token))
}

/// Makes a spare of the template. Removes it again after a failure. If that fails too, the next
/// [`discard`] removes the rest.
pub(crate) fn make(pool: &PoolDir, template: &str) -> Result<()> {
    let token = Key::random();
    let Some(guard) = pool.try_lock_spare(&token)? else { return Ok(()) };
    let made = assemble(pool, guard.token(), template);
    if made.is_err()
        && let Err(error) = discard(pool, &guard)
    {
        tracing::warn!(spare = %token, error = error.report(), "could not remove a failed spare; reconciliation will retry");
    }
    made
}

fn assemble(pool: &PoolDir, token: &Key, template: &str) -> Result<()> {
    let host = pool.host();
    let directory = pool.layout().spare_directory(token);
    // Once the record exists, the content is not removed before the spare.
    let spare = {
        let admission = AdmissionControl::begin(pool)?;
        let (template, _image) = content::hold_content(pool, template)?;
        let spare = SpareRecord::new(pool, token, &template)?;
        admission.admit(spare.model())?;
        pool.require_format(SPARES_FORMAT)?;
        host.write_record(&Layout::spare_record(&directory), &to_bytes(&spare))?;
        spare
    };
    let (store, model) = (Layout::spare_store(&directory), spare.model());
    host.create_file(&store, first_length(model), Flush::Later)?;
    let origin = origin::acquire(pool, &model.digest, model.template_size, model.size)?;
    let cow = host.attach_loop(&store_loop(store.clone(), model, false))?;
    let table = snapshot_table(model, origin.number, cow.number);
    let name = device_id::spare_name(pool.id(), token);
    host.create_spare(&name, &table)?;
    if first_length(model) < store_length(model) {
        host.extend_file(&store, store_length(model))?;
        host.refresh_attached(&cow)?;
    }
    host.start_spare(&name)
}

/// Turns a spare into the device of the volume of `record`, which must have an unused store and no
/// device. Returns the device, or `None` if there is no fitting spare.
pub(crate) fn claim(
    pool: &PoolDir,
    guard: &VolumeGuard,
    record: &VolumeRecord,
) -> Result<Option<Device>> {
    let key = guard.key();
    let mut tokens = tokens(pool)?;
    if !tokens.is_empty() {
        // Concurrent callers should not all try to claim the same spare.
        let first = rand::random_range(0..tokens.len());
        tokens.rotate_left(first);
    }
    for token in tokens {
        let Some(_lock) = pool.try_lock_spare(&token)? else { continue };
        let fitting = read(pool, &token)?.filter(|spare| spare.fits(record));
        let Some(spare) = fitting else { continue };
        let (from, to) = (pool.layout().spare_directory(&token), pool.layout().claim(key));
        match pool.host().rename(&from, &to) {
            // The spare was claimed or removed before its lock was taken.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            moved => moved?,
        }
        if let Some(device) = complete(pool, key, Some(spare))? {
            pool.count_claim();
            return Ok(Some(device));
        }
    }
    Ok(None)
}

/// Whether the volume has an unfinished claim.
pub(crate) fn is_claiming(pool: &PoolDir, key: &Key) -> Result<bool> {
    Ok(pool.host().file(&pool.layout().claim(key))?.is_some())
}

/// Completes an unfinished claim for the volume, if there is one.
pub(crate) fn settle(pool: &PoolDir, guard: &VolumeGuard) -> Result<()> {
    let key = guard.key();
    if !is_claiming(pool, key)? {
        return Ok(());
    }
    let claim = pool.layout().claim(key);
    if pool.host().file(&Layout::spare_store(&claim))?.is_none() {
        // Only the removal of the claim's directory was missing.
        return pool.host().discard_directory(&claim);
    }
    complete(pool, key, SpareRecord::read_in(pool, &claim)?).map(drop)
}

/// Turns device and store of a spare, whose directory was moved to the volume, into the volume's.
/// Removes the spare if its device is gone or unsound.
fn complete(pool: &PoolDir, key: &Key, spare: Option<SpareRecord>) -> Result<Option<Device>> {
    let (host, claim) = (pool.host(), pool.layout().claim(key));
    let id = DeviceId::new(pool.id(), key, Role::Snapshot);
    let store = Layout::spare_store(&claim);
    if let Some(spare) = &spare {
        adopt(pool, spare.token(), &id)?;
    }
    if let Some(device) = host.device(&id)?
        && is_over(pool, &device, &store)?
    {
        if spare.is_some_and(|spare| spare.is_sound(&device)) {
            host.rename(&store, &pool.layout().store(key, Backing::Snapshot))?;
            host.discard_directory(&claim)?;
            return Ok(Some(device));
        }
        teardown::remove_device(host, &id)?;
    }
    remove_store(pool, &claim)?;
    Ok(None)
}

/// Removes a spare, complete or not. Removes its record first, so that it cannot be claimed after a
/// crash.
pub(crate) fn discard(pool: &PoolDir, guard: &SpareGuard) -> Result<()> {
    let token = guard.token();
    pool.host().remove_file(&Layout::spare_record(&pool.layout().spare_directory(token)))?;
    let id = DeviceId::new(pool.id(), token, Role::Snapshot);
    adopt(pool, token, &id)?;
    teardown::remove_device(pool.host(), &id)?;
    remove_store(pool, &pool.layout().spare_directory(token))
}

/// Removes all spares of the content. The caller holds the lock of the content, so no new ones
/// appear.
///
/// # Errors
///
/// `InUse` if a spare of the content is being made or claimed.
pub(crate) fn discard_all(pool: &PoolDir, digest: &Digest) -> Result<()> {
    for token in tokens(pool)? {
        // A spare without a record may have any content.
        if read(pool, &token)?.is_some_and(|spare| spare.digest() != digest) {
            continue;
        }
        match pool.try_lock_spare(&token)? {
            Some(guard) => discard(pool, &guard)?,
            None if pool.host().file(&pool.layout().spare_directory(&token))?.is_none() => {}
            None => {
                let why = "a spare with this content is being made or claimed";
                return Err(Error::new(ErrorKind::InUse, "release template content", digest, why)
                    .remedy("repeat the call"));
            }
        }
    }
    Ok(())
}

/// Gives the spare's device, if it exists, the name and UUID of `id`.
fn adopt(pool: &PoolDir, token: &Key, id: &DeviceId) -> Result<()> {
    match pool.host().adopt(&device_id::spare_name(pool.id(), token), id) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        adopted => adopted,
    }
}

/// Removes the directory of a spare whose device is gone.
fn remove_store(pool: &PoolDir, directory: &Path) -> Result<()> {
    let (host, store) = (pool.host(), Layout::spare_store(directory));
    for attached in host.find_loops(&store)? {
        teardown::await_release(host, attached.number, &store)?;
    }
    host.remove_directory(directory)
}

/// Whether the device uses the store, or has no table yet.
fn is_over(pool: &PoolDir, device: &Device, store: &Path) -> Result<bool> {
    match Stack::below(device) {
        Some(stack) => Ok(pool.host().open_loop(stack.store, store)?.is_some()),
        None => Ok(device.table.is_none()),
    }
}
