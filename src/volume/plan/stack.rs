//! The devices below a snapshot device.

use crate::sys::{Device, DeviceNumber, Table};

/// The devices below a snapshot device. All code that needs these takes them from
/// here instead of the table, so that a layer in between (verity, crypt) changes only this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    /// The loop device over the template's content, or what is below an overlay.
    pub(crate) origin: DeviceNumber,
    /// The loop device over the COW store.
    pub(crate) store: DeviceNumber,
}

impl Stack {
    /// Returns the stack below a snapshot device; `None` if the device has no table, or is not a
    /// snapshot.
    pub(crate) fn below(device: &Device) -> Option<Self> {
        match device.table {
            Some(
                Table::Snapshot { origin, cow, .. }
                | Table::Frozen { origin, cow, .. }
                | Table::Merge { origin, cow, .. },
            ) => Some(Self { origin, store: cow }),
            Some(Table::ReadOnly { .. }) | None => None,
        }
    }
}
