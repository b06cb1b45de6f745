//! The devices that the guard watches.

use crate::error::{ErrorKind, Result};
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::pool::PoolDir;

/// The devices of this pool that write to COW stores, each as `look` sees it: those of volumes, and those below
/// overlays.
pub(super) fn of<'a, T: 'a>(
    pool: &'a PoolDir,
    look: impl Fn(&DeviceId) -> Result<Option<T>> + 'a,
) -> Result<impl Iterator<Item = (Key, Role, Result<T>)> + 'a> {
    let names = pool.host().device_names()?;
    Ok(names.into_iter().filter_map(move |name| {
        let (key, role) = DeviceId::parse_name(pool.id(), &name)?;
        if role == Role::ReadOnlyView {
            return None;
        }
        match look(&DeviceId::new(pool.id(), &key, role)) {
            // The device of another pool that has this name.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
            device => device.transpose().map(|device| (key, role, device)),
        }
    }))
}
