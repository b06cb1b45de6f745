//! The names and UUIDs of calf's device-mapper devices.
//!
//! The UUID of a device starts with [`UUID_PREFIX`] and the pool's id. calf never touches a device
//! whose UUID does not.

use crate::model::key::{Key, PoolId};

/// Start of every device-mapper UUID of calf, by the convention of other owners (`LVM-`, `mpath-`).
pub const UUID_PREFIX: &str = "CALF-";

/// Start of every device-mapper name of calf.
const NAME_PREFIX: &str = "calf-";

/// Start of each spare's device-mapper name. The pool's id follows, since a spare does not yet have
/// a UUID that names the pool.
pub const SPARE_PREFIX: &str = "calf-spare-";

/// End of the name and UUID of each snapshot's device.
const SNAPSHOT_SUFFIX: &str = "-frozen";

/// The devices that a volume may have. One that is further down rests on those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// What the volume held at the cut of a snapshot, below an overlay.
    Base,
    /// The copy-on-write device itself.
    Snapshot,
    /// A read-only device over the snapshot, for readers.
    ReadOnlyView,
}

/// End of the name and UUID of the device below a volume's overlay.
const BASE_SUFFIX: &str = "-base";

/// The device-mapper name and UUID of a device of a volume or a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// `calf-<pool id>-<key>`, with `-ro` for the read-only view, `-base` for what is below an overlay, or
    /// `-frozen` for a snapshot.
    pub name: String,
    /// `CALF-<pool id>-<key>`, with the same ends.
    pub uuid: String,
}

impl DeviceId {
    /// Returns the identity of the device in `role` of volume `key` of `pool`.
    pub fn new(pool: &PoolId, key: &Key, role: Role) -> Self {
        let suffix = suffix(role);
        Self {
            name: format!("{NAME_PREFIX}{pool}-{key}{suffix}"),
            uuid: format!("{}{key}{suffix}", uuid_prefix(pool)),
        }
    }

    /// Returns the identity of the device of snapshot `key` of `pool`. A volume may have the same key.
    pub fn of_snapshot(pool: &PoolId, key: &Key) -> Self {
        Self {
            name: format!("{NAME_PREFIX}{pool}-{key}{SNAPSHOT_SUFFIX}"),
            uuid: format!("{}{key}{SNAPSHOT_SUFFIX}", uuid_prefix(pool)),
        }
    }

    /// Parses the UUID of a device into the snapshot whose device it is; `None` if it is no such device of `pool`.
    pub fn parse_snapshot_uuid(pool: &PoolId, uuid: &str) -> Option<Key> {
        Key::parse(uuid.strip_prefix(&uuid_prefix(pool))?.strip_suffix(SNAPSHOT_SUFFIX)?)
    }

    /// The name that calf gave to the device before names carried the pool's id.
    pub(crate) fn former_name(key: &Key, role: Role) -> String {
        format!("{NAME_PREFIX}{key}{}", suffix(role))
    }

    /// Parses the name of a device into its volume and role; `None` if it is not a name that calf gives
    /// to devices of `pool`. A former name does not identify the pool.
    pub fn parse_name(pool: &PoolId, name: &str) -> Option<(Key, Role)> {
        let tail = name.strip_prefix(NAME_PREFIX)?;
        let ours = tail.strip_prefix(pool.as_str()).and_then(|tail| tail.strip_prefix('-'));
        parse_tail(ours.unwrap_or(tail))
    }

    /// The pool that the UUID of a device names; `None` if the device is not calf's.
    pub(crate) fn pool_of_uuid(uuid: &str) -> Option<PoolId> {
        let (pool, _) = uuid.strip_prefix(UUID_PREFIX)?.split_once('-')?;
        PoolId::try_from(pool.to_owned()).ok()
    }

    /// Parses the UUID of a device into its volume and role; `None` if it does not belong to
    /// `pool`.
    pub fn parse_uuid(pool: &PoolId, uuid: &str) -> Option<(Key, Role)> {
        parse_tail(uuid.strip_prefix(&uuid_prefix(pool))?)
    }
}

fn suffix(role: Role) -> &'static str {
    match role {
        Role::Base => BASE_SUFFIX,
        Role::Snapshot => "",
        Role::ReadOnlyView => "-ro",
    }
}

/// Returns the device-mapper name of the spare `token` of `pool`.
pub(crate) fn spare_name(pool: &PoolId, token: &Key) -> String {
    format!("{SPARE_PREFIX}{pool}-{token}")
}

/// Parses the device-mapper name of a spare into its token; `None` if it is not a spare of `pool`.
pub(crate) fn parse_spare_name(pool: &PoolId, name: &str) -> Option<Key> {
    Key::parse(name.strip_prefix(SPARE_PREFIX)?.strip_prefix(pool.as_str())?.strip_prefix('-')?)
}

/// Parses the common end of names and UUIDs.
fn parse_tail(tail: &str) -> Option<(Key, Role)> {
    let roles = [Role::ReadOnlyView, Role::Base, Role::Snapshot];
    roles.into_iter().find_map(|role| Some((Key::parse(tail.strip_suffix(suffix(role))?)?, role)))
}

/// Returns the start of the UUIDs of all devices of `pool`.
fn uuid_prefix(pool: &PoolId) -> String {
    format!("{UUID_PREFIX}{pool}-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_uuid_parses_back_to_its_volume(id in "\\PC{1,128}", role in 0..3usize) {
            let pool = PoolId::random();
            let key = Key::of(&id);
            let role = [Role::Base, Role::Snapshot, Role::ReadOnlyView][role];
            let device = DeviceId::new(&pool, &key, role);
            prop_assert_eq!(DeviceId::parse_uuid(&pool, &device.uuid), Some((key.clone(), role)));
            prop_assert_eq!(DeviceId::pool_of_uuid(&device.uuid), Some(pool.clone()));
            for name in [&device.name, &DeviceId::former_name(&key, role)] {
                prop_assert_eq!(DeviceId::parse_name(&pool, name), Some((key.clone(), role)));
            }
            prop_assert_eq!(DeviceId::parse_name(&PoolId::random(), &device.name), None);
            prop_assert!(device.name.len() < 128 && device.uuid.len() < 129);
        }

        #[test]
        fn a_spares_name_identifies_pool_and_spare_but_no_volume(bytes in any::<[u8; 16]>()) {
            let (pool, token) = (PoolId::random(), Key::parse(&hex::encode(bytes)).unwrap());
            let name = spare_name(&pool, &token);
            prop_assert_eq!(parse_spare_name(&pool, &name), Some(token));
            prop_assert_eq!(parse_spare_name(&PoolId::random(), &name), None);
            prop_assert_eq!(DeviceId::parse_name(&pool, &name), None);
            prop_assert!(name.len() < 128);
        }

        #[test]
        fn a_snapshots_device_is_never_taken_for_a_volumes(name in "\\PC{1,128}") {
            let (pool, key) = (PoolId::random(), Key::of(&name));
            let device = DeviceId::of_snapshot(&pool, &key);
            prop_assert_eq!(DeviceId::parse_snapshot_uuid(&pool, &device.uuid), Some(key.clone()));
            prop_assert_eq!(DeviceId::pool_of_uuid(&device.uuid), Some(pool.clone()));
            prop_assert_eq!(DeviceId::parse_snapshot_uuid(&PoolId::random(), &device.uuid), None);
            prop_assert_eq!(DeviceId::parse_uuid(&pool, &device.uuid), None);
            prop_assert_eq!(DeviceId::parse_name(&pool, &device.name), None);
            for role in [Role::Base, Role::Snapshot, Role::ReadOnlyView] {
                let volume = DeviceId::new(&pool, &key, role);
                prop_assert_eq!(DeviceId::parse_snapshot_uuid(&pool, &volume.uuid), None);
            }
            prop_assert!(device.name.len() < 128 && device.uuid.len() < 129);
        }

        #[test]
        fn another_pools_device_is_not_ours(id in "\\PC{1,128}") {
            let device = DeviceId::new(&PoolId::random(), &Key::of(&id), Role::Snapshot);
            prop_assert_eq!(DeviceId::parse_uuid(&PoolId::random(), &device.uuid), None);
        }
    }
}
