//! Judges, in one place, whether a device works as its volume's record requires.

use crate::model::volume::VolumeState;
use crate::pool::record::VolumeRecord;
use crate::sys::{Device, SnapshotGlance, SnapshotUsage};
use crate::volume::plan::step::store_length;

/// The health of a volume's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// The kernel gave up its content, or accepts no more writes.
    pub(crate) loss: Option<Loss>,
    /// An interrupted call left the device without a table, suspended, or with an inactive table.
    pub(crate) interrupted: bool,
    /// The device is smaller than the record requires.
    pub(crate) short: bool,
    /// The loop device over the COW store is smaller than the record requires.
    pub(crate) store_short: bool,
}

/// Why the kernel gave up a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// An I/O error occurred on its COW store.
    Invalid,
    /// Its COW store is full.
    Overflow,
}

impl Health {
    /// Judges a device, the snapshot or the view.
    pub(crate) fn of(device: &Device, record: &VolumeRecord) -> Self {
        let size = device.table.as_ref().map(|table| table.size());
        Self {
            loss: device.usage.and_then(Loss::of),
            interrupted: size.is_none() || device.suspended || device.inactive_table,
            short: size.is_some_and(|size| size < record.size),
            store_short: device.usage.is_some_and(|usage| is_store_short(usage, record)),
        }
    }

    /// Judges a live snapshot, as far as a glance shows.
    pub(crate) fn at_a_glance(device: &SnapshotGlance, record: &VolumeRecord) -> Self {
        Self {
            loss: Loss::of(device.usage),
            interrupted: device.suspended || device.inactive_table,
            short: device.size < record.size,
            store_short: is_store_short(device.usage, record),
        }
    }

    /// Whether the device needs no work.
    pub(crate) fn is_well(self) -> bool {
        self.loss.is_none() && !self.interrupted && !self.short && !self.store_short
    }

    /// Returns the state that the owner of the volume sees.
    pub(crate) fn state(self) -> VolumeState {
        match self.loss {
            Some(Loss::Invalid) => VolumeState::Invalid,
            Some(Loss::Overflow) => VolumeState::Overflow,
            None if self.interrupted => VolumeState::Interrupted,
            None => VolumeState::Active,
        }
    }
}

fn is_store_short(usage: SnapshotUsage, record: &VolumeRecord) -> bool {
    match usage {
        SnapshotUsage::Valid { total, .. } => total < store_length(record),
        // The kernel does not tell.
        SnapshotUsage::Invalid | SnapshotUsage::Overflow => false,
    }
}

impl Loss {
    fn of(usage: SnapshotUsage) -> Option<Self> {
        match usage {
            SnapshotUsage::Valid { .. } => None,
            SnapshotUsage::Invalid => Some(Self::Invalid),
            SnapshotUsage::Overflow => Some(Self::Overflow),
        }
    }
}
