//! The walk to a directory, component by component, through symlinks that only root can have put there.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Maximum number of symlinks that one walk follows, the same as the kernel's.
const MOST_LINKS: u32 = 40;
/// Permission bits that allow writing to others than the owner.
const OTHERS_WRITE: u32 = 0o022;
/// The permissions of a directory that a walk makes.
pub(super) const NEW_DIRECTORY: u32 = 0o750;

/// Why a walk ended early.
pub(super) enum Stopped {
    Errno(Errno),
    /// At this symlink, which a user other than root may have put there.
    Untrusted(PathBuf),
}

/// Opens `path` as a place to start from or to act on. A symlink on the way fails with `ELOOP`.
/// With `NOFOLLOW`, opens the last component itself if it is a symlink.
pub(super) fn open(
    directory: impl AsFd,
    path: &OsStr,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat2(
        directory,
        path,
        OFlags::PATH | OFlags::CLOEXEC | flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Walks to the directory at `path`, which is absolute.
pub(super) fn to(path: &Path) -> Result<OwnedFd, Stopped> {
    Walk::new(path, false)?.finish()
}

/// Does the same, and makes the directories of `path` that are missing. What a symlink leads to is not
/// made: there, a file system may not be mounted yet.
pub(super) fn to_made(path: &Path) -> Result<OwnedFd, Stopped> {
    Walk::new(path, true)?.finish()
}

struct Walk {
    /// The directories walked through so far, for going back on `..`, with their paths for
    /// messages. Never empty.
    trail: Vec<(OwnedFd, PathBuf)>,
    /// The components still to walk, in reverse order.
    rest: Vec<Part>,
    /// How many of these are of the path itself, and not of a symlink's text.
    own: usize,
    links: u32,
    makes: bool,
}

enum Part {
    Root,
    Up,
    Down(OsString),
}

impl From<Errno> for Stopped {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Walk {
    fn new(path: &Path, makes: bool) -> Result<Self, Stopped> {
        let mut walk = Self { trail: vec![root()?], rest: Vec::new(), own: 0, links: 0, makes };
        walk.queue(path);
        walk.own = walk.rest.len();
        Ok(walk)
    }

    fn finish(mut self) -> Result<OwnedFd, Stopped> {
        while let Some(part) = self.rest.pop() {
            let is_own = self.rest.len() < self.own;
            self.own = self.own.min(self.rest.len());
            match part {
                Part::Root => self.trail = vec![root()?],
                Part::Up => self.trail.truncate(self.trail.len().saturating_sub(1).max(1)),
                Part::Down(name) => self.down(&name, self.makes && is_own)?,
            }
        }
        Ok(self.trail.swap_remove(self.trail.len() - 1).0)
    }

    fn queue(&mut self, path: &Path) {
        let parts = path.components().rev().filter_map(|component| match component {
            Component::RootDir => Some(Part::Root),
            Component::ParentDir => Some(Part::Up),
            Component::Normal(name) => Some(Part::Down(name.to_owned())),
            Component::CurDir | Component::Prefix(_) => None,
        });
        self.rest.extend(parts);
    }

    fn down(&mut self, name: &OsStr, make: bool) -> Result<(), Stopped> {
        let (directory, path) = &self.trail[self.trail.len() - 1];
        let path = path.join(name);
        let found = match open(directory, name, OFlags::NOFOLLOW) {
            Err(Errno::NOENT) if make => {
                match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(NEW_DIRECTORY)) {
                    // Another call made it.
                    Err(Errno::EXIST) => {}
                    made => made?,
                }
                open(directory, name, OFlags::NOFOLLOW)?
            }
            found => found?,
        };
        let status = rustix::fs::fstat(&found)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::Symlink {
            self.trail.push((found, path));
            return Ok(());
        }
        if !(is_own(&status) && is_closed(&rustix::fs::fstat(directory)?)) {
            return Err(Stopped::Untrusted(path));
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
        self.queue(Path::new(&OsString::from_vec(target.into_bytes())));
        Ok(())
    }
}

fn root() -> rustix::io::Result<(OwnedFd, PathBuf)> {
    Ok((open(CWD, OsStr::new("/"), OFlags::DIRECTORY)?, PathBuf::from("/")))
}

/// Whether root, or the user of this process, is the owner.
fn is_own(status: &Stat) -> bool {
    status.st_uid == 0 || status.st_uid == rustix::process::geteuid().as_raw()
}

/// Whether nobody else can put anything into the directory.
fn is_closed(directory: &Stat) -> bool {
    is_own(directory) && directory.st_mode & OTHERS_WRITE == 0
}
