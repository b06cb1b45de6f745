//! A volume's block device, as a VMM is given it.

use std::path::{Path, PathBuf};

use crate::sys::DeviceNumber;

/// A block device, and its node in `/dev`.
///
/// It is where the volume was when it was asked for. Nothing is held open: the device goes when the
/// volume is deactivated or deleted, which fails while somebody has it open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    number: DeviceNumber,
    path: PathBuf,
}

impl Device {
    pub(super) fn new(number: DeviceNumber, path: PathBuf) -> Self {
        Self { number, path }
    }

    /// Its node, such as `/dev/dm-3`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its major and minor number.
    pub fn number(&self) -> DeviceNumber {
        self.number
    }
}
