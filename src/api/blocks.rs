//! What backups ask of a snapshot.

use crate::api::Snapshot;
use crate::error::{Error, Result};
use crate::snapshot::blocks::{self, Blocks};

impl Snapshot {
    /// The ranges that hold something: the data of the template, and all that was written. Zeros are everywhere
    /// else.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Corrupt` if the snapshot or its template's content is damaged; `InProgress` while it is being
    /// made or removed.
    pub fn allocated(&self) -> Result<Blocks> {
        blocks::allocated(&self.pool().0, self.name())
    }

    /// The ranges in which this snapshot may differ from `base`, an earlier one of the same volume. In all others,
    /// both hold the same. What lies behind the end of `base`, if the volume grew, is one of them.
    ///
    /// ```no_run
    /// # fn main() -> calf::Result<()> {
    /// # let pool = calf::Pool::open("/var/lib/calf")?;
    /// let (monday, tuesday) = (pool.snapshot("monday")?, pool.snapshot("tuesday")?);
    /// for range in tuesday.changed_since(&monday)? {
    ///     println!("{} bytes at {}", range.length, range.offset);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the two do not rest on the same template content in chunks of the same size, or are not
    /// in one pool; `NotFound`; `Corrupt`; `InProgress` while one of them is being made or removed.
    pub fn changed_since(&self, base: &Self) -> Result<Blocks> {
        // A copy of a pool has its id.
        if base.pool().root() != self.pool().root() {
            let why = "it is a snapshot of another pool";
            return Err(Error::invalid(format!("base {}", base.name()), why)
                .remedy("compare snapshots of one volume"));
        }
        blocks::changed(&self.pool().0, base.name(), self.name())
    }
}
