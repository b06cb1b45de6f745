//! Inspects, makes and removes the paths that the orchestrator names.
//!
//! All operations work on a [`Place`](super::places::Place), so that a pod cannot redirect a mount.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, StatVfsMountFlags, Statx, StatxAttributes, StatxFlags,
};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::linux::{files, mountinfo, places, seal, walk};
use crate::sys::{DeviceNumber, FileSystemUsage, Target, TargetKind};

pub(super) fn look(path: &Path) -> Result<Target> {
    const OPERATION: &str = "look at";
    let failed = |e: Errno| Error::io(OPERATION, path.display(), e);
    let opened = match places::find(path) {
        Ok(place) => place.open(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Target::Missing),
        Err(error) => return Err(error),
    };
    let there = match opened {
        Ok(there) => there,
        Err(Errno::NOENT) => return Ok(Target::Missing),
        Err(e) => return Err(failed(e)),
    };
    let mask = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::MNT_ID;
    let found = match rustix::fs::statx(&there, "", AtFlags::EMPTY_PATH, mask) {
        Ok(found) => found,
        Err(e) => return broken_mount(&there)?.ok_or_else(|| failed(e)),
    };
    if !found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        let why = "this kernel does not report mount points";
        return Err(Error::new(ErrorKind::Unsupported, OPERATION, path.display(), why)
            .remedy("use Linux 5.12 or newer"));
    }
    let mounted = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok(match (FileType::from_raw_mode(found.stx_mode.into()), mounted) {
        (FileType::Directory, true) => {
            let flags = rustix::fs::fstatvfs(&there).map_err(failed)?.f_flag;
            let read_only = flags.contains(StatVfsMountFlags::RDONLY);
            file_system(&found, read_only)?
        }
        (FileType::Directory, false) => Target::Plain(TargetKind::Directory),
        (FileType::BlockDevice, true) => Target::Node {
            device: DeviceNumber { major: found.stx_rdev_major, minor: found.stx_rdev_minor },
        },
        (FileType::BlockDevice, false) => {
            Target::Foreign("a block device node that is not a mount point")
        }
        (FileType::RegularFile, true) => Target::Foreign("a regular file mounted on another"),
        (FileType::RegularFile, false) => Target::Plain(TargetKind::File),
        (FileType::Symlink, _) => Target::Foreign("a symbolic link"),
        (FileType::Socket, _) => Target::Foreign("a socket"),
        (FileType::Fifo, _) => Target::Foreign("a named pipe"),
        (FileType::CharacterDevice, _) => Target::Foreign("a character device node"),
        (FileType::Unknown, _) => Target::Foreign("a file of an unknown type"),
    })
}

/// A mounted file system. `read_only` is that of the file system as a whole: only the mount table
/// shows whether the mount is read-only.
fn file_system(found: &Statx, read_only: bool) -> Result<Target> {
    let device = DeviceNumber { major: found.stx_dev_major, minor: found.stx_dev_minor };
    if !read_only {
        return Ok(Target::FileSystem { device, read_only, failed: false });
    }
    let mounts = mountinfo::own()?;
    let mount = mounts.iter().find(|entry| entry.id == found.stx_mnt_id);
    if let Some(owner) = mount.and_then(seal::owner) {
        return Ok(Target::Sealed { device, owner });
    }
    let read_only = mount.is_none_or(|mount| mount.read_only);
    Ok(Target::FileSystem { device, read_only, failed: !read_only })
}

/// A file system that was shut down after an I/O error (XFS on an invalid snapshot) answers `EIO`
/// to everything. calf must nevertheless find it, to unmount it.
fn broken_mount(there: &OwnedFd) -> Result<Option<Target>> {
    let fd = there.as_raw_fd();
    let read = |what: &str| format!("/proc/self/{what}/{fd}");
    let path = fs::read_link(read("fd")).map_err(|e| Error::io("read", read("fd"), e))?;
    let info =
        fs::read_to_string(read("fdinfo")).map_err(|e| Error::io("read", read("fdinfo"), e))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<u64>().ok());
    let entry = mountinfo::own()?
        .into_iter()
        .find(|entry| Some(entry.id) == id && entry.mount_point == path);
    Ok(entry.map(|entry| Target::FileSystem {
        device: entry.device,
        read_only: entry.read_only,
        failed: true,
    }))
}

pub(super) fn create(path: &Path, kind: TargetKind) -> Result<()> {
    const OPERATION: &str = "create target";
    let place = places::find(path)?;
    let made = match kind {
        TargetKind::Directory => {
            let mode = Mode::from_raw_mode(walk::NEW_DIRECTORY);
            rustix::fs::mkdirat(place.parent(), place.name(), mode)
        }
        TargetKind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::openat(place.parent(), place.name(), flags, mode).map(drop)
        }
    };
    match made {
        Err(Errno::EXIST) => match look(path)? {
            Target::Plain(found) if found == kind => Ok(()),
            found => Err(Error::new(
                ErrorKind::AlreadyExists,
                OPERATION,
                path.display(),
                format!("there is {found}"),
            )),
        },
        other => other.map_err(|e| Error::io(OPERATION, path.display(), e)),
    }
}

pub(super) fn remove(path: &Path) -> Result<()> {
    const OPERATION: &str = "remove target";
    let refuse = |what: &str| {
        Error::new(ErrorKind::InUse, OPERATION, path.display(), format!("it is {what}"))
            .remedy("move it away, then repeat the call")
    };
    let place = match places::find(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let found = match rustix::fs::statat(place.parent(), place.name(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(Error::io(OPERATION, path.display(), e)),
    };
    let how = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => AtFlags::REMOVEDIR,
        FileType::RegularFile if found.st_size == 0 => AtFlags::empty(),
        FileType::RegularFile => return Err(refuse("a file with content")),
        _ => return Err(refuse("neither a file nor a directory")),
    };
    match rustix::fs::unlinkat(place.parent(), place.name(), how) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY) => Err(refuse("a directory with content")),
        Err(e) => Err(Error::io(OPERATION, path.display(), e)),
    }
}

pub(super) fn usage(path: &Path) -> Result<FileSystemUsage> {
    places::find(path)?
        .open()
        .and_then(rustix::fs::fstatvfs)
        .map(|found| files::usage_of(&found))
        .map_err(|e| Error::io("read size and free space of", path.display(), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_is_there_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), b"").unwrap();
        fs::create_dir(at("dir")).unwrap();
        symlink(at("dir"), at("link")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (name, target) in [
            ("none", Target::Missing),
            ("none/below", Target::Missing),
            ("file", Target::Plain(TargetKind::File)),
            ("dir", Target::Plain(TargetKind::Directory)),
            ("link", Target::Foreign("a symbolic link")),
            ("socket", Target::Foreign("a socket")),
        ] {
            assert_eq!(look(&at(name)).unwrap(), target, "{name}");
        }
        assert!(look(&at("file/below")).is_err());
        assert!(matches!(look(Path::new("/proc")).unwrap(), Target::FileSystem { .. }));
    }

    #[test]
    fn a_parent_may_be_a_symlink() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("dir")).unwrap();
        symlink(at("dir"), at("link")).unwrap();
        create(&at("link/target"), TargetKind::Directory).unwrap();
        assert_eq!(look(&at("link/target")).unwrap(), Target::Plain(TargetKind::Directory));
        remove(&at("link/target")).unwrap();
        assert_eq!(look(&at("dir/target")).unwrap(), Target::Missing);
    }

    #[test]
    fn targets_are_made_and_removed_repeatedly() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("target");
        for (kind, other) in
            [(TargetKind::Directory, TargetKind::File), (TargetKind::File, TargetKind::Directory)]
        {
            for _ in 0..2 {
                create(&path, kind).unwrap();
            }
            assert_eq!(look(&path).unwrap(), Target::Plain(kind));
            assert_eq!(create(&path, other).unwrap_err().kind(), ErrorKind::AlreadyExists);
            for _ in 0..2 {
                remove(&path).unwrap();
            }
            assert_eq!(look(&path).unwrap(), Target::Missing);
        }
        let orphan = directory.path().join("no/target");
        assert_eq!(create(&orphan, TargetKind::File).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn nothing_with_content_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), b"x").unwrap();
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("dir/inside"), b"").unwrap();
        symlink(at("dir"), at("link")).unwrap();
        for name in ["file", "dir", "link"] {
            assert_eq!(remove(&at(name)).unwrap_err().kind(), ErrorKind::InUse, "{name}");
            assert!(fs::symlink_metadata(at(name)).is_ok(), "{name}");
        }
    }
}
