//! Whether the file system of a new volume could grow, which the driver finds out before it makes one.

use crate::api::Pool;
use crate::error::Result;
use crate::model::volume::VolumeSpec;
use crate::template::catalog;
use crate::volume::{growth, provision};

impl Pool {
    /// Refuses a new volume whose file system the host would have to grow, with writes that do not fit
    /// into its `cow_limit` or into the pool.
    pub(crate) fn check_growth(&self, spec: &VolumeSpec) -> Result<()> {
        let template = catalog::template(&self.0, "find", &spec.template)?;
        let boot = self.0.host().boot_id()?;
        growth::check_new(&self.0, &provision::record(spec, &template, self.backing()?, boot)?)
    }
}
