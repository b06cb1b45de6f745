//! Locks that hold across processes and vanish with their holder.
//!
//! Each pool has one lock file, with one byte per subject: an open-file-description lock on the
//! byte whose offset is a hash of the subject's name. Nothing needs to be cleaned up after a crash,
//! different volumes share nothing, and two subjects that map to the same byte (one pair in 2^62)
//! only wait for each other.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// Whether others may hold the lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Any number of holders, but no exclusive holder.
    Shared,
    /// One holder.
    Exclusive,
}

/// A held lock; released when dropped, or when the process ends in any way.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Unlocks explicitly instead of only closing the file: if another thread starts a program at
    /// this moment, its child has a copy of the descriptor until it calls exec, which would keep
    /// the lock alive.
    fn drop(&mut self) {
        let everything = libc::flock {
            l_type: libc::F_UNLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        if let Err(error) = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&everything)) {
            tracing::warn!(%error, "cannot release a lock before its file is closed");
        }
    }
}

/// Takes the lock of `subject` in the lock file at `path`, or returns `None` immediately if it is
/// held elsewhere, by this process or another.
pub fn try_lock(path: &Path, subject: &str, mode: Mode) -> Result<Option<Lock>> {
    let file = open(path)?;
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&range(subject, mode))) {
        Ok(_) => Ok(Some(Lock { file })),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(errno) => Err(Error::io("lock", path.display(), io::Error::from(errno))),
    }
}

/// Takes the lock of `subject`, waiting for its holder.
pub fn lock(path: &Path, subject: &str, mode: Mode) -> Result<Lock> {
    let file = open(path)?;
    loop {
        match fcntl(&file, FcntlArg::F_OFD_SETLKW(&range(subject, mode))) {
            Ok(_) => return Ok(Lock { file }),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::io("lock", path.display(), io::Error::from(errno))),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| {
            let gave_up = e.raw_os_error() == Some(libc::EIO);
            let error = Error::io("open lock file", path.display(), e);
            if gave_up {
                error.remedy(
                    "the pool's disk failed and its file system shut down: once the disk works again, \
                     remove the pool's devices (`dmsetup remove calf-...`), unmount the file \
                     system and mount it again",
                )
            } else {
                error
            }
        })
}

fn range(subject: &str, mode: Mode) -> libc::flock {
    let digest = Sha256::digest(subject.as_bytes());
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    libc::flock {
        l_type: match mode {
            Mode::Shared => libc::F_RDLCK,
            Mode::Exclusive => libc::F_WRLCK,
        } as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: (u64::from_le_bytes(head) >> 2) as i64,
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_locks_exclude_and_other_subjects_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = try_lock(&path, "a", Mode::Exclusive).unwrap();
        assert!(held.is_some());
        assert!(try_lock(&path, "a", Mode::Exclusive).unwrap().is_none());
        assert!(try_lock(&path, "a", Mode::Shared).unwrap().is_none());
        assert!(try_lock(&path, "b", Mode::Exclusive).unwrap().is_some());
        drop(held);
        let first = try_lock(&path, "a", Mode::Shared).unwrap();
        let second = try_lock(&path, "a", Mode::Shared).unwrap();
        assert!(first.is_some() && second.is_some());
        assert!(try_lock(&path, "a", Mode::Exclusive).unwrap().is_none());
    }

    #[test]
    fn a_lock_ends_with_its_holder_even_if_a_child_has_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = try_lock(&path, "a", Mode::Exclusive).unwrap().unwrap();
        // As between fork and exec.
        let inherited = held.file.try_clone().unwrap();
        drop(held);
        assert!(try_lock(&path, "a", Mode::Exclusive).unwrap().is_some());
        drop(inherited);
    }
}
