//! Files and directories of the pool.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc::{EOPNOTSUPP, O_NOFOLLOW, O_NONBLOCK};
use rustix::fs::{FallocateFlags, StatVfs};

use crate::cow::header::StoreHeader;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{FileSystemUsage, Flush};

pub(super) fn write_record(path: &Path, content: &[u8]) -> Result<()> {
    let parent = parent(path);
    make_directory(parent)?;
    put(path, content, File::sync_all)?;
    sync_directory(parent)
}

/// Nothing is lost if the name reaches the disk before the content, so one flush writes out both,
/// and the directories with them. On file systems with a journal, the other flushes find nothing
/// left to do.
pub(super) fn write_first_record(path: &Path, content: &[u8]) -> Result<()> {
    let directory = parent(path);
    create_directory(directory)?;
    let file = put(path, content, |_| Ok(()))?;
    file.sync_all().map_err(|e| {
        let _ = fs::remove_file(path);
        Error::io("write", path.display(), e)
    })?;
    sync_directory(directory)?;
    sync_directory(parent(directory))
}

/// Puts a file with `content` at `path` atomically; calls `settle` before the file gets that name.
fn put(path: &Path, content: &[u8], settle: fn(&File) -> io::Result<()>) -> Result<File> {
    let temporary = temporary_name(path);
    let write = || -> io::Result<File> {
        let mut file = create_new(&temporary)?;
        file.write_all(content)?;
        settle(&file)?;
        fs::rename(&temporary, path)?;
        Ok(file)
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&temporary);
        Error::io("write", path.display(), e)
    })
}

/// A unique name in the directory of `path`. It is random, since processes in different containers
/// may share a pool and have the same process id.
pub(super) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(format!(".tmp-{:016x}", rand::random::<u64>()));
    path.with_file_name(name)
}

/// Makes a directory and its missing parents, durably.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    match create_directory(path)? {
        true => sync_directory(parent(path)),
        false => Ok(()),
    }
}

/// Makes a directory, and durably its missing parents. Returns whether the directory is new.
fn create_directory(path: &Path) -> Result<bool> {
    let make = || match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    };
    match make() {
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.parent().is_some() => {
            make_directory(parent(path))?;
            make()
        }
        made => made,
    }
    .map_err(|e| Error::io("make directory", path.display(), e))
}

pub(super) fn create(path: &Path, length: u64, flush: Flush) -> Result<()> {
    const OPERATION: &str = "create file";
    let failed = |e| Error::io(OPERATION, path.display(), e);
    match flush {
        Flush::Now => make_directory(parent(path))?,
        Flush::Later => create_directory(parent(path)).map(drop)?,
    }
    let file = create_new(path).map_err(failed)?;
    let fill = || -> Result<()> {
        file.set_len(length).map_err(failed)?;
        if flush == Flush::Now {
            file.sync_all().map_err(failed)?;
            sync_directory(parent(path))?;
        }
        Ok(())
    };
    fill().inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// Opens a new file for writing. An existing file, even a symlink, is an error.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

pub(super) fn extend(path: &Path, length: u64) -> Result<()> {
    let extend = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(O_NOFOLLOW).open(path)?;
        if file.metadata()?.len() < length {
            file.set_len(length)?;
        }
        Ok(())
    };
    extend().map_err(|e| Error::io("extend", path.display(), e))
}

pub(super) fn allocate(path: &Path, length: u64) -> Result<()> {
    const OPERATION: &str = "allocate the space of";
    let allocate = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(O_NOFOLLOW).open(path)?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, length)?;
        file.sync_all()
    };
    allocate().map_err(|e| {
        let unsupported = e.raw_os_error() == Some(EOPNOTSUPP);
        let error = Error::io(OPERATION, path.display(), e);
        match (unsupported, error.kind()) {
            (true, _) => error
                .with_kind(ErrorKind::Unsupported)
                .remedy("put the pool on XFS or ext4, or leave out `reserve`"),
            (_, ErrorKind::NoSpace) => error.remedy(
                "delete volumes or templates, enlarge the pool's file system, or give volumes a limit",
            ),
            _ => error,
        }
    })
}

pub(super) fn store_header(path: &Path) -> Result<StoreHeader> {
    OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(path)
        .and_then(StoreHeader::read)
        .map_err(|e| Error::io("read the header of", path.display(), e))
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .map_err(|e| Error::io("move", format_args!("{} to {}", from.display(), to.display()), e))
}

pub(super) fn remove(path: &Path) -> Result<()> {
    missing_is_fine(fs::remove_file(path)).map_err(|e| Error::io("remove", path.display(), e))
}

pub(super) fn discard_directory(path: &Path) -> Result<()> {
    missing_is_fine(fs::remove_dir_all(path))
        .map_err(|e| Error::io("remove directory", path.display(), e))
}

pub(super) fn remove_directory(path: &Path) -> Result<()> {
    discard_directory(path)?;
    match sync_directory(parent(path)) {
        // The directory is gone, and its parent too.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(super) fn usage(path: &Path) -> Result<FileSystemUsage> {
    rustix::fs::statvfs(path)
        .map(|found| usage_of(&found))
        .map_err(|e| Error::io("read size and free space of", path.display(), e))
}

pub(super) fn usage_of(found: &StatVfs) -> FileSystemUsage {
    let StatVfs { f_frsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, .. } = found;
    FileSystemUsage {
        total: f_blocks.saturating_mul(*f_frsize),
        used: f_blocks.saturating_sub(*f_bfree).saturating_mul(*f_frsize),
        available: f_bavail.saturating_mul(*f_frsize),
        inodes: *f_files,
        inodes_used: f_files.saturating_sub(*f_ffree),
        inodes_free: *f_ffree,
    }
}

pub(super) fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| Error::io("sync directory", path.display(), e))
}

/// The directory that holds `path`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    #[test]
    fn a_record_is_replaced_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("volumes/key/volume.json");
        write_record(&path, b"old").unwrap();
        write_record(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(parent.permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_first_record_is_whole_and_alone_in_a_directory_that_may_be_there() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["volumes/new/volume.json", "volumes/there/volume.json"] {
            let path = directory.path().join(name);
            if name.contains("there") {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
            }
            write_first_record(&path, b"first").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"first");
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_record_that_cannot_be_written_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        fs::create_dir(&path).unwrap();
        for write in [write_record, write_first_record] {
            assert!(write(&path, b"x").is_err());
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_new_file_is_sparse_private_and_never_an_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cow");
        create(&path, 1 << 30, Flush::Now).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.len(), found.blocks()), (1 << 30, 0));
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert_eq!(create(&path, 1, Flush::Later).unwrap_err().kind(), ErrorKind::AlreadyExists);

        let link = directory.path().join("link");
        symlink(directory.path().join("elsewhere"), &link).unwrap();
        assert_eq!(create(&link, 1, Flush::Later).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(!directory.path().join("elsewhere").exists());
    }

    #[test]
    fn a_file_too_large_to_exist_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cow");
        assert!(create(&path, u64::MAX, Flush::Later).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn extending_never_shrinks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        create(&path, 4096, Flush::Later).unwrap();
        extend(&path, 8192).unwrap();
        extend(&path, 512).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 8192);
        assert_eq!(
            extend(&directory.path().join("none"), 1).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    #[test]
    fn removal_repeats_and_follows_no_symlink() {
        let directory = tempfile::tempdir().unwrap();
        let kept = directory.path().join("kept");
        let volume = directory.path().join("volume");
        fs::create_dir_all(volume.join("deep")).unwrap();
        fs::write(&kept, b"x").unwrap();
        symlink(&kept, volume.join("link")).unwrap();
        symlink(directory.path(), volume.join("deep/up")).unwrap();
        for _ in 0..2 {
            remove_directory(&volume).unwrap();
        }
        assert!(!volume.exists());
        for _ in 0..2 {
            remove(&kept).unwrap();
        }
        assert!(!kept.exists());
        remove_directory(&directory.path().join("no/such/parent")).unwrap();
    }

    #[test]
    fn usage_adds_up() {
        let directory = tempfile::tempdir().unwrap();
        let usage = usage(directory.path()).unwrap();
        assert!(usage.total > 0 && usage.used <= usage.total);
        assert!(usage.available <= usage.total - usage.used);
        assert_eq!(usage.inodes, usage.inodes_used + usage.inodes_free);
    }
}
