//! The cut: copies the COW store of a volume as of one instant, while the volume may be in use.
//!
//! The kernel copies a file's mapping under the file's lock, and writes back what is dirty before. Both hold
//! writers up, so what is dirty is written back ahead, while they go on. A volume whose content only has to
//! be that of a crash needs no suspension: what the copy has is what had been written when it took the
//! lock. A mounted file system is frozen first; its device is suspended only from then until the copy
//! is there. If the process dies in between, the next call for the volume, reconciliation or driver
//! resumes the device, as after each interrupted suspension.
//!
//! Where files cannot share blocks, the store is copied while the volume goes on over an
//! [overlay](crate::volume::overlay), and writers wait only until it is in place.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};
use crate::model::snapshot::Consistency;
use crate::snapshot::source::{Cut, Method, OPERATION, Source};
use crate::snapshot::{overlaid, together};
use crate::sys::{CopyMode, Quiesce};
use crate::volume::hold;

impl Source<'_> {
    /// Copies the COW store to `to`, whose directory exists. The copy is not durable yet.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the volume is in use, the file system cannot share blocks, and the volume cannot have an
    /// overlay; `Unprepared` if a
    /// file system is to be consistent and none is mounted; `Corrupt` if the pool's disk lost writes.
    pub(super) fn cut(&self, to: &Path, consistency: Option<Consistency>) -> Result<Cut> {
        let method = self.method(consistency)?;
        let cut = match &method {
            Method::AtRest => self.at_rest(to),
            Method::Live(_) => self.live(&method, to),
            Method::Frozen(..) => self.frozen(&method, to),
        };
        if cut.is_err()
            && !matches!(method, Method::AtRest)
            // A suspension that failed may have taken effect.
            && let Err(error) = hold::release(self.pool, self.guard)
        {
            let error = error.report();
            tracing::warn!(volume = self.record.id, error, "could not resume; the next call will");
        }
        cut
    }

    pub(super) fn at_rest(&self, to: &Path) -> Result<Cut> {
        self.write_back()?;
        let copied = match self.reflink(to) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.pool.require_free(OPERATION, &self.record.id, self.allocated()?)?;
                self.copy(to, CopyMode::Sparse)?;
                true
            }
            copied => copied.map(|()| false)?,
        };
        Ok(Cut { consistency: Consistency::Crash, waited: Duration::ZERO, copied })
    }

    fn live(&self, method: &Method, to: &Path) -> Result<Cut> {
        self.write_ahead(method)?;
        let start = Instant::now();
        let (waited, copied) = match self.reflink(to) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                (overlaid::copy(&[(self, to, Quiesce::Device)])?, true)
            }
            shared => shared.map(|()| (start.elapsed(), false))?,
        };
        Ok(Cut { consistency: Consistency::Crash, waited, copied })
    }

    fn frozen(&self, method: &Method, to: &Path) -> Result<Cut> {
        self.write_ahead(method)?;
        let (waited, copied) = together::copy(&[(self, to, Quiesce::FileSystem)])?;
        Ok(Cut { consistency: Consistency::FileSystem, waited, copied })
    }
}
