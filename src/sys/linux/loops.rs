//! Loop devices.
//!
//! calf identifies a loop device by the device and inode of its backing file, never by its number
//! alone: any process may reuse a number at any time.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::libc::{EBUSY, ENODEV, ENOENT, ENXIO};

use crate::error::{Error, Result};
use crate::sys::linux::free_loop::Opened;
use crate::sys::linux::nodes::Access;
use crate::sys::linux::raw::LoopInfo;
use crate::sys::linux::write_cache::Mode;
use crate::sys::linux::{free_loop, merging, nodes, raw, sysfs, write_cache};
use crate::sys::{DeviceNumber, LoopDevice, LoopHandle};

/// How long a device may stay attached after detaching it, while a udev worker reads it. Callers
/// repeat the call while the device is in use.
const DETACH_WAIT: Duration = Duration::from_millis(200);
const DETACH_POLL: Duration = Duration::from_millis(5);

/// Device and inode of a backing file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Backing {
    device: DeviceNumber,
    inode: u64,
}

impl Backing {
    pub(super) fn of_file(found: &std::fs::Metadata) -> Self {
        Self { device: DeviceNumber::from_dev(found.dev()), inode: found.ino() }
    }

    pub(super) fn of_loop(info: &LoopInfo) -> Self {
        let (major, minor) = raw::decode_dev(info.device);
        Self { device: DeviceNumber { major, minor }, inode: info.inode }
    }
}

/// Checks whether loop devices can be made, or returns why not.
pub(super) fn capability() -> Result<(), String> {
    free_loop::open_control().map(drop).map_err(|e| e.story())
}

pub(super) fn open(number: DeviceNumber, path: &Path) -> Result<Option<LoopHandle>> {
    let Some(backing) = backing_of(path)? else { return Ok(None) };
    Ok(open_if(number, backing)?.map(|device| LoopHandle::new(number, device)))
}

/// Opens a loop device if it is attached to `backing`. It stays attached while it is open.
fn open_if(number: DeviceNumber, backing: Backing) -> Result<Option<File>> {
    match open_attached(number)? {
        Some((device, info)) if Backing::of_loop(&info) == backing => Ok(Some(device)),
        _ => Ok(None),
    }
}

/// Opens a loop device if it is attached to anything.
fn open_attached(number: DeviceNumber) -> Result<Option<(File, LoopInfo)>> {
    let attached = nodes::open_block(number, Access::Read)
        .and_then(|device| raw::loop_status(device.as_fd()).map(|info| (device, info)));
    match attached {
        Ok(attached) => Ok(Some(attached)),
        Err(e) if matches!(e.raw_os_error(), Some(ENXIO | ENODEV | ENOENT)) => Ok(None),
        Err(e) => Err(Error::io("open loop device", number, e)),
    }
}

/// The identity of the file at `path`, as a backing file; `None` if it does not exist.
fn backing_of(path: &Path) -> Result<Option<Backing>> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(Backing::of_file(&found))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("look at", path.display(), e)),
    }
}

pub(super) fn find(path: &Path) -> Result<Vec<LoopDevice>> {
    let Some(backing) = backing_of(path)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (number, shown) in sysfs::attached_loops()? {
        if may_show(&shown, path) && open_if(number, backing)?.is_some() {
            let read_only = sysfs::attribute(number, "ro")?.as_deref() == Some("1");
            found.push(LoopDevice { number, size: sysfs::size(number)?, read_only });
        }
    }
    found.sort_unstable_by_key(|device| device.number);
    Ok(found)
}

/// Whether the path that the kernel shows for a backing file may be `path`. The start of that path
/// depends on the reader's mount namespace; its last two components do not, unless a mount is in
/// between. This check avoids opening hundreds of other loop devices.
fn may_show(shown: &Path, path: &Path) -> bool {
    shown.file_name() == path.file_name()
        && match (parent_name(shown), parent_name(path)) {
            (Some(shown), Some(path)) => shown == path,
            _ => true,
        }
}

pub(super) fn below(directory: &Path) -> Result<u64> {
    let directory = directory
        .canonicalize()
        .map_err(|e| Error::io("find loop devices below", directory.display(), e))?;
    let shown = sysfs::attached_loops()?;
    Ok(shown.iter().filter(|(_, path)| shows_below(path, &directory)).count() as u64)
}

/// Whether the path that the kernel shows for a backing file is below `directory`. For a file that
/// was attached in a mount namespace that is gone (of an earlier container), the kernel shows only
/// the path from its mount on: then a file in `directory` with the end of that path counts as the
/// backing file.
fn shows_below(shown: &Path, directory: &Path) -> bool {
    if shown.starts_with(directory) {
        return true;
    }
    if shown.exists() {
        return false;
    }
    let mut tail = shown.strip_prefix("/").unwrap_or(shown);
    loop {
        if tail.components().count() < 2 {
            return false;
        }
        if directory.join(tail).is_file() {
            return true;
        }
        let mut rest = tail.components();
        rest.next();
        tail = rest.as_path();
    }
}

fn parent_name(path: &Path) -> Option<&std::ffi::OsStr> {
    path.parent()?.file_name()
}

pub(super) fn refresh(number: DeviceNumber) -> Result<()> {
    nodes::open_block(number, Access::Read)
        .and_then(|device| raw::loop_set_capacity(device.as_fd()))
        .map_err(|e| Error::io("refresh the size of loop device", number, e))
}

/// Like [`refresh`], for a device that [`attach`](super::attach::attach) attached: it need not be opened.
pub(super) fn refresh_attached(handle: &LoopHandle) -> Result<()> {
    match handle.held::<Opened>() {
        Some(device) => device
            .refresh()
            .map_err(|e| Error::io("refresh the size of loop device", handle.number, e)),
        None => refresh(handle.number),
    }
}

fn is_attached(number: DeviceNumber) -> Result<bool> {
    Ok(sysfs::attribute(number, "loop/backing_file")?.is_some())
}

/// Detaching a device that others have open only marks it `autoclear`. Success is certain only once
/// the device is free; otherwise the mark is removed again.
pub(super) fn detach(number: DeviceNumber, path: &Path) -> Result<()> {
    let Some(backing) = backing_of(path)? else { return Ok(()) };
    let failed = |e| Error::io("detach loop device", number, e);
    let device = match nodes::open_block(number, Access::ReadExclusive) {
        Ok(device) => device,
        Err(e) if matches!(e.raw_os_error(), Some(ENXIO | ENODEV | ENOENT)) => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    match raw::loop_status(device.as_fd()) {
        Ok(info) if Backing::of_loop(&info) == backing => {}
        // The device has another user by now.
        Ok(_) => return Ok(()),
        Err(e) if e.raw_os_error() == Some(ENXIO) => return Ok(()),
        Err(e) => return Err(failed(e)),
    }
    let elided = write_cache::hand_back(number);
    merging::hand_back(number);
    raw::loop_clear(device.as_fd()).map_err(failed)?;
    drop(device);

    let deadline = Instant::now() + DETACH_WAIT;
    loop {
        if !is_attached(number)? {
            return Ok(());
        }
        // Opening the device to check it is harmless: the last close, even ours, detaches it.
        let Some((device, mut info)) = open_attached(number)? else { return Ok(()) };
        if Backing::of_loop(&info) != backing {
            return Ok(());
        }
        if Instant::now() < deadline {
            drop(device);
            sleep(DETACH_POLL);
            continue;
        }
        info.flags &= !raw::LOOP_AUTOCLEAR;
        if elided {
            write_cache::set(number, Mode::WriteThrough)?;
        }
        return match raw::loop_set_status(device.as_fd(), &info) {
            Err(e) if e.raw_os_error() == Some(ENXIO) => Ok(()),
            Err(e) => Err(failed(e)),
            Ok(()) => Err(failed(io::Error::from_raw_os_error(EBUSY))
                .remedy("close it in the process that has it open, then repeat the call")),
        };
    }
}

/// Loop devices whose backing file is a node of block device `number`, or in the file system on it, with
/// the path that the kernel shows for the file. kubelet makes such loop devices to lock published block
/// devices.
pub(super) fn over_device(number: DeviceNumber) -> Vec<(DeviceNumber, std::path::PathBuf)> {
    let is_it = |device| {
        let (major, minor) = raw::decode_dev(device);
        DeviceNumber { major, minor } == number
    };
    let mut loops = sysfs::attached_loops().unwrap_or_default();
    loops.retain(|(candidate, _)| {
        open_attached(*candidate).is_ok_and(|attached| {
            attached.is_some_and(|(_, info)| is_it(info.rdevice) || is_it(info.device))
        })
    });
    loops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_a_directory_are_known_from_other_mount_namespaces_too() {
        let pool = tempfile::tempdir().unwrap();
        let pool = pool.path().canonicalize().unwrap();
        std::fs::create_dir_all(pool.join("volumes/k1")).unwrap();
        std::fs::write(pool.join("volumes/k1/cow"), b"").unwrap();
        for (shown, below) in [
            (pool.join("volumes/k9/cow"), true),
            ("/volumes/k1/cow".into(), true),
            ("/host/pool/volumes/k1/cow".into(), true),
            ("/volumes/k2/cow".into(), false),
            ("/cow".into(), false),
            ("/proc/self/status".into(), false),
        ] {
            assert_eq!(shows_below(&shown, &pool), below, "{shown:?}");
        }
    }

    #[test]
    fn a_shown_path_is_compared_by_its_end() {
        let path = Path::new("/pool/volumes/k1/cow");
        for (shown, may) in [
            ("/pool/volumes/k1/cow", true),
            ("/host/var/pool/volumes/k1/cow", true),
            ("/k1/cow", true),
            ("/cow", true),
            ("/pool/volumes/k2/cow", false),
            ("/pool/volumes/k1/cow (deleted)", false),
            ("/pool/volumes/k1/disk", false),
        ] {
            assert_eq!(may_show(Path::new(shown), path), may, "{shown}");
        }
    }
}
