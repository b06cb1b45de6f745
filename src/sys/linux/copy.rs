//! Duplicates a file's content, by reference or by copying with its holes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::libc::O_NOFOLLOW;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::linux::{files, share};
use crate::sys::{CopyMode, Flush};

/// Large enough to make the cost of calls negligible, small enough for a small container.
const BUFFER: u64 = 1 << 20;

pub(super) fn copy(
    from: &Path,
    path: &Path,
    length: u64,
    mode: CopyMode,
    flush: Flush,
) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        let taken = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(Error::io("copy to", path.display(), taken));
    }
    let subject = || format!("{} to {}", from.display(), path.display());
    let failed = |e: io::Error| Error::io("copy", subject(), e);
    let source =
        OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(from).map_err(failed)?;
    files::make_directory(files::parent(path))?;
    // A crash must not leave half a copy under the file's final name. The next copy removes what a
    // crash left under this temporary name.
    let temporary = path.with_added_extension("copying");
    files::remove(&temporary)?;
    let target = files::create_new(&temporary).map_err(failed)?;
    let copied = match mode {
        CopyMode::Reflink => reflink(&source, &target, subject),
        CopyMode::Sparse => sparse(&source, &target).map_err(failed),
    };
    let finish = || -> io::Result<()> {
        // Holes at the end of the source, including those added for larger volumes.
        target.set_len(length)?;
        if flush == Flush::Now {
            target.sync_all()?;
        }
        fs::rename(&temporary, path)
    };
    copied.and_then(|()| finish().map_err(failed)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    match flush {
        Flush::Now => files::sync_directory(files::parent(path)),
        Flush::Later => Ok(()),
    }
}

fn reflink(source: &File, target: &File, subject: impl Fn() -> String) -> Result<()> {
    const OPERATION: &str = "share the blocks of";
    rustix::fs::ioctl_ficlone(target, source).map_err(|errno| {
        let error = Error::io(OPERATION, subject(), errno);
        match share::is_refusal(errno) {
            true => error.with_kind(ErrorKind::Unsupported).remedy(
                "put the pool on one XFS (made with reflink=1) or Btrfs file system, or copy",
            ),
            false => error,
        }
    })
}

fn sparse(source: &File, target: &File) -> io::Result<()> {
    let mut at = 0;
    loop {
        let data = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            Ok(data) => data,
            // No data from here to the end.
            Err(Errno::NXIO) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        at = rustix::fs::seek(source, SeekFrom::Hole(data))?;
        copy_range(source, target, data, at)?;
    }
}

/// Through memory: `copy_file_range` would share blocks where the file system can, and a copy is to have
/// blocks of its own.
fn copy_range(source: &File, target: &File, mut at: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER as usize];
    while at < end {
        let most = (end - at).min(BUFFER) as usize;
        match source.read_at(&mut buffer[..most], at) {
            // The source was truncated.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                target.write_all_at(&buffer[..read], at)?;
                at += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    const MIB: u64 = 1 << 20;

    /// 8 MiB with data in the second and in the last MiB but one.
    fn image(path: &Path) {
        let file = File::create(path).unwrap();
        file.write_all_at(&vec![1; MIB as usize], MIB).unwrap();
        file.write_all_at(&vec![2; MIB as usize], 6 * MIB).unwrap();
        file.set_len(8 * MIB).unwrap();
    }

    #[test]
    fn a_sparse_copy_keeps_content_and_holes() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        image(&from);
        copy(&from, &to, 12 * MIB, CopyMode::Sparse, Flush::Later).unwrap();
        let mut expected = fs::read(&from).unwrap();
        expected.resize(12 * MIB as usize, 0);
        assert!(fs::read(&to).unwrap() == expected);
        assert!(fs::metadata(&to).unwrap().blocks() <= fs::metadata(&from).unwrap().blocks() + 16);
    }

    #[test]
    fn a_copy_has_the_length_that_was_asked_for_and_what_a_crash_left_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        image(&from);
        fs::write(directory.path().join("to.copying"), [7; 4096]).unwrap();
        copy(&from, &to, 7 * MIB, CopyMode::Sparse, Flush::Later).unwrap();
        assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap()[..7 * MIB as usize]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_range_is_copied_from_any_byte_on() {
        let directory = tempfile::tempdir().unwrap();
        let from = directory.path().join("from");
        image(&from);
        let target = files::create_new(&directory.path().join("to")).unwrap();
        copy_range(&File::open(&from).unwrap(), &target, MIB - 1, 7 * MIB).unwrap();
        let copied = fs::read(directory.path().join("to")).unwrap();
        assert!(copied == fs::read(&from).unwrap()[..7 * MIB as usize]);
    }

    #[test]
    fn a_failed_copy_leaves_no_file_and_touches_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        image(&from);
        assert!(copy(&from, &to, u64::MAX, CopyMode::Sparse, Flush::Later).is_err());
        assert!(!to.exists());
        fs::write(&to, b"old").unwrap();
        let error = copy(&from, &to, 1, CopyMode::Sparse, Flush::Later).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"old");
    }

    #[test]
    fn a_reflink_is_whole_or_refused_with_a_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        image(&from);
        match copy(&from, &to, 9 * MIB, CopyMode::Reflink, Flush::Later) {
            Ok(()) => assert_eq!(fs::metadata(&to).unwrap().len(), 9 * MIB),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
                assert!(error.report().contains("XFS"), "{error:?}");
                assert!(!to.exists());
            }
        }
    }
}
