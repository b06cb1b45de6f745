//! Where a volume appears: stagings and publications, as CSI defines them.

use std::path::PathBuf;

use crate::model::access::Access;
use crate::model::cancel::Cancel;

/// A staging, as in NodeStageVolume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stage {
    /// Where to mount the file system; unused for block access.
    pub path: PathBuf,
    /// Block or mount.
    pub access: Access,
    /// The volume is only read: use a device that refuses writes.
    pub read_only: bool,
    /// Ends the growth of the file system between two steps, with `Cancelled`. What is done stays, and the
    /// same call again goes on from there.
    pub cancel: Cancel,
}

impl Stage {
    /// Returns a staging at `path`, for reading and writing.
    pub fn new(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { path: path.into(), access, read_only: false, cancel: Cancel::never() }
    }

    /// Sets whether the volume is only read.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets the condition that ends a long growth of the file system early.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Whether the device must refuse writes, by this setting or by the mount option.
    pub(crate) fn is_read_only(&self) -> bool {
        let option = matches!(&self.access, Access::Mount { options, .. }
            if options.iter().any(|option| option == "ro"));
        self.read_only || option
    }
}

/// A publication, as in NodePublishVolume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publish {
    /// Where the volume appears.
    pub target: PathBuf,
    /// The staging below the publication, made (again) if it is missing.
    pub stage: Stage,
    /// The volume is only read at this target.
    pub read_only: bool,
    /// The volume must not be published at any other target.
    pub exclusive: bool,
}

impl Publish {
    /// Returns a publication at `target` of what is staged by `stage`, for reading and writing.
    pub fn new(target: impl Into<PathBuf>, stage: Stage) -> Self {
        Self { target: target.into(), stage, read_only: false, exclusive: false }
    }

    /// Returns a publication of the block device at `target`, which needs no path for a staging.
    pub fn block(target: impl Into<PathBuf>) -> Self {
        let target = target.into();
        Self::new(target.clone(), Stage::new(target, Access::Block))
    }

    /// Sets whether the volume is only read at this target.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets whether the volume must not be published at any other target.
    #[must_use]
    pub fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// Whether the target must refuse writes.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only || self.stage.is_read_only()
    }
}
