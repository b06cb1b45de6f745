//! Brings up a volume that went down, or whose machine did, while it had an overlay.

use crate::cow::header::StoreHeader;
use crate::error::{Error, ErrorKind, Result};
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::template::origin;
use crate::volume::machine::store::{self, Evidence};
use crate::volume::overlay::layers::Layers;
use crate::volume::overlay::merge::finish;
use crate::volume::overlay::stage::Stage;
use crate::volume::plan::stack::Stack;
use crate::volume::plan::state::Observed;
use crate::volume::plan::step::store_length;

/// Merges the overlay of a volume that has no device, if it has one and it counts. The volume is then active.
/// Returns whether anything changed.
///
/// # Errors
///
/// `Corrupt` if the overlay does not have everything that was acknowledged; `NoSpace` if the pool has no room for the
/// merge. The caller takes the devices down again.
pub(crate) fn restore(
    pool: &PoolDir,
    guard: &VolumeGuard,
    record: &VolumeRecord,
    observed: &Observed,
) -> Result<bool> {
    if Stage::of(observed) != Some(Stage::AtRest) || observed.is_stale(record) {
        return Ok(false);
    }
    let layers = Layers { pool, key: guard.key(), record };
    if pool.host().store_header(&layers.overlay())? == StoreHeader::New {
        // No device was over it.
        layers.remove_overlay()?;
        return Ok(true);
    }
    check(&layers)?;
    let takes = observed.overlay.as_ref().map_or(0, |overlay| overlay.store.allocated);
    pool.require_free("merge the overlay of volume", &record.id, takes)?;
    bring_up(&layers)?;
    finish(pool, guard, record)?;
    Ok(true)
}

/// Refuses an overlay that is not whole. If the kernel gave it up only for want of space, it counts.
fn check(layers: &Layers<'_>) -> Result<()> {
    let (host, record, path) = (layers.host(), layers.record, layers.overlay());
    let why = match store::examine(host, &path, record.size, record.chunk_size)? {
        Evidence::Whole(_) => return store::revive(host, &path),
        Evidence::LostWrites(error) => format!("the pool's file system lost writes to it: {error}"),
        Evidence::Damaged(what) => what,
    };
    let why = format!("what was written while a snapshot was made is damaged: {why}");
    Err(Error::new(ErrorKind::Corrupt, "use volume", &record.id, why)
        .remedy("its content cannot be trusted: delete the volume and create a new one"))
}

/// Makes the base over the volume's own store, and the volume's device over both, which the kernel merges.
fn bring_up(layers: &Layers<'_>) -> Result<()> {
    let (host, record) = (layers.host(), layers.record);
    let origin = origin::acquire(layers.pool, &record.digest, record.template_size, record.size)?;
    let store = layers.attach(layers.store())?;
    let base = layers.make_base(Stack { origin: origin.number, store: store.number })?;
    host.resume(&layers.base())?;
    host.extend_file(&layers.overlay(), store_length(record))?;
    let overlay = layers.attach(layers.overlay())?;
    let id = layers.volume();
    host.create_device(&id)?;
    host.load_table(&id, &layers.merging(base, overlay.number))?;
    host.resume(&id)
}
