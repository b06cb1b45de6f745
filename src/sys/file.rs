//! What a name in the pool is: told alike on Linux and on the simulated machine, whose files are real.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Error, Result};

/// What a name in the pool stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file, with this one name.
    Regular,
    /// A regular file that has other names (hard links) as well.
    Linked,
    /// A directory.
    Directory,
    /// A symlink or anything else that calf never makes.
    Other,
}

/// What a file is, and how much of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileExtent {
    /// What it is.
    pub kind: FileKind,
    /// Its length in bytes, holes included.
    pub length: u64,
    /// Bytes that it occupies.
    pub allocated: u64,
}

impl FileExtent {
    /// What is at `path`; never follows a symlink at its end. `None` if nothing is.
    pub(super) fn at(path: &Path) -> Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(found) => Ok(Some(Self {
                kind: match () {
                    () if found.is_dir() => FileKind::Directory,
                    () if found.is_file() && found.nlink() > 1 => FileKind::Linked,
                    () if found.is_file() => FileKind::Regular,
                    () => FileKind::Other,
                },
                length: found.len(),
                // stat counts blocks in units of 512 bytes, whatever the file system's are.
                allocated: found.blocks() * 512,
            })),
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(e) => Err(Error::io("look at", path.display(), e)),
        }
    }
}
