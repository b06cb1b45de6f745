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
    /// File with credentials for registries, as `docker login` writes it.
    pub registry_auth: Option<PathBuf>,
    /// How long a server may send nothing before the connection counts as lost.
    pub stall: Duration,
    /// Pause after a lost connection; it doubles with each connection that brought no data.
    pub pause: Duration,
    /// Bytes per second below which a download is given up; 0 for never.
    pub least_rate: u64,
    /// How long a download may be slower than that.
    pub patience: Duration,
}

impl DownloadOptions {
    /// The bytes per second below which a download is given up by default.
    pub const DEFAULT_LEAST_RATE: u64 = 64 << 10;

    /// Sets the PEM file with the only certificate authorities to trust.
    #[must_use]
    pub fn certificates(mut self, file: impl Into<Option<PathBuf>>) -> Self {
        self.certificates = file.into();
        self
    }

    /// Sets the file with credentials for registries.
    #[must_use]
    pub fn registry_auth(mut self, file: impl Into<Option<PathBuf>>) -> Self {
        self.registry_auth = file.into();
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

    /// Sets the bytes per second below which a download is given up; 0 for never.
    #[must_use]
    pub fn least_rate(mut self, least_rate: u64) -> Self {
        self.least_rate = least_rate;
        self
    }

    /// Sets how long a download may be slower than the least rate.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Default for DownloadOptions {
    fn default() -> Self {
        Self {
            certificates: None,
            registry_auth: None,
            stall: Duration::from_secs(30),
            pause: Duration::from_secs(1),
            least_rate: Self::DEFAULT_LEAST_RATE,
            patience: Duration::from_secs(60),
        }
    }
}
