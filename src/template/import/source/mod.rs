//! The file that an import reads: is it a raw image, and is it still the same one?

pub(crate) mod file;
#[cfg(feature = "http")]
pub(crate) mod http;
pub(crate) mod remote;
pub(crate) mod url;

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{FileKind, FileStatus, Host, ImageFile, OpenMode};

const OPERATION: &str = "import";
/// Bytes that tell a raw image from what people give instead.
pub(crate) const HEAD: usize = 512;

/// Which file, and which state of it. Two equal identities are the same content, as far as
/// [`Identity::settled_before`] says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Identity {
    /// `st_dev`, or `st_rdev` of a block device.
    device: u64,
    /// `st_ino`; 0 for a block device.
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of `st_mtime`.
    modified: [i64; 2],
    /// Seconds and nanoseconds of `st_ctime`, which no one can set back.
    changed: [i64; 2],
}

impl Identity {
    /// Names the file, whatever its state: 16 hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        hex::encode(&Sha256::digest(format!("{}:{}", self.device, self.inode))[..8])
    }

    /// Size of the file, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether a change after `instant` would show in the identity. Time stamps of files advance
    /// in ticks of up to 10 ms, so one that is as young as `instant` proves nothing; and the
    /// content of a block device changes without any of them.
    pub(crate) fn settled_before(&self, instant: Timestamp) -> bool {
        const TICKS: SignedDuration = SignedDuration::from_millis(100);
        let changed = i32::try_from(self.changed[1])
            .ok()
            .and_then(|nanoseconds| Timestamp::new(self.changed[0], nanoseconds).ok());
        self.inode != 0 && changed.is_some_and(|changed| instant.duration_since(changed) > TICKS)
    }

    /// The identity of the regular file at `path` now, not following a symlink at its end; `None` if
    /// there is no such file.
    pub(crate) fn of(host: &dyn Host, path: &Path) -> Result<Option<Self>> {
        Ok(host.file(path)?.filter(FileStatus::is_file).map(Self::new))
    }

    fn new(found: FileStatus) -> Self {
        let FileStatus { kind, length: size, device, inode, modified, changed, .. } = found;
        let inode = if kind == FileKind::BlockDevice { 0 } else { inode };
        Self { device, inode, size, modified, changed }
    }
}

/// An image, open for reading.
pub(crate) struct Source {
    pub(crate) file: Box<dyn ImageFile>,
    /// Absolute, without symlinks.
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) size: u64,
    /// Bytes that a copy takes up at most, where the file system can tell.
    pub(crate) allocated: Option<u64>,
}

impl Source {
    /// Opens `path` and checks that it is a raw image.
    pub(crate) fn open(host: &dyn Host, path: &Path) -> Result<Self> {
        let failed = |e| Error::io(OPERATION, path.display(), e);
        let file = host.open_image(path, OpenMode::Read)?;
        let found = file.status().map_err(failed)?;
        let foreign = match found.kind {
            FileKind::Regular | FileKind::Linked | FileKind::BlockDevice => None,
            FileKind::Directory => Some("it is a directory"),
            FileKind::Other => Some("it is a special file"),
        };
        if let Some(what) = foreign {
            return Err(
                refuse(path.display(), what).remedy("give a raw disk image or a block device")
            );
        }
        let head = read_prefix(&*file, HEAD).map_err(failed)?;
        check_format(&head, path.display())?;
        check_size(found.length, path.display())?;
        Ok(Self {
            identity: Identity::new(found),
            allocated: found.is_file().then_some(found.allocated),
            path: host.canonical_path(path)?,
            file,
            size: found.length,
        })
    }

    /// Whether it can be cloned, and its state be told by its time stamps.
    pub(crate) fn is_regular(&self) -> bool {
        self.allocated.is_some()
    }

    /// Fails if the file is not what it was when it was opened.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        let failed = |e| Error::io(OPERATION, self.path.display(), e);
        if Identity::new(self.file.status().map_err(failed)?) == self.identity {
            return Ok(());
        }
        Err(self.changed())
    }

    /// The error for a file that changes under the import.
    pub(crate) fn changed(&self) -> Error {
        Error::new(ErrorKind::InUse, OPERATION, self.path.display(), "it changed while it was read")
            .remedy("stop what writes to it, or import a copy of it")
    }
}

fn refuse(subject: impl fmt::Display, why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, subject, why.into())
}

/// Refuses a size that no raw image has.
pub(crate) fn check_size(size: u64, subject: impl fmt::Display) -> Result<()> {
    if size == 0 {
        return Err(refuse(subject, "it is empty").remedy("give a raw disk image"));
    }
    if !size.is_multiple_of(512) {
        let why = format!("its size of {size} bytes is not a multiple of 512");
        return Err(refuse(subject, why).remedy(
            "a raw disk image has whole sectors: round it up with `truncate -s %512 FILE`",
        ));
    }
    Ok(())
}

/// Refuses what is no raw image, by its first [`HEAD`] bytes.
pub(crate) fn check_format(head: &[u8], subject: impl fmt::Display) -> Result<()> {
    let Some((what, remedy)) = foreign_format(head) else { return Ok(()) };
    let why = format!("it is {what}, and templates are made from raw images");
    Err(refuse(subject, why).remedy(remedy))
}

/// What people give instead of a raw image, and how to make one of it.
fn foreign_format(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const CONVERT: &str = "convert it with `qemu-img convert -O raw FILE image.raw`";
    const FORMATS: [(usize, &[u8], &str, &str); 12] = [
        (0, b"QFI\xFB", "a qcow2 image", CONVERT),
        (0, b"KDMV", "a VMDK image", CONVERT),
        (0, b"# Disk Descriptor", "a VMDK descriptor", CONVERT),
        (0, b"vhdxfile", "a VHDX image", CONVERT),
        (0, b"conectix", "a VHD image", CONVERT),
        (0x40, b"\x7F\x10\xDA\xBE", "a VDI image", CONVERT),
        (0, b"\x1F\x8B", "gzip-compressed", "unpack it with `gzip -dc FILE >image.raw`"),
        (0, b"\x28\xB5\x2F\xFD", "zstd-compressed", "unpack it with `zstd -dc FILE >image.raw`"),
        (0, b"\xFD7zXZ\0", "xz-compressed", "unpack it with `xz -dc FILE >image.raw`"),
        (0, b"BZh", "bzip2-compressed", "unpack it with `bzip2 -dc FILE >image.raw`"),
        (0, b"\x04\x22\x4D\x18", "lz4-compressed", "unpack it with `lz4 -dc FILE >image.raw`"),
        (
            257,
            b"ustar",
            "a tar archive",
            "make a file system of it: unpack it and run `mkfs.ext4 -d DIRECTORY image.raw SIZE`",
        ),
    ];
    FORMATS
        .iter()
        .find(|(at, magic, ..)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)))
        .map(|(_, _, what, remedy)| (*what, *remedy))
}

/// Reads up to `length` bytes from the start of a file.
pub(crate) fn read_prefix(file: &dyn ImageFile, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let filled = file.fill_from(&mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::LinuxHost;

    fn refusal(content: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        match Source::open(&LinuxHost::new(), file.path()) {
            Ok(_) => panic!("it was accepted"),
            Err(e) => e.report(),
        }
    }

    #[test]
    fn what_is_no_raw_image_is_refused_with_the_way_out() {
        assert!(refusal(b"").contains("empty"));
        assert!(refusal(&[1; 513]).contains("513 bytes"));
        assert!(refusal(b"QFI\xFB").contains("qemu-img convert -O raw"));
        assert!(refusal(b"\x1F\x8B\x08").contains("gzip -dc"));
        assert!(refusal(b"\x28\xB5\x2F\xFD").contains("zstd -dc"));
        let mut tar = vec![0; 1024];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(refusal(&tar).contains("mkfs.ext4 -d"));
        let error = Source::open(&LinuxHost::new(), Path::new("/")).err().unwrap();
        assert!(error.report().contains("directory"), "{error:?}");
        let error = Source::open(&LinuxHost::new(), Path::new("/nowhere/at/all")).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_young_file_proves_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [1; 512]).unwrap();
        let identity = Identity::of(&LinuxHost::new(), file.path()).unwrap().unwrap();
        let now = Timestamp::now();
        assert!(!identity.settled_before(now));
        assert!(identity.settled_before(now + SignedDuration::from_secs(1)));
    }

    #[test]
    fn a_write_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [1; 512]).unwrap();
        let source = Source::open(&LinuxHost::new(), file.path()).unwrap();
        source.check_unchanged().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(file.path(), [2; 512]).unwrap();
        assert_eq!(source.check_unchanged().unwrap_err().kind(), ErrorKind::InUse);
    }
}
