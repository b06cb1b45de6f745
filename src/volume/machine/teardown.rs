//! Removes devices and mounts. Verifies the removal, waits for holders that soon let go, and names
//! holders that do not.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::DeviceId;
use crate::sys::{DeviceNumber, Host};
use crate::volume::machine::observe;

/// Pauses between tries to remove a busy object, in milliseconds. A udev worker or a scan holds a
/// device only briefly, other processes may hold it forever. The pauses add up to 1.3 seconds.
const BUSY_WAITS: [u64; 8] = [1, 5, 20, 50, 125, 250, 350, 500];

/// Removes a device and verifies that it is gone. Succeeds if there is no such device.
pub(crate) fn remove_device(host: &dyn Host, id: &DeviceId) -> Result<()> {
    let Some(device) = host.device(id)? else { return Ok(()) };
    match while_busy(host, device.number, || host.remove_device(id)) {
        // Another process removed it first.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        removed => removed?,
    }
    if host.device(id)?.is_none() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InUse,
        "remove device",
        &id.name,
        "the kernel still shows it after its removal",
    )
    .remedy("repeat the call"))
}

/// Waits until the loop device has detached from the COW store at `path`. The kernel detaches it at
/// its last close. The store must not be unlinked before that.
pub(crate) fn await_release(host: &dyn Host, number: DeviceNumber, path: &Path) -> Result<()> {
    while_busy(host, number, || match host.open_loop(number, path)? {
        None => Ok(()),
        Some(_still_attached) => Err(Error::new(
            ErrorKind::InUse,
            "release loop device",
            number,
            "it is still attached to the COW store",
        )),
    })
}

/// Repeats `action` for a bounded time while the device is busy, then fails and names the holders.
pub(crate) fn while_busy(
    host: &dyn Host,
    number: DeviceNumber,
    action: impl Fn() -> Result<()>,
) -> Result<()> {
    let mut waits = BUSY_WAITS.iter();
    loop {
        match action() {
            Err(error) if error.kind() == ErrorKind::InUse => match waits.next() {
                Some(wait) => host.pause(Duration::from_millis(*wait)),
                None => return Err(observe::name_holders(host, number, error)),
            },
            result => return result,
        }
    }
}
