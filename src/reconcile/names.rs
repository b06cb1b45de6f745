//! Gives devices their present names.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::pool::PoolDir;

/// Renames devices of this pool that still have the name that calf gave them before names carried the
/// pool's id. `names` are the names of all devices.
pub(super) fn renew(pool: &PoolDir, keys: &[Key], names: &BTreeSet<String>) -> Result<()> {
    for key in keys {
        for role in [Role::Snapshot, Role::ReadOnlyView] {
            let former = DeviceId::former_name(key, role);
            let id = DeviceId::new(pool.id(), key, role);
            if !names.contains(&former)
                || pool.host().device_id(&former)?.is_none_or(|found| found.uuid != id.uuid)
            {
                continue;
            }
            // A volume that another call works on keeps its name until the next time.
            let Some(_guard) = pool.try_lock_volume(key)? else { continue };
            pool.host().adopt(&former, &id)?;
            tracing::info!(device = former, name = id.name, "renamed");
        }
    }
    Ok(())
}
