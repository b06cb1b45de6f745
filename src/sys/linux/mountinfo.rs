//! Parses `/proc/<pid>/mountinfo`.
//!
//! The parser works on bytes: mount points are file names, which need not be UTF-8, and one odd
//! mount on a node must not hide the others.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sys::DeviceNumber;
use crate::sys::linux::sysfs::parse_number;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The mount's id.
    pub(super) id: u64,
    /// The id of the mount that it is in.
    pub(super) parent: u64,
    /// The file system's device; major 0 if it is not on a single block device.
    pub(super) device: DeviceNumber,
    /// The directory or file within the file system that is mounted.
    pub(super) root: PathBuf,
    /// The mount point.
    pub(super) mount_point: PathBuf,
    /// The mount refuses writes.
    pub(super) read_only: bool,
    /// The file system refuses writes, through every mount of it.
    pub(super) file_system_read_only: bool,
    /// `ext4`, `tmpfs`, …
    pub(super) fs_type: String,
    /// The mount source, as it was named.
    pub(super) source: PathBuf,
    /// The options of the file system, as the kernel shows them.
    pub(super) file_system_options: Vec<u8>,
}

/// The mounts that this process sees.
pub(super) fn own() -> Result<Vec<Entry>> {
    const PATH: &str = "/proc/self/mountinfo";
    let content = fs::read(PATH).map_err(|e| Error::io("read", PATH, e))?;
    Ok(parse(&content))
}

/// Parses a whole file and leaves out malformed lines.
pub(super) fn parse(content: &[u8]) -> Vec<Entry> {
    content.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let number = |field| std::str::from_utf8(field).ok()?.parse().ok();
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = parse_number(std::str::from_utf8(fields.next()?).ok()?)?;
    let root = path(fields.next()?);
    let mount_point = path(fields.next()?);
    let options = fields.next()?;
    // Any number of optional fields, terminated by a single hyphen.
    fields.find(|field| *field == b"-")?;
    let fs_type = String::from_utf8(unescape(fields.next()?)).ok()?;
    let source = path(fields.next()?);
    let super_options = fields.next()?;
    Some(Entry {
        id,
        parent,
        device,
        root,
        mount_point,
        read_only: has_ro(options),
        file_system_read_only: has_ro(super_options),
        fs_type,
        source,
        file_system_options: super_options.to_vec(),
    })
}

fn has_ro(options: &[u8]) -> bool {
    options.split(|&byte| byte == b',').any(|option| option == b"ro")
}

pub(super) fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Decodes the kernel's `\ooo` escapes for blanks and backslashes.
pub(super) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if first == b'\\' => {
                text.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                text.push(first);
                rest = tail;
            }
        }
    }
    text
}

impl Entry {
    /// Whether the file system shows this option.
    pub(super) fn has_file_system_option(&self, option: &str) -> bool {
        self.file_system_options.split(|&byte| byte == b',').any(|it| it == option.as_bytes())
    }

    /// Whether the mount may be a bound device node: a file below the root of a local file system.
    /// (Inspecting a mount of a dead server would hang.)
    pub(super) fn may_be_node(&self) -> bool {
        const LOCAL: [&str; 6] = ["tmpfs", "devtmpfs", "btrfs", "overlay", "bcachefs", "zfs"];
        self.root != Path::new("/")
            && (self.device.major != 0 || LOCAL.contains(&self.fs_type.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Entry {
        let entries = parse(line.as_bytes());
        assert_eq!(entries.len(), 1, "{line}");
        entries.into_iter().next().unwrap()
    }

    #[test]
    fn a_file_system() {
        assert_eq!(
            one(
                "36 35 253:7 / /mnt/x rw,noatime shared:1 master:2 - ext4 /dev/dm-7 rw,errors=ro\n"
            ),
            Entry {
                id: 36,
                parent: 35,
                device: DeviceNumber { major: 253, minor: 7 },
                root: PathBuf::from("/"),
                mount_point: PathBuf::from("/mnt/x"),
                read_only: false,
                file_system_read_only: false,
                fs_type: "ext4".to_owned(),
                source: PathBuf::from("/dev/dm-7"),
                file_system_options: b"rw,errors=ro".to_vec(),
            }
        );
    }

    #[test]
    fn read_only_is_of_the_mount_or_of_the_file_system() {
        for (line, mount, file_system) in [
            ("1 0 8:1 / / rw - xfs /dev/a rw", false, false),
            ("1 0 8:1 / / ro,relatime - xfs /dev/a rw", true, false),
            ("1 0 8:1 / / rw - xfs /dev/a ro,seclabel", false, true),
            ("1 0 8:1 / / rw,nosuid - xfs /dev/a rw,errors=remount-ro", false, false),
        ] {
            let entry = one(line);
            assert_eq!((entry.read_only, entry.file_system_read_only), (mount, file_system));
        }
    }

    #[test]
    fn escapes_are_decoded_once() {
        let entry = one(r"1 0 8:1 /a\040b /mnt/\134040\011\012#\043 rw - fuse.x\040y s\040t rw");
        assert_eq!(entry.root, PathBuf::from("/a b"));
        assert_eq!(entry.mount_point, PathBuf::from("/mnt/\\040\t\n##"));
        assert_eq!(entry.fs_type, "fuse.x y");
        assert_eq!(entry.source, PathBuf::from("s t"));
    }

    #[test]
    fn an_odd_line_hides_no_other() {
        let content =
            b"nonsense\n1 0 8:1 / /\xff rw - xfs /dev/a rw\n\n2 0 8:x / / rw - xfs s rw\n";
        let entries = parse(content);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].mount_point.as_os_str().as_encoded_bytes(), b"/\xff");
    }

    #[test]
    fn nodes_are_looked_for_where_they_can_be() {
        for (line, may_be) in [
            ("1 0 253:3 /volumes/k/node /target rw - xfs /dev/a rw", true),
            ("1 0 0:30 /k/node//deleted /target rw - tmpfs tmpfs rw", true),
            ("1 0 253:3 / /target rw - xfs /dev/a rw", false),
            ("1 0 0:44 /export /target rw - nfs4 server:/export rw", false),
        ] {
            assert_eq!(one(line).may_be_node(), may_be, "{line}");
        }
    }

    #[test]
    fn our_own_mounts_parse() {
        let entries = own().unwrap();
        assert!(entries.iter().any(|entry| entry.mount_point == Path::new("/proc")));
    }
}
