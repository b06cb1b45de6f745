//! Files in use that have no file descriptor: parses `/proc/swaps` and `/proc/<pid>/maps`.

use std::path::PathBuf;

use crate::sys::DeviceNumber;
use crate::sys::linux::mountinfo;

/// The swap files in `/proc/swaps`.
pub(super) fn swap_files(content: &[u8]) -> impl Iterator<Item = PathBuf> {
    content.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let path = fields.next()?;
        (fields.next()? == b"file").then(|| mountinfo::path(path))
    })
}

/// The files on device `number` in `/proc/<pid>/maps`.
pub(super) fn mapped_files(content: &[u8], number: DeviceNumber) -> impl Iterator<Item = PathBuf> {
    content.split(|&byte| byte == b'\n').filter_map(move |line| {
        // Addresses, permissions, offset, device and inode; then the path, which may contain blanks.
        let mut fields = line.splitn(6, |&byte| byte == b' ');
        let device = std::str::from_utf8(fields.nth(3)?).ok()?;
        let path = fields.nth(1)?.trim_ascii_start();
        (parse_hexadecimal(device)? == number).then(|| mountinfo::path(path))
    })
}

fn parse_hexadecimal(device: &str) -> Option<DeviceNumber> {
    let (major, minor) = device.split_once(':')?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    Some(DeviceNumber { major: number(major)?, minor: number(minor)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_files_are_told_from_partitions() {
        let content = b"Filename\t\t\tType\t\tSize\tUsed\tPriority\n\
            /dev/sda2                               partition\t1\t\t0\t\t-2\n\
            /mnt/a\\040b                              file\t\t10232\t\t0\t\t-3\n";
        assert_eq!(swap_files(content).collect::<Vec<_>>(), [PathBuf::from("/mnt/a b")]);
    }

    #[test]
    fn mapped_files_are_found_by_their_device() {
        let content =
            b"7f00-7f01 r-xp 00000000 fd:1f 12                         /data/a b (deleted)\n\
            7f01-7f02 rw-p 00000000 00:00 0 \n\
            7f02-7f03 r--p 00001000 08:01 13                         /lib/libc.so\n\
            7f03-7f04 rw-p 00000000 00:00 0                          [heap]\n";
        let mapped =
            |major, minor| mapped_files(content, DeviceNumber { major, minor }).collect::<Vec<_>>();
        assert_eq!(mapped(253, 31), [PathBuf::from("/data/a b (deleted)")]);
        assert_eq!(mapped(8, 1), [PathBuf::from("/lib/libc.so")]);
        assert_eq!(mapped(253, 1), Vec::<PathBuf>::new());
    }
}
