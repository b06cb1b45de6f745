//! The templates of a pool, and their spares.

use std::collections::BTreeMap;

use crate::api::{Pool, Template};
use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::commit::CommitSpec;
use crate::model::digest::Digest;
use crate::model::template_name;
use crate::pool::record::TemplateRecord;
use crate::reconcile::spares;
use crate::reconcile::spares::SpareReport;
use crate::snapshot::commit::{self, Committed};
#[cfg(feature = "driver")]
use crate::template::import::known;
use crate::template::spec::{ImportSpec, Progress};
use crate::template::{catalog, import};
use crate::volume::reclaim;

impl Pool {
    /// Removes surplus spares and makes missing ones; checks `cancel` before each. Does nothing
    /// while another process does the same.
    ///
    /// # Errors
    ///
    /// Those of [`create_volume`](Self::create_volume) if a spare cannot be made; spares that were
    /// made before stay.
    pub fn tend_spares(&self, cancel: &Cancel) -> Result<SpareReport> {
        spares::tend_spares(&self.0, cancel)
    }

    /// The number of existing spares, by template.
    pub fn spares(&self) -> Result<BTreeMap<String, u64>> {
        spares::spares(&self.0)
    }

    /// Imports an image under a name. An existing name moves to the new content. A repeated call
    /// resumes an interrupted import of a raw image, or finds that there is nothing to do. Advice about the
    /// content (a journal to be replayed, a block size that defeats TRIM) is logged as warnings.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` (bad name, no image that calf reads, another digest, a URL without a digest),
    /// `NotFound` (no such file), `NoSpace`, `InUse` (the source changed while it was read),
    /// `Permission` or `Internal` (a server refused or failed).
    pub fn import_template(
        &self,
        spec: &ImportSpec,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<TemplateRecord> {
        let imported = import::import(&self.0, spec, progress)?;
        self.release(&spec.name, imported.former);
        Ok(imported.record)
    }

    /// Makes a template of what a snapshot or a volume holds, which may be in use. The template shares the
    /// blocks of both the store and the content that it rests on, and needs neither afterwards. An existing name
    /// moves to the new content. `progress` is told of content that is read for its digest.
    ///
    /// # Errors
    ///
    /// `NotFound`; those of [`Volume::take_snapshot`](crate::Volume::take_snapshot) for a volume; `NoSpace` if
    /// blocks cannot be shared and there is no room for copies; `Corrupt`; `InvalidArgument` (bad name, or
    /// content that cannot be a template's); `Cancelled`; `InProgress`.
    pub fn commit_template(
        &self,
        spec: &CommitSpec,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Committed> {
        let (committed, former) = commit::commit(&self.0, spec, progress)?;
        self.release(&spec.name, former);
        Ok(committed)
    }

    /// Removes the content that a name pointed to before, if nobody needs it. The name has moved, so a failure is
    /// only logged.
    fn release(&self, name: &str, former: Option<Digest>) {
        if let Some(former) = former
            && let Err(e) = reclaim::release_image(&self.0, &former)
        {
            tracing::warn!(
                "could not remove the former content of template {name}: {}",
                e.report()
            );
        }
    }

    /// SHA-256 of the source that content was made of, where that is not the content's own.
    #[cfg(feature = "driver")]
    pub(crate) fn source_digest(&self, digest: &Digest) -> Option<Digest> {
        known::source_digest(&self.0, digest)
    }

    /// Whether the template is what an import with a digest asks for: the digest of the content, or that of
    /// the source that the content was made of.
    #[cfg(feature = "driver")]
    pub(crate) fn is_template_of(&self, record: &TemplateRecord, spec: &ImportSpec) -> bool {
        import::is_of(&self.0, record, spec)
    }

    /// The template of this name, which need not exist: see [`Template`].
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a name that no template can have.
    pub fn template(&self, name: &str) -> Result<Template> {
        template_name::check("use", name)?;
        Ok(Template::new(self.clone(), name.to_owned()))
    }

    /// All templates whose records can be read, ordered by name; [`damage`](Self::damage) reports
    /// the others.
    pub fn templates(&self) -> Result<Vec<TemplateRecord>> {
        Ok(catalog::survey(&self.0)?.0)
    }

    /// How many spares were claimed by volumes since the pool was opened.
    pub fn claimed_spares(&self) -> u64 {
        self.0.claimed_spares()
    }
}

#[cfg(test)]
#[path = "templates_tests.rs"]
mod tests;
