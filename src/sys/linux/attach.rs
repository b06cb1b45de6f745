//! Attaches files to loop devices, in competition with others that may take the same device.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use nix::libc::{EBUSY, EINTR, ENODEV, ENOENT, ENXIO, O_NOFOLLOW};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::linux::free_loop::Opened;
use crate::sys::linux::loops::Backing;
use crate::sys::linux::raw::LoopInfo;
use crate::sys::linux::write_cache::Mode;
use crate::sys::linux::{free_loop, raw, write_cache};
use crate::sys::{DeviceNumber, LoopHandle, LoopSpec};

/// Number of tries. Each fails only if another process took the same device microseconds before.
const ATTACH_TRIES: u32 = 64;

pub(super) fn attach(spec: &LoopSpec) -> Result<LoopHandle> {
    const OPERATION: &str = "attach a loop device to";
    let failed = |e: io::Error| Error::io(OPERATION, spec.file.display(), e);
    let file = OpenOptions::new()
        .read(true)
        .write(!spec.read_only)
        .custom_flags(O_NOFOLLOW)
        .open(&spec.file)
        .map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        let why = "it is not a regular file";
        let subject = spec.file.display();
        return Err(Error::new(ErrorKind::InvalidArgument, OPERATION, subject, why));
    }

    let (number, device) = claim(spec, &file)?;
    let check = verify(spec, number, device.fd(), Backing::of_file(&found));
    if let Err(error) = check.and_then(|()| set_flushes(spec, number)) {
        if !spec.autoclear {
            let _ = device.detach();
        }
        return Err(error);
    }
    Ok(LoopHandle::new(number, device))
}

fn set_flushes(spec: &LoopSpec, number: DeviceNumber) -> Result<()> {
    match (spec.read_only, spec.elide_flushes) {
        (true, _) => Ok(()),
        (false, true) => write_cache::set(number, Mode::WriteThrough),
        (false, false) => write_cache::set(number, Mode::WriteBack),
    }
}

/// Callers in this process take turns to find and take a free device. Otherwise all would find the
/// same device, and all but one would have to search again.
static TURN: Mutex<()> = Mutex::new(());

/// Attaches the file to a free device.
fn claim(spec: &LoopSpec, file: &File) -> Result<(DeviceNumber, Opened)> {
    const OPERATION: &str = "attach a loop device to";
    let control = free_loop::open_control()?;
    let info = info(spec);
    let mut last = io::Error::from_raw_os_error(EBUSY);
    for attempt in 0..ATTACH_TRIES {
        if attempt > 0 {
            // Spread the retries of callers that raced for the same device.
            let spread = 200 * u64::from(attempt.min(20));
            sleep(Duration::from_micros(rand::random_range(0..spread)));
        }
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, device) = match free_loop::open(&control, spec.read_only) {
            Ok(opened) => opened,
            Err(e) if is_race(&e) => {
                last = e;
                continue;
            }
            Err(e) => {
                return Err(Error::io("find a free loop device for", spec.file.display(), e));
            }
        };
        match raw::loop_configure(device.fd(), file.as_fd(), &info) {
            Ok(()) => return Ok((number, device)),
            Err(e) if is_race(&e) => last = e,
            Err(e) => {
                let subject = format!("{} ({number})", spec.file.display());
                return Err(Error::io(OPERATION, subject, e));
            }
        }
    }
    let busy = last.raw_os_error() == Some(EBUSY);
    let error = Error::io(OPERATION, spec.file.display(), last);
    Err(if busy {
        error.remedy("other processes took each free loop device first: repeat the call")
    } else {
        error
    })
}

/// The device was taken, or removed, between two calls.
fn is_race(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EBUSY | ENXIO | ENODEV | ENOENT | EINTR))
}

fn info(spec: &LoopSpec) -> LoopInfo {
    let mut info = LoopInfo::default();
    if spec.read_only {
        info.flags |= raw::LOOP_READ_ONLY;
    }
    if spec.autoclear {
        info.flags |= raw::LOOP_AUTOCLEAR;
    }
    // For people: the end of a path is more useful than its start. The last byte stays zero.
    let path = spec.file.as_os_str().as_encoded_bytes();
    let room = info.file_name.len() - 1;
    let tail = &path[path.len().saturating_sub(room)..];
    info.file_name[..tail.len()].copy_from_slice(tail);
    info
}

/// Reads back and verifies the result of the request.
fn verify(
    spec: &LoopSpec,
    number: DeviceNumber,
    device: BorrowedFd<'_>,
    backing: Backing,
) -> Result<()> {
    const OPERATION: &str = "verify loop device";
    let info = raw::loop_status(device).map_err(|e| Error::io(OPERATION, number, e))?;
    let wanted = self::info(spec).flags;
    let why = if Backing::of_loop(&info) != backing {
        "it is attached to another file"
    } else if info.offset != 0 || info.size_limit != 0 {
        "it covers only a part of the file"
    } else if info.flags & (raw::LOOP_READ_ONLY | raw::LOOP_AUTOCLEAR) != wanted {
        "its read-only or autoclear flag differs from the request"
    } else {
        return Ok(());
    };
    let subject = format!("{number} over {}", spec.file.display());
    Err(Error::new(ErrorKind::Internal, OPERATION, subject, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_the_end_of_the_path_are_in_the_request() {
        let long = format!("/{}/volumes/0123456789abcdef/cow", "x".repeat(80));
        let spec = LoopSpec {
            file: long.clone().into(),
            read_only: true,
            autoclear: true,
            elide_flushes: false,
        };
        let request = info(&spec);
        assert_eq!(request.flags, raw::LOOP_READ_ONLY | raw::LOOP_AUTOCLEAR);
        assert_eq!(request.file_name[63], 0);
        assert_eq!(&request.file_name[..63], &long.as_bytes()[long.len() - 63..]);

        let short = LoopSpec { file: "/p/cow".into(), read_only: false, autoclear: false, ..spec };
        let request = info(&short);
        assert_eq!(request.flags, 0);
        assert_eq!(&request.file_name[..7], b"/p/cow\0");
    }

    #[test]
    fn a_symlink_or_directory_is_never_attached() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let link = directory.path().join("link");
        std::fs::write(&file, [0; 512]).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [link, directory.path().to_owned()] {
            let spec =
                LoopSpec { file: path, read_only: true, autoclear: true, elide_flushes: false };
            assert!(attach(&spec).is_err());
        }
    }
}
