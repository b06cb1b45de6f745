//! The write cache of loop devices: whether flushes reach the backing file.
//!
//! With `write through`, the block layer drops flushes before the loop driver turns each into an
//! fsync of the backing file. Newer kernels (seen in 6.12, not in 6.1) keep that setting when the
//! device is detached, for whoever attaches it next: a database's loop device would lose its
//! flushes, silently. So calf sets it in both directions when it attaches, and puts it in order
//! when it takes a device down.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::error::{Error, Result};
use crate::sys::DeviceNumber;
use crate::sys::linux::sysfs;

const ATTRIBUTE: &str = "queue/write_cache";

/// What becomes of flushes.
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

/// Sets the mode of a loop device that takes writes, and reads it back.
pub(super) fn set(number: DeviceNumber, mode: Mode) -> Result<()> {
    // A device that was just attached lets flushes through, but for a kernel that kept what an
    // earlier user had set: asking first pays only for that mode.
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
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
    file.write_all_at(mode.word().as_bytes(), 0).map_err(failed)?;
    let found = sysfs::read_open(&file).map_err(failed)?;
    if found == mode.word() {
        return Ok(());
    }
    Err(failed(io::Error::other(format!("{found:?} stays after {mode:?}"))))
}

/// Lets flushes through again on a loop device that is about to be detached. Returns whether they
/// were dropped before. A failure is no reason to keep the device.
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
            tracing::warn!(device = %number, error = error.report(), "write cache stays off");
            false
        }
    }
}
