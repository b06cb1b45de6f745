//! How images are downloaded.

use std::path::PathBuf;
use std::time::Duration;

/// Options for downloads of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadOptions {
    /// PEM file with the certificate authorities to trust; `None` for Mozilla's, which are built
    /// in.
    pub certificates: Option<PathBuf>,
    /// How long a server may send nothing before the connection counts as lost.
    pub stall: Duration,
    /// Pause after a lost connection; it doubles with each connection that brought no data.
    pub pause: Duration,
}

impl DownloadOptions {
    /// Sets the PEM file with the only certificate authorities to trust.
    #[must_use]
    pub fn certificates(mut self, file: impl Into<Option<PathBuf>>) -> Self {
        self.certificates = file.into();
        self
    }

    /// Sets how long a server may send nothing.
    #[must_use]
    pub fn stall(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }

    /// Sets the pause after a lost connection.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

impl Default for DownloadOptions {
    fn default() -> Self {
        Self { certificates: None, stall: Duration::from_secs(30), pause: Duration::from_secs(1) }
    }
}
