//! What protects the volumes of a pool that gets full all the same.
//!
//! The kernel may acknowledge a merged request of which it could not write a part, if the pool has no
//! block left for that part and has one again a moment later. So the guard has the kernel merge the
//! requests to COW stores only while it watches a pool with room. Merging is fast, for reads above all;
//! without it, nothing is lost (ADR 0074).

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::model::device_id::{DeviceId, Role};
use crate::pool::PoolDir;
use crate::sys::{DeviceNumber, Table};

/// While requests are not merged, how often to look for volumes that were brought up meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

/// Which requests the kernel merges, as far as the guard knows.
#[derive(Debug, Default)]
pub(super) struct Caution {
    /// What was set last, and when. `None` if unknown.
    set: Option<(bool, Duration)>,
}

impl Caution {
    /// Has the kernel merge requests to the pool's COW stores, or not, unless that is known to be so.
    /// Returns what failed, which the next look tries again.
    pub(super) fn merge(
        &mut self,
        pool: &PoolDir,
        merge: bool,
        now: Duration,
    ) -> Result<Vec<String>> {
        let settled = self
            .set
            .is_some_and(|(known, at)| known == merge && (merge || now.saturating_sub(at) < AGAIN));
        if settled {
            return Ok(Vec::new());
        }
        let failed = set(pool, merge)?;
        self.set = failed.is_empty().then_some((merge, now));
        Ok(failed)
    }
}

/// Returns the errors of single volumes.
pub(super) fn set(pool: &PoolDir, merge: bool) -> Result<Vec<String>> {
    let mut failed = Vec::new();
    for name in pool.host().device_names()? {
        let Some((key, Role::Snapshot)) = DeviceId::parse_name(pool.id(), &name) else { continue };
        let id = DeviceId::new(pool.id(), &key, Role::Snapshot);
        let set = |cow: Option<DeviceNumber>| match cow {
            Some(cow) => pool.host().merge_requests(cow, merge),
            None => Ok(()),
        };
        match store(pool, &id).and_then(set) {
            // Another pool's device that has this name, or one that has just gone.
            Err(e) if matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {}
            Err(error) => failed.push(error.report()),
            Ok(()) => {}
        }
    }
    Ok(failed)
}

/// The loop device over a volume's COW store.
fn store(pool: &PoolDir, id: &DeviceId) -> Result<Option<DeviceNumber>> {
    Ok(pool.host().device(id)?.and_then(|device| match device.table {
        Some(Table::Snapshot { cow, .. }) => Some(cow),
        _ => None,
    }))
}
