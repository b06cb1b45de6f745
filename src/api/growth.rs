//! Whether the file system of a volume could be mounted and grow, which the driver finds out before it makes
//! one.

use crate::api::Pool;
use crate::error::Result;
use crate::model::access::Access;
use crate::model::volume::VolumeSpec;
use crate::template::catalog;
use crate::volume::{growth, provision};

impl Pool {
    /// Refuses mount options that this node's kernel does not take for the file system, as staging would.
    pub(crate) fn check_mount_options(&self, access: &Access, fs_type: Option<&str>) -> Result<()> {
        match (access, fs_type) {
            (Access::Mount { options, .. }, Some(fs_type)) if !options.is_empty() => {
                self.0.host().check_mount_options(fs_type, options)
            }
            _ => Ok(()),
        }
    }

    /// Refuses a new volume whose file system the host would have to grow, with writes that do not fit
    /// into its `cow_limit` or into the pool.
    pub(crate) fn check_growth(&self, spec: &VolumeSpec) -> Result<()> {
        let template = catalog::template(&self.0, "find", &spec.template)?;
        let boot = self.0.host().boot_id()?;
        growth::check_new(&self.0, &provision::record(spec, &template, self.backing()?, boot)?)
    }
}
