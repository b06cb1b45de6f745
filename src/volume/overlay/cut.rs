//! The cut: from then on, the volume's store stays as it is, while the volume goes on over an overlay.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::model::policy::{Durability, Reserve};
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::{OVERLAYS_FORMAT, VolumeRecord};
use crate::sys::{DeviceNumber, LoopHandle, OpenMode, Quiesce};
use crate::volume::overlay::layers::Layers;
use crate::volume::overlay::settle::settle;
use crate::volume::plan::stack::Stack;
use crate::volume::plan::step::store_length;

const OPERATION: &str = "make a snapshot of volume";

/// Refuses a volume that an overlay could give more than it may have, or that it could stop.
fn check(record: &VolumeRecord) -> Result<()> {
    let unlimited = VolumeRecord { cow_limit: None, ..record.clone() };
    let why = if record.reserve == Reserve::Full {
        "its space is reserved, and what is written meanwhile would have none"
    } else if store_length(record) < store_length(&unlimited) {
        "it has a limit on what it writes (cowLimit), and what is written meanwhile could exceed it"
    } else {
        return Ok(());
    };
    let why = format!("it is in use, files in the pool cannot share blocks, and {why}");
    Err(Error::new(ErrorKind::Unsupported, OPERATION, &record.id, why).remedy(
        "take the volume down first (its content is then copied), or put the pool on XFS (made with \
         reflink=1) or Btrfs",
    ))
}

/// Makes the cut of a live volume. Returns for how long writers waited.
///
/// # Errors
///
/// Then the volume goes on, and its overlay is gone, or is merged later.
pub(crate) fn cut(
    pool: &PoolDir,
    guard: &VolumeGuard,
    record: &VolumeRecord,
    quiesce: Quiesce,
) -> Result<Duration> {
    check(record)?;
    let layers = Layers { pool, key: guard.key(), record };
    make(&layers, quiesce).inspect_err(|_| {
        if let Err(error) = settle(pool, guard) {
            let error = error.report();
            tracing::warn!(volume = record.id, error, "could not undo a cut; the next call will");
        }
    })
}

fn make(layers: &Layers<'_>, quiesce: Quiesce) -> Result<Duration> {
    let host = layers.host();
    let device = host.device(&layers.volume())?;
    let stack = device.as_ref().and_then(Stack::below).ok_or_else(|| {
        let why = "its device vanished";
        Error::new(ErrorKind::Internal, OPERATION, &layers.record.id, why)
            .remedy("something outside calf removed it; repeat the call")
    })?;
    layers.pool.require_format(OVERLAYS_FORMAT)?;
    let overlay = layers.make_overlay()?;
    let base = layers.make_base(stack)?;
    let start = Instant::now();
    host.suspend(&layers.volume(), quiesce)?;
    hand_over(layers, base, &overlay)?;
    Ok(start.elapsed())
}

/// Exchanges the tables while the volume is suspended.
fn hand_over(layers: &Layers<'_>, base: DeviceNumber, overlay: &LoopHandle) -> Result<()> {
    if layers.record.durability == Durability::Durable {
        // The flushes of the guest do not reach it any more. Little is dirty, since it was written back ahead.
        let path = layers.store();
        let synced = layers.host().open_image(&path, OpenMode::Read)?.sync();
        synced.map_err(|error| Error::io("write back", path.display(), error))?;
    }
    layers.host().resume(&layers.base())?;
    layers.stack(base, overlay)
}
