//! A volume's block device, for a VMM.

use std::path::{Path, PathBuf};

use crate::sys::DeviceNumber;

/// A block device, and its node in `/dev`.
///
/// This is the device that the volume had at the time of the call. Nothing is held open:
/// deactivating or deleting the volume removes the device, and fails while a process has it open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    number: DeviceNumber,
    path: PathBuf,
}

impl Device {
    pub(super) fn new(number: DeviceNumber, path: PathBuf) -> Self {
        Self { number, path }
    }

    /// The path of its node, such as `/dev/dm-5210`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its major and minor number.
    pub fn number(&self) -> DeviceNumber {
        self.number
    }
}
