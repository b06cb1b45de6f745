//! The unix socket that the driver listens on: who owns it, and who may use it.
//!
//! A socket file outlives its server. The path may therefore hold nothing; a *stale* socket, which
//! refuses connections and is replaced; a *live* socket, which belongs to a running driver and is
//! left alone; or another kind of file, which is never touched. Checking and replacing happen under
//! a lock on the parent directory, so that of two drivers that start at once one wins and the other
//! finds the winner's live socket.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::csi::request;
use crate::csi::request::invalid;
use crate::error::{Error, ErrorKind, Result};

/// Longest path of a unix socket: `sun_path` less its NUL.
const MAX_PATH: usize = 107;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// The socket's file. Dropping this removes it, if it is still the same file.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Keeps the inode in use, so that a successor's socket cannot get the same inode number.
    _pin: OwnedFd,
}

/// The path in an endpoint: `unix:///path`, `unix:/path` or `/path`.
pub(super) fn parse_endpoint(endpoint: &str) -> Result<PathBuf> {
    let rest = endpoint.strip_prefix("unix:").unwrap_or(endpoint);
    let path = match rest.strip_prefix("//") {
        Some(absolute) if rest != endpoint => absolute,
        _ => rest,
    };
    let path = request::path("endpoint", path)
        .map_err(|error| error.remedy("write it as unix:///run/calf/csi.sock"))?;
    let length = path.as_os_str().len();
    if length > MAX_PATH {
        return Err(invalid("endpoint", endpoint, format!("its path has {length} bytes"))
            .remedy(format!("the kernel allows {MAX_PATH}: choose a shorter path")));
    }
    Ok(path.components().collect())
}

/// Listens on a new socket at `path`, mode 0600 from its first instant.
///
/// # Errors
///
/// `InUse` if a running driver serves the path, `AlreadyExists` if the path holds a file that is
/// not a socket.
pub(super) fn listen(path: &Path) -> Result<(UnixListener, SocketFile)> {
    const OPERATION: &str = "listen on socket";
    let failed = |error: Errno| Error::io(OPERATION, path.display(), error);
    let parent = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .map_err(|e| Error::io("make the directory of the socket", parent.display(), e))?;
    let _lock = lock(parent)?;
    clear(path)?;

    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(failed)?;
    // Linux gives the file the mode of the socket at the time of binding (less the umask).
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    rustix::net::bind(&socket, &address).map_err(failed)?;
    let bound = pin(path).and_then(|pinned| {
        rustix::net::listen(&socket, BACKLOG).map_err(failed)?;
        Ok(pinned)
    });
    match bound {
        Ok((identity, pin)) => {
            let file = SocketFile { path: path.to_owned(), identity, _pin: pin };
            Ok((UnixListener::from(socket), file))
        }
        Err(error) => {
            // Dropping a `SocketFile` would wait for the lock that this function holds.
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

/// Takes note of the socket that has just been bound, and refuses it if others may access it.
fn pin(path: &Path) -> Result<((u64, u64), OwnedFd)> {
    const OPERATION: &str = "check socket";
    let failed = |e: io::Error| Error::io(OPERATION, path.display(), e);
    let pin = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed(errno.into()))?;
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(Error::new(
            ErrorKind::Internal,
            OPERATION,
            path.display(),
            format!("its mode is {:o}, open to others", metadata.mode() & 0o777),
        )
        .remedy("put the socket on a file system that keeps permissions, such as /run"));
    }
    Ok((identity(&metadata), pin))
}

/// Makes way for a new socket: removes a stale socket, refuses everything else.
fn clear(path: &Path) -> Result<()> {
    const OPERATION: &str = "replace socket";
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(OPERATION, path.display(), e)),
    };
    if !metadata.file_type().is_socket() {
        return Err(Error::new(
            ErrorKind::AlreadyExists,
            OPERATION,
            path.display(),
            "the existing file is not a socket",
        )
        .remedy("remove it, or choose another endpoint"));
    }
    if is_live(path)? {
        return Err(Error::new(
            ErrorKind::InUse,
            OPERATION,
            path.display(),
            "a running driver serves it",
        )
        .remedy("stop that driver, or choose another endpoint"));
    }
    tracing::info!(target: "calf::csi", socket = %path.display(), "removing a stale socket");
    fs::remove_file(path).map_err(|e| Error::io(OPERATION, path.display(), e))
}

/// Whether a process listens on the socket. A server with a full backlog counts too.
fn is_live(path: &Path) -> Result<bool> {
    let failed = |error: Errno| Error::io("connect to socket", path.display(), error);
    let probe = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    match rustix::net::connect(&probe, &address) {
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Locks a directory until the file is dropped. Other drivers hold this lock only briefly.
fn lock(directory: &Path) -> Result<File> {
    let failed = |e: io::Error| Error::io("lock directory", directory.display(), e);
    let file = File::open(directory).map_err(failed)?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

// === impl SocketFile ===

impl Drop for SocketFile {
    /// A failure is ignored: the next start removes the stale socket.
    fn drop(&mut self) {
        let Some(Ok(_lock)) = self.path.parent().map(lock) else { return };
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|m| identity(&m) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;
    use std::sync::Barrier;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn endpoints_are_absolute_unix_paths() {
        for endpoint in ["unix:///run/x/csi.sock", "unix:/run/x/csi.sock", "/run/x/csi.sock"] {
            assert_eq!(parse_endpoint(endpoint).unwrap(), Path::new("/run/x/csi.sock"));
        }
        let long = format!("/{}", "x".repeat(107));
        for bad in ["", "csi.sock", "unix:csi.sock", "unix://csi.sock", "tcp://1.2.3.4:1", &long] {
            let error = parse_endpoint(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn a_new_socket_is_private_and_goes_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/for/it/csi.sock");
        let (listener, file) = listen(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        UnixStream::connect(&path).unwrap();
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("csi.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (_listener, _file) = listen(&path).unwrap();
        let error = listen(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InUse);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_server_too_busy_to_accept_is_live() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("csi.sock");
        let (_listener, _file) = listen(&path).unwrap();
        let mut waiting = Vec::new();
        for _ in 0..BACKLOG + 8 {
            assert!(is_live(&path).unwrap());
            let socket =
                socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None)
                    .unwrap();
            let _ = rustix::net::connect(&socket, &SocketAddrUnix::new(&path).unwrap());
            waiting.push(socket);
        }
        assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::InUse);
    }

    #[test]
    fn what_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let link = directory.path().join("link");
        fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link, &directory.path().to_owned()] {
            assert_eq!(listen(path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn a_successors_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("csi.sock");
        let (_old_listener, old) = listen(&path).unwrap();
        // Not `drop`: a process that another test starts may briefly keep the old socket alive.
        fs::remove_file(&path).unwrap();
        let (_listener, new) = listen(&path).unwrap();
        drop(old);
        assert!(path.exists(), "the successor's file was removed");
        UnixStream::connect(&path).unwrap();
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn of_many_that_start_at_once_one_wins() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("csi.sock");
        drop(UnixListener::bind(&path).unwrap());
        let barrier = Barrier::new(8);
        let results: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                listen(&path)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(
            results.iter().flat_map(|r| r.as_ref().err()).all(|e| e.kind() == ErrorKind::InUse)
        );
    }
}
