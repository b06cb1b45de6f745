//! The volumes that pods may bring with them: how many, and of which kind.
//!
//! For volumes of claims, the orchestrator counts. Nobody counts inline volumes: a pod's author could fill
//! a node with them.

mod caps;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::api::Pool;
use crate::error::{Error, ErrorKind, Result};
use crate::model::volume::VolumeSpec;

pub use caps::{InlineCaps, TemplatePattern};

/// What inline volumes there may be, and those that calls are making at this moment.
#[derive(Debug, Default)]
pub(super) struct InlineVolumes {
    caps: InlineCaps,
    under_way: AtomicUsize,
}

/// A place for one more volume, while the value lives.
pub(super) struct Place<'a>(&'a InlineVolumes);

impl InlineVolumes {
    pub(super) fn new(caps: InlineCaps) -> Self {
        Self { caps, under_way: AtomicUsize::new(0) }
    }

    /// Refuses a volume that pods may not ask for. A volume that exists stays what it is, whatever is allowed
    /// now: a repeated call means the same volume.
    pub(super) fn admit(&self, pool: &Pool, spec: VolumeSpec) -> Result<VolumeSpec> {
        if !pool.has_volume(&spec.id)? {
            return self.caps.apply(pool, spec);
        }
        match pool.volume(&spec.id)?.status() {
            Ok(volume) => {
                let cow_limit = spec.cow_limit.or(volume.record.cow_limit);
                Ok(spec.cow_limit(cow_limit))
            }
            // A call that was cut short left only a part of it.
            Err(error) if error.kind() == ErrorKind::NotFound => self.caps.apply(pool, spec),
            Err(error) => Err(error),
        }
    }

    /// Takes a place for the volume `id` if the pool may have one more; `most` is 0 for no limit. Volumes
    /// that calls have made but not published yet may count twice, so that the limit holds.
    pub(super) fn place(&self, pool: &Pool, id: &str, most: u32) -> Result<Place<'_>> {
        let others = self.under_way.fetch_add(1, Ordering::AcqRel);
        let place = Place(self);
        if most == 0 || pool.has_volume(id)? {
            return Ok(place);
        }
        let volumes = pool.volume_count()?;
        if volumes + others < most as usize {
            return Ok(place);
        }
        let why = format!("the node has {volumes} volumes, of {most} that it may have");
        Err(Error::new(ErrorKind::NoSpace, "make inline volume", id, why)
            .remedy("delete pods on this node, or raise --max-volumes-per-node"))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}
