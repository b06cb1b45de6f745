//! Finds what keeps a block device or a mount busy, as an administrator would with `lsblk`, `fuser`,
//! `losetup`, `swapon` and `findmnt` in every mount namespace. The result goes into an error message.
//!
//! Nothing here fails: what cannot be read (a process that ended, an inaccessible namespace) is
//! left out, since a partial answer is better than none. A node may have ten thousand processes with a
//! hundred files each, so the search ends after some time, and once it has found enough.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::sys::linux::processes::{self, Listed};
use crate::sys::linux::{
    file_systems, loops, mountinfo, mounts, overlay, places, sysfs, used_files,
};
use crate::sys::{Busy, DeviceNumber, Holder, Usage};

/// Most holders that are told.
const MOST: usize = 16;
/// Most time that the search takes.
const LONGEST: Duration = Duration::from_secs(2);

/// Finds what keeps it busy.
pub(super) fn holders(busy: Busy<'_>) -> Vec<Holder> {
    let started = Instant::now();
    let number = busy.device();
    let mut search = Search { number, mount: None, found: Vec::new(), suspects: Vec::new() };
    let all = processes::all();
    search.devices_on_top();
    search.swap_files();
    match busy {
        Busy::Device(_) => search.mounts(&all),
        Busy::Mount { path, .. } => {
            search.mount = mount_id(path);
            search.mounts_on_top();
        }
    }
    let own = all.first().and_then(Listed::mount_namespace);
    for process in all.iter().filter(|process| !process.is_own()) {
        if search.found.len() >= MOST || started.elapsed() > LONGEST {
            search.found.push(Holder::Unsearched);
            break;
        }
        search.process(process, process.mount_namespace() == own);
    }
    if search.found.is_empty() {
        search.found.append(&mut search.suspects);
    }
    let is_device = matches!(busy, Busy::Device(_));
    if search.found.is_empty() && is_device && file_systems::driver_of(number).is_some() {
        search.found.push(Holder::HiddenFileSystem);
    }
    search.found
}

enum Certainty {
    Certain,
    Suspected,
}

struct Search {
    number: DeviceNumber,
    /// The mount that is busy, if not the whole device is.
    mount: Option<u64>,
    found: Vec<Holder>,
    /// Probably holders, if nothing else is one: what they use was in a mount that is gone, so that
    /// nothing shows where.
    suspects: Vec<Holder>,
}

impl Search {
    /// Device-mapper devices and the like, and loop devices.
    fn devices_on_top(&mut self) {
        let entries = fs::read_dir(sysfs::directory(self.number).join("holders"));
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let mapped = fs::read_to_string(entry.path().join("dm/name"));
            self.found.push(Holder::Device(match mapped {
                Ok(mapped) => format!("{name} ({})", mapped.trim_end()),
                Err(_) => name,
            }));
        }
        for (candidate, path) in loops::over_device(self.number) {
            let name = sysfs::kernel_name(candidate).unwrap_or_else(|_| candidate.to_string());
            self.found.push(Holder::Device(format!("{name} (over {})", path.display())));
        }
    }

    fn swap_files(&mut self) {
        let content = fs::read("/proc/swaps").unwrap_or_default();
        for path in used_files::swap_files(&content) {
            match status(&path) {
                Ok(found) if device_of(&found) == self.number => {
                    self.found.push(Holder::Swap(path));
                }
                Err(Errno::NOENT) => self.suspects.push(Holder::Swap(path)),
                _ => {}
            }
        }
    }

    /// What is mounted on directories of the busy mount.
    fn mounts_on_top(&mut self) {
        let own = mountinfo::own().unwrap_or_default();
        let on_top = own.into_iter().filter(|entry| Some(entry.parent) == self.mount);
        self.found
            .extend(on_top.map(|entry| Holder::Mount { path: entry.mount_point, namespace: None }));
    }

    /// Mounts of the file system, and overlays over it, in every mount namespace.
    fn mounts(&mut self, all: &[Listed]) {
        // A container shows the overlay of its root with paths of the host.
        let host = ["self", "1"].map(|process| open_root(&Path::new("/proc").join(process)));
        let mut overlays = HashSet::new();
        for (process, entries) in processes::mount_namespaces(all) {
            let namespace = || (!process.is_own()).then(|| process.describe());
            let own = open_root(&process.directory);
            let roots: Vec<&OwnedFd> = host.iter().chain([&own]).flatten().collect();
            for entry in entries {
                if mounts::is_file_system(&entry, self.number) {
                    let path = entry.mount_point;
                    self.found.push(Holder::Mount { path, namespace: namespace() });
                } else if entry.fs_type == "overlay"
                    && let Some((layer, certainty)) = self.layer(&entry, &roots)
                    && overlays.insert(entry.device)
                {
                    let namespace = namespace();
                    let holder = Holder::Overlay { path: entry.mount_point, layer, namespace };
                    match certainty {
                        Certainty::Certain => self.found.push(holder),
                        Certainty::Suspected => self.suspects.push(holder),
                    }
                }
            }
        }
    }

    /// The layer of an overlay that is in the file system, or may be, since nobody sees it elsewhere.
    fn layer(
        &self,
        overlay: &mountinfo::Entry,
        roots: &[&OwnedFd],
    ) -> Option<(PathBuf, Certainty)> {
        overlay::layers(&overlay.file_system_options).into_iter().find_map(|layer| {
            let found: Vec<_> = roots.iter().map(|root| status_in(root, &layer)).collect();
            let is_here = |found: &rustix::io::Result<Statx>| {
                found.as_ref().is_ok_and(|found| device_of(found) == self.number)
            };
            if found.iter().any(is_here) {
                return Some((layer, Certainty::Certain));
            }
            let is_gone = found.iter().all(|found| matches!(found, Err(Errno::NOENT)));
            is_gone.then_some((layer, Certainty::Suspected))
        })
    }

    /// A process that has the device open, or uses its file system. `is_near` if it is in this
    /// process's mount namespace, where the number of the busy mount tells mounts apart.
    fn process(&mut self, process: &Listed, is_near: bool) {
        let mount = self.mount.filter(|_| is_near);
        let uses = |path: &Path| {
            let found = status(path).ok()?;
            let is_at = mount.is_none_or(|mount| mount == found.stx_mnt_id);
            let is_device = FileType::from_raw_mode(found.stx_mode.into()) == FileType::BlockDevice
                && (found.stx_rdev_major, found.stx_rdev_minor)
                    == (self.number.major, self.number.minor);
            if is_at && is_device {
                return Some(None);
            }
            (is_at && device_of(&found) == self.number)
                .then(|| Some(fs::read_link(path).unwrap_or_default()))
        };
        let at = |name: &str| uses(&process.directory.join(name)).flatten();
        let open = || {
            let files = fs::read_dir(process.directory.join("fd")).into_iter().flatten().flatten();
            files.into_iter().find_map(|file| uses(&file.path()))
        };
        let usage = (at("cwd").map(|path| Some(Usage::WorkingDirectory(path))))
            .or_else(|| at("root").map(|path| Some(Usage::Root(path))))
            .or_else(|| at("exe").map(|path| Some(Usage::Program(path))))
            .or_else(|| open().map(|path| path.map(Usage::Open)))
            .or_else(|| self.mapped(process, mount).map(|path| Some(Usage::Mapped(path))));
        if let Some(usage) = usage {
            self.found.push(Holder::Process { process: process.describe(), usage });
        }
    }

    /// A file of the file system that the process has mapped.
    fn mapped(&self, process: &Listed, mount: Option<u64>) -> Option<PathBuf> {
        let content = fs::read(process.directory.join("maps")).ok()?;
        let mut mapped = used_files::mapped_files(&content, self.number);
        mapped.find(|path| {
            mount.is_none() || status(path).map_or(true, |found| Some(found.stx_mnt_id) == mount)
        })
    }
}

/// The number of the mount at a path that the orchestrator named.
fn mount_id(path: &Path) -> Option<u64> {
    let there = places::find(path).ok()?.open().ok()?;
    let found = rustix::fs::statx(there, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    Some(found.stx_mnt_id)
}

/// Queries a file, but not the server that it may be on: if that is dead, the query would hang.
fn status(path: &Path) -> rustix::io::Result<Statx> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(CWD, path, flags, StatxFlags::TYPE | StatxFlags::MNT_ID)
}

/// The root directory of a process, given its directory below `/proc`.
fn open_root(process: &Path) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(process.join("root"), flags, Mode::empty()).ok()
}

/// Queries a path as a process with this root sees it, following no symlinks.
fn status_in(root: &OwnedFd, path: &Path) -> rustix::io::Result<Statx> {
    let Ok(path) = path.strip_prefix("/") else { return Err(Errno::INVAL) };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(file, "", flags, StatxFlags::TYPE)
}

fn device_of(found: &Statx) -> DeviceNumber {
    DeviceNumber { major: found.stx_dev_major, minor: found.stx_dev_minor }
}
