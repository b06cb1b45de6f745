//! The observed state of one volume.

use crate::cow::header::StoreHeader;
use crate::model::policy::Durability;
use crate::model::volume::VolumeState;
use crate::pool::record::VolumeRecord;
use crate::sys::{Device, DeviceNumber, LoopDevice, SnapshotUsage};
use crate::volume::plan::health::Health;
use crate::volume::plan::stack::Stack;

/// The observed state of a volume's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    /// Its length in bytes.
    pub length: u64,
    /// Bytes that it occupies.
    pub allocated: u64,
    /// What replaced the store, if it is not the one that calf made.
    pub damage: Option<&'static str>,
    /// Its header; only of a COW store without a device over it.
    pub header: Option<StoreHeader>,
}

/// The observed state of a volume's overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlay {
    /// Its COW store.
    pub store: Store,
    /// The device below it.
    pub base: Option<Device>,
}

/// The observed state of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The id of the running boot.
    pub boot: String,
    /// Whether its directory exists.
    pub directory: bool,
    /// Its committed intent.
    pub record: Option<VolumeRecord>,
    /// Its store: COW store or private copy.
    pub store: Option<Store>,
    /// Its dm-snapshot device.
    pub snapshot: Option<Device>,
    /// Its read-only view of the snapshot.
    pub view: Option<Device>,
    /// What a snapshot that is being made, or was interrupted, has put between the volume and its store.
    pub overlay: Option<Overlay>,
    /// The loop devices over its private copy (fallback only).
    pub copies: Vec<LoopDevice>,
    /// A guard keeps its device suspended.
    pub held: bool,
}

impl Observed {
    /// Returns the block device for writers, or with `read_only` for readers, if it is usable.
    pub(crate) fn device(&self, read_only: bool) -> Option<DeviceNumber> {
        let mapped = if read_only { &self.view } else { &self.snapshot };
        let copy = || self.copies.iter().find(|copy| copy.read_only == read_only);
        match mapped {
            Some(device) if device.table.is_some() => Some(device.number),
            _ => copy().map(|copy| copy.number),
        }
    }

    /// Whether its snapshot device has a live table.
    pub(crate) fn is_live(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|device| device.table.is_some())
    }

    /// The device below the overlay.
    pub(crate) fn base(&self) -> Option<&Device> {
        self.overlay.as_ref().and_then(|overlay| overlay.base.as_ref())
    }

    /// Whether the snapshot device rests on the device below an overlay.
    pub(crate) fn is_over_base(&self) -> bool {
        let origin = self.snapshot.as_ref().and_then(Stack::below).map(|stack| stack.origin);
        origin.is_some() && origin == self.base().map(|base| base.number)
    }

    /// Whether the device below an overlay has just taken the content over. The kernel shows the volume's device as
    /// invalid, until it gets a table over the overlay.
    pub(crate) fn is_handed_over(&self) -> bool {
        let usage = |device: Option<&Device>| device.and_then(|device| device.usage);
        let (own, base) = (usage(self.snapshot.as_ref()), usage(self.base()));
        own == Some(SnapshotUsage::Invalid)
            && base.is_some_and(|usage| usage != SnapshotUsage::Invalid)
            && !self.is_over_base()
    }

    /// Whether the kernel gave up the device below an overlay.
    fn is_base_lost(&self) -> bool {
        let usage = self.base().and_then(|base| base.usage);
        usage.is_some_and(|usage| !matches!(usage, SnapshotUsage::Valid { .. }))
    }

    /// Returns the state of the volume, for its owner.
    pub(crate) fn state(&self, record: &VolumeRecord) -> VolumeState {
        match &self.snapshot {
            Some(_) if self.is_handed_over() => VolumeState::Interrupted,
            Some(_) if self.is_over_base() && self.is_base_lost() => VolumeState::Invalid,
            Some(device) => match Health::of(device, record).state() {
                VolumeState::Interrupted if self.held => VolumeState::Suspended,
                state => state,
            },
            None if self.copies.iter().any(|copy| !copy.read_only) => VolumeState::Active,
            None if self.is_marked() && !self.is_stale(record) => VolumeState::Invalid,
            None => VolumeState::Inactive,
        }
    }

    /// Whether the kernel marked the store of an inactive volume as invalid.
    pub(crate) fn is_marked(&self) -> bool {
        self.store.is_some_and(|store| store.header == Some(StoreHeader::Invalid))
    }

    /// Returns the numbers of all devices over the store.
    pub(crate) fn devices(&self) -> Vec<DeviceNumber> {
        let mapped = self.snapshot.iter().chain(&self.view).map(|device| device.number);
        mapped.chain(self.copies.iter().map(|copy| copy.number)).collect()
    }

    /// Returns the numbers of all devices over the store that may be open.
    pub(crate) fn open_devices(&self) -> Vec<DeviceNumber> {
        let mapped = self.snapshot.iter().chain(&self.view).filter(|device| device.open_count > 0);
        mapped
            .map(|device| device.number)
            .chain(self.copies.iter().map(|copy| copy.number))
            .collect()
    }

    /// Whether the store is from an earlier boot, and may therefore be torn.
    pub(crate) fn is_stale(&self, record: &VolumeRecord) -> bool {
        record.durability == Durability::Ephemeral
            && !is_of(&record.boot, &self.boot)
            && self.devices().is_empty()
    }
}

/// Whether a store of `made` is of the time that `now` names. Records of calf's first versions name the
/// boot alone.
fn is_of(made: &str, now: &str) -> bool {
    made == now || now.split_once('/').is_some_and(|(boot, _)| made == boot)
}
