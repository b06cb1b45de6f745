//! Seals a directory: an empty file system on it refuses writes.
//!
//! The file system itself is read-only, not only its mount: a container runtime that binds it elsewhere
//! may make its own mount writable. It is a ramfs, since others take an empty tmpfs for one of the pod's
//! own (Kata makes another one in the guest; kubelet has its files relabelled).

use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Error, Result};
use crate::model::device_id::UUID_PREFIX;
use crate::sys::linux::mountinfo::Entry;
use crate::sys::linux::mounts;

const OPERATION: &str = "seal";
const DRIVER: &str = "ramfs";

pub(super) fn seal(path: &Path, owner: &str) -> Result<()> {
    let subject = path.display().to_string();
    let failed = |errno: Errno| Error::io(OPERATION, &subject, errno);
    let context = rustix::mount::fsopen(DRIVER, FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "source", owner).map_err(failed)?;
    rustix::mount::fsconfig_set_flag(context.as_fd(), "ro").map_err(failed)?;
    rustix::mount::fsconfig_create(context.as_fd()).map_err(failed)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(failed)?;
    mounts::attach(OPERATION, &subject, &mount, path)
}

/// The owner of a mount that [`seal`] made; `None` for any other.
pub(super) fn owner(mount: &Entry) -> Option<String> {
    let owner = mount.source.to_str()?;
    let is_sealed = mount.fs_type == DRIVER && owner.starts_with(UUID_PREFIX);
    is_sealed.then(|| owner.to_owned())
}
