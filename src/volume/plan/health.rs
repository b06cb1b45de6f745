//! The one judgement of a device: does it work as its volume's record asks?

use crate::model::volume::VolumeState;
use crate::pool::record::VolumeRecord;
use crate::sys::{Device, SnapshotGlance, SnapshotUsage};

/// How a device of a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// The kernel gave its content up, or takes no more writes.
    pub(crate) loss: Option<Loss>,
    /// A call stopped half-way: it never worked, stands still, or has a table that waits.
    pub(crate) interrupted: bool,
    /// It is smaller than its record says.
    pub(crate) short: bool,
}

/// Why a snapshot is no longer what its volume was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// An I/O error on its COW store.
    Invalid,
    /// Its COW store is full.
    Overflow,
}

impl Health {
    /// Of a device, the snapshot or the view.
    pub(crate) fn of(device: &Device, record: &VolumeRecord) -> Self {
        let size = device.table.as_ref().map(|table| table.size());
        Self {
            loss: device.usage.and_then(Loss::of),
            interrupted: size.is_none() || device.suspended || device.inactive_table,
            short: size.is_some_and(|size| size < record.size),
        }
    }

    /// Of a live snapshot, as far as a glance tells.
    pub(crate) fn at_a_glance(device: &SnapshotGlance, record: &VolumeRecord) -> Self {
        Self {
            loss: Loss::of(device.usage),
            interrupted: device.suspended || device.inactive_table,
            short: device.size < record.size,
        }
    }

    /// Whether there is nothing to do about it.
    pub(crate) fn is_well(self) -> bool {
        self.loss.is_none() && !self.interrupted && !self.short
    }

    /// What the owner of the volume is told.
    pub(crate) fn state(self) -> VolumeState {
        match self.loss {
            Some(Loss::Invalid) => VolumeState::Invalid,
            Some(Loss::Overflow) => VolumeState::Overflow,
            None if self.interrupted => VolumeState::Interrupted,
            None => VolumeState::Active,
        }
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
