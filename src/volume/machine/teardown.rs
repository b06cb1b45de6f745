//! Removes devices and mounts. Verifies the removal, waits for holders that soon let go, and names
//! holders that do not.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::DeviceId;
use crate::sys::{Busy, DeviceNumber, Host};

/// Pauses between tries to remove a busy object, in milliseconds. A udev worker or a scan holds a
/// device only briefly, other processes may hold it forever. The pauses add up to 1.3 seconds.
const BUSY_WAITS: [u64; 8] = [1, 5, 20, 50, 125, 250, 350, 500];

/// Removes a device and verifies that it is gone. Succeeds if there is no such device.
pub(crate) fn remove_device(host: &dyn Host, id: &DeviceId) -> Result<()> {
    let Some(device) = host.device(id)? else { return Ok(()) };
    match while_busy(host, Busy::Device(device.number), || host.remove_device(id)) {
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
    while_busy(host, Busy::Device(number), || match host.open_loop(number, path)? {
        None => Ok(()),
        Some(_still_attached) => Err(Error::new(
            ErrorKind::InUse,
            "release loop device",
            number,
            "it is still attached to the COW store",
        )),
    })
}

/// Repeats `action` for a bounded time while it fails since `busy` is, then fails and names the holders.
/// Thaws a frozen file system that keeps the device and that nobody has mounted.
pub(crate) fn while_busy(
    host: &dyn Host,
    busy: Busy<'_>,
    action: impl Fn() -> Result<()>,
) -> Result<()> {
    let mut waits = BUSY_WAITS.iter();
    let mut may_be_frozen = true;
    loop {
        let error = match action() {
            Err(error) if error.kind() == ErrorKind::InUse => error,
            result => return result,
        };
        if std::mem::take(&mut may_be_frozen) && thaw_abandoned(host, busy.device()) {
            continue;
        }
        match waits.next() {
            Some(wait) => host.pause(Duration::from_millis(*wait)),
            None => return Err(name_holders(host, busy, error)),
        }
    }
}

/// Thaws a frozen file system that is left on a device and mounted nowhere. Returns whether it did; if it
/// cannot, whoever needs the device fails.
pub(crate) fn thaw_abandoned(host: &dyn Host, device: DeviceNumber) -> bool {
    let thawed = host.thaw_abandoned(device);
    match &thawed {
        Ok(true) => {
            tracing::info!(%device, "thawed a file system that was frozen and is mounted nowhere");
        }
        Ok(false) => {}
        Err(error) => {
            let error = error.report();
            tracing::warn!(%device, error, "cannot thaw a file system that is mounted nowhere");
        }
    }
    thawed.unwrap_or(false)
}

/// Adds the holders to a "busy" error.
fn name_holders(host: &dyn Host, busy: Busy<'_>, error: Error) -> Error {
    let holders: Vec<String> = host.holders(busy).iter().map(ToString::to_string).collect();
    if holders.is_empty() {
        return error.remedy(
            "no holder was found: it may be in a container, whose processes calf sees only with the \
             host's PID namespace (`hostPID` in the chart); repeat the call",
        );
    }
    error.remedy(format!("it is held by {}; end that, then repeat the call", holders.join("; ")))
}
