//! Whose disk a directory is on, as far as a process can tell that may be in a container.
//!
//! A container does not see the node's mounts. But a directory that is mounted into it from the node shows its
//! path within its file system. If that is the path that the node knows it by, then the file system is the
//! one at the node's root.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::sys::linux::mountinfo::{self, Entry};

/// Where kubelet keeps the pods' files, unless it is told otherwise.
const KUBELET: &str = "/var/lib/kubelet";

/// Whose disk a directory is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// It is the root of a file system.
    Own,
    /// It is on the node's root file system.
    Root,
    /// It shares a file system with kubelet.
    Kubelet,
    /// It shares a file system with other directories.
    Shared,
}

impl Site {
    /// Why a pool should not be there, and what to do about it; `None` if it may be.
    pub(crate) fn risk(self) -> Option<(&'static str, &'static str)> {
        const HELP: &str = "mount a file system of its own there before calf starts, and require it \
                            (--require-mount, `pool.requireMount` in the chart); until then, limit what \
                            volumes write (cowLimit, --overcommit-ratio)";
        match self {
            Self::Root => Some((
                "it appears to be on the node's root disk: volumes that write can fill that, and what else \
                 is written there takes the volumes' space",
                HELP,
            )),
            Self::Kubelet => Some((
                "it shares a file system with kubelet, which evicts pods when volumes fill that",
                HELP,
            )),
            Self::Own | Self::Shared => None,
        }
    }
}

/// Whose disk the directory is on, which the node must know by the same path; `None` if that is unknown.
pub(crate) fn of(path: &Path) -> Result<Option<Site>> {
    let kubelet = Path::new(KUBELET);
    Ok(judge(&mountinfo::own()?, path, kubelet.is_dir().then_some(kubelet)))
}

fn judge(mounts: &[Entry], path: &Path, kubelet: Option<&Path>) -> Option<Site> {
    let (root, mount) = (holder(mounts, Path::new("/"))?, holder(mounts, path)?);
    let inside = path_inside(mount, path)?;
    let contained = root.fs_type == "overlay";
    let at_root = match contained {
        true => inside != Path::new("/") && ends_with(&inside, path),
        false => same_disk(root, mount),
    };
    let with_kubelet =
        kubelet.and_then(|kubelet| holder(mounts, kubelet)).is_some_and(|k| same_disk(k, mount));
    Some(match (at_root, with_kubelet) {
        (true, _) => Site::Root,
        (false, true) => Site::Kubelet,
        (false, false) if inside == Path::new("/") => Site::Own,
        (false, false) => Site::Shared,
    })
}

/// The mount that shows `path`: the last of those with the longest mount point.
fn holder<'a>(mounts: &'a [Entry], path: &Path) -> Option<&'a Entry> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.components().count())
}

/// The path within the file system of the mount.
fn path_inside(mount: &Entry, path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(&mount.mount_point).ok()?;
    Some(mount.root.components().chain(below.components()).collect())
}

/// Whether `inside` is `path`, perhaps below a subvolume that is the node's root.
fn ends_with(inside: &Path, path: &Path) -> bool {
    path.strip_prefix("/").is_ok_and(|path| inside.ends_with(path))
}

fn same_disk(a: &Entry, b: &Entry) -> bool {
    // Btrfs gives each subvolume a device number of its own, with major 0.
    let source = a.source.starts_with("/dev") && a.source == b.source && a.fs_type == b.fs_type;
    (a.device.major != 0 && a.device == b.device) || source
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(mounts: &[&str]) -> Option<Site> {
        let mounts = mountinfo::parse(mounts.join("\n").as_bytes());
        judge(&mounts, Path::new("/var/lib/calf"), Some(Path::new(KUBELET)))
    }

    const NODE: &str = "1 0 8:1 / / rw - ext4 /dev/sda1 rw";

    #[test]
    fn on_a_node_the_mount_table_tells() {
        assert_eq!(site(&[NODE]), Some(Site::Root));
        assert_eq!(site(&[NODE, "2 1 8:2 / /var/lib/calf rw - xfs /dev/sdb rw"]), Some(Site::Own));
        assert_eq!(site(&[NODE, "2 1 8:2 / /var rw - xfs /dev/sdb rw"]), Some(Site::Kubelet));
        let elsewhere = "2 1 8:2 /calf /var/lib/calf rw - xfs /dev/sdb rw";
        assert_eq!(site(&[NODE, elsewhere]), Some(Site::Shared));
        // Mounted over what was there.
        let over = ["2 1 8:1 /x /var/lib/calf rw - ext4 /dev/sda1 rw", elsewhere];
        assert_eq!(site(&[NODE, over[0], over[1]]), Some(Site::Shared));
        assert_eq!(site(&[]), None);
    }

    #[test]
    fn a_subvolume_is_on_the_disk_of_the_others() {
        let root = "1 0 0:25 /@ / rw - btrfs /dev/sda2 rw";
        let pool = "2 1 0:31 /@calf /var/lib/calf rw - btrfs /dev/sda2 rw";
        assert_eq!(site(&[root, pool]), Some(Site::Root));
        let tmpfs = "1 0 0:2 / / rw - tmpfs none rw";
        let other = "2 1 0:3 / /var/lib/calf rw - tmpfs none rw";
        assert_eq!(site(&[tmpfs, other]), Some(Site::Own), "a name is no disk");
    }

    #[test]
    fn in_a_container_the_path_within_the_file_system_tells() {
        let root = "1 0 0:44 / / rw - overlay overlay rw,lowerdir=/l";
        let pool = |inside: &str| {
            site(&[root, &format!("2 1 8:1 {inside} /var/lib/calf rw - ext4 /dev/sda1 rw")])
        };
        assert_eq!(pool("/var/lib/calf"), Some(Site::Root));
        assert_eq!(pool("/@/var/lib/calf"), Some(Site::Root));
        assert_eq!(pool("/"), Some(Site::Own));
        assert_eq!(pool("/lib/calf"), Some(Site::Shared));
        let kubelet = "3 1 8:1 /lib/kubelet /var/lib/kubelet rw - ext4 /dev/sda1 rw";
        let pool = "2 1 8:1 /lib/calf /var/lib/calf rw - ext4 /dev/sda1 rw";
        assert_eq!(site(&[root, pool, kubelet]), Some(Site::Kubelet));
    }
}
