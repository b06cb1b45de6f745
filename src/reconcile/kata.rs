//! Withdraws publications to Kata of volumes that no longer exist.

use crate::error::Result;
use crate::pool::PoolDir;
use crate::reconcile::report::{ReconcileOptions, ReconcileReport, Removal, RemovalKind};
use crate::volume::kata::published;
use crate::volume::machine::observe;
use crate::volume::publish::kata::withdraw_and_unseal;

/// Removes publications of volumes that no longer exist, as after a removal by hand. Otherwise Kata
/// would attach whichever device reuses the number.
pub(super) fn reconcile(
    pool: &PoolDir,
    options: &ReconcileOptions,
    report: &mut ReconcileReport,
) -> Result<()> {
    for published in published(pool)? {
        let Some(guard) = pool.try_lock_volume(&published.key)? else { continue };
        if observe::read_record(pool, &published.key)?.is_some() {
            continue;
        }
        if !options.dry_run {
            withdraw_and_unseal(pool, &guard, published.key.as_str(), &published.target)?;
        }
        let what =
            format!("Kata's mountInfo.json for {}, without a volume", published.target.display());
        report.removed.push(Removal { kind: RemovalKind::Remains, what });
    }
    Ok(())
}
