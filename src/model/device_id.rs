//! The names and UUIDs of calf's device-mapper devices.
//!
//! A device's UUID starts with [`UUID_PREFIX`] and the pool's id: a device without both is never
//! touched.

use crate::model::key::{Key, PoolId};

/// Every device-mapper UUID of calf starts with this, as the field does it (`LVM-`, `mpath-`).
pub const UUID_PREFIX: &str = "CALF-";

/// Every device-mapper name of calf starts with this.
const NAME_PREFIX: &str = "calf-";

/// The device-mapper name of each spare device starts with this, and goes on with the pool's id: a
/// spare has no UUID yet that could say whose it is.
pub const SPARE_PREFIX: &str = "calf-spare-";

/// The two devices that a volume may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The copy-on-write device itself.
    Snapshot,
    /// A read-only device over the snapshot, for readers.
    ReadOnlyView,
}

/// The device-mapper name and UUID of one device of a volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// `calf-<key>`, with `-ro` for the read-only view.
    pub name: String,
    /// `CALF-<pool id>-<key>`, with `-ro` for the read-only view.
    pub uuid: String,
}

impl DeviceId {
    /// The identity of the device that plays `role` for volume `key` of `pool`.
    pub fn new(pool: &PoolId, key: &Key, role: Role) -> Self {
        let suffix = match role {
            Role::Snapshot => "",
            Role::ReadOnlyView => "-ro",
        };
        Self {
            name: format!("{NAME_PREFIX}{key}{suffix}"),
            uuid: format!("{}{key}{suffix}", uuid_prefix(pool)),
        }
    }

    /// The volume and role that a device of this name has, if it is calf's, of whichever pool.
    pub fn parse_name(name: &str) -> Option<(Key, Role)> {
        parse_tail(name.strip_prefix(NAME_PREFIX)?)
    }

    /// The volume and role behind a UUID, if the device belongs to `pool`.
    pub fn parse_uuid(pool: &PoolId, uuid: &str) -> Option<(Key, Role)> {
        parse_tail(uuid.strip_prefix(&uuid_prefix(pool))?)
    }
}

/// The device-mapper name of the spare `token` of `pool`.
pub(crate) fn spare_name(pool: &PoolId, token: &Key) -> String {
    format!("{SPARE_PREFIX}{pool}-{token}")
}

/// The spare that has this device-mapper name, if it is one of `pool`.
pub(crate) fn parse_spare_name(pool: &PoolId, name: &str) -> Option<Key> {
    Key::parse(name.strip_prefix(SPARE_PREFIX)?.strip_prefix(pool.as_str())?.strip_prefix('-')?)
}

/// What names and UUIDs end in.
fn parse_tail(tail: &str) -> Option<(Key, Role)> {
    match tail.strip_suffix("-ro") {
        Some(key) => Some((Key::parse(key)?, Role::ReadOnlyView)),
        None => Some((Key::parse(tail)?, Role::Snapshot)),
    }
}

/// What the UUIDs of all devices of `pool` start with.
fn uuid_prefix(pool: &PoolId) -> String {
    format!("{UUID_PREFIX}{pool}-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_uuid_parses_back_to_its_volume(id in "\\PC{1,128}", ro in any::<bool>()) {
            let pool = PoolId::random();
            let key = Key::of(&id);
            let role = if ro { Role::ReadOnlyView } else { Role::Snapshot };
            let device = DeviceId::new(&pool, &key, role);
            prop_assert_eq!(DeviceId::parse_uuid(&pool, &device.uuid), Some((key.clone(), role)));
            prop_assert_eq!(DeviceId::parse_name(&device.name), Some((key, role)));
            prop_assert!(device.name.len() < 128 && device.uuid.len() < 129);
        }

        #[test]
        fn a_spares_name_tells_pool_and_spare_and_no_volume(bytes in any::<[u8; 16]>()) {
            let (pool, token) = (PoolId::random(), Key::parse(&hex::encode(bytes)).unwrap());
            let name = spare_name(&pool, &token);
            prop_assert_eq!(parse_spare_name(&pool, &name), Some(token));
            prop_assert_eq!(parse_spare_name(&PoolId::random(), &name), None);
            prop_assert_eq!(DeviceId::parse_name(&name), None);
            prop_assert!(name.len() < 128);
        }

        #[test]
        fn another_pools_device_is_not_ours(id in "\\PC{1,128}") {
            let device = DeviceId::new(&PoolId::random(), &Key::of(&id), Role::Snapshot);
            prop_assert_eq!(DeviceId::parse_uuid(&PoolId::random(), &device.uuid), None);
        }
    }
}
