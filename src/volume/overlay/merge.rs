//! Merges an overlay into the volume's own store while the volume is used, and brings the volume back.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::sys::SnapshotUsage;
use crate::volume::machine::observe;
use crate::volume::overlay::layers::Layers;
use crate::volume::overlay::settle::{settle_as, settle_or_warn};
use crate::volume::overlay::stage::Stage;
use crate::volume::plan::stack::Stack;
use crate::volume::plan::state::Observed;
use crate::volume::plan::{require_running, unmerged};

/// Bounds of the pause between two looks at a merge.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

const OPERATION: &str = "merge the overlay of volume";

/// Ends the overlay of the volume of `record`, which is as `observed`, if it has one. Returns how the volume is
/// then: over its own store alone.
///
/// # Errors
///
/// `Unprepared` if the volume has no device, and an overlay that must not be lost; those of [`finish`].
pub(crate) fn end(
    pool: &PoolDir,
    guard: &VolumeGuard,
    record: &VolumeRecord,
    observed: Observed,
) -> Result<Observed> {
    let layers = Layers { pool, key: guard.key(), record };
    match Stage::of(&observed) {
        None => return Ok(observed),
        // It goes with the content of an earlier boot.
        Some(Stage::AtRest) if observed.is_stale(record) => layers.remove_overlay()?,
        Some(Stage::AtRest) => return Err(unmerged(record)),
        Some(_) => finish(pool, guard, record)?,
    }
    observe::again(pool, guard.key(), &observed)
}

/// Merges the overlay of a live volume, if it has one, and waits until the volume is over its own store alone.
///
/// # Errors
///
/// `NoSpace` if the pool may not have room for it, or the kernel stopped the volume. The volume then stays as it is,
/// and the merge can be tried again.
pub(crate) fn finish(pool: &PoolDir, guard: &VolumeGuard, record: &VolumeRecord) -> Result<()> {
    let layers = Layers { pool, key: guard.key(), record };
    merge(&layers).inspect_err(|_| settle_or_warn(pool, guard, record))
}

fn merge(layers: &Layers<'_>) -> Result<()> {
    let (pool, record) = (layers.pool, layers.record);
    loop {
        let observed = observe::observe(pool, layers.key)?;
        let below = observed.snapshot.as_ref().and_then(Stack::below);
        if observed.is_over_base() && observed.state(record).is_stopped() {
            return Err(stopped(record));
        }
        match (Stage::of(&observed), below, observed.base()) {
            (Some(Stage::Stacked), Some(stack), _) => {
                ready(layers, &observed)?;
                layers.begin_merge(stack)?;
            }
            (Some(Stage::Merging), Some(stack), Some(base)) => {
                require_running(record, &observed)?;
                settle_as(layers, &observed)?;
                await_merge(layers)?;
                layers.bring_back(base, stack.store)?;
            }
            (Some(Stage::Alone | Stage::HandedOver), ..) => settle_as(layers, &observed)?,
            _ => return Ok(()),
        }
    }
}

/// Refuses to begin a merge that could stop the volume: what is merged takes room beside the overlay.
fn ready(layers: &Layers<'_>, observed: &Observed) -> Result<()> {
    let (pool, record) = (layers.pool, layers.record);
    require_running(record, observed)?;
    let takes = observed.overlay.as_ref().map_or(0, |overlay| overlay.store.allocated);
    pool.require_free(OPERATION, &record.id, takes)?;
    settle_as(layers, observed)
}

/// Waits until only metadata is left in the overlay.
fn await_merge(layers: &Layers<'_>) -> Result<()> {
    let [mut pause, longest] = PAUSES;
    loop {
        let device = layers.host().device(&layers.volume())?;
        match device.as_ref().and_then(|device| device.usage) {
            Some(SnapshotUsage::Valid { used, metadata, .. }) if used == metadata => return Ok(()),
            Some(SnapshotUsage::Valid { .. }) => {}
            _ => return Err(stopped(layers.record)),
        }
        if device.is_some_and(|device| device.suspended) {
            let why = "it was suspended meanwhile, since the pool is nearly full";
            return Err(Error::new(ErrorKind::NoSpace, OPERATION, &layers.record.id, why)
                .remedy("make room in the pool; reconciliation, or the next snapshot, goes on"));
        }
        layers.host().pause(pause);
        pause = (2 * pause).min(longest);
    }
}

/// The error for a volume that the kernel stopped while it had an overlay.
pub(crate) fn stopped(record: &VolumeRecord) -> Error {
    let why = "a write to its COW store, or to what was written while a snapshot was made, failed: most often \
               since the pool was full";
    Error::new(ErrorKind::NoSpace, OPERATION, &record.id, why).remedy(
        "free space in the pool, then take the volume down (unpublish and unstage it, or `calf volume \
         deactivate`) and bring it up again",
    )
}
