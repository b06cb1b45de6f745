//! Files: code that Linux and the simulated machine share, since the files of both are real.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use nix::libc::{ELOOP, O_NOFOLLOW, O_NONBLOCK};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// The kind of file at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file with only one name.
    Regular,
    /// A regular file with other names (hard links).
    Linked,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A symlink or any other file that calf never makes.
    Other,
}

/// A file's kind, size, identity and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// The kind of the file.
    pub kind: FileKind,
    /// Its length in bytes, holes included.
    pub length: u64,
    /// Bytes that it occupies.
    pub allocated: u64,
    /// `st_dev`, or `st_rdev` of a block device.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Seconds and nanoseconds of `st_mtime`.
    pub modified: [i64; 2],
    /// Seconds and nanoseconds of `st_ctime`, which nobody can set back in a mounted file system.
    pub changed: [i64; 2],
}

/// When a new file must survive a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// From the return of the call on: the call waits for the disk.
    Now,
    /// At some time later, when the kernel has written it out.
    Later,
}

impl FileStatus {
    /// The status of the file at `path`, never following a symlink at its end. `None` if nothing
    /// exists.
    pub(super) fn at(path: &Path) -> Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(found) => Ok(Some(Self::new(&found, found.len()))),
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(e) => Err(Error::io("look at", path.display(), e)),
        }
    }

    pub(super) fn new(found: &Metadata, length: u64) -> Self {
        let kind = match found.file_type() {
            kind if kind.is_dir() => FileKind::Directory,
            kind if kind.is_file() && found.nlink() > 1 => FileKind::Linked,
            kind if kind.is_file() => FileKind::Regular,
            kind if kind.is_block_device() => FileKind::BlockDevice,
            _ => FileKind::Other,
        };
        Self {
            kind,
            length,
            // stat counts blocks in units of 512 bytes, whatever the file system's block size.
            allocated: found.blocks().saturating_mul(512),
            device: if kind == FileKind::BlockDevice { found.rdev() } else { found.dev() },
            inode: found.ino(),
            modified: [found.mtime(), found.mtime_nsec()],
            changed: [found.ctime(), found.ctime_nsec()],
        }
    }

    /// Whether it is a regular file, with any number of names.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.kind, FileKind::Regular | FileKind::Linked)
    }
}

/// The names in a directory; empty if it does not exist.
pub(super) fn list(directory: &Path) -> Result<Vec<OsString>> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries,
    };
    entries
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect())
        .map_err(|e| Error::io("list", directory.display(), e))
}

/// Reads a small file completely, without blocking and without following a symlink.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    const OPERATION: &str = "read";
    let failed = |e| Error::io(OPERATION, path.display(), e);
    let unfit = |why| Error::new(ErrorKind::Corrupt, OPERATION, path.display(), why);
    let opened = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path);
    let file = match opened {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) if e.raw_os_error() == Some(ELOOP) => return Err(unfit("it is a symbolic link")),
        opened => opened.map_err(failed)?,
    };
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(unfit("it is not a regular file"));
    }
    if found.len() > limit {
        return Err(unfit("it is far too large"));
    }
    // A single read suffices: such files are replaced, never written to.
    let mut content = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default());
    file.take(found.len()).read_to_end(&mut content).map_err(failed)?;
    Ok(Some(content))
}

/// Writes a file in place, without waiting for the disk.
pub(super) fn write_hint(path: &Path, content: &[u8]) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(|e| Error::io("write", path.display(), e))
}

/// Makes a directory that only its owner may access.
pub(super) fn make_private_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io("make directory", path.display(), e))?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
        .map_err(|e| Error::io("restrict access to", path.display(), e))
}

/// The absolute path without symlinks.
pub(super) fn canonical_path(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|e| Error::io("find", path.display(), e))
}

/// Cuts off the hole at the end of a file, but not what `least` and `after_content` keep.
pub(super) fn shorten(path: &Path, least: u64, after_content: u64) -> Result<()> {
    let shorten = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(O_NOFOLLOW).open(path)?;
        let length = file.metadata()?.len();
        if length <= least {
            return Ok(());
        }
        let kept = end_of_data(&file, length)?.saturating_add(after_content).max(least);
        if kept < length {
            file.set_len(kept)?;
        }
        Ok(())
    };
    shorten().map_err(|e| Error::io("cut off the hole at the end of", path.display(), e))
}

/// Where the last data of a file ends, in bytes; 0 if all of it is a hole.
fn end_of_data(file: &File, length: u64) -> io::Result<u64> {
    // There is data at or after `low`, unless that is 0, and none at or after `high`.
    let (mut low, mut high) = (0, length);
    while low < high {
        let middle = low + (high - low) / 2;
        match rustix::fs::seek(file, SeekFrom::Data(middle)) {
            Ok(data) => low = rustix::fs::seek(file, SeekFrom::Hole(data))?.max(middle + 1),
            Err(Errno::NXIO) => high = middle,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_list_has_every_name_and_of_a_missing_directory_none() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(list(&directory.path().join("none")).unwrap(), Vec::<OsString>::new());
        fs::write(directory.path().join("a"), "").unwrap();
        fs::create_dir(directory.path().join("b")).unwrap();
        let mut names = list(directory.path()).unwrap();
        names.sort();
        assert_eq!(names, ["a", "b"]);
        assert!(list(&directory.path().join("a")).is_err());
    }

    #[test]
    fn only_the_hole_at_the_end_of_a_file_is_cut_off() {
        use std::os::unix::fs::FileExt as _;

        const LENGTH: u64 = 64 << 20;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        for data in [vec![], vec![0], vec![0, 5 << 20], vec![40 << 20], vec![LENGTH - 1]] {
            for (least, after_content) in [(0, 0), (1 << 20, 0), (4096, 8 << 20), (LENGTH, 0)] {
                let file = File::create_new(&path).unwrap();
                file.set_len(LENGTH).unwrap();
                for at in &data {
                    file.write_all_at(b"x", *at).unwrap();
                }
                shorten(&path, least, after_content).unwrap();
                let length = file.metadata().unwrap().len();
                let end = data.last().map_or(0, |at| at + 1);
                assert!(length >= LENGTH.min((end + after_content).max(least)), "{data:?}");
                // A file system has blocks of up to 64 KiB.
                assert!(length <= (end.next_multiple_of(64 << 10) + after_content).max(least));
                let mut byte = [0];
                let file = File::open(&path).unwrap();
                for at in &data {
                    file.read_exact_at(&mut byte, *at).unwrap();
                    assert_eq!(&byte, b"x");
                }
                fs::remove_file(&path).unwrap();
            }
        }
        let missing = shorten(&directory.path().join("none"), 0, 0).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn only_a_small_regular_file_is_read_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        assert_eq!(read(&path("none"), 8).unwrap(), None);
        fs::write(path("file"), "12345678").unwrap();
        assert_eq!(read(&path("file"), 8).unwrap().unwrap(), b"12345678");
        assert_eq!(read(&path("file/none"), 8).unwrap(), None);
        assert_eq!(read(&path("file"), 7).unwrap_err().kind(), ErrorKind::Corrupt);
        symlink(path("file"), path("link")).unwrap();
        assert_eq!(read(&path("link"), 8).unwrap_err().kind(), ErrorKind::Corrupt);
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), 0o600.into()).unwrap();
        assert_eq!(read(&path("fifo"), 8).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(read(directory.path(), 8).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_hint_is_replaced_and_never_written_through_a_symlink() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hint");
        write_hint(&path, b"a longer one").unwrap();
        write_hint(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(write_hint(&link, b"x").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }
}
