//! Completes or undoes what a crash left behind, and removes what nobody needs any more.
//!
//! Each volume is judged by its record and the kernel alone: at a glance, then closely if that does not
//! show that all is well, and again under its lock if there is something to do. A volume whose lock is
//! held is skipped: another call is working on it. Healthy volumes are never locked, so reconciliation
//! cannot make a call fail. The kernel is asked once which devices there are, and then one thing of each
//! live volume: that is what a start with a thousand of them waits for (ADR 0047).
//!
//! | what | goes when |
//! | --- | --- |
//! | remains of a volume without a record | at once |
//! | a device of this pool without a directory | at once |
//! | a spare that is broken, or one more than its template is to have | at once |
//! | what tells Kata of a volume without a record | at once |
//! | an inline volume | nobody uses it, and the directory of its target has been gone for a while |
//! | a volume with a time to live | that is over, and nobody uses it |
//! | an unfinished import | its source changed or is gone, or a day has passed |
//! | template content | no name and no volume refers to it |
//!
//! Nobody uses a volume if no device of it is open and nothing of it is mounted.

pub(crate) mod content;
mod devices;
mod disuse;
mod glance;
mod kata;
pub(crate) mod report;
pub(crate) mod spares;
mod volumes;

use crate::error::Result;
use crate::pool::{PoolDir, index};
use crate::reconcile::glance::{Glance, glance};
use crate::reconcile::report::{ReconcileOptions, ReconcileReport};

/// Completes or undoes what a crash left behind, and removes what nobody needs any more; what is
/// in use is not touched. To be called at start; safe at any time.
pub(crate) fn reconcile(pool: &PoolDir) -> Result<ReconcileReport> {
    reconcile_with(pool, &ReconcileOptions::default())
}

/// The same, with options: to learn what would be done, for instance.
pub(crate) fn reconcile_with(
    pool: &PoolDir,
    options: &ReconcileOptions,
) -> Result<ReconcileReport> {
    let mut report = ReconcileReport::default();
    // In this order: a volume's directory is there before its devices are.
    let names = pool.host().device_names()?;
    let keys = index::keys(pool)?;
    let may_claim = pool.host().file(&pool.layout().spares())?.is_some();
    for key in &keys {
        if options.is_cancelled() {
            return Ok(report);
        }
        match glance(pool, key, &names, may_claim) {
            Some(Glance::Inactive) => {}
            Some(Glance::Live) => report.live += 1,
            None => {
                if let Err(error) = volumes::reconcile(pool, key, options, &mut report) {
                    report.failed.push(error.report());
                }
            }
        }
    }
    devices::remove_orphans(pool, &keys, &names, options, &mut report)?;
    // After the volumes: what a claim took out of a spare's directory has gone to its volume.
    spares::tidy(pool, &names, options.dry_run, &mut report)?;
    if let Err(error) = kata::reconcile(pool, options, &mut report) {
        report.failed.push(error.report());
    }
    if !options.is_cancelled() {
        content::sweep(pool, options.dry_run, &mut report);
    }
    Ok(report)
}
