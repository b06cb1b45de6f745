//! Where a volume is to appear: stagings and publications, as CSI has them.

use std::path::PathBuf;

use crate::model::access::Access;

/// A staging, as in NodeStageVolume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stage {
    /// Where to mount the file system; unused for block access.
    pub path: PathBuf,
    /// Block or mount.
    pub access: Access,
    /// Every use of the volume is for reading: use a device that refuses writes.
    pub read_only: bool,
}

impl Stage {
    /// A staging at `path`, for reading and writing.
    pub fn new(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { path: path.into(), access, read_only: false }
    }

    /// Every use of the volume is for reading.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether the device must refuse writes: by the mode of access, or by the mount option.
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
    /// Where the volume is to appear.
    pub target: PathBuf,
    /// The staging that it rests on, made (again) where it is missing.
    pub stage: Stage,
    /// This publication is for reading.
    pub read_only: bool,
    /// No other target may have the volume published.
    pub exclusive: bool,
}

impl Publish {
    /// A publication at `target` that rests on a staging, for reading and writing.
    pub fn new(target: impl Into<PathBuf>, stage: Stage) -> Self {
        Self { target: target.into(), stage, read_only: false, exclusive: false }
    }

    /// The block device at `target`: that needs no place for a staging.
    pub fn block(target: impl Into<PathBuf>) -> Self {
        let target = target.into();
        Self::new(target.clone(), Stage::new(target, Access::Block))
    }

    /// This publication is for reading.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// No other target may have the volume published.
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
