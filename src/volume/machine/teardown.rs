//! Taking devices and mounts away: verified, patient with who holds them for moments, and naming
//! who does not let go.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::DeviceId;
use crate::sys::{DeviceNumber, Host};
use crate::volume::machine::observe;

/// Waits between tries to take away what is busy, in milliseconds: a udev worker, a scan or a look
/// holds it for moments, a process for good. They add up to 1.3 seconds.
const BUSY_WAITS: [u64; 8] = [1, 5, 20, 50, 125, 250, 350, 500];

/// Removes a device and sees that it is gone; one that is not there is fine.
pub(crate) fn remove_device(host: &dyn Host, id: &DeviceId) -> Result<()> {
    let Some(device) = host.device(id)? else { return Ok(()) };
    match while_busy(host, device.number, || host.remove_device(id)) {
        // Someone else was faster.
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

/// Waits until the loop device has detached from the COW store at `path`, which it does by itself at
/// its last close; the store must not be unlinked before that.
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

/// Repeats `action` for a bounded time while something holds the device, then fails with the
/// holders' names.
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
