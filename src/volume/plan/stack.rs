//! What a snapshot device rests on.

use crate::sys::{Device, DeviceNumber, Table};

/// The loop devices at the bottom of a snapshot device. Everything that needs one asks
/// this value instead of the table, so that a device in between (verity, crypt) changes this file alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    /// Over the template's content.
    pub(crate) origin: DeviceNumber,
    /// Over the COW store.
    pub(crate) store: DeviceNumber,
}

impl Stack {
    /// The stack below a snapshot device; `None` if it has no table, or is no snapshot.
    pub(crate) fn below(device: &Device) -> Option<Self> {
        match device.table {
            Some(Table::Snapshot { origin, cow, .. }) => Some(Self { origin, store: cow }),
            Some(Table::ReadOnly { .. }) | None => None,
        }
    }
}
