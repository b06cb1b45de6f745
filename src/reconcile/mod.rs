//! Completes or undoes what a crash left behind, and removes what is no longer needed.
//!
//! The record and the kernel alone decide what a volume needs. A glance at them suffices for most
//! volumes. If the glance does not show that all is well, a closer look follows, and another under
//! the volume's lock if there is something to do. A volume whose lock is held is skipped: another
//! call is working on it. Healthy volumes are never locked, so reconciliation cannot make a call
//! fail. Reconciliation lists the kernel's devices once, then makes one query for each live volume,
//! since a start with a thousand volumes waits for these queries (ADR 0047).
//!
//! | what | is removed |
//! | --- | --- |
//! | remains of a volume without a record | immediately |
//! | a device of this pool without a directory, or of a snapshot without a record | immediately |
//! | a spare that is broken, or in excess of its template's `warm` | immediately |
//! | a publication to Kata of a volume without a record | immediately |
//! | an unused inline volume | once its target's directory has been gone for the grace period |
//! | an unused volume with a TTL | once the TTL has expired |
//! | an unfinished import | once its source has changed or is gone, or after a day |
//! | remains of a snapshot without a record | immediately |
//! | template content | once no name, no volume and no snapshot refers to it |
//!
//! A volume is unused if none of its devices is open, mounted or bound.

pub(crate) mod content;
mod devices;
mod disuse;
mod glance;
mod kata;
mod names;
pub(crate) mod report;
mod snapshots;
pub(crate) mod spares;
mod volumes;

use crate::error::Result;
use crate::pool::{PoolDir, index};
use crate::reconcile::glance::{Glance, glance};
use crate::reconcile::report::{ReconcileOptions, ReconcileReport};

/// Completes or undoes what a crash left behind, and removes what is no longer needed. Leaves
/// everything that is in use alone. Meant for startup; safe at any time.
pub(crate) fn reconcile(pool: &PoolDir) -> Result<ReconcileReport> {
    reconcile_with(pool, &ReconcileOptions::default())
}

/// Like [`reconcile`], with options, such as for a dry run.
pub(crate) fn reconcile_with(
    pool: &PoolDir,
    options: &ReconcileOptions,
) -> Result<ReconcileReport> {
    let mut report = ReconcileReport::default();
    // In this order, since a volume's directory is created before its devices.
    let names = pool.host().device_names()?;
    let keys = index::keys(pool)?;
    if !options.dry_run
        && let Err(error) = names::renew(pool, &keys, &names)
    {
        report.failed.push(error.report());
    }
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
    // After the volumes: settling a claim turns the spare's device into the volume's.
    spares::tidy(pool, &names, options.dry_run, &mut report)?;
    if let Err(error) = kata::reconcile(pool, options, &mut report) {
        report.failed.push(error.report());
    }
    if let Err(error) = snapshots::reconcile(pool, options.dry_run, &mut report) {
        report.failed.push(error.report());
    }
    if !options.is_cancelled() {
        content::sweep(pool, options.dry_run, &mut report);
    }
    Ok(report)
}
