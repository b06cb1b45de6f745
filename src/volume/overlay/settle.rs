//! Lets a volume go on whose overlay a process left between two steps: in milliseconds, and without a copy or a merge.

use crate::error::Result;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::sys::Device;
use crate::volume::machine::{observe, teardown};
use crate::volume::overlay::layers::Layers;
use crate::volume::overlay::stage::Stage;
use crate::volume::plan::state::Observed;

/// Completes or undoes the step at which a process died, if the volume has an overlay. The volume is then over
/// its own store alone, and has no overlay; or it is over the overlay, which is perhaps being merged; or it has
/// no device.
pub(crate) fn settle(pool: &PoolDir, guard: &VolumeGuard) -> Result<()> {
    let key = guard.key();
    if pool.host().file(&pool.layout().overlay(key))?.is_none() {
        return Ok(());
    }
    let observed = observe::observe(pool, key)?;
    match &observed.record {
        Some(record) => settle_as(&Layers { pool, key, record }, &observed),
        // Of a deletion that was interrupted, which is repeated.
        None => Ok(()),
    }
}

/// Does the same after an error. If it fails too, the next call does it.
pub(super) fn settle_or_warn(pool: &PoolDir, guard: &VolumeGuard, record: &VolumeRecord) {
    if let Err(error) = settle(pool, guard) {
        let error = error.report();
        tracing::warn!(volume = record.id, error, "could not undo a step; the next call will");
    }
}

/// Does the same for a volume that is as `observed`.
pub(super) fn settle_as(layers: &Layers<'_>, observed: &Observed) -> Result<()> {
    let host = layers.host();
    let (id, base) = (layers.volume(), observed.base());
    match Stage::of(observed) {
        None => Ok(()),
        Some(Stage::AtRest) => {
            // A device without a table cannot have been used yet.
            if observed.snapshot.is_some() && base.is_some() {
                teardown::remove_device(host, &id)?;
            }
            remove_base(layers, base)
        }
        Some(Stage::Alone) => {
            // As long as the base waits for the exceptions, the kernel does not let the volume go on.
            remove_base(layers, base)?;
            go_on(layers, observed)?;
            layers.remove_overlay()
        }
        Some(Stage::HandedOver) => {
            clear(layers, observed)?;
            let overlay = layers.attach(layers.overlay())?;
            base.map_or(Ok(()), |base| layers.stack(base.number, &overlay))
        }
        Some(Stage::Stacked | Stage::Merging) => {
            // As long as a table of the volume waits for its exceptions, the base does not go on.
            clear(layers, observed)?;
            if base.is_some_and(|base| base.suspended) {
                host.resume(&layers.base())?;
            }
            go_on(layers, observed)
        }
    }
}

fn remove_base(layers: &Layers<'_>, base: Option<&Device>) -> Result<()> {
    match base {
        Some(_) => teardown::remove_device(layers.host(), &layers.base()),
        None => Ok(()),
    }
}

/// Empties the inactive slot of the volume's device.
fn clear(layers: &Layers<'_>, observed: &Observed) -> Result<()> {
    match &observed.snapshot {
        Some(device) if device.inactive_table => layers.host().clear_table(&layers.volume()),
        _ => Ok(()),
    }
}

/// Lets the volume go on, unless a guard keeps it suspended.
fn go_on(layers: &Layers<'_>, observed: &Observed) -> Result<()> {
    match &observed.snapshot {
        Some(device) if device.suspended && !observed.held => {
            layers.host().resume(&layers.volume())
        }
        _ => Ok(()),
    }
}
