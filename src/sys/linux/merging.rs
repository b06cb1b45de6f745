//! Whether the kernel merges requests to a loop device.
//!
//! The loop driver writes the parts of a merged request one by one. If a part fails, for want of space for
//! instance, and a later one does not, the driver writes that one to the failed one's place and reports
//! success (seen in 6.1; 6.12 has the same code). A request that was not merged has no such parts.

use std::io;

use crate::error::{Error, Result};
use crate::sys::DeviceNumber;
use crate::sys::linux::sysfs;

const ATTRIBUTE: &str = "queue/nomerges";
const ALL: &str = "0";
const NONE: &str = "2";

/// Has the kernel merge requests to the device, or not. Does nothing if the device is gone.
pub(super) fn set(number: DeviceNumber, merge: bool) -> Result<()> {
    let path = sysfs::directory(number).join(ATTRIBUTE);
    let failed = |why: io::Error| {
        Error::io("set merging of loop device in", path.display(), why)
            .remedy("give calf a writable /sys: run it privileged if in a container")
    };
    let value = if merge { ALL } else { NONE };
    match sysfs::write(&path, value) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written.map(drop).map_err(failed),
    }
}

/// Has the kernel merge requests again on a loop device that is about to be detached: it keeps the setting
/// for the next user. A failure is not a reason to keep the device.
pub(super) fn hand_back(number: DeviceNumber) {
    let is_off = sysfs::attribute(number, ATTRIBUTE)
        .is_ok_and(|found| found.is_some_and(|found| found != ALL));
    if !is_off {
        return;
    }
    if let Err(error) = set(number, true) {
        tracing::warn!(device = %number, error = error.report(), "could not switch merging on again");
    }
}
