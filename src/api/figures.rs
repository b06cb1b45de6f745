//! Queries that only the driver's metrics need.

use crate::api::Pool;
use crate::error::{Error, Result};
use crate::pool::record::{TemplateRecord, VolumeRecord};
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

    /// How many loop devices are attached to files of the pool.
    pub(crate) fn loop_devices(&self) -> Result<u64> {
        self.0.host().loops_below(self.root())
    }
}
