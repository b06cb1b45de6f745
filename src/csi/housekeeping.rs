//! Reconciliation in a running driver: at its start, and then periodically.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::api::Pool;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::reconcile::report::{ReconcileOptions, ReconcileReport};

/// Reconciles a pool, and logs and counts the results. A repair that keeps failing is logged once,
/// not each time.
pub(super) struct Housekeeping {
    pool: Pool,
    metrics: Arc<Metrics>,
    options: ReconcileOptions,
    failed: BTreeSet<String>,
}

impl Housekeeping {
    /// Makes the keeper and does nothing yet. Setting `stop` to true ends a running reconciliation
    /// early.
    pub(super) fn new(pool: Pool, metrics: Arc<Metrics>, stop: Arc<AtomicBool>) -> Self {
        let options = ReconcileOptions::default().cancel(stop.into());
        Self { pool, metrics, options, failed: BTreeSet::new() }
    }

    /// The pool to reconcile.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Reconciles once. Blocks.
    pub(super) fn run(&mut self) -> Result<ReconcileReport> {
        let report = self.pool.reconcile_with(&self.options);
        self.metrics.reconciled(report.as_ref().ok());
        let report = report?;
        for repair in &report.repaired {
            tracing::info!(
                target: "calf::csi",
                volume = repair.volume,
                steps = repair.steps.join(", "),
                "completed an interrupted operation"
            );
        }
        for removal in &report.removed {
            tracing::info!(
                target: "calf::csi", kind = removal.kind.as_str(), what = %removal, "removed"
            );
        }
        let failed: BTreeSet<String> = report.failed.iter().cloned().collect();
        for what in failed.difference(&self.failed) {
            tracing::warn!(target: "calf::csi", what, "repair failed; will retry");
        }
        self.failed = failed;
        Ok(report)
    }

    /// Reconciles every `interval`, forever; never if `interval` is zero.
    pub(super) async fn repeat(mut self, interval: Duration) {
        if interval.is_zero() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(interval).await;
            let round = tokio::task::spawn_blocking(move || {
                let result = self.run();
                (self, result)
            });
            // The runtime's hook reports a panic; the next start tries again.
            let Ok((housekeeping, result)) = round.await else {
                return std::future::pending().await;
            };
            self = housekeeping;
            match result {
                Ok(report) => log(&report, tracing::Level::DEBUG),
                Err(error) => tracing::warn!(
                    target: "calf::csi", error = error.report(), "cannot reconcile now"
                ),
            }
        }
    }
}

/// Logs the numbers: at level info at start, and later only if something was done.
pub(super) fn log(report: &ReconcileReport, level: tracing::Level) {
    let (live, repaired) = (report.live, report.repaired.len());
    let (removed, failed) = (report.removed.len(), report.failed.len());
    if level == tracing::Level::INFO || repaired + removed > 0 {
        tracing::info!(target: "calf::csi", live, repaired, removed, failed, "reconciled");
    } else {
        tracing::debug!(target: "calf::csi", live, repaired, removed, failed, "reconciled");
    }
}
