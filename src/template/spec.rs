//! What is to be imported, and how far an import is.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::model::partition::Partition;
use crate::template::import::source::elsewhere;
use crate::template::import::source::url::ImageUrl;

/// What standard input is called for people.
pub(crate) const STANDARD_INPUT: &str = "standard input";

/// An image to be imported as a template.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportSpec {
    /// The image.
    pub source: ImportSource,
    /// The template's name: 1 to 128 letters, digits, `.`, `_` and `-`; the first a letter or
    /// a digit.
    pub name: String,
    /// SHA-256 of the content, or of the source if that is compressed, a qcow2 image, or a disk with partitions. Required for a URL. Content that the
    /// pool has already is not read again.
    pub digest: Option<Digest>,
    /// Which partition of a disk becomes the template; `None` for all of the image.
    pub partition: Option<Partition>,
    /// Ends the import between two parts of the content, with `Cancelled`; the same import again goes on
    /// from there.
    pub cancel: Cancel,
}

impl ImportSpec {
    /// Whatever the source holds, under a name.
    pub fn new(source: impl Into<ImportSource>, name: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            name: name.into(),
            digest: None,
            partition: None,
            cancel: Cancel::never(),
        }
    }

    /// What the content must be.
    #[must_use]
    pub fn digest(mut self, digest: impl Into<Option<Digest>>) -> Self {
        self.digest = digest.into();
        self
    }

    /// Makes a template of one partition of a disk.
    #[must_use]
    pub fn partition(mut self, partition: impl Into<Option<Partition>>) -> Self {
        self.partition = partition.into();
        self
    }

    /// Ends the import early.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportSource {
    /// A regular file or a block device of this machine.
    File(PathBuf),
    /// Standard input of this process, which can be read only once.
    StandardInput,
    /// On an HTTP server.
    Url(ImageUrl),
}

impl ImportSource {
    /// A URL if it starts as one, standard input for `-`, the path of a file otherwise.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for URLs with other schemes, and container images.
    pub fn parse(text: &str) -> Result<Self> {
        if ImageUrl::is_meant(text) {
            return ImageUrl::parse(text).map(Self::Url);
        }
        if text == "-" {
            return Ok(Self::StandardInput);
        }
        elsewhere::refuse(text)?;
        Ok(Self::File(text.into()))
    }
}

impl ImportSource {
    /// The name of the file, without directories and without the query of a URL; `None` for standard
    /// input.
    pub fn file_name(&self) -> Option<String> {
        match self {
            Self::File(path) => Some(path.file_name()?.to_string_lossy().into_owned()),
            Self::Url(url) => Some(url.file_name().to_owned()),
            Self::StandardInput => None,
        }
    }
}

impl From<PathBuf> for ImportSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for ImportSource {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<ImageUrl> for ImportSource {
    fn from(url: ImageUrl) -> Self {
        Self::Url(url)
    }
}

impl fmt::Display for ImportSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::StandardInput => f.write_str(STANDARD_INPUT),
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the source done, holes included. Of a compressed file these are its own bytes; of a qcow2
    /// image, its own bytes and then those of its disk.
    pub done: u64,
    /// Size of the source, counted in the same way; `None` for standard input.
    pub total: Option<u64>,
}
