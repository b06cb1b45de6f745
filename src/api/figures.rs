//! Queries that only the driver's metrics and its log need.

use crate::api::Pool;
use crate::error::{Error, Result};
use crate::pool::record::{TemplateRecord, VolumeRecord};
use crate::sys::site::{self, Site};
use crate::template::catalog;
use crate::volume::status;

/// The records of a pool.
pub(crate) struct Survey {
    /// The templates whose records can be read, ordered by name.
    pub(crate) templates: Vec<TemplateRecord>,
    /// The volumes whose records can be read, ordered by id.
    pub(crate) volumes: Vec<VolumeRecord>,
    /// Why the other records cannot be read.
    pub(crate) damage: Vec<Error>,
}

impl Pool {
    /// All records of the pool, and the errors of the damaged records.
    pub(crate) fn survey(&self) -> Result<Survey> {
        let (templates, mut damage) = catalog::survey(&self.0)?;
        let (volumes, damaged) = status::survey(&self.0)?;
        damage.extend(damaged);
        Ok(Survey { templates, volumes, damage })
    }

    /// Why the pool should not be on the disk where it is, and what to do about it; `None` if it may be
    /// there, or if that is unknown.
    pub(crate) fn disk_risk(&self) -> Option<(&'static str, &'static str)> {
        site::of(self.root()).ok().flatten().and_then(Site::risk)
    }

    /// How many loop devices are attached to files of the pool.
    pub(crate) fn loop_devices(&self) -> Result<u64> {
        self.0.host().loops_below(self.root())
    }
}
