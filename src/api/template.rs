//! The handle of a template: its operations.

use std::fmt;

use crate::api::Pool;
use crate::error::Result;
use crate::model::digest::Digest;
use crate::pool::image_config::ImageConfig;
use crate::pool::record::TemplateRecord;
use crate::template::import::known;
use crate::template::{catalog, content};
use crate::volume::reclaim;

/// A template of a pool, by its name. Cheap to clone.
///
/// The handle is only a name: the template need not exist. If it does not, each method fails with
/// `NotFound`, which names the existing templates.
#[derive(Clone)]
pub struct Template {
    pool: Pool,
    name: String,
}

/// A template and its users.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TemplateStatus {
    /// The content that the name points to.
    pub record: TemplateRecord,
    /// Bytes that the content occupies in the pool.
    pub allocated: u64,
    /// SHA-256 of the source of the content, where that is known and not the one of the content: a
    /// compressed file, a qcow2 image, a disk with partitions.
    pub source_digest: Option<Digest>,
    /// Ids of the volumes that started from this content.
    pub volumes: Vec<String>,
    /// Names of the snapshots that rest on it, ordered.
    pub snapshots: Vec<String>,
    /// How the container image is run of which the content was made.
    pub image: Option<ImageConfig>,
}

impl Template {
    pub(super) fn new(pool: Pool, name: String) -> Self {
        Self { pool, name }
    }

    /// The template's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The content that the name points to.
    pub fn record(&self) -> Result<TemplateRecord> {
        catalog::template(&self.pool.0, "find", &self.name)
    }

    /// Like [`record`](Self::record), with the size in the pool and the users: reads the records of
    /// all volumes.
    pub fn status(&self) -> Result<TemplateStatus> {
        let pool = &self.pool.0;
        let record = catalog::template(pool, "inspect", &self.name)?;
        Ok(TemplateStatus {
            allocated: content::allocated(pool, &record.digest)?,
            source_digest: known::source_digest(pool, &record.digest),
            volumes: reclaim::users(pool, &record.digest)?,
            snapshots: reclaim::snapshots_of(pool, &record.digest)?,
            image: content::image_config(pool, &record.digest)?,
            record,
        })
    }

    /// Sets how many spare devices of the template to keep ready (`warm`), at most
    /// [`MAX_WARM`](crate::MAX_WARM); 0, the default, means none. [`Pool::tend_spares`] makes and
    /// removes them.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` (too many), `NotFound`.
    pub fn set_warm(&self, warm: u32) -> Result<TemplateRecord> {
        catalog::set_warm(&self.pool.0, &self.name, warm)
    }

    /// Removes the name, and with its last name the content. `InUse` (naming volumes) while volumes
    /// started from the content and no other name points to it.
    pub fn remove(&self) -> Result<()> {
        reclaim::remove_template(&self.pool.0, &self.name)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.name).finish()
    }
}
