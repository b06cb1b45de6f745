//! Opens free loop devices.
//!
//! Devices that are to be written to are opened through `loopdev`. Everything else is done here, since that
//! crate opens each device for writing, which makes udev read the device once it is closed, and does not
//! know how to make a missing node.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use loopdev::{LoopControl, LoopDevice};

use crate::error::{Error, Result};
use crate::sys::DeviceNumber;
use crate::sys::linux::nodes::Access;
use crate::sys::linux::{nodes, raw, sysfs};

const CONTROL: &str = "/dev/loop-control";
/// `LOOP_CTRL_MINOR`
const CONTROL_MINOR: u32 = 237;
/// `LOOP_MAJOR`
const LOOP_MAJOR: u32 = 7;

/// An open loop device.
pub(super) enum Opened {
    Writable(LoopDevice),
    ReadOnly(File),
}

impl Opened {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Writable(device) => raw::loop_fd(device),
            Self::ReadOnly(device) => device.as_fd(),
        }
    }

    /// Detaches it, at its last close at the latest.
    pub(super) fn detach(&self) -> io::Result<()> {
        match self {
            Self::Writable(device) => device.detach(),
            Self::ReadOnly(device) => raw::loop_clear(device.as_fd()),
        }
    }

    /// Makes it adopt the present size of its file.
    pub(super) fn refresh(&self) -> io::Result<()> {
        match self {
            Self::Writable(device) => device.set_capacity(),
            Self::ReadOnly(device) => raw::loop_set_capacity(device.as_fd()),
        }
    }
}

/// Opens the control device, and makes its node if that is missing.
pub(super) fn open_control() -> Result<LoopControl> {
    let opened = match LoopControl::open() {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            nodes::open_control(Path::new(CONTROL), CONTROL_MINOR)
                .and_then(|_made| LoopControl::open())
        }
        opened => opened,
    };
    opened.map_err(|e| {
        Error::io("open", CONTROL, e)
            .remedy("load the `loop` module, and run calf as root, privileged if in a container")
    })
}

/// Opens a device that was free at the time of the call.
pub(super) fn open(control: &LoopControl, read_only: bool) -> io::Result<(DeviceNumber, Opened)> {
    if !read_only {
        match control.next_free() {
            // A container's static /dev lacks the node.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.and_then(numbered),
        }
    }
    let index = raw::loop_get_free(raw::control_fd(control))?;
    let number = number_of_index(index)?;
    let device = nodes::open_block(number, Access::Read)?;
    match read_only {
        true => Ok((number, Opened::ReadOnly(device))),
        // Now the node is there, and is the right one.
        false => LoopDevice::open(nodes::block_node(number)?).and_then(numbered),
    }
}

/// The number of a device that was opened by its path. The path may lead to something else.
fn numbered(device: LoopDevice) -> io::Result<(DeviceNumber, Opened)> {
    let number = DeviceNumber { major: device.major()?, minor: device.minor()? };
    let path = device.path().unwrap_or_default();
    let name = sysfs::kernel_name(number)?;
    if number.major == LOOP_MAJOR && path.file_name().is_some_and(|file| file == name.as_str()) {
        return Ok((number, Opened::Writable(device)));
    }
    Err(io::Error::other(format!(
        "{} is block device {number}: remove it, or give calf the host's /dev",
        path.display()
    )))
}

/// Number of `loop<index>`: with the module's `max_part` set, minors are not indices.
fn number_of_index(index: u32) -> io::Result<DeviceNumber> {
    let text = sysfs::read(format!("/sys/block/loop{index}/dev").as_ref())?;
    sysfs::parse_number(&text)
        .ok_or_else(|| io::Error::other(format!("loop{index} has no device number in sysfs")))
}
