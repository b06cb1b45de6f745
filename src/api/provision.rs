//! What the driver finds out before it makes a volume: whether the host could mount and grow it.

use std::time::Duration;

use crate::api::Pool;
use crate::error::Result;
use crate::model::access::Access;
use crate::model::key::Key;
use crate::model::volume::VolumeSpec;
use crate::model::volume_id;
use crate::pool::record::VolumeRecord;
use crate::volume::basis::Basis;
use crate::volume::machine::observe;
use crate::volume::mountable::{self, Content};

impl Pool {
    /// The record of the volume with this id, if there is one.
    pub(crate) fn volume_record(&self, id: &str) -> Result<Option<VolumeRecord>> {
        volume_id::check(id)?;
        observe::read_record(&self.0, &Key::of(id))
    }

    /// Like [`create_volume`](Self::create_volume), but returns the record of the volume, and for how long writers
    /// of its source waited at most.
    pub(crate) fn provision(&self, spec: &VolumeSpec) -> Result<(VolumeRecord, Option<Duration>)> {
        self.make(spec)
    }

    /// Refuses a kind of access to `what`, which has this content, that staging would refuse.
    pub(crate) fn check_access(
        &self,
        content: &Content<'_>,
        access: &Access,
        kata_direct: bool,
        what: &str,
    ) -> Result<()> {
        mountable::check_access(&self.0, content, access, kata_direct, what)
    }

    /// Does the same for access that fits the type of the file system.
    pub(crate) fn check_mount(
        &self,
        content: &Content<'_>,
        access: &Access,
        kata_direct: bool,
        what: &str,
    ) -> Result<()> {
        mountable::check_mount(&self.0, content, access, kata_direct, what)
    }

    /// What the volume of `spec` is to start from. `NotFound` if it does not exist.
    pub(crate) fn basis(&self, spec: &VolumeSpec) -> Result<Basis> {
        Basis::find(&self.0, spec)
    }

    /// Refuses a new volume whose file system the host would have to grow, with writes that do not fit
    /// into its `cow_limit` or into the pool. `content` is that of `basis`.
    pub(crate) fn check_growth(
        &self,
        spec: &VolumeSpec,
        basis: &Basis,
        content: &Content<'_>,
    ) -> Result<()> {
        basis.check_growth(&self.0, spec, self.backing()?, content)
    }
}
