//! Finds the holders that keep a block device busy, as an administrator would with `lsblk`,
//! `fuser`, `losetup` and `findmnt` in every mount namespace. The result goes into an error
//! message.
//!
//! Nothing here fails: what cannot be read (a process that ended, an inaccessible namespace) is
//! left out, since a partial answer is better than none.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};

use crate::sys::linux::{loops, mountinfo, mounts, sysfs};
use crate::sys::{DeviceNumber, Holder};

pub(super) fn holders(number: DeviceNumber) -> Vec<Holder> {
    let mut holders = Vec::new();
    devices_on_top(number, &mut holders);
    for (candidate, path) in loops::over_device(number) {
        let name = sysfs::kernel_name(candidate).unwrap_or_else(|_| candidate.to_string());
        holders.push(Holder::Device(format!("{name} (over {})", path.display())));
    }
    let mut namespaces = HashSet::new();
    for (pid, directory) in processes() {
        if pid != std::process::id() && has_open(&directory, number) {
            holders.push(Holder::Process { pid, command: command(&directory) });
        }
        if let Ok(namespace) = fs::read_link(directory.join("ns/mnt"))
            && namespaces.insert(namespace)
        {
            mounts_seen_by(pid, &directory, number, &mut holders);
        }
    }
    holders
}

/// Device-mapper devices and the like.
fn devices_on_top(number: DeviceNumber, holders: &mut Vec<Holder>) {
    let Ok(entries) = fs::read_dir(sysfs::directory(number).join("holders")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mapped = fs::read_to_string(entry.path().join("dm/name"));
        holders.push(Holder::Device(match mapped {
            Ok(mapped) => format!("{name} ({})", mapped.trim_end()),
            Err(_) => name,
        }));
    }
}

/// All processes, starting with this one, so that it represents its own mount namespace.
fn processes() -> Vec<(u32, PathBuf)> {
    let own = std::process::id();
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable_by_key(|pid| (*pid != own, *pid));
    pids.into_iter().map(|pid| (pid, PathBuf::from(format!("/proc/{pid}")))).collect()
}

fn has_open(process: &Path, number: DeviceNumber) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return false };
    files.flatten().any(|file| {
        // Querying a file of a dead network server would hang.
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let Ok(found) = rustix::fs::statx(CWD, file.path(), flags, StatxFlags::TYPE) else {
            return false;
        };
        FileType::from_raw_mode(found.stx_mode.into()) == FileType::BlockDevice
            && (found.stx_rdev_major, found.stx_rdev_minor) == (number.major, number.minor)
    })
}

fn command(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

fn mounts_seen_by(pid: u32, process: &Path, number: DeviceNumber, holders: &mut Vec<Holder>) {
    let Ok(content) = fs::read(process.join("mountinfo")) else { return };
    for entry in mountinfo::parse(&content) {
        if mounts::is_file_system(&entry, number) {
            holders.push(Holder::Mount { path: entry.mount_point, pid });
        }
    }
}
