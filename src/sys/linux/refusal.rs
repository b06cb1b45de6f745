//! Why the kernel refused to configure a file system.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

/// Why the kernel refused, in its own words if it gives any.
#[derive(Debug)]
pub(super) struct Refusal {
    what: String,
    words: Vec<String>,
    source: io::Error,
}

impl Refusal {
    /// Reads the kernel's words about `what`, which it refused with `errno`.
    pub(super) fn read(context: BorrowedFd<'_>, errno: Errno, what: String) -> Self {
        let mut words = Vec::new();
        let mut buffer = [0; 1024];
        // One message per read, until there are no more (ENODATA).
        while let Ok(length @ 1..) = rustix::io::read(context, &mut buffer) {
            let message = String::from_utf8_lossy(&buffer[..length]);
            // `e` marks an error, `w` a warning, and `i` information that does not help here.
            if let Some(text) = message.strip_prefix("e ").or(message.strip_prefix("w ")) {
                words.push(text.trim().to_owned());
            }
        }
        Self { what, words, source: errno.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.words.is_empty() {
            write!(f, "{} was refused; the kernel log (`dmesg`) may say why", self.what)
        } else {
            write!(f, "{} was refused: {}", self.what, self.words.join("; "))
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
