//! Templates: named, immutable images that volumes start from.
//!
//! A name points to content by its SHA-256 digest. Content is stored once, is never written, and
//! stays while a name or a volume refers to it; a name may move on to other content, and volumes
//! keep what they started from. Imports are atomic, durable, resumed by repetition, and run once
//! per source at a time, whatever process they run in.

mod copy;
mod digest;
mod download;
mod fetch;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hash;
mod import;
mod journal;
mod name;
mod required;
mod source;
mod staging;
mod store;
mod superblock;
mod sweep;
mod url;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::pool::Pool;
use crate::pool::record::TemplateRecord;

pub use digest::Digest;
pub use download::DownloadOptions;
pub(crate) use name::is_valid as is_valid_name;
pub use required::{RequiredTemplate, RequiredTemplates};
pub(crate) use store::{release_image, survey};
pub(crate) use sweep::sweep;
pub use url::ImageUrl;

/// An image to be imported as a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportSpec {
    /// The raw image.
    pub source: ImportSource,
    /// The template's name: 1 to 128 letters, digits, `.`, `_` and `-`; the first a letter or
    /// a digit.
    pub name: String,
    /// What the content must be. Required for a URL. Content that the pool has already is not
    /// read again.
    pub digest: Option<Digest>,
}

impl ImportSpec {
    /// Whatever the source holds, under a name.
    pub fn new(source: impl Into<ImportSource>, name: impl Into<String>) -> Self {
        Self { source: source.into(), name: name.into(), digest: None }
    }
}

/// Where a raw image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportSource {
    /// A regular file or a block device of this machine.
    File(PathBuf),
    /// On an HTTP server.
    Url(ImageUrl),
}

impl ImportSource {
    /// A URL if it starts as one, the path of a file otherwise.
    pub fn parse(text: &str) -> Result<Self> {
        if ImageUrl::is_meant(text) {
            return ImageUrl::parse(text).map(Self::Url);
        }
        Ok(Self::File(text.into()))
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
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the source done, holes included.
    pub done: u64,
    /// Size of the source.
    pub total: u64,
}

/// A template and who uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// What the name points to.
    pub record: TemplateRecord,
    /// Bytes that the content occupies in the pool.
    pub allocated: u64,
    /// Ids of the volumes that started from this content.
    pub volumes: Vec<String>,
}

impl Pool {
    /// Imports an image under a name. A name that exists moves to the new content. The same call
    /// again goes on where an interrupted one stopped, or finds all done. Advice about the content
    /// (a journal to be replayed, a block size that defeats TRIM) is logged as warnings.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` (bad name, not a raw image, another digest, a URL without a digest),
    /// `NotFound` (no such file), `NoSpace`, `InUse` (the source changed while it was read),
    /// `Permission` or `Internal` (what a server said).
    pub fn import_template(
        &self,
        spec: &ImportSpec,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<TemplateRecord> {
        import::import(self, spec, progress)
    }

    /// What the name `name` points to. `NotFound` names the templates that exist.
    pub fn template(&self, name: &str) -> Result<TemplateRecord> {
        store::template(self, "find", name)
    }

    /// A template with its users.
    pub fn inspect_template(&self, name: &str) -> Result<Template> {
        let record = store::template(self, "inspect", name)?;
        Ok(Template {
            allocated: store::allocated(&self.layout().image(&record.digest))?,
            volumes: store::users(self, &record.digest)?,
            record,
        })
    }

    /// All templates whose records can be read, ordered by name; [`damage`](Self::damage) tells of
    /// the others.
    pub fn templates(&self) -> Result<Vec<TemplateRecord>> {
        Ok(survey(self)?.0)
    }

    /// Sets how many spare devices of the template are to be ready (`warm`), at most
    /// [`MAX_WARM`](crate::volume::MAX_WARM); 0, as for each new template, is none.
    /// [`tend_spares`](Self::tend_spares) makes and removes them.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` (too many), `NotFound`.
    pub fn set_warm(&self, name: &str, warm: u32) -> Result<TemplateRecord> {
        store::set_warm(self, name, warm)
    }

    /// Removes a template. `InUse` (naming volumes) while volumes started from its content and no
    /// other name points to it; `NotFound` if there is none.
    pub fn remove_template(&self, name: &str) -> Result<()> {
        store::remove(self, name)
    }
}

#[cfg(test)]
mod tests;
