//! What is to be imported, and how far an import is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::model::empty::EmptyFileSystem;
use crate::model::partition::Partition;
use crate::model::platform::Platform;
use crate::template::import::source::elsewhere;
use crate::template::import::source::reference::ImageReference;
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
    /// What the source is, where calf is not to find out by its content.
    pub format: Option<ImportFormat>,
    /// Size in bytes of the file system that is made of files, a multiple of 4 KiB; `None` for what they
    /// need, a quarter more, and at least 256 MiB of room. Required for an empty file system. It has no
    /// meaning for an image of a disk.
    pub size: Option<u64>,
    /// For which platform a container image is to be; `None` for that of this machine.
    pub platform: Option<Platform>,
    /// Directories and tar archives whose files are put on those of the source, the uppermost last.
    pub layers: Vec<PathBuf>,
    /// A program that becomes `/sbin/init`, beside which the image's configuration is put as
    /// `/etc/calf/image.json`.
    pub init: Option<PathBuf>,
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
            format: None,
            size: None,
            platform: None,
            layers: Vec::new(),
            init: None,
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

    /// Says what the source is.
    #[must_use]
    pub fn format(mut self, format: impl Into<Option<ImportFormat>>) -> Self {
        self.format = format.into();
        self
    }

    /// Makes a file system of this size, in bytes.
    #[must_use]
    pub fn size(mut self, size: impl Into<Option<u64>>) -> Self {
        self.size = size.into();
        self
    }

    /// Takes the image for this platform.
    #[must_use]
    pub fn platform(mut self, platform: impl Into<Option<Platform>>) -> Self {
        self.platform = platform.into();
        self
    }

    /// Puts the files of a directory or a tar archive on those of the source.
    #[must_use]
    pub fn layer(mut self, path: impl Into<PathBuf>) -> Self {
        self.layers.push(path.into());
        self
    }

    /// Adds an init.
    #[must_use]
    pub fn init(mut self, path: impl Into<Option<PathBuf>>) -> Self {
        self.init = path.into();
        self
    }

    /// Whether files are added to those of the source.
    pub(crate) fn is_extended(&self) -> bool {
        self.init.is_some() || !self.layers.is_empty()
    }

    /// The options by which a file system is made of files; `None` if there are none.
    pub(crate) fn making(&self) -> Option<String> {
        let format = self.format.map(|format| format!("format={format}"));
        let size = self.size.map(|size| format!("size={size}"));
        let platform = self.platform.as_ref().map(|platform| format!("platform={platform}"));
        let extended = self.is_extended().then(|| "extended".to_owned());
        let options: Vec<String> =
            [format, size, platform, extended].into_iter().flatten().collect();
        (!options.is_empty()).then(|| options.join(" "))
    }

    /// Ends the import early.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }
}

/// What a source holds, if it is no image of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportFormat {
    /// The files of a root file system: a tar archive, or a directory.
    RootFs,
    /// A container image: an OCI layout as a directory or a tar archive, or an archive of `docker save`.
    Oci,
}

impl FromStr for ImportFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "rootfs" => Ok(Self::RootFs),
            "oci" => Ok(Self::Oci),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                "use",
                "the format",
                format!("calf knows no format {text:.40?}"),
            )
            .remedy("give `rootfs` or `oci`, or none: calf knows other formats by their content")),
        }
    }
}

impl fmt::Display for ImportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RootFs => "rootfs",
            Self::Oci => "oci",
        })
    }
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportSource {
    /// A regular file, a block device or a directory of this machine.
    File(PathBuf),
    /// Standard input of this process, which can be read only once.
    StandardInput,
    /// On an HTTP server.
    Url(ImageUrl),
    /// A container image in a registry.
    Registry(ImageReference),
    /// No source: a file system without files, of the size of the import. It is the same on every node.
    Empty(EmptyFileSystem),
}

impl ImportSource {
    /// A URL or the name of an image in a registry (`docker://…`) if it starts as one, standard input for `-`, the path of a file otherwise.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for URLs with other schemes.
    pub fn parse(text: &str) -> Result<Self> {
        if ImageUrl::is_meant(text) {
            return ImageUrl::parse(text).map(Self::Url);
        }
        if ImageReference::is_meant(text) {
            return ImageReference::parse(text).map(Self::Registry);
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
    /// input and for an empty file system.
    pub fn file_name(&self) -> Option<String> {
        match self {
            Self::File(path) => Some(path.file_name()?.to_string_lossy().into_owned()),
            Self::Url(url) => Some(url.file_name().to_owned()),
            Self::Registry(reference) => Some(reference.file_name().to_owned()),
            Self::StandardInput | Self::Empty(_) => None,
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

impl From<EmptyFileSystem> for ImportSource {
    fn from(kind: EmptyFileSystem) -> Self {
        Self::Empty(kind)
    }
}

impl From<ImageReference> for ImportSource {
    fn from(reference: ImageReference) -> Self {
        Self::Registry(reference)
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
            Self::Registry(reference) => reference.fmt(f),
            Self::Empty(kind) => write!(f, "empty {kind}"),
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
