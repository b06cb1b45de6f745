//! What the driver finds out before it makes a volume: whether the host could mount and grow it.

use crate::api::Pool;
use crate::error::Result;
use crate::model::access::Access;
use crate::model::volume::VolumeSpec;
use crate::template::catalog;
use crate::volume::mountable::{self, Content};
use crate::volume::{growth, provision};

impl Pool {
    /// Refuses a kind of access to `what`, which has this content, that staging would refuse.
    pub(crate) fn check_access(
        &self,
        content: Content<'_>,
        access: &Access,
        kata_direct: bool,
        what: &str,
    ) -> Result<()> {
        mountable::check_access(&self.0, content, access, kata_direct, what)
    }

    /// Refuses a new volume whose file system the host would have to grow, with writes that do not fit
    /// into its `cow_limit` or into the pool.
    pub(crate) fn check_growth(&self, spec: &VolumeSpec) -> Result<()> {
        let template = catalog::template(&self.0, "find", &spec.template)?;
        let boot = self.0.host().boot_id()?;
        growth::check_new(&self.0, &provision::record(spec, &template, self.backing()?, boot)?)
    }
}
