//! The templates of a pool, and the spares of them.

use std::collections::BTreeMap;

use crate::api::{Pool, Template};
use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::template_name;
use crate::pool::record::TemplateRecord;
use crate::reconcile::spares;
use crate::reconcile::spares::SpareReport;
use crate::template::spec::{ImportSpec, Progress};
use crate::template::{catalog, import};
use crate::volume::reclaim;

impl Pool {
    /// Removes spares that nobody wants and makes those that are missing; `cancel` is asked before each.
    /// Does nothing while another process does it.
    ///
    /// # Errors
    ///
    /// Those of [`create_volume`](Self::create_volume) where a spare cannot be made; what was made
    /// before stays.
    pub fn tend_spares(&self, cancel: &Cancel) -> Result<SpareReport> {
        spares::tend_spares(&self.0, cancel)
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

    /// The template of this name, which need not exist: see [`Template`].
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a name that no template can have.
    pub fn template(&self, name: &str) -> Result<Template> {
        template_name::check("use", name)?;
        Ok(Template::new(self.clone(), name.to_owned()))
    }

    /// All templates whose records can be read, ordered by name; [`damage`](Self::damage) tells of
    /// the others.
    pub fn templates(&self) -> Result<Vec<TemplateRecord>> {
        Ok(catalog::survey(&self.0)?.0)
    }

    /// How many spares became volumes' devices since the pool was opened.
    pub fn claimed_spares(&self) -> u64 {
        self.0.claimed_spares()
    }
}

#[cfg(test)]
#[path = "templates_tests.rs"]
mod tests;
