//! Resolves paths that the orchestrator named, so that nobody can redirect the walk.
//!
//! The walk follows symlinks in the parents (`/var/lib/kubelet` often is one), but only symlinks
//! that only root can have put there: owned by root, in a directory that root owns and nobody else
//! may write. Below a directory of a pod, it follows none. It never follows the last component.
//!
//! [`walk`] does so. It ends in a [`Place`]: an open directory and a name in it. Operations use these two, so
//! that renaming or replacing anything above has no effect. See `docs/security.md` and decision
//! record 0030.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::linux::walk::{self, Stopped, open};

/// An open directory, and a name in it that may or may not exist.
#[derive(Debug)]
pub(super) struct Place {
    parent: OwnedFd,
    name: OsString,
}

/// Walks to `path`. `NotFound` if its parent does not exist; `InvalidArgument` if there is no safe
/// way to it.
pub(super) fn find(path: &Path) -> Result<Place> {
    const OPERATION: &str = "walk to";
    let absolute = absolute(OPERATION, path)?;
    let (parent, name) = split(OPERATION, &absolute)?;
    let plain = match parent.components().any(|part| part == Component::ParentDir) {
        true => Err(Errno::LOOP),
        false => open(CWD, parent.as_os_str(), OFlags::DIRECTORY),
    };
    let parent = match plain {
        Err(Errno::LOOP) => walk::to(parent).map_err(|stopped| told(OPERATION, path, stopped))?,
        other => other.map_err(|errno| refused(OPERATION, path, errno))?,
    };
    Ok(Place { parent, name: name.to_owned() })
}

/// Makes the missing directories above `path`, on a way as safe as that of [`find`]. `NotFound` where a
/// symlink leads to a missing directory.
pub(super) fn make_parents(path: &Path) -> Result<()> {
    const OPERATION: &str = "make the directories above";
    let absolute = absolute(OPERATION, path)?;
    let (parent, _) = split(OPERATION, &absolute)?;
    walk::to_made(parent).map(drop).map_err(|stopped| told(OPERATION, path, stopped))
}

fn absolute(operation: &'static str, path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::io(operation, path.display(), e))
}

/// The directory and the name at its end.
fn split<'a>(operation: &'static str, path: &'a Path) -> Result<(&'a Path, &'a OsStr)> {
    path.parent().zip(path.file_name()).ok_or_else(|| {
        let why = "it does not end in a name";
        Error::new(ErrorKind::InvalidArgument, operation, path.display(), why)
            .remedy("give the path of a file or directory")
    })
}

fn told(operation: &'static str, path: &Path, stopped: Stopped) -> Error {
    match stopped {
        Stopped::Errno(errno) => Error::io(operation, path.display(), errno),
        Stopped::Untrusted(link) => untrusted(operation, path, &link),
    }
}

fn refused(operation: &'static str, path: &Path, errno: Errno) -> Error {
    let error = Error::io(operation, path.display(), errno);
    match errno {
        Errno::NOSYS => error.with_kind(ErrorKind::Unsupported).remedy("use Linux 5.12 or newer"),
        _ => error,
    }
}

fn untrusted(operation: &'static str, path: &Path, link: &Path) -> Error {
    let why = format!(
        "{} is a symbolic link that a user other than root may have put there",
        link.display()
    );
    Error::new(ErrorKind::InvalidArgument, operation, path.display(), why).remedy(
        "name the path without the link, or make root the owner of the link and of its directory, \
             and the directory writable only for root",
    )
}

// === impl Place ===

impl Place {
    /// The directory.
    pub(super) fn parent(&self) -> impl AsFd {
        &self.parent
    }

    /// The name in it.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Opens what exists there now (a symlink itself, not its target), to inspect it or mount on
    /// it.
    pub(super) fn open(&self) -> rustix::io::Result<OwnedFd> {
        open(&self.parent, &self.name, OFlags::NOFOLLOW)
    }

    /// Opens the directory that exists there now, for ioctls on its file system.
    pub(super) fn open_directory(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty())
    }

    /// A path through this process's own file descriptor, for the one system call that accepts only
    /// paths (`umount2`). Valid while `self` lives.
    pub(super) fn descriptor_path(&self) -> PathBuf {
        descriptor(&self.parent).join(&self.name)
    }

    /// The path as the mount table shows it, if the kernel returns it.
    pub(super) fn shown_path(&self) -> Option<PathBuf> {
        Some(fs::read_link(descriptor(&self.parent)).ok()?.join(&self.name))
    }
}

/// A path to an open file, whatever its name.
pub(super) fn descriptor(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::fs::FileType;

    /// Where the walk to `path` ends, as the kernel names it.
    fn end(path: &Path) -> Result<PathBuf> {
        find(path).map(|place| place.shown_path().expect("a path"))
    }

    #[test]
    fn roots_own_links_are_followed_and_the_last_component_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a", root.join("relative")).unwrap();
        symlink(root.join("relative/b"), root.join("absolute")).unwrap();
        symlink("b/../b/./../../a", root.join("a/winding")).unwrap();
        symlink("nowhere", root.join("a/b/end")).unwrap();
        for (path, leads_to) in [
            ("a/b/end", "a/b/end"),
            ("relative/b/end", "a/b/end"),
            ("absolute/end", "a/b/end"),
            ("a/winding/b/new", "a/b/new"),
            ("a/../a/b/../x", "a/x"),
            ("relative/../x", "x"),
            ("absolute/../y", "a/y"),
        ] {
            assert_eq!(end(&root.join(path)).unwrap(), root.join(leads_to), "{path}");
        }
        let place = find(&root.join("absolute/end")).unwrap();
        let found = rustix::fs::fstat(place.open().unwrap()).unwrap();
        assert_eq!(FileType::from_raw_mode(found.st_mode), FileType::Symlink);
        assert!(place.open_directory().is_err());
    }

    #[test]
    fn what_is_missing_or_endless_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), b"").unwrap();
        symlink("dangling", at("dangling-link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let kind = |name: &str| find(&at(name)).unwrap_err().kind();
        assert_eq!(kind("no/end"), ErrorKind::NotFound);
        assert_eq!(kind("dangling-link/end"), ErrorKind::NotFound);
        assert_eq!(kind("file/end"), ErrorKind::InvalidArgument);
        assert_eq!(kind("loop/end"), ErrorKind::InvalidArgument);
        assert_eq!(kind(&format!("{}/end", "x".repeat(300))), ErrorKind::InvalidArgument);
        assert_eq!(find(Path::new("/")).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(find(Path::new("/a/..")).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn missing_directories_are_made_but_never_where_a_link_leads() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let at = |name: &str| root.join(name);
        fs::create_dir(at("real")).unwrap();
        symlink("real", at("link")).unwrap();
        symlink("not-mounted", at("dangling")).unwrap();
        for (path, made) in [("a/b/end", "a/b"), ("link/c/d/end", "real/c/d"), ("a/b/end", "a/b")] {
            make_parents(&at(path)).unwrap();
            let found = fs::symlink_metadata(at(made)).unwrap();
            assert!(found.is_dir() && found.permissions().mode() & 0o777 & !0o750 == 0, "{path}");
            assert!(!at(path).exists(), "{path}");
        }
        assert_eq!(make_parents(&at("dangling/e/end")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!at("not-mounted").exists());
        fs::write(at("file"), b"").unwrap();
        let below_a_file = make_parents(&at("file/f/end")).unwrap_err();
        assert_eq!(below_a_file.kind(), ErrorKind::InvalidArgument);
        fs::create_dir(at("open")).unwrap();
        symlink(at("real"), at("open/link")).unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
        let error = make_parents(&at("open/link/g/end")).unwrap_err();
        assert!(error.report().contains("open/link is a symbolic link"), "{error:?}");
        assert!(!at("real/g").exists());
    }

    #[test]
    fn a_link_in_a_directory_that_others_may_write_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("open/real")).unwrap();
        symlink("real", at("open/link")).unwrap();
        for mode in [0o777, 0o1777, 0o720, 0o702] {
            fs::set_permissions(at("open"), fs::Permissions::from_mode(mode)).unwrap();
            let error = find(&at("open/link/end")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{mode:o}");
            assert!(error.report().contains("open/link is a symbolic link"), "{error:?}");
            find(&at("open/real/end")).expect("no link, no danger");
        }
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o755)).unwrap();
        find(&at("open/link/end")).expect("it is root's again");
    }

    #[test]
    fn a_link_of_another_user_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("/tmp", &link).unwrap();
        // Only root can change the owner of a link, which is the case to refuse.
        if std::os::unix::fs::lchown(&link, Some(1000), None).is_ok() {
            let error = find(&link.join("end")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }
}
