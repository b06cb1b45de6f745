//! What protects the volumes of a pool that gets full all the same.
//!
//! The kernel may acknowledge a merged request of which it could not write a part, if the pool has no
//! block left for that part and has one again a moment later. So the guard has the kernel merge the
//! requests to COW stores only while it watches a pool with room. Merging is fast, for reads above all;
//! without it, nothing is lost (ADR 0074).

use std::time::Duration;

use crate::guard::snapshots;
use crate::pool::PoolDir;
use crate::sys::{Device, Table};

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
    pub(super) fn merge(&mut self, pool: &PoolDir, merge: bool, now: Duration) -> Vec<String> {
        let settled = self
            .set
            .is_some_and(|(known, at)| known == merge && (merge || now.saturating_sub(at) < AGAIN));
        if settled {
            return Vec::new();
        }
        let failed = set(pool, merge);
        self.set = failed.is_empty().then_some((merge, now));
        failed
    }
}

/// Has the kernel merge requests to the COW stores of all active volumes, or not. Returns what failed.
pub(super) fn set(pool: &PoolDir, merge: bool) -> Vec<String> {
    let host = pool.host();
    let set = |device: Device| match device.table {
        Some(Table::Snapshot { cow, .. } | Table::Merge { cow, .. }) => {
            host.merge_requests(cow, merge)
        }
        _ => Ok(()),
    };
    match snapshots::of(pool, |id| host.device(id)) {
        Ok(devices) => devices
            .filter_map(|(.., device)| device.and_then(set).err())
            .map(|error| error.report())
            .collect(),
        Err(error) => vec![error.report()],
    }
}
