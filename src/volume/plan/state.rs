//! What was observed of one volume.

use crate::cow::header::StoreHeader;
use crate::model::policy::Durability;
use crate::pool::record::VolumeRecord;
use crate::sys::{Device, DeviceNumber, LoopDevice};

/// What is there of a volume's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    /// Its length in bytes.
    pub length: u64,
    /// Bytes that it occupies.
    pub allocated: u64,
    /// What it is, if it is not what calf made.
    pub damage: Option<&'static str>,
    /// What its first bytes say; only of a COW store that no device is over.
    pub header: Option<StoreHeader>,
}

/// What is there of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The running boot.
    pub boot: String,
    /// Its directory exists.
    pub directory: bool,
    /// Its committed intent.
    pub record: Option<VolumeRecord>,
    /// Its store: COW store or private copy.
    pub store: Option<Store>,
    /// Its dm-snapshot device.
    pub snapshot: Option<Device>,
    /// Its read-only device over the snapshot.
    pub view: Option<Device>,
    /// The loop devices over its private copy (fallback only).
    pub copies: Vec<LoopDevice>,
}

impl Observed {
    /// The block device to give to a reader and writer, or to a reader only, once it is usable.
    pub(crate) fn device(&self, read_only: bool) -> Option<DeviceNumber> {
        let mapped = if read_only { &self.view } else { &self.snapshot };
        let copy = || self.copies.iter().find(|copy| copy.read_only == read_only);
        match mapped {
            Some(device) if device.table.is_some() => Some(device.number),
            _ => copy().map(|copy| copy.number),
        }
    }

    /// The numbers of everything over the store.
    pub(crate) fn devices(&self) -> Vec<DeviceNumber> {
        let mapped = self.snapshot.iter().chain(&self.view).map(|device| device.number);
        mapped.chain(self.copies.iter().map(|copy| copy.number)).collect()
    }

    /// The numbers of everything over the store that may be open.
    pub(crate) fn open_devices(&self) -> Vec<DeviceNumber> {
        let mapped = self.snapshot.iter().chain(&self.view).filter(|device| device.open_count > 0);
        mapped
            .map(|device| device.number)
            .chain(self.copies.iter().map(|copy| copy.number))
            .collect()
    }

    /// Whether the store was made in an earlier boot and may be torn since.
    pub(crate) fn is_stale(&self, record: &VolumeRecord) -> bool {
        record.durability == Durability::Ephemeral
            && record.boot != self.boot
            && self.devices().is_empty()
    }
}
