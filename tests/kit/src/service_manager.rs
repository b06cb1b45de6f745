//! A service manager, such as systemd, as a driver sees it: a socket for notifications.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

pub struct ServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ServiceManager {
    /// Listens at a path in `directory`.
    pub fn start(directory: &Path) -> Self {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("no waiting");
        Self { socket, path }
    }

    /// The value of `NOTIFY_SOCKET` for its services.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next message that has already arrived.
    pub fn next(&self) -> String {
        let mut message = [0; 64];
        let length = self.socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }
}
