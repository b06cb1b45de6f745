//! The write cache of loop devices: whether flushes reach the backing file.
//!
//! With `write through`, the block layer drops flushes before the loop driver turns each into an
//! fsync of the backing file. Newer kernels (seen in 6.12, not in 6.1) keep that setting after the
//! device is detached, so it would affect the next user: a database's loop device would silently
//! lose its flushes. calf therefore sets the attribute in either case when it attaches a device,
//! and restores it when it takes a device down.

use std::io;

use crate::error::{Error, Result};
use crate::sys::DeviceNumber;
use crate::sys::linux::sysfs;

const ATTRIBUTE: &str = "queue/write_cache";

/// What happens to flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They reach the backing file.
    WriteBack,
    /// They are dropped.
    WriteThrough,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::WriteBack => "write back",
            Self::WriteThrough => "write through",
        }
    }
}

/// Sets the mode of a writable loop device, and reads it back.
pub(super) fn set(number: DeviceNumber, mode: Mode) -> Result<()> {
    // A device that was just attached passes flushes on, unless the kernel kept an earlier user's
    // setting: reading the attribute first pays off only for that mode.
    if mode == Mode::WriteBack
        && sysfs::attribute(number, ATTRIBUTE)?.as_deref() == Some(mode.word())
    {
        return Ok(());
    }
    let path = sysfs::directory(number).join(ATTRIBUTE);
    let failed = |why: io::Error| {
        Error::io("set write cache of loop device in", path.display(), why)
            .remedy("give calf a writable /sys: run it privileged if in a container")
    };
    let written = sysfs::write(&path, mode.word());
    let found = written.and_then(|file| sysfs::read_open(&file)).map_err(failed)?;
    if found == mode.word() {
        return Ok(());
    }
    Err(failed(io::Error::other(format!("{found:?} stays after {mode:?}"))))
}

/// Passes flushes on again on a loop device that is about to be detached. Returns whether they were
/// dropped before. A failure is not a reason to keep the device.
pub(super) fn hand_back(number: DeviceNumber) -> bool {
    let is = |name: &str, value: &str| {
        sysfs::attribute(number, name).is_ok_and(|found| found.as_deref() == Some(value))
    };
    if !is("ro", "0") || !is(ATTRIBUTE, Mode::WriteThrough.word()) {
        return false;
    }
    match set(number, Mode::WriteBack) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(device = %number, error = error.report(), "could not turn the write cache on again");
            false
        }
    }
}
