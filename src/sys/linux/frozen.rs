//! File systems that somebody froze (`fsfreeze`).
//!
//! Whoever writes to one waits, so nobody new gets it. Unmounting does not end a frozen file system: the kernel keeps it, and its device, until it is thawed.
//! To thaw it, somebody needs a file of it. A new mount of its device gives one, since the kernel has only
//! one file system on a device. That mount is attached nowhere, so nobody else sees it.

use std::os::fd::AsFd as _;
use std::path::Path;

use nix::libc::EINVAL;
use rustix::fs::{Mode, OFlags};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::linux::{
    file_systems, mounted, mountinfo, mounts, options, processes, raw, sysfs, targets,
};
use crate::sys::{DeviceNumber, Target};

const OPERATION: &str = "thaw the file system on";

/// Thaws the file system on a device that is mounted in no mount namespace that this process can see.
/// Returns whether it was frozen.
pub(super) fn thaw_abandoned(number: DeviceNumber) -> Result<bool> {
    let Some(driver) = file_systems::driver_of(number) else { return Ok(false) };
    // Thawed, it would end, and write: that would wait for the device.
    let is_suspended = sysfs::attribute(number, "dm/suspended")?.as_deref() == Some("1");
    if is_suspended || is_mounted(number)? {
        return Ok(false);
    }
    let failed = |errno| Error::io(OPERATION, number, errno);
    // As before each mount, the host decides about errors: if the file system has ended meanwhile, this
    // is one.
    let source = mounts::node(OPERATION, number)?;
    let mount = |read_only| {
        let options = options::parse(driver, &[], read_only)?;
        mounts::detached(OPERATION, &number.to_string(), &source, driver, &options)
    };
    let mount = match mount(false) {
        // It is read-only, which a second mount of it must be too.
        Err(error) if error.kind() == ErrorKind::InUse => mount(true)?,
        made => made?,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(&mount, ".", flags, Mode::empty())
        .map_err(|errno| failed(errno.into()))?;
    match raw::thaw(root.as_fd()) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(EINVAL) => Ok(false),
        Err(e) => Err(failed(e)),
    }
}

/// Refuses a frozen XFS at `path` with `InUse`. The kernel tells only when it is to change an option, so
/// this sets one that the file system has. One that was shut down writes nothing, and is not looked at.
pub(super) fn refuse_xfs(operation: &'static str, path: &Path) -> Result<()> {
    if matches!(targets::look(path)?, Target::FileSystem { failed: true, .. }) {
        return Ok(());
    }
    let mounted = mounted::open(operation, path)?;
    let entry = mountinfo::own()?.into_iter().find(|it| mounts::is_file_system(it, mounted.device));
    let is_narrow = entry.is_some_and(|entry| entry.has_file_system_option("inode32"));
    let option = if is_narrow { "inode32" } else { "inode64" };
    mounted.reconfigure(operation, path, (option, None))
}

fn is_mounted(number: DeviceNumber) -> Result<bool> {
    let here = |entries: &[mountinfo::Entry]| {
        entries.iter().any(|entry| mounts::is_file_system(entry, number))
    };
    if here(&mountinfo::own()?) {
        return Ok(true);
    }
    let all = processes::all();
    Ok(processes::mount_namespaces(&all).any(|(_, entries)| here(&entries)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_a_file_system_has_nothing_to_thaw() {
        assert!(!thaw_abandoned(DeviceNumber { major: 4000, minor: 1 }).unwrap());
    }
}
