//! Removes what interrupted calls left of snapshots.

use crate::error::Result;
use crate::pool::PoolDir;
use crate::reconcile::report::{ReconcileReport, Removal, RemovalKind};
use crate::snapshot::sweep;

/// Removes the remains of snapshots that were never complete, or are being deleted.
pub(super) fn reconcile(pool: &PoolDir, dry_run: bool, report: &mut ReconcileReport) -> Result<()> {
    for key in sweep::sweep(pool, dry_run)? {
        let what = format!(
            "remains of an interrupted creation or deletion of a snapshot, or of a fork or a rollback ({key})"
        );
        report.removed.push(Removal { kind: RemovalKind::Remains, what });
    }
    Ok(())
}
