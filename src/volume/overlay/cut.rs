//! The cut: from then on, the stores of volumes stay as they are, while the volumes go on over overlays.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::model::policy::{Durability, Reserve};
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::{OVERLAYS_FORMAT, VolumeRecord};
use crate::sys::{DeviceNumber, LoopHandle, OpenMode, Quiesce};
use crate::volume::overlay::layers::Layers;
use crate::volume::overlay::settle::settle_or_warn;
use crate::volume::plan::stack::Stack;
use crate::volume::plan::step::store_length;

const OPERATION: &str = "make a snapshot of volume";

/// A live volume to cut.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) guard: &'a VolumeGuard,
    pub(crate) record: &'a VolumeRecord,
    pub(crate) quiesce: Quiesce,
}

/// Makes the cut of live volumes, as of one instant. Returns for how long writers waited.
///
/// # Errors
///
/// Then the volumes go on. Some may have an overlay, which [`finish`](super::finish) ends.
pub(crate) fn cut(pool: &PoolDir, subjects: &[Subject<'_>]) -> Result<Duration> {
    subjects.iter().try_for_each(|subject| check(subject.record))?;
    pool.require_format(OVERLAYS_FORMAT)?;
    make(pool, subjects).inspect_err(|_| {
        for Subject { guard, record, .. } in subjects {
            settle_or_warn(pool, guard, record);
        }
    })
}

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

/// A volume whose base waits for the exceptions.
struct Prepared<'a> {
    layers: Layers<'a>,
    quiesce: Quiesce,
    base: DeviceNumber,
    overlay: LoopHandle,
}

fn make(pool: &PoolDir, subjects: &[Subject<'_>]) -> Result<Duration> {
    let prepare = |subject: &_| Prepared::new(pool, subject);
    let prepared: Vec<Prepared<'_>> = subjects.iter().map(prepare).collect::<Result<_>>()?;
    let start = Instant::now();
    // Between the last suspension and the first volume that goes on is the instant.
    prepared.iter().try_for_each(Prepared::suspend)?;
    prepared.iter().try_for_each(Prepared::hand_over)?;
    Ok(start.elapsed())
}

impl<'a> Prepared<'a> {
    fn new(pool: &'a PoolDir, subject: &Subject<'a>) -> Result<Self> {
        let Subject { guard, record, quiesce } = *subject;
        let layers = Layers { pool, key: guard.key(), record };
        let device = layers.host().device(&layers.volume())?;
        let stack = device.as_ref().and_then(Stack::below).ok_or_else(|| {
            let why = "its device vanished";
            Error::new(ErrorKind::Internal, OPERATION, &record.id, why)
                .remedy("something outside calf removed it; repeat the call")
        })?;
        let overlay = layers.make_overlay()?;
        let base = layers.make_base(stack)?;
        Ok(Self { layers, quiesce, base, overlay })
    }

    fn suspend(&self) -> Result<()> {
        self.layers.host().suspend(&self.layers.volume(), self.quiesce)
    }

    /// Exchanges the tables of the suspended volume, and lets it go on.
    fn hand_over(&self) -> Result<()> {
        let (layers, host) = (&self.layers, self.layers.host());
        if layers.record.durability == Durability::Durable {
            // The flushes of the guest do not reach it any more. Little is dirty, since it was written back ahead.
            let path = layers.store();
            let synced = host.open_image(&path, OpenMode::Read)?.sync();
            synced.map_err(|error| Error::io("write back", path.display(), error))?;
        }
        host.resume(&layers.base())?;
        layers.stack(self.base, &self.overlay)
    }
}
