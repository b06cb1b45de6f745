//! Templates: named, immutable images that volumes start from.
//!
//! A name points to content by its SHA-256 digest. Content is stored once, is never written, and
//! stays while a name or a volume refers to it; a name may move on to other content, and volumes
//! keep what they started from. Imports are atomic, durable, resumed by repetition, and run once
//! per source at a time, whatever process they run in.

mod copy;
mod fetch;
mod hash;
mod import;
mod name;
mod source;
mod store;
mod superblock;
mod sweep;

use std::path::PathBuf;

use crate::error::Result;
use crate::pool::Pool;
use crate::pool::record::TemplateRecord;

pub(crate) use store::release_image;
pub(crate) use sweep::sweep_imports;

/// A file to be imported as a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportSpec {
    /// The raw image: a regular file or a block device.
    pub source: PathBuf,
    /// The template's name: 1 to 128 letters, digits, `.`, `_` and `-`; the first a letter or
    /// a digit.
    pub name: String,
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
    /// `InvalidArgument` (bad name, not a raw image), `NotFound` (no such file), `NoSpace`, `InUse`
    /// (the source changed while it was read).
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

    /// All templates, ordered by name.
    pub fn templates(&self) -> Result<Vec<TemplateRecord>> {
        store::templates(self)
    }

    /// Removes a template. `InUse` (naming volumes) while volumes started from its content and no
    /// other name points to it; `NotFound` if there is none.
    pub fn remove_template(&self, name: &str) -> Result<()> {
        store::remove(self, name)
    }
}

#[cfg(test)]
mod tests;
