//! Facts about block devices that sysfs shows without opening them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::limits::SECTOR;
use crate::sys::DeviceNumber;

/// The directory of a block device. It is a link, whose target has the kernel's name.
pub(super) fn directory(number: DeviceNumber) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{number}"))
}

/// An attribute of a block device, trimmed; `None` if it (or the device) does not exist.
pub(super) fn attribute(number: DeviceNumber, name: &str) -> Result<Option<String>> {
    let path = directory(number).join(name);
    match read(&path) {
        Ok(text) => Ok(Some(text)),
        // If a device goes away while its attribute is read, the read fails with ENODEV or ENXIO.
        Err(e) if is_gone(&e) => Ok(None),
        Err(e) => Err(Error::io("read", path.display(), e)),
    }
}

/// Reads an attribute, trimmed. The first read returns all of it, at most a page, so there is no
/// need to query its size first or to read on.
pub(super) fn read(path: &Path) -> io::Result<String> {
    read_open(&File::open(path)?)
}

/// Like [`read`], for an open attribute.
pub(super) fn read_open(attribute: &File) -> io::Result<String> {
    let mut page = [0; 4096];
    let length = attribute.read_at(&mut page, 0)?;
    Ok(String::from_utf8_lossy(&page[..length]).trim_end().to_owned())
}

/// Writes an attribute, and returns it for reading it back.
pub(super) fn write(path: &Path, value: &str) -> io::Result<File> {
    let attribute = OpenOptions::new().read(true).write(true).open(path)?;
    attribute.write_all_at(value.as_bytes(), 0)?;
    Ok(attribute)
}

/// The kernel's name of a block device, such as `loop3`.
pub(super) fn kernel_name(number: DeviceNumber) -> io::Result<String> {
    let link = fs::read_link(directory(number))?;
    Ok(link.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// Size of a block device in bytes.
pub(super) fn size(number: DeviceNumber) -> Result<u64> {
    let missing = || {
        let none = io::Error::from(io::ErrorKind::NotFound);
        Error::io("find block device", number, none)
    };
    let sectors = attribute(number, "size")?.ok_or_else(missing)?;
    parse_size(&sectors).ok_or_else(|| {
        let odd = io::Error::other(format!("sysfs shows {sectors:?}"));
        Error::io("read size of", number, odd)
    })
}

/// Parses a number of sectors, and returns it in bytes.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    text.parse::<u64>().ok()?.checked_mul(SECTOR)
}

/// The path that the kernel shows for the file behind a loop device, as in [`attached_loops`].
pub(super) fn loop_file(number: DeviceNumber) -> Result<Option<PathBuf>> {
    Ok(attribute(number, "loop/backing_file")?.map(PathBuf::from))
}

/// Kernel names and numbers of all loop devices that are attached to a file, with the path that the
/// kernel shows for it (as seen from this mount namespace, with ` (deleted)` at the end for a
/// deleted file).
pub(super) fn attached_loops() -> Result<Vec<(DeviceNumber, PathBuf)>> {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    const DIRECTORY: &str = "/sys/block";
    let mut loops = Vec::new();
    for entry in fs::read_dir(DIRECTORY).map_err(|e| Error::io("list", DIRECTORY, e))? {
        let entry = entry.map_err(|e| Error::io("list", DIRECTORY, e))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b"loop") {
            continue;
        }
        let path = entry.path().join("loop/backing_file");
        let mut backing = match fs::read(&path) {
            Ok(backing) => backing,
            Err(e) if is_gone(&e) => continue,
            Err(e) => return Err(Error::io("read", path.display(), e)),
        };
        backing.truncate(backing.trim_ascii_end().len());
        let path = entry.path().join("dev");
        let number = match fs::read_to_string(&path) {
            Ok(text) => parse_number(text.trim_end()),
            Err(e) if is_gone(&e) => continue,
            Err(e) => return Err(Error::io("read", path.display(), e)),
        };
        if let Some(number) = number {
            loops.push((number, PathBuf::from(OsString::from_vec(backing))));
        }
    }
    Ok(loops)
}

/// The loop devices below a device-mapper device.
pub(super) fn loops_below(number: DeviceNumber) -> Vec<DeviceNumber> {
    let Ok(entries) = fs::read_dir(directory(number).join("slaves")) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"loop"))
        .filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok())
        .filter_map(|text| parse_number(text.trim_end()))
        .collect()
}

/// Whether more than one device rests on a block device.
pub(super) fn is_shared(number: DeviceNumber) -> bool {
    fs::read_dir(directory(number).join("holders")).is_ok_and(|holders| holders.count() > 1)
}

/// Parses `major:minor`.
pub(super) fn parse_number(text: &str) -> Option<DeviceNumber> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

fn is_gone(error: &io::Error) -> bool {
    use nix::libc::{ENODEV, ENOENT, ENXIO};
    matches!(error.raw_os_error(), Some(ENOENT | ENODEV | ENXIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_parse() {
        assert_eq!(parse_number("253:12"), Some(DeviceNumber { major: 253, minor: 12 }));
        for text in ["", "7", "7:", ":1", "7:x", "/dev/loop1"] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_parse_and_do_not_overflow() {
        assert_eq!(parse_size("8"), Some(4096));
        for text in ["", "x", "-1", "18446744073709551615"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn an_unknown_device_has_no_attributes() {
        let number = DeviceNumber { major: 4000, minor: 1 };
        assert_eq!(attribute(number, "dm/uuid").unwrap(), None);
        assert_eq!(size(number).unwrap_err().kind(), crate::ErrorKind::NotFound);
    }
}
