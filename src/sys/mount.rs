//! Nodes, mounts and targets: the types in [`Host`](super::Host)'s interface.

use std::fmt;
use std::path::PathBuf;

use crate::sys::DeviceNumber;

/// A directory (for a mounted volume) or a file (for a block volume).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A directory, on which to mount a file system or bind a directory.
    Directory,
    /// A file, on which to bind a device node.
    File,
}

/// The state of a path that the orchestrator named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing exists there.
    Missing,
    /// A directory or regular file with nothing mounted on it.
    Plain(TargetKind),
    /// A mount point with a file system (or a directory of one) mounted on it.
    FileSystem {
        /// The file system's device number (`st_dev`).
        device: DeviceNumber,
        /// Whether the mount refuses writes.
        read_only: bool,
        /// Whether the mount accepts writes and the file system does not: an error made it
        /// read-only, or shut it down.
        failed: bool,
    },
    /// A mount point with a block device node bound on it.
    Node {
        /// The device of the node (`st_rdev`).
        device: DeviceNumber,
    },
    /// A mount point with an empty file system that refuses writes, as
    /// [`seal`](super::Mounts::seal) makes it.
    Sealed {
        /// The file system's device number, which is no block device's.
        device: DeviceNumber,
        /// The name under which it was made.
        owner: String,
    },
    /// Anything else: a symlink, a socket, a device node that is not a mount point.
    Foreign(&'static str),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("nothing"),
            Self::Plain(TargetKind::Directory) => f.write_str("a directory"),
            Self::Plain(TargetKind::File) => f.write_str("a regular file"),
            Self::FileSystem { device, read_only: true, .. } => {
                write!(f, "a read-only mount of device {device}")
            }
            Self::FileSystem { device, .. } => write!(f, "a writable mount of device {device}"),
            Self::Node { device } => write!(f, "the node of device {device}"),
            Self::Sealed { owner, .. } => write!(f, "an empty mount for Kata, of {owner}"),
            Self::Foreign(what) => f.write_str(what),
        }
    }
}

/// A file system to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSpec {
    /// The block device.
    pub device: DeviceNumber,
    /// Where to mount it: an existing directory.
    pub target: PathBuf,
    /// `ext4`, `xfs`, …
    pub fs_type: String,
    /// Mount options in users' notation: `noatime`, `discard`, …
    pub options: Vec<String>,
    /// Mount read-only.
    pub read_only: bool,
}

/// A bind mount to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindSpec {
    /// A device node, or a directory.
    pub source: PathBuf,
    /// Where to mount it: an existing file or directory.
    pub target: PathBuf,
    /// The new mount refuses writes.
    pub read_only: bool,
    /// Device nodes work in the new mount, even if the source's mount forbids them.
    pub device_nodes: bool,
}

/// A place where a device, or the file system on it, is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedAt {
    /// The mount point.
    pub path: PathBuf,
    /// The mount is a bound device node, not a file system.
    pub node: bool,
    /// The mount refuses writes.
    pub read_only: bool,
}

/// Size and usage of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystemUsage {
    /// Size in bytes.
    pub total: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes that an unprivileged user may still write.
    pub available: u64,
    /// Number of inodes; 0 if the file system has no limit.
    pub inodes: u64,
    /// Inodes in use.
    pub inodes_used: u64,
    /// Free inodes.
    pub inodes_free: u64,
}
