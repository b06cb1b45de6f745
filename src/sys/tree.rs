//! Reading a directory tree that others may change meanwhile: nothing outside it is ever read.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::sys::image::ImageFile;

const OPERATION: &str = "read";
/// Most bytes of all names, or of one value, of a file's extended attributes: the kernel's limit.
const ATTRIBUTES: usize = 64 << 10;

/// What a file in a tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to.
        target: OsString,
    },
    /// A character device.
    Character {
        /// Major and minor number.
        number: (u32, u32),
    },
    /// A block device.
    Block {
        /// Major and minor number.
        number: (u32, u32),
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A file in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// What it is.
    pub kind: TreeKind,
    /// Permission bits, with those for set-id and sticky.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Seconds and nanoseconds of `st_mtime`.
    pub modified: (i64, u32),
    /// `st_dev` and `st_ino`: equal for two names of one file.
    pub identity: (u64, u64),
    /// How many names the file has.
    pub links: u64,
    /// Names and values of the extended attributes.
    pub attributes: Vec<(OsString, Vec<u8>)>,
}

/// An open directory tree. Paths are relative to it; a path that leads through a symlink, out of the tree,
/// or to another file system fails.
pub trait FileTree: Send + Sync {
    /// The names in a directory, sorted by their bytes.
    fn names(&self, directory: &Path) -> Result<Vec<OsString>>;

    /// The file at a path, which may be a symlink itself.
    fn entry(&self, path: &Path) -> Result<TreeEntry>;

    /// Whether another file system is mounted on a directory.
    fn is_mount_point(&self, directory: &Path) -> Result<bool>;

    /// Opens a regular file for reading.
    fn open(&self, path: &Path) -> Result<Box<dyn ImageFile>>;
}

/// Opens the tree at `path`, which may lead through symlinks.
pub(super) fn open(path: &Path) -> Result<Tree> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|e| Error::io(OPERATION, path.display(), io::Error::from(e)))?;
    Ok(Tree { root, path: path.to_owned() })
}

/// A tree of this machine.
pub(super) struct Tree {
    root: OwnedFd,
    path: PathBuf,
}

impl Tree {
    fn at(&self, path: &Path, flags: OFlags, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    fn opened(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        self.at(path, flags, ResolveFlags::NO_XDEV).map_err(|e| self.failed(path, e))
    }

    fn failed(&self, path: &Path, error: impl Into<io::Error>) -> Error {
        Error::io(OPERATION, self.path.join(path).display(), error.into())
    }
}

impl FileTree for Tree {
    fn names(&self, directory: &Path) -> Result<Vec<OsString>> {
        let opened = self.opened(directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut buffer = Vec::with_capacity(32 << 10);
        let mut entries = RawDir::new(opened, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|e| self.failed(directory, e))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn entry(&self, path: &Path) -> Result<TreeEntry> {
        let file = self.opened(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let found = rustix::fs::fstat(&file).map_err(|e| self.failed(path, e))?;
        let kind = kind(&file, &found).map_err(|e| self.failed(path, e))?;
        let attributes = attributes(&file).map_err(|e| self.failed(path, e))?;
        Ok(TreeEntry {
            kind,
            mode: (found.st_mode & 0o7777) as u16,
            uid: found.st_uid,
            gid: found.st_gid,
            modified: (found.st_mtime, found.st_mtime_nsec as u32),
            identity: (found.st_dev, found.st_ino),
            links: found.st_nlink as u64,
            attributes,
        })
    }

    fn is_mount_point(&self, directory: &Path) -> Result<bool> {
        match self.at(directory, OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::NO_XDEV) {
            Ok(_) => Ok(false),
            Err(Errno::XDEV) => Ok(true),
            Err(e) => Err(self.failed(directory, e)),
        }
    }

    fn open(&self, path: &Path) -> Result<Box<dyn ImageFile>> {
        let file = self.opened(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
        Ok(Box::new(File::from(file)))
    }
}

fn kind(file: &OwnedFd, found: &Stat) -> rustix::io::Result<TreeKind> {
    use rustix::fs::FileType;

    let number = || (rustix::fs::major(found.st_rdev), rustix::fs::minor(found.st_rdev));
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => TreeKind::Directory,
        FileType::RegularFile => TreeKind::File { size: found.st_size as u64 },
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(file, "", Vec::new())?;
            TreeKind::Symlink { target: OsStr::from_bytes(target.as_bytes()).to_owned() }
        }
        FileType::CharacterDevice => TreeKind::Character { number: number() },
        FileType::BlockDevice => TreeKind::Block { number: number() },
        FileType::Fifo => TreeKind::Fifo,
        _ => TreeKind::Socket,
    })
}

/// The extended attributes of a file that is open as a path only. Those of a symlink are not read.
fn attributes(file: &OwnedFd) -> rustix::io::Result<Vec<(OsString, Vec<u8>)>> {
    // Not by the file descriptor, which does not allow it; this follows to the file itself.
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let mut buffer = vec![0; ATTRIBUTES];
    let length = match rustix::fs::listxattr(&path, &mut buffer[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::LOOP) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let names: Vec<Vec<u8>> = buffer[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    let mut found = Vec::new();
    for name in names {
        match rustix::fs::getxattr(&path, &*name, &mut buffer[..]) {
            Ok(length) => {
                found.push((OsStr::from_bytes(&name).to_owned(), buffer[..length].to_vec()));
            }
            // Gone meanwhile, or not for us.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_the_tree_is_read() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let directory = tempfile::tempdir().unwrap();
        symlink(outside.path(), directory.path().join("link")).unwrap();
        fs::write(directory.path().join("b"), "12").unwrap();
        fs::create_dir(directory.path().join("a")).unwrap();
        let tree = open(directory.path()).unwrap();
        assert_eq!(tree.names(Path::new("")).unwrap(), ["a", "b", "link"]);
        assert_eq!(tree.entry(Path::new("b")).unwrap().kind, TreeKind::File { size: 2 });
        let link = tree.entry(Path::new("link")).unwrap().kind;
        assert_eq!(link, TreeKind::Symlink { target: outside.path().into() });
        for path in ["link/secret", "../etc", "/etc/passwd", "a/../../etc"] {
            assert!(tree.entry(Path::new(path)).is_err(), "{path}");
            assert!(tree.open(Path::new(path)).is_err(), "{path}");
        }
        assert!(tree.names(Path::new("link")).is_err());
        assert!(!tree.is_mount_point(Path::new("a")).unwrap());
    }

    #[test]
    fn attributes_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, "").unwrap();
        match rustix::fs::setxattr(&path, "user.calf", b"value", rustix::fs::XattrFlags::CREATE) {
            // The file system has none.
            Err(Errno::OPNOTSUPP) => return,
            set => set.unwrap(),
        }
        let found = open(directory.path()).unwrap().entry(Path::new("a")).unwrap().attributes;
        assert_eq!(found, [("user.calf".into(), b"value".to_vec())]);
    }
}
