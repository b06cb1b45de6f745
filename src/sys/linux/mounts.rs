//! Mounting, binding and unmounting.
//!
//! The file-descriptor based mount calls make each operation atomic: a mount is complete, with all
//! its flags, before it appears anywhere, and a failure leaves nothing to undo. They also return
//! the file system's own reason for refusing.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::linux::nodes::Access;
use crate::sys::linux::options::MountOptions;
use crate::sys::linux::refusal::Refusal;
use crate::sys::linux::{mountinfo, nodes, options, places, raw};
use crate::sys::{BindSpec, DeviceNumber, MountSpec, MountedAt};

pub(super) fn mount(spec: &MountSpec) -> Result<()> {
    const OPERATION: &str = "mount";
    let options = options::parse(&spec.fs_type, &spec.options, spec.read_only)?;
    let source = node(OPERATION, spec.device)?;
    let subject = format!("{} ({}) on {}", source.display(), spec.fs_type, spec.target.display());
    let mount = detached(OPERATION, &subject, &source, options::driver(&spec.fs_type), &options)?;
    attach(OPERATION, &subject, &mount, &spec.target)
}

/// The node of a device. Opening it proves that it exists and is the intended device.
pub(super) fn node(operation: &'static str, device: DeviceNumber) -> Result<PathBuf> {
    nodes::open_block(device, Access::Read)
        .and_then(|_| nodes::block_node(device))
        .map_err(|e| Error::io(operation, device, e))
}

/// A mount that is attached nowhere, and goes when it is closed.
pub(super) fn detached(
    operation: &'static str,
    subject: &str,
    source: &Path,
    driver: &str,
    options: &MountOptions,
) -> Result<OwnedFd> {
    let context = configured(operation, subject, driver, options)?;
    create(context.as_fd(), source)
        .map_err(|(kind, cause)| Error::new(kind, operation, subject, cause))?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, options.attributes)
        .map_err(|errno| Error::io(operation, subject, errno))
}

/// Refuses options that the file system does not know, or not with such a value.
pub(super) fn check_options(fs_type: &str, given: &[String]) -> Result<()> {
    let options = options::parse(fs_type, given, false)?;
    configured("mount", fs_type, options::driver(fs_type), &options).map(drop)
}

/// A file system that is yet to be made, with all of its parameters.
fn configured(
    operation: &'static str,
    subject: &str,
    driver: &str,
    options: &MountOptions,
) -> Result<OwnedFd> {
    let context =
        rustix::mount::fsopen(driver, FsOpenFlags::FSOPEN_CLOEXEC).map_err(
            |errno| match errno {
                Errno::NODEV => Error::io(operation, subject, errno)
                    .with_kind(ErrorKind::Unsupported)
                    .remedy(format!(
                        "the kernel does not know this file system: load the module {driver}"
                    )),
                _ => unsupported_or(operation, subject, errno),
            },
        )?;
    for (key, value) in &options.parameters {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, &**key, &**value),
            None => rustix::mount::fsconfig_set_flag(&context, &**key),
        }
        .map_err(|errno| {
            let cause = Refusal::read(context.as_fd(), errno, format!("mount option {key}"));
            Error::new(ErrorKind::InvalidArgument, operation, subject, cause)
        })?;
    }
    Ok(context)
}

/// Makes the file system's superblock, from a device.
fn create(context: BorrowedFd<'_>, source: &Path) -> Result<(), (ErrorKind, Refusal)> {
    let refusal = |errno: Errno, what: &str| Refusal::read(context, errno, what.to_owned());
    rustix::mount::fsconfig_set_string(context, "source", source)
        .map_err(|e| (ErrorKind::Internal, refusal(e, "source")))?;
    rustix::mount::fsconfig_create(context).map_err(|errno| {
        let kind = match errno {
            Errno::UCLEAN => ErrorKind::Corrupt,
            Errno::BUSY => ErrorKind::InUse,
            Errno::PERM | Errno::ACCESS => ErrorKind::Permission,
            _ => ErrorKind::Internal,
        };
        (kind, refusal(errno, "the file system"))
    })
}

/// Attaches a mount to the directory or file that is at `target` now. If that was renamed in the
/// meantime, undoes the mount, since nobody would find it by its path.
pub(super) fn attach(
    operation: &'static str,
    subject: &str,
    mount: &OwnedFd,
    target: &Path,
) -> Result<()> {
    let failed = |errno: Errno| Error::io(operation, subject, errno);
    let place = places::find(target)?;
    let there = place.open().map_err(failed)?;
    let found = rustix::fs::fstat(&there).map_err(failed)?;
    if !matches!(
        FileType::from_raw_mode(found.st_mode),
        FileType::Directory | FileType::RegularFile
    ) {
        let why = "it is neither a directory nor a file: it was replaced";
        return Err(Error::new(ErrorKind::AlreadyExists, operation, subject, why)
            .remedy("find out who changes this path, and repeat the call"));
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", &there, "", flags).map_err(failed)?;
    if place.open().and_then(|now| mount_id(&now)) == mount_id(mount) {
        return Ok(());
    }
    // Unmount lazily, since this descriptor itself keeps the mount busy.
    rustix::mount::unmount(places::descriptor(mount), UnmountFlags::DETACH).map_err(failed)?;
    let why = "it was moved or replaced during the call";
    Err(Error::new(ErrorKind::Internal, operation, subject, why)
        .remedy("find out who changes this path, and repeat the call"))
}

/// The mount that contains an open file.
fn mount_id(file: &OwnedFd) -> rustix::io::Result<u64> {
    let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(found.stx_mnt_id)
}

pub(super) fn bind(spec: &BindSpec) -> Result<()> {
    const OPERATION: &str = "bind";
    let subject = format!("{} to {}", spec.source.display(), spec.target.display());
    let source =
        places::find(&spec.source)?.open().map_err(|e| Error::io(OPERATION, &subject, e))?;
    let clone = rustix::mount::open_tree(
        &source,
        "",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH,
    )
    .map_err(|e| unsupported_or(OPERATION, &subject, e))?;
    let flag = |flag: MountAttrFlags, on: bool| if on { flag.bits() } else { 0 };
    let set = flag(MountAttrFlags::MOUNT_ATTR_RDONLY, spec.read_only);
    let clear = flag(MountAttrFlags::MOUNT_ATTR_NODEV, spec.device_nodes);
    if set | clear != 0 {
        raw::mount_setattr(clone.as_fd(), set, clear).map_err(|e| {
            let errno = Errno::from_io_error(&e).unwrap_or(Errno::IO);
            unsupported_or(OPERATION, &subject, errno)
        })?;
    }
    attach(OPERATION, &subject, &clone, &spec.target)
}

fn unsupported_or(operation: &'static str, subject: &str, errno: Errno) -> Error {
    let error = Error::io(operation, subject, errno);
    match errno {
        Errno::NOSYS => error.with_kind(ErrorKind::Unsupported).remedy("use Linux 5.12 or newer"),
        Errno::PERM => error.remedy("run calf as root, privileged if in a container"),
        _ => error,
    }
}

pub(super) fn unmount(path: &Path) -> Result<()> {
    const OPERATION: &str = "unmount";
    // An open descriptor of the mount itself would keep it busy; a descriptor of its parent does
    // not.
    let place = places::find(path)?;
    let by_descriptor = place.descriptor_path();
    rustix::mount::unmount(by_descriptor, UnmountFlags::NOFOLLOW).map_err(|errno| match errno {
        Errno::INVAL => {
            let why = "nothing is mounted there";
            Error::new(ErrorKind::NotFound, OPERATION, path.display(), why)
        }
        _ => Error::io(OPERATION, path.display(), errno),
    })
}

pub(super) fn mounts_of(
    number: DeviceNumber,
    is_other: &dyn Fn(&Path) -> bool,
) -> Result<Vec<MountedAt>> {
    let mut mounts = Vec::new();
    for entry in mountinfo::own()? {
        let node = if is_file_system(&entry, number) {
            false
        } else if entry.may_be_node()
            && !is_other(&entry.root)
            && is_node(&entry.mount_point, number)
        {
            true
        } else {
            continue;
        };
        let read_only = entry.read_only || entry.file_system_read_only;
        mounts.push(MountedAt { path: entry.mount_point, node, read_only });
    }
    Ok(mounts)
}

/// Whether a mount shows the file system on device `number`.
pub(super) fn is_file_system(entry: &mountinfo::Entry, number: DeviceNumber) -> bool {
    entry.device == number
}

/// A mount point that another mount hides, or that is gone, is not the node.
fn is_node(path: &Path, number: DeviceNumber) -> bool {
    matches!(nodes::number_of(path), Ok(Some(found)) if found == number)
}
