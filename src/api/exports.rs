//! Snapshots on their way from one pool to another.

use std::io::{Read, Write};

use crate::api::Pool;
use crate::error::Result;
use crate::model::export::{ExportSpec, SnapshotImportSpec};
use crate::snapshot::export::{self, Exported};
use crate::snapshot::import::{self, ImportedSnapshot};
use crate::template::spec::Progress;

impl Pool {
    /// Writes a snapshot to a stream, without the template's content: all that was written, or what changed since
    /// an earlier snapshot of the same volume. No device is needed for it, and the snapshot is kept in place meanwhile.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use calf::{ExportSpec, Pool, SnapshotImportSpec};
    /// # let (here, there) = (Pool::open("/var/lib/calf")?, Pool::open("/mnt/calf")?);
    /// let mut file = std::fs::File::create("/backup/monday")?;
    /// here.export_snapshot(&ExportSpec::new("monday"), &mut file, &mut |_| ())?;
    ///
    /// let mut file = std::fs::File::open("/backup/monday")?;
    /// there.import_snapshot(&SnapshotImportSpec::new("monday"), &mut file, &mut |_| ())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `NotFound`; `InvalidArgument` if the two snapshots do not rest on the same template content in chunks of the
    /// same size; `Corrupt` if a store is damaged; `InProgress`; `Cancelled`; `Unsupported` for compression in a build
    /// without it; and what the stream answers.
    pub fn export_snapshot(
        &self,
        spec: &ExportSpec,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Exported> {
        export::export(&self.0, spec, out, progress)
    }

    /// Makes a snapshot of a stream that [`export_snapshot`](Self::export_snapshot) wrote, in this pool or another. It
    /// is on the disk when the call returns. The stream is read up to its end and no further. A repeated call with the
    /// same stream finds the same snapshot.
    ///
    /// # Errors
    ///
    /// `NotFound` if the pool does not have the template's content, or the earlier snapshot that the stream was made
    /// upon; `InvalidArgument` if that is another one than the spec names, or if what comes is no such stream;
    /// `Corrupt` if the stream was damaged or cut short; `AlreadyExists` if the name is taken; `NoSpace`;
    /// `InProgress`; `Cancelled`; `Unsupported` if a newer calf wrote the stream. Nothing is left of it then.
    pub fn import_snapshot(
        &self,
        spec: &SnapshotImportSpec,
        input: &mut dyn Read,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<ImportedSnapshot> {
        import::import(&self.0, spec, input, progress)
    }
}
