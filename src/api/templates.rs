//! Templates, and the spares of them.

use crate::api::Pool;
use crate::error::Result;
use crate::pool::record::TemplateRecord;
use crate::reconcile::spares;
use crate::reconcile::spares::SpareReport;
use crate::template::spec::{ImportSpec, Progress};
use crate::template::{catalog, content, import};
use crate::volume::reclaim;
use std::collections::BTreeMap;

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
    /// Removes spares that nobody wants and makes those that are missing, until `stop` says, asked
    /// before each, that there is something better to do. Does nothing while another process does it.
    ///
    /// # Errors
    ///
    /// Those of [`create_volume`](Self::create_volume) where a spare cannot be made; what was made
    /// before stays.
    pub fn tend_spares(&self, stop: &dyn Fn() -> bool) -> Result<SpareReport> {
        spares::tend_spares(&self.0, stop)
    }

    /// How many spares there are, by template.
    pub fn spares(&self) -> Result<BTreeMap<String, u64>> {
        spares::spares(&self.0)
    }

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
        let imported = import::import(&self.0, spec, progress)?;
        if let Some(former) = imported.former
            && let Err(e) = reclaim::release_image(&self.0, &former)
        {
            // The name has moved: that is a success even if the old content cannot be removed now.
            let name = &spec.name;
            tracing::warn!("the former content of template {name} is left: {}", e.report());
        }
        Ok(imported.record)
    }

    /// What the name `name` points to. `NotFound` names the templates that exist.
    pub fn template(&self, name: &str) -> Result<TemplateRecord> {
        catalog::template(&self.0, "find", name)
    }

    /// A template with its users.
    pub fn inspect_template(&self, name: &str) -> Result<Template> {
        let record = catalog::template(&self.0, "inspect", name)?;
        Ok(Template {
            allocated: content::allocated(&self.0, &record.digest)?,
            volumes: reclaim::users(&self.0, &record.digest)?,
            record,
        })
    }

    /// All templates whose records can be read, ordered by name; [`damage`](Self::damage) tells of
    /// the others.
    pub fn templates(&self) -> Result<Vec<TemplateRecord>> {
        Ok(catalog::survey(&self.0)?.0)
    }

    /// Sets how many spare devices of the template are to be ready (`warm`), at most
    /// [`MAX_WARM`](crate::MAX_WARM); 0, as for each new template, is none.
    /// [`tend_spares`](Self::tend_spares) makes and removes them.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` (too many), `NotFound`.
    pub fn set_warm(&self, name: &str, warm: u32) -> Result<TemplateRecord> {
        catalog::set_warm(&self.0, name, warm)
    }

    /// Removes a template. `InUse` (naming volumes) while volumes started from its content and no
    /// other name points to it; `NotFound` if there is none.
    pub fn remove_template(&self, name: &str) -> Result<()> {
        reclaim::remove_template(&self.0, name)
    }

    /// How many spares became volumes' devices since the pool was opened.
    pub fn claimed_spares(&self) -> u64 {
        self.0.claimed_spares()
    }
}

#[cfg(test)]
#[path = "templates_tests.rs"]
mod tests;
